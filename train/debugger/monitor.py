"""Judges a job while it runs: the rules, on what its record holds so far. Imports no torch.

monitor = RuleMonitor(config.rules, config.stop_on, stop.request)
for finding in monitor.observe(row):  # each line, as it is added to the record
    recorder.write("finding", **asdict(finding))
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from train.debugger.record import STEP_COLUMNS, build_record
from train.debugger.rule_settings import RuleSettings, StoppingRule, snake_case
from train.debugger.rules import RuleResult, evaluate_rules

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
"""A line of the record, with `kind` and `time`."""

MAX_SHARE = 0.005
"""Of the job's time that judging may take: with more spent, an epoch is passed over."""

MAX_STEPS = 4096
"""Rows of steps that are kept: of more, each two become one."""

MAX_SAMPLES = 2048
"""Samples of the machine that are kept, the last ones."""

FIRST_LOGGED, LAST_LOGGED = 4, 6
"""Statistics of a tensor that are kept: the first ones and the last ones."""

AT_ONCE = {
    "data": ("class_imbalance", "unreadable_photographs"),
    "leak": ("leakage",),
}
"""Rules that need not wait for an epoch, by the kind of line that they judge."""

EVERY_EPOCH = tuple(snake_case(rule) for rule in get_args(StoppingRule))


@dataclass(frozen=True)
class Finding:
    """What a rule found while the job ran."""

    rule: str
    severity: str
    step: int | None
    epoch: int | None
    message: str


class RuleMonitor:
    """Judges a running job at the end of each epoch, and at once where numbers explode.

    It keeps a bounded part of the record. A rule is heard once. May be called from any thread.
    """

    def __init__(self, settings: RuleSettings, stop_on: Sequence[str], request_stop: Callable[[str], None]) -> None:
        """Take the rules' parameters, the rules that stop the job, and what stops it for a reason."""
        self._settings = settings
        self._stop_on = frozenset(stop_on)
        self._request_stop = request_stop
        self._lock = threading.Lock()
        self._heard: set[str] = set()
        self._rows: list[Row] = []
        """Of kinds that are few."""
        self._steps: list[Row] = []
        self._samples: deque[Row] = deque(maxlen=MAX_SAMPLES)
        self._tensors: dict[tuple[str, str, str], list[Row]] = {}
        self._seconds = 0.0
        self._last_step = math.inf
        self._epoch: int | None = None

    def observe(self, event: Row) -> list[Finding]:
        """Take a line of the record; return what was found by it for the first time."""
        with self._lock:
            started = time.perf_counter()
            findings = [self._hear(result) for result in self._judge(event) if self._is_new(result)]
            self._seconds += time.perf_counter() - started
            return findings

    def _judge(self, event: Row) -> list[RuleResult]:
        """Keep a line, and judge what it calls for."""
        kind = event.get("kind")
        if kind == "system":
            self._samples.append(event)
            is_stalled = event["time"] - self._last_step > self._settings.stalled_training.threshold
            return self._evaluate(self._all(), ("stalled_training",)) if is_stalled else []
        if kind == "tensor":
            self._keep_tensor(event)
            return self._explosion(event) if event.get("nan") or event.get("inf") else []
        if kind == "steps":
            self._keep_steps(event)
            self._last_step, self._epoch = event["time"], event.get("epoch")
            return [] if all(map(math.isfinite, event["loss"])) else self._explosion(event)
        if kind in ("finding", "operators", "trial", "predictions"):
            return []
        self._rows.append(event)
        if kind == "epoch" and self._seconds <= MAX_SHARE * event["time"]:
            return self._evaluate(self._all(), EVERY_EPOCH)
        return self._evaluate(self._rows, AT_ONCE[kind]) if kind in AT_ONCE else []

    def _explosion(self, event: Row) -> list[RuleResult]:
        jobs = [row for row in self._rows if row["kind"] == "job"]
        return self._evaluate([*jobs, event], ("exploding_tensor",))

    def _evaluate(self, rows: Iterable[Row], names: Iterable[str]) -> list[RuleResult]:
        return evaluate_rules(build_record(rows), self._settings, names)

    def _all(self) -> list[Row]:
        tensors = [row for rows in self._tensors.values() for row in rows]
        return [*self._rows, *self._steps, *self._samples, *tensors]

    def _keep_tensor(self, row: Row) -> None:
        rows = self._tensors.setdefault((row["stage"], row["collection"], row["name"]), [])
        rows.append(row)
        if len(rows) > FIRST_LOGGED + LAST_LOGGED:
            del rows[FIRST_LOGGED]

    def _keep_steps(self, block: Row) -> None:
        if self._steps and continues(self._steps[-1], block):
            self._steps[-1] = joined(self._steps[-1], block)
        else:
            self._steps.append(block)
        if sum(len(block["loss"]) for block in self._steps) > MAX_STEPS:
            self._steps = [half for block in self._steps for half in halved(block)]

    def _is_new(self, result: RuleResult) -> bool:
        return result.status == "IssuesFound" and result.rule not in self._heard

    def _hear(self, result: RuleResult) -> Finding:
        """Log what a rule found, and stop the job where that was asked for."""
        self._heard.add(result.rule)
        level = logging.WARNING if result.severity == "problem" else logging.INFO
        logger.log(level, "%s: %s %s", result.rule, result.finding, result.advice)
        if result.rule in self._stop_on:
            self._request_stop(f"{result.rule}: {result.finding}")
        return Finding(result.rule, result.severity, result.first_step, self._epoch, result.finding)


def continues(block: Row, other: Row) -> bool:
    """Tell whether a block of steps goes on where one ends, in the same epoch."""
    end = block["first"] + block.get("merged", 1) * len(block["loss"])
    alike = all(block.get(name) == other.get(name) for name in ("stage", "epoch", "merged"))
    return alike and other["first"] == end and block.keys() == other.keys()


def joined(block: Row, other: Row) -> Row:
    """Put two blocks of steps together."""
    return {name: value + other[name] if isinstance(value, list) else value for name, value in block.items()}


def halved(block: Row) -> list[Row]:
    """Make each two rows of a block one, with their means; an odd last one stays."""
    num_rows = len(block["loss"])
    even = num_rows - num_rows % 2
    merged = int(block.get("merged", 1))
    columns = {name: block[name] for name in STEP_COLUMNS if isinstance(block.get(name), list)}
    pairs = {name: np.reshape(np.asarray(values[:even], dtype=np.float64), (-1, 2)) for name, values in columns.items()}
    halves = {
        name: (values[:, 1] if name == "end_time" else values.mean(axis=1)).tolist() for name, values in pairs.items()
    }
    rest = {name: values[even:] for name, values in columns.items()}
    blocks = [{**block, **halves, "merged": 2 * merged}, {**block, **rest, "first": block["first"] + even * merged}]
    return [part for part in blocks if part["loss"]]
