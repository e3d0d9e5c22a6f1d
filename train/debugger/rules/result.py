"""What a rule answers."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from train.debugger.record import Record

Status = Literal["NoIssuesFound", "IssuesFound", "NotApplicable"]
Severity = Literal["problem", "advice"]


@dataclass(frozen=True)
class Outcome:
    """What a rule saw in a record."""

    datapoints: int
    """What it looked at: rows, steps, samples, photographs; none where the rule does not apply."""
    triggered: int = 0
    """Those that show the trouble."""
    finding: str = ""
    """What is wrong, with numbers; empty when nothing is."""
    advice: str = ""
    """Which hyperparameter or setting to change, and to what."""
    severity: Severity = "advice"
    gain: float | None = None
    """Share of the job's time, in [0, 1], that following the advice saves."""
    first_step: int | None = None
    """Where it was seen first, counted over the stage."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What a chart needs, or the `reason` why the rule does not apply."""
    used: Mapping[str, float] = field(default_factory=dict)
    """Parameters as they were shortened for this record."""


@dataclass(frozen=True)
class RuleResult:
    """The judgement of one rule on a record."""

    rule: str
    status: Status
    severity: Severity
    triggered: int
    datapoints: int
    parameters: dict[str, Any]
    """As they were used: shortened where the job was short."""
    description: str
    finding: str
    advice: str
    gain: float | None
    first_step: int | None
    details: dict[str, Any]


Judge = Callable[[Record, Any], Outcome]
"""A rule: judges a record by its parameters, and changes nothing."""


def not_applicable(reason: str) -> Outcome:
    """Say why a rule does not apply."""
    return Outcome(0, details={"reason": reason})


def result(parameters: Any, outcome: Outcome) -> RuleResult:
    """Put a rule's name, description and parameters to what it saw."""
    issues: Status = "IssuesFound" if outcome.finding else "NoIssuesFound"
    return RuleResult(
        rule=type(parameters).__name__,
        status=issues if outcome.datapoints else "NotApplicable",
        severity=outcome.severity,
        triggered=outcome.triggered,
        datapoints=outcome.datapoints,
        parameters={**asdict(parameters), **outcome.used},
        description=describe(type(parameters)),
        finding=outcome.finding,
        advice=outcome.advice if outcome.finding else "",
        gain=outcome.gain if outcome.finding else None,
        first_step=outcome.first_step,
        details=dict(outcome.details),
    )


def describe(parameters: type) -> str:
    """Say what a rule computes."""
    return " ".join((parameters.__doc__ or "").split())
