"""Verdicts of the rules in plain words: the findings at the top, and the table of all rules."""

from collections.abc import Sequence
from dataclasses import dataclass

from train.debugger.record import Record
from train.debugger.report.blocks import Section, Table
from train.debugger.report.text import name_of, number, plural, seconds, share
from train.debugger.rules import RuleResult

MAX_FINDINGS = 5
PROBLEM_GAIN = 0.5
"""A job with wrong results is worth so much of its time, whatever else it may save."""

MAX_TEXT = 400
"""Characters of a sentence of a rule; the names in it may be long."""

ISSUES, NO_ISSUES = "IssuesFound", "NoIssuesFound"
VERDICTS = {ISSUES: "issues found", NO_ISSUES: "no issues", "NotApplicable": "not applicable"}

HEADLINES = {
    "AllZero": "Numbers in the network are all zero",
    "BatchSize": "The batch is too small",
    "CheckInputImages": "The input is not normalised as the network expects",
    "ClassImbalance": "Some classes have far fewer photographs than others",
    "Confusion": "Some classes are often taken for others",
    "CPUBottleneck": "The processor is the bottleneck",
    "Dataloader": "Loading photographs holds training back",
    "DeadRelu": "Many units never answer",
    "ExplodingTensor": "Numbers in the network are no longer finite",
    "GPUMemoryIncrease": "Memory keeps growing",
    "IOBottleneck": "Training waits for the disk",
    "Leakage": "The same photographs are in two splits",
    "LoadBalancing": "The GPUs do not share the work evenly",
    "LossNotDecreasing": "The network does not learn",
    "LowGPUUtilization": "The machine has too little to do",
    "MaxInitializationTime": "It takes long until the first step",
    "Overfit": "The network learns photographs by heart",
    "Overtraining": "Training goes on without getting better",
    "PoorWeightInitialization": "The weights start badly",
    "SaturatedActivation": "Many units are saturated",
    "StalledTraining": "Training stood still",
    "StepOutlier": "Some steps take much longer than others",
    "TensorVariance": "Numbers in the network spread too much or too little",
    "UnchangedTensor": "Some weights never change",
    "UnreadablePhotographs": "Many photographs cannot be read",
    "VanishingGradient": "Gradients are almost zero",
    "WeightUpdateRatio": "Updates are too large or too small",
}
"""What a rule that fired means to a person who does not know its name."""


@dataclass(frozen=True)
class Finding:
    """Something to change."""

    headline: str
    severity: str
    rules: tuple[str, ...]
    seen: str
    advice: str
    gain: float | None
    """Expected share of time saved, in [0, 1]."""
    gain_text: str


def summarize(results: Sequence[RuleResult], record: Record) -> list[Finding]:
    """List at most five findings in order of expected gain; rules that advise the same change are one finding."""
    fired = sorted((result for result in results if result.status == ISSUES), key=expected_gain, reverse=True)
    groups: dict[str, list[RuleResult]] = {}
    for result in fired:
        groups.setdefault(result.advice or result.rule, []).append(result)
    return [_finding(group, record) for group in list(groups.values())[:MAX_FINDINGS]]


def expected_gain(result: RuleResult) -> float:
    """Weigh a finding by the share of time it saves, a problem of the results by no less than PROBLEM_GAIN."""
    return max(result.gain or 0.0, PROBLEM_GAIN if result.severity == "problem" else 0.0)


def _finding(group: Sequence[RuleResult], record: Record) -> Finding:
    first = group[0]
    gain = max((result.gain for result in group if result.gain is not None), default=None)
    text = "The gain cannot be told in advance."
    if gain is not None:
        text = f"About {share(gain)} of the time: {seconds(gain * record.duration)} of {seconds(record.duration)}."
    return Finding(
        HEADLINES.get(first.rule, first.rule),
        first.severity,
        tuple(result.rule for result in group),
        " ".join(name_of(result.finding, MAX_TEXT) for result in group if result.finding),
        name_of(first.advice, MAX_TEXT),
        gain,
        text,
    )


def all_clear(results: Sequence[RuleResult], record: Record) -> str:
    """Say what was checked where nothing was found."""
    checked = sum(result.status == NO_ISSUES for result in results)
    others = sum(result.status not in (ISSUES, NO_ISSUES) for result in results)
    if not checked:
        return "The record holds too little for any rule to judge the job."
    text = (
        f"Nothing to change: {plural(checked, 'rule')} judged {seconds(record.duration)} of the job and found no issue"
    )
    return f"{text}; {plural(others, 'rule')} did not apply." if others else f"{text}."


def rules_summary(results: Sequence[RuleResult]) -> Section:
    """Show the verdict of every rule, those that fired first."""
    order = list(VERDICTS)
    rows = [
        (
            result.rule,
            f"{VERDICTS[result.status]}, {result.triggered:,} of {result.datapoints:,}"
            if result.datapoints
            else VERDICTS[result.status],
            " ".join(name_of(text, MAX_TEXT) for text in _said(result) if text),
        )
        for result in sorted(results, key=lambda result: order.index(result.status))
    ]
    header = ("Rule", "Verdict, times triggered", "What it looks at, what it saw, what to change, its parameters")
    return Section(
        "Rules summary",
        "The rules have the names and defaults of SageMaker Debugger's where it has them. Hyperparameters such as "
        "rule_overfit_ratio_threshold=0.2 set their parameters.",
        [Table("Verdicts of all rules", header, rows, num_text=len(header))] if rows else [],
        empty="" if rows else "No rule was run.",
        data={result.rule: result.status for result in results},
    )


def _said(result: RuleResult) -> tuple[str, ...]:
    parameters = ", ".join(f"{name}={number(value)}" for name, value in result.parameters.items())
    reason = str(result.details.get("reason", ""))
    return (
        result.description.replace("`", ""), result.finding, result.advice, reason and f"Not judged: {reason}.",
        parameters and f"[{parameters}]",
    )  # fmt: skip


def verdicts(section: Section, results: Sequence[RuleResult]) -> tuple[list[tuple[str, str]], str]:
    """List what the rules that belong to a section found, and name those that found nothing."""
    judged = [result for result in results if result.rule in section.rules]
    found = [
        (result.rule, name_of(f"{result.finding} {result.advice}", MAX_TEXT))
        for result in judged
        if result.status == ISSUES
    ]
    return found, ", ".join(result.rule for result in judged if result.status == NO_ISSUES)


def parameter(results: Sequence[RuleResult], rule: str, name: str, default: float) -> float:
    """Take a parameter that a rule was run with."""
    for result in results:
        if result.rule == rule and isinstance(value := result.parameters.get(name), int | float):
            return float(value)
    return default
