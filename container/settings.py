"""Strings from hyperparameters, environment and command line become typed frozen values, once.

A settings class is a frozen dataclass whose fields are made by `setting()`:

    @dataclass(frozen=True)
    class Config:
        lr: float | None = setting(None, "Peak learning rate.", interval="(0, 1]", example="0.01")
        rules: RuleSettings = group(RuleSettings, "rule_")
"""

import dataclasses
import difflib
import json
import math
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from container.errors import UserError

T = TypeVar("T")

IGNORED_PREFIXES = ("_", "sagemaker_")
"""Keys that SageMaker adds to a job's hyperparameters (`_tuning_objective_metric`, `sagemaker_program`, ...)."""

TRUE_WORDS = frozenset({"true", "1", "yes", "on"})
FALSE_WORDS = frozenset({"false", "0", "no", "off"})
UNSET_WORDS = frozenset({"", "none", "null", "auto"})


@dataclass(frozen=True)
class Setting:
    """What a field of a settings class accepts, and how to explain it."""

    help: str
    unit: str = ""
    interval: str = ""
    """Allowed numbers in mathematical notation: `(0, 1]` excludes 0 and includes 1."""
    example: str = ""
    environment: str = ""
    """Name of the environment variable that sets it."""
    aliases: tuple[str, ...] = ()
    """Other names that mean the same, such as those of AWS's built-in algorithms."""
    tuning: str = ""
    """Range worth searching and its scale, such as `[0.001, 0.1] Logarithmic`; `all` for every choice."""


def setting(
    default: Any,
    help: str,  # noqa: A002
    *,
    unit: str = "",
    interval: str = "",
    example: str = "",
    environment: str = "",
    aliases: tuple[str, ...] = (),
    tuning: str = "",
) -> Any:
    """Declare a field of a settings class, as `dataclasses.field` does.

    Its type is str, bool, int, float, a Literal, one of these or None, or `tuple[Literal[...], ...]`, a comma list.
    """
    declaration = Setting(help, unit, interval, example or str(default), environment, aliases, tuning)
    return dataclasses.field(default=default, metadata={"setting": declaration})


def group(cls: type[T], prefix: str) -> Any:
    """Declare a field that holds another settings class, whose settings are named with a prefix."""
    return dataclasses.field(default_factory=cls, metadata={"prefix": prefix})


def walk(cls: type, prefix: str = "") -> Iterator[tuple[str, Setting, Any]]:
    """Go through the settings of a class and of its groups: name, declaration, type."""
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if "prefix" in field.metadata:
            yield from walk(hints[field.name], prefix + field.metadata["prefix"])
        elif "setting" in field.metadata:
            yield prefix + field.name, field.metadata["setting"], hints[field.name]


def declared(cls: type) -> dict[str, Setting]:
    """List the settings of a class and of its groups by name."""
    return {name: declaration for name, declaration, _ in walk(cls)}


def build(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """Build a settings value and its groups from parsed values by name; what is not given takes its default."""
    hints = get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if "prefix" in field.metadata:
            arguments[field.name] = build(hints[field.name], values, prefix + field.metadata["prefix"])
        elif prefix + field.name in values:
            arguments[field.name] = values[prefix + field.name]
    return cls(**arguments)


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """List the values of a settings value and of its groups by name."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        if "prefix" in field.metadata:
            values |= flat(getattr(value, field.name), prefix + field.metadata["prefix"])
        else:
            values[prefix + field.name] = getattr(value, field.name)
    return values


def from_strings(cls: type[T], values: Mapping[str, str], *, source: str = "hyperparameter") -> T:
    """Build a settings value from strings, as SageMaker's hyperparameters are.

    A value may be quoted as JSON (`"\\"adam\\""`) or plain (`adam`), a name may be spelled with `-` or `_`, or be
    an alias. Unknown names that begin with `_` or `sagemaker_` are ignored. Raises UserError that lists every problem.
    """
    known = declared(cls)
    names = {spelling: name for name, setting in known.items() for spelling in (name, *setting.aliases)}
    hints = {name: hint for name, _, hint in walk(cls)}
    errors: list[str] = []
    parsed: dict[str, Any] = {}
    for given_name, text in values.items():
        name = names.get(given_name.replace("-", "_"), "")
        if not name:
            if not given_name.startswith(IGNORED_PREFIXES):
                errors.append(unknown_name(given_name, cls, source))
        elif name in parsed:
            errors.append(f"{given_name}: {name} is given twice, in two spellings; keep one")
        else:
            try:
                parsed[name] = parse(unquote(text), hints[name], known[name])
            except ValueError as error:
                errors.append(f"{given_name}={text}: {error}; set a value such as {known[name].example}")
                parsed[name] = None
    if errors:
        raise UserError("; ".join(errors))
    return build(cls, parsed)


def from_environment(cls: type[T], environment: Mapping[str, str]) -> T:
    """Build a settings value from the environment variables that its fields name."""
    names = {declaration.environment: name for name, declaration in declared(cls).items() if declaration.environment}
    values = {names[variable]: text for variable, text in environment.items() if variable in names}
    try:
        return from_strings(cls, values)
    except UserError as error:
        variables = ", ".join(variable for variable in names if variable in environment)
        raise UserError(f"environment ({variables}): {error}") from error


def unquote(text: str) -> str:
    """Undo the JSON quoting that some SDK versions put around strings."""
    try:
        value = json.loads(text)
    except ValueError:
        return text.strip()
    return value.strip() if isinstance(value, str) else text.strip()


def unknown_name(name: str, cls: type, source: str) -> str:
    """Say that a name is not known, with the nearest one that is, or all but those of groups."""
    near = difflib.get_close_matches(name.replace("-", "_").lower(), list(declared(cls)), n=1, cutoff=0.5)
    own = sorted(field.name for field in dataclasses.fields(cls) if "setting" in field.metadata)
    advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(own)}"
    return f"{name}: unknown {source}; {advice}"


def parse(text: str, hint: Any, declaration: Setting) -> Any:
    """Convert a string to the type of a field and check its interval. Raises ValueError with what was expected."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if text.lower() in UNSET_WORDS:
            return None
        return parse(text, next(argument for argument in arguments if argument is not type(None)), declaration)
    if origin is tuple:
        items = [] if text.lower() in UNSET_WORDS else text.strip("[]").split(",")
        return tuple(parse(item.strip(' "'), arguments[0], declaration) for item in items)
    if origin is Literal:
        if text not in arguments:
            near = difflib.get_close_matches(text, arguments, n=1)
            raise ValueError(f"must be one of {', '.join(arguments)}" + (f" (did you mean {near[0]}?)" if near else ""))
        return text
    if hint is bool:
        return parse_bool(text)
    if hint is int or hint is float:
        return parse_number(text, hint, declaration)
    return text


def parse_bool(text: str) -> bool:
    """Convert `true`, `1`, `yes`, `on` and their opposites, in any case."""
    word = text.lower()
    if word not in TRUE_WORDS | FALSE_WORDS:
        raise ValueError("must be true or false")
    return word in TRUE_WORDS


def parse_number(text: str, kind: type[int] | type[float], declaration: Setting) -> int | float:
    """Convert a finite number and check it against the declared interval; `5.0` is accepted for an int."""
    expected = "a whole number" if kind is int else "a number"
    within = f" in {declaration.interval}" if declaration.interval else ""
    unit = f" ({declaration.unit})" if declaration.unit else ""
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"must be {expected}{within}{unit}") from None
    if not math.isfinite(number) or (kind is int and not number.is_integer()):
        raise ValueError(f"must be {expected}{within}{unit}")
    if declaration.interval and not in_interval(number, declaration.interval):
        raise ValueError(f"must be{within}{unit}")
    return int(number) if kind is int else number


def in_interval(number: float, interval: str) -> bool:
    """Tell whether a number lies in an interval such as `(0, 1]` or `[1, inf)`."""
    low, high = (float(part) for part in interval[1:-1].split(","))
    above = number > low if interval[0] == "(" else number >= low
    below = number < high if interval[-1] == ")" else number <= high
    return above and below
