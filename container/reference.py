"""What a settings class says of itself: a reference page, and SageMaker's tuning ranges."""

import dataclasses
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from container.settings import walk


def reference(cls: type, title: str, introduction: str, *, by_environment: bool = False) -> str:
    """Write a reference page in Markdown, from the declarations alone, without those of groups."""
    return f"# {title}\n\n{introduction}\n\n{table(cls, by_environment=by_environment)}"


def table(cls: type, *, prefix: str = "", by_environment: bool = False) -> str:
    """Write a class's own settings as a table in Markdown; a column on tuning is there when one can be tuned."""
    hints = get_type_hints(cls)
    own = {field: field.metadata["setting"] for field in dataclasses.fields(cls) if "setting" in field.metadata}
    has_tuning = not by_environment and any(setting.tuning for setting in own.values())
    rows = [["variable" if by_environment else "name", "type", "default", *["tuning"] * has_tuning, "meaning"]]
    rows.append(["---"] * len(rows[0]))
    for field, setting in own.items():
        name = setting.environment if by_environment else prefix + field.name
        kind = " ".join(part for part in (type_name(hints[field.name]), setting.interval, setting.unit) if part)
        also = f" Also {', '.join(f'`{alias}`' for alias in setting.aliases)}." if setting.aliases else ""
        rows.append(
            [f"`{name}`", kind, default_text(field.default), *[setting.tuning] * has_tuning, setting.help + also]
        )
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in rows]
    return "\n".join(lines) + "\n"


def default_text(value: Any) -> str:
    """Write a default for a person: `auto` for what is left to the job, `none` for nothing."""
    return "auto" if value is None else "none" if value in ("", ()) else str(value).lower()


def type_name(hint: Any) -> str:
    """Name a type for a person: the choices of a Literal, else `integer`, `number`, `true or false` or `text`."""
    hint = required(hint)
    if get_origin(hint) is tuple:
        return f"comma list of {type_name(get_args(hint)[0])}"
    if get_origin(hint) is Literal:
        return ", ".join(get_args(hint))
    return {int: "integer", float: "number", bool: "true or false", str: "text"}[hint]


def required(hint: Any) -> Any:
    """Take `None` out of an optional type."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(argument for argument in get_args(hint) if argument is not type(None))
    return hint


def parameter_ranges(cls: type) -> dict[str, list[dict[str, Any]]]:
    """Build the ParameterRanges of CreateHyperParameterTuningJob, all values strings as the API wants them.

    A field declares its range as `[low, high] ScalingType`, or `all` to search every choice.
    """
    ranges: dict[str, list[dict[str, Any]]] = {
        "ContinuousParameterRanges": [],
        "IntegerParameterRanges": [],
        "CategoricalParameterRanges": [],
    }
    for name, setting, hint in walk(cls):
        if not setting.tuning:
            continue
        hint = required(hint)
        if setting.tuning == "all":
            values = ["true", "false"] if hint is bool else list(get_args(hint))
            ranges["CategoricalParameterRanges"].append({"Name": name, "Values": values})
            continue
        bounds, _, scale = setting.tuning.rpartition(" ")
        low, high = (part.strip() for part in bounds[1:-1].split(","))
        kind = "IntegerParameterRanges" if hint is int else "ContinuousParameterRanges"
        ranges[kind].append({"Name": name, "MinValue": low, "MaxValue": high, "ScalingType": scale})
    return ranges
