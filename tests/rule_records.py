"""Records made by hand, line by line as the recorder writes them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from train.debugger.record import STEP_COLUMNS, Record, build_record, encode
from train.debugger.rule_settings import RuleSettings
from train.debugger.rules import RuleResult, evaluate_rules
from train.debugger.rules.result import describe

Event = dict[str, Any]

PARTS = STEP_COLUMNS[1:6]


def record(*events: Event | Iterable[Event]) -> Record:
    """Read lines as they come back from the file."""
    lines: list[Event] = []
    for event in events:
        lines += [event] if isinstance(event, dict) else list(event)
    return build_record(json.loads(encode(line)) for line in lines)


def judge(rule: str, given: Record, **parameters: Any) -> RuleResult:
    """Judge a record by one rule, with some of its parameters changed."""
    names = {type(getattr(RuleSettings(), field.name)).__name__: field.name for field in fields(RuleSettings)}
    default = getattr(RuleSettings(), names[rule])
    changed = type(default)(**{**vars(default), **parameters})
    (result,) = evaluate_rules(given, RuleSettings(**{names[rule]: changed}), [names[rule]])
    assert result.rule == rule
    assert result.description == describe(type(changed))
    assert bool(result.finding) == (result.status == "IssuesFound") == bool(result.advice)
    return result


def fires(rule: str, given: Record, **parameters: Any) -> bool:
    """Tell whether a rule, which must apply, finds something."""
    result = judge(rule, given, **parameters)
    assert result.status != "NotApplicable", result.details
    return result.status == "IssuesFound"


def job(*, num_cpus: int = 4, num_gpus: int = 0, memory_bytes: float = 16e9, **hyperparameters: Any) -> Event:
    return {
        "kind": "job", "time": 0.0, "hyperparameters": hyperparameters, "num_cpus": num_cpus, "num_gpus": num_gpus,
        "memory_bytes": memory_bytes, "device": "cuda" if num_gpus else "cpu",
    }  # fmt: skip


def data(train: Sequence[int], validation: Sequence[int] | None = None, test: Sequence[int] | None = None) -> Event:
    names = [f"class_{i}" for i in range(len(train))]
    counts = {"train": list(train), "validation": list(validation or train), "test": test and list(test)}
    return {"kind": "data", "time": 0.1, "class_names": names, "counts": counts, "unreadable": 0}


def stage(name: str = "finetune", **fields: Any) -> Event:
    defaults = {"epochs": 1, "steps_per_epoch": 100, "batch_size": 32, "num_workers": 4, "log_interval": 1}
    return {"kind": "stage", "time": 10.0, "stage": name, **defaults, **fields}


def steps(
    losses: Sequence[float],
    *,
    stage: str = "finetune",
    epochs: int = 1,
    start: float = 10.0,
    lr: float = 0.001,
    num_images: float = 32,
    merged: int = 1,
    times: Mapping[str, float | Sequence[float]] | None = None,
) -> list[Event]:
    """Lines of steps, one for each epoch; a time is that of each step, or of all. Unless told, forward takes 1 s."""
    given = {"forward": 1.0, **(times or {})}
    each = {
        name: [float(value)] * len(losses) if isinstance(value, int | float) else list(value)
        for name, value in ((name, given.get(name, 0.0)) for name in PARTS)
    }
    total = [sum(parts) for parts in zip(*each.values(), strict=True)]
    if "total" in given:
        total = [float(value) for value in given["total"]]  # type: ignore[union-attr]
    ends = [start + merged * sum(total[: i + 1]) for i in range(len(total))]
    columns = {**each, "total": total, "end_time": ends, "loss": list(losses), "lr": [lr] * len(losses)}
    columns["num_images"] = [num_images] * len(losses)
    size = -(-len(losses) // epochs)
    return [
        {
            "kind": "steps", "time": ends[min(first + size, len(losses)) - 1], "stage": stage,
            "epoch": first // size + 1, "first": first * merged, "merged": merged,
            **{name: values[first : first + size] for name, values in columns.items()},
        }
        for first in range(0, len(losses), size)
    ]  # fmt: skip


def epochs(
    train: Sequence[float],
    validation: Sequence[float],
    *,
    stage: str = "finetune",
    seconds: float = 10.0,
    **metrics: Any,
) -> list[Event]:
    """Lines of epochs; a metric is a list with a value for each."""
    return [
        {
            "kind": "epoch", "time": 10.0 + (i + 1) * seconds, "stage": stage, "epoch": i + 1, "seconds": seconds,
            "train_loss": train[i], "validation_loss": validation[i],
            **{name: values[i] for name, values in metrics.items()},
        }
        for i in range(len(train))
    ]  # fmt: skip


def samples(
    cpu: Sequence[float],
    *,
    cores: int = 4,
    start: float = 10.0,
    gpu: Sequence[Sequence[float]] = (),
    gpu_memory: Sequence[float] | None = None,
    **columns: float | Sequence[float],
) -> list[Event]:
    """Samples each half second from `start` on; every core is as busy as the mean. `gpu` has a list for each GPU."""
    defaults: dict[str, float | Sequence[float]] = {
        "io_wait": 0, "memory_bytes": 4e9, "process_bytes": 1e9, "disk_read": 0, "disk_write": 0, "net_in": 0,
        "net_out": 0, "num_loaders": 0, "num_processes": 1, "process_cpu": 0,
    }  # fmt: skip
    every = {**defaults, **columns}
    return [
        {
            "kind": "system", "time": start + 0.5 * i, "interval": 0.5, "cpu": [busy] * cores,
            "gpu": [{"utilization": use[i], "memory": gpu_memory[i] if gpu_memory else 50.0} for use in gpu],
            **{name: value if isinstance(value, int | float) else value[i] for name, value in every.items()},
        }
        for i, busy in enumerate(cpu)
    ]  # fmt: skip


def tensor(name: str, collection: str, number: int, **values: Any) -> list[Event]:
    """Statistics of a tensor at steps 0, 1, ...; a value is that of each step, or of all."""
    defaults: dict[str, Any] = {
        "size": 1000, "mean": 0.0, "mean_abs": 0.1, "std": 0.1, "min": -1.0, "max": 1.0, "p5": -0.2, "p95": 0.2,
        "zeros": 0.0, "nan": 0, "inf": 0,
    }  # fmt: skip
    given = {**defaults, **values}
    return [
        {
            "kind": "tensor", "time": 10.0 + step, "stage": "finetune", "step": step, "epoch": 1, "mode": "TRAIN",
            "collection": collection, "name": name,
            **{key: value[step] if isinstance(value, tuple) else value for key, value in given.items()},
        }
        for step in range(number)
    ]  # fmt: skip


def dead(share: float) -> list[float]:
    """Percentiles 0, 5, ... 100 of the activity of nodes of which a share, in percent, never is positive."""
    return [0.0 if 5 * i < share else 60.0 for i in range(21)]


def predictions(matrix: Sequence[Sequence[int]], split: str = "test") -> Event:
    return {"kind": "predictions", "time": 90.0, "split": split, "confusion_matrix": [list(row) for row in matrix]}


def falling(number: int, start: float = 2.0, end: float = 0.1) -> list[float]:
    """Losses that fall evenly."""
    return [start + (end - start) * i / max(1, number - 1) for i in range(number)]
