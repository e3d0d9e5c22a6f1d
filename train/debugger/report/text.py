"""Numbers and foreign names as a person reads them."""

import math
import re
import unicodedata
from numbers import Integral, Real

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NBSP = "\u00a0"
"""Between a number and its unit, which stay on one line."""

MAX_NAME = 60
"""Characters of a class or file name that are shown."""

UNPRINTABLE = re.compile("[\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
"""What turns the direction of the text that follows, and what XML forbids."""

PERCENTILES = {"max": 100, "p99": 99, "p95": 95, "p50": 50, "min": 0}
"""The statistics of SageMaker's own report."""


def name_of(value: object, length: int = MAX_NAME) -> str:
    """Make a foreign name one printable line of at most `length` characters, its middle left out."""
    text = str(value)
    half = length // 2
    if len(text) > 4 * length:
        text = text[: 2 * length] + text[-2 * length :]
    characters = (" " if c.isspace() else c for c in UNPRINTABLE.sub("", text))
    text = "".join(c if unicodedata.category(c) not in ("Cc", "Cs") else "\ufffd" for c in characters)
    if not text.strip():
        return "(blank)"
    return text if len(text) <= length else f"{text[: half - 1]}\u2026{text[-half:]}"


def seconds(value: float) -> str:
    """Write a time in the unit that suits it."""
    if not math.isfinite(value):
        return "?"
    if value < 0.9995:
        return f"{value * 1e3:.3g}{NBSP}ms"
    if value < 120:
        return f"{value:.3g}{NBSP}s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NBSP}h {minutes}{NBSP}min" if hours else f"{minutes}{NBSP}min {rest}{NBSP}s"


def share(value: float) -> str:
    """Write a share in [0, 1] as a percentage."""
    percentage = value * 100
    if 0 < abs(percentage) < 0.01:
        return f"under 0.01{NBSP}%"
    return f"{percentage:.0f}{NBSP}%" if abs(percentage) >= 9.95 else f"{percentage:.2g}{NBSP}%"


def size(value: float) -> str:
    """Write a number of bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 999.5:
            return f"{value:.3g}{NBSP}{unit}"
        value /= 1000
    return f"{value:.3g}{NBSP}TB"


def money(value: float) -> str:
    """Write an amount to the hundredth, a small one to two significant digits."""
    return f"{value:,.2f}" if value >= 1 else np.format_float_positional(value, precision=2, fractional=False, trim="-")


def number(value: object, digits: int = 4) -> str:
    """Write a number with so many significant digits, whole numbers in full."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return name_of("\u2013" if value is None else value)
    real = float(value)
    if math.isnan(real):
        return "not a number"
    if math.isinf(real):
        return "infinite" if real > 0 else "minus infinite"
    if isinstance(value, Integral) or 10**digits <= abs(real) < 1e9:
        return f"{real:,.0f}"
    return f"{real:.{digits}g}"


def plural(count: int, noun: str) -> str:
    """Write a count with its noun, which takes an s."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def statistics(values: Floats) -> dict[str, float]:
    """Compute max, p99, p95, p50 and min of the finite values; nothing without any."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {}
    return dict(zip(PERCENTILES, map(float, np.percentile(finite, list(PERCENTILES.values()))), strict=True))
