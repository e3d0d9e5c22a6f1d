"""Charts as SVG that takes the page's colours and fonts: matplotlib draws, nothing runs in the browser."""

import io
import re
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import numpy.typing as npt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from train.debugger.report.blocks import Chart
from train.debugger.report.text import name_of, size

Floats = npt.NDArray[np.float64]

WIDTH, HEIGHT = 300, 175
"""Of a chart, in CSS pixels on a phone; its letters have 11."""

LETTER = 6
"""Width of a letter, at most on average."""

NUM_BINS = 300
"""Runs of a long series that are drawn, each by its lowest, middle and highest value."""

INK, MUTED, LINE = "#1b1f24", "#57606a", "#d0d7de"
SERIES = ("#0b66c3", "#b35900", "#1a7f37", "#c4314b", "#7a3fb5")
COLORS = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)"} | {
    color: f"var(--series-{number})" for number, color in enumerate(SERIES)
}

STYLE: Any = {
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 11, "font.family": ["DejaVu Sans"],
    "figure.figsize": (WIDTH / 72, HEIGHT / 72), "figure.facecolor": "none", "axes.facecolor": "none",
    "text.color": INK, "axes.labelcolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED, "axes.edgecolor": MUTED,
    "xtick.labelsize": 10, "ytick.labelsize": 10, "axes.labelsize": 10, "legend.fontsize": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": LINE, "grid.linewidth": 0.7, "legend.frameon": False, "lines.linewidth": 1.6,
    "axes.formatter.useoffset": False, "axes.xmargin": 0.02,
    "axes.prop_cycle": cycler(color=SERIES) + cycler(linestyle=["-", "--", "-.", ":", (0, (5, 1))]),
}  # fmt: skip

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}

BYTES = FuncFormatter(lambda value, _: size(value))
PERCENT = FuncFormatter(lambda value, _: f"{value:g} %")


@contextmanager
def drawing_style() -> Iterator[None]:
    """Draw in the report's colours; class names in scripts that a font lacks are no reason to warn."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="All-NaN slice|Mean of empty slice")
        yield


def new_axes(xlabel: str = "", ylabel: str = "", *, height: int = HEIGHT) -> Axes:
    """Begin a chart of one pair of axes."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06))
    axes = figure.subplots()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return axes


def add_legend(axes: Axes) -> None:
    """Name the series above the axes."""
    num_columns = 3 if sum(len(text) for text in axes.get_legend_handles_labels()[1]) < 24 else 2
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=num_columns, borderaxespad=0.2, handlelength=1.8,
        columnspacing=1.2,
    )  # fmt: skip


def finish(axes: Axes, title: str, description: str) -> Chart:
    """End a chart."""
    stream = io.StringIO()
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure), "new_axes made it"
    # Figure.savefig would draw twice.
    FigureCanvasSVG(figure).print_svg(stream, metadata=NO_METADATA)  # type: ignore[no-untyped-call]
    return Chart(title, description, inlined(stream.getvalue(), title, description))


def inlined(document: str, title: str, description: str) -> str:
    """Make an SVG document part of a page: named, in the page's colours and font, without a style of its own.

    Of its ids, those that are referred to stay; matplotlib makes them at random, so that they are unique in a page.
    """
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(document)  # noqa: S314 (matplotlib wrote it)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}style", f"{{{SVG}}}metadata"):
                parent.remove(child)
    references = set(re.findall(r'(?:href="#|url\(#)([^")]+)', document))
    for element in root.iter():
        if element.get("id") not in references:
            element.attrib.pop("id", None)
        _adapt(element)
    names = {"title": title, "desc": description}
    identifiers = [f"{tag}-{uuid.uuid4().hex[:10]}" for tag in names]
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-labelledby": " ".join(identifiers)}
    for position, (tag, text) in enumerate(names.items()):
        element = ElementTree.Element(f"{{{SVG}}}{tag}", {"id": identifiers[position]})
        element.text = text
        root.insert(position, element)
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(element: ElementTree.Element) -> None:
    if style := element.get("style"):
        style = re.sub(r"; font-family: [^;]*", "", style)
        element.set("style", re.sub(r"#[0-9a-f]{6}", lambda match: COLORS.get(match[0], match[0]), style))
    if path := element.get("d"):
        element.set("d", re.sub(r"(\.\d)\d+", r"\1", path))
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]


def draw_series(axes: Axes, x: Floats, y: Floats, label: str | None = None) -> None:
    """Draw a series of any length: the line itself, or the middle and the range of each of NUM_BINS runs."""
    y = np.where(np.isfinite(y), y, np.nan)
    if len(y) <= NUM_BINS:
        axes.plot(x, y, label=label, marker="o" if len(y) == 1 else None)
        return
    width = -(-len(y) // NUM_BINS)
    rows = np.arange(width * NUM_BINS).reshape(NUM_BINS, width).clip(max=len(y) - 1)
    rows = rows[: -(-len(y) // width)]
    binned, middle = y[rows], x[rows].mean(axis=1)
    (line,) = axes.plot(middle, np.nanmedian(binned, axis=1), label=label)
    low, high = np.fmin.reduce(binned, axis=1), np.fmax.reduce(binned, axis=1)
    axes.fill_between(middle, low, high, color=line.get_color(), alpha=0.22, linewidth=0)


def series_chart(
    title: str, description: str, series: Mapping[str, tuple[Floats, Floats]], *, xlabel: str, ylabel: str = "",
    formatter: FuncFormatter | None = None, top: float | None = None, log: bool = False,
) -> Chart:  # fmt: skip
    """Draw named series of (x, y), from 0 unless `log`."""
    axes = new_axes(xlabel, ylabel)
    for name, (x, y) in series.items():
        draw_series(axes, x, np.where(y > 0, y, np.nan) if log else y, name)
    if len(series) > 1:
        add_legend(axes)
    every = np.concatenate([np.zeros(0), *(y[np.isfinite(y)] for _, y in series.values())])
    if log and (every > 0).any():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif (every >= 0).all():
        axes.set_ylim(0, top or every.max(initial=0) * 1.05 or 1)
    if formatter and not log:
        axes.yaxis.set_major_formatter(formatter)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=xlabel in ("epoch", "step")))
    return finish(axes, title, description)


def bar_chart(
    title: str, description: str, names: Sequence[str], values: Sequence[float], labels: Sequence[str]
) -> Chart:
    """Draw horizontal bars, from top to bottom, each with its label at the end."""
    shown = [name_of(name, 24) for name in names]
    axes = new_axes(height=24 + 21 * len(names))
    positions = np.arange(len(names))
    axes.barh(positions, values, color=SERIES[0], height=0.62)
    highest = max(max(values, default=0), 1e-12)
    for position, (value, label) in enumerate(zip(values, labels, strict=True)):
        axes.text(value + highest * 0.015, position, label, va="center", fontsize=10)
    axes.set_yticks(positions, shown, color=INK)
    room = WIDTH - LETTER * max(map(len, shown), default=0)
    axes.set(xlim=(0, highest * room / max(room / 4, room - LETTER * max(map(len, labels), default=0))), xticks=[])
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False)
    return finish(axes, title, description)


def histogram(title: str, description: str, values: Floats, *, xlabel: str, ylabel: str) -> Chart:
    """Draw how often values occur, up to their 99.5th percentile and what lies above in the last bar."""
    axes = new_axes(xlabel, ylabel, height=160)
    top = np.percentile(values, 99.5)
    counts, edges = np.histogram(values.clip(max=top), bins=min(40, max(5, len(values) // 3)))
    axes.stairs(counts, edges, fill=True, color=SERIES[0])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return finish(axes, title, description)


def box_chart(title: str, description: str, columns: Mapping[str, Floats]) -> Chart:
    """Draw boxes from p25 to p75 with whiskers from p5 to p95, of percentages."""
    axes = new_axes(height=30 + 30 * len(columns), xlabel="")
    boxes = []
    for name, values in columns.items():
        low, q1, median, q3, high = np.percentile(values[np.isfinite(values)], [5, 25, 50, 75, 95])
        boxes.append({"label": name, "whislo": low, "q1": q1, "med": median, "q3": q3, "whishi": high, "fliers": []})
    line = {"color": INK}
    axes.bxp(
        boxes, orientation="horizontal", patch_artist=True, showfliers=False, widths=0.5, whiskerprops=line,
        capprops=line, medianprops={"color": INK, "linewidth": 2},
        boxprops={"facecolor": SERIES[0], "edgecolor": INK, "alpha": 0.55},
    )  # fmt: skip
    axes.set_xlim(0, 102)
    axes.xaxis.set_major_formatter(PERCENT)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(visible=False, axis="y")
    return finish(axes, title, description)
