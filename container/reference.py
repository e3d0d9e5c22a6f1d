"""What a settings class says of itself: a reference page, and SageMaker's tuning ranges."""

import dataclasses
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from container.settings import Setting, declared


def reference(cls: type, title: str, introduction: str, *, by_environment: bool = False) -> str:
    """Write a reference page in Markdown, from the declarations alone."""
    head = (
        "| variable | type | default | meaning |" if by_environment else "| name | type | default | tuning | meaning |"
    )
    lines = [f"# {title}", "", introduction, "", head, "| --- " * (head.count("|") - 1) + "|"]
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        setting: Setting = field.metadata["setting"]
        kind = " ".join(part for part in (type_name(hints[field.name]), setting.interval, setting.unit) if part)
        default = "auto" if field.default is None else str(field.default).lower() or "none"
        also = f" Also {', '.join(f'`{alias}`' for alias in setting.aliases)}." if setting.aliases else ""
        if by_environment:
            cells = [f"`{setting.environment}`", kind, default, setting.help]
        else:
            cells = [f"`{field.name}`", kind, default, setting.tuning, setting.help + also]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def type_name(hint: Any) -> str:
    """Name a type for a person: the choices of a Literal, else `integer`, `number`, `true or false` or `text`."""
    hint = required(hint)
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
    hints = get_type_hints(cls)
    for name, setting in declared(cls).items():
        if not setting.tuning:
            continue
        hint = required(hints[name])
        if setting.tuning == "all":
            values = ["true", "false"] if hint is bool else list(get_args(hint))
            ranges["CategoricalParameterRanges"].append({"Name": name, "Values": values})
            continue
        bounds, _, scale = setting.tuning.rpartition(" ")
        low, high = (part.strip() for part in bounds[1:-1].split(","))
        kind = "IntegerParameterRanges" if hint is int else "ContinuousParameterRanges"
        ranges[kind].append({"Name": name, "MinValue": low, "MaxValue": high, "ScalingType": scale})
    return ranges
