"""Writes the report of a record and of what the rules said about it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from train.debugger.record import Record, named_non_finite
from train.debugger.report.blocks import Section
from train.debugger.report.charts import drawing_style
from train.debugger.report.dataset import photographs_of_the_job
from train.debugger.report.job import cost, job_summary, outcome_of, status_of
from train.debugger.report.learning import inside_the_network, learning_curves, search_trials
from train.debugger.report.quality import calibration, confusion, final_results, photographs
from train.debugger.report.results import all_clear, rules_summary, summarize, verdicts
from train.debugger.report.steps import framework_metrics, step_durations
from train.debugger.report.system import (
    batch_size,
    cpu_bottlenecks,
    gpu_utilization,
    io_bottlenecks,
    load_balancing,
    memory,
    system_usage,
)
from train.debugger.report.text import name_of
from train.debugger.rules import RuleResult

HTML_NAME, JSON_NAME = "profiler-report.html", "profiler-report.json"

FORMAT = 1
"""Of the JSON file; another number when a name in it changes its meaning or goes."""

GROUPS = ("The job", "How good it is", "How it learned", "How fast it was", "Rules and cost")


def write_debugger_report(record: Record, results: Sequence[RuleResult], directory: Path) -> None:
    """Write profiler-report.html, which needs no network, and profiler-report.json. Raises OSError.

    The record may be of a job that was killed: a section that lacks its data says so.
    """
    findings = summarize(results, record)
    saving = max((finding.gain or 0.0 for finding in findings), default=0.0)
    with drawing_style():
        groups = sections(record, results, saving)
    everything = [section for group in groups.values() for section in group]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("page.html").render(
        title=" on ".join(filter(None, (name_of(record.job.get(key, "")) for key in ("architecture", "device_name")))),
        status=status_of(record),
        outcome=outcome_of(record),
        findings=findings,
        all_clear=all_clear(results, record),
        groups=groups,
        verdicts={section.title: verdicts(section, results) for section in everything},
        style=(Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
    )
    content = {
        "format": FORMAT,
        "status": status_of(record),
        "findings": [asdict(finding) for finding in findings],
        "rules": [asdict(result) for result in results],
        "sections": {section.title: section.data or {"empty": section.empty} for section in everything},
    }
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / HTML_NAME, page)
    _write(directory / JSON_NAME, json.dumps(named_non_finite(content), indent=1, default=_plain) + "\n")


def sections(record: Record, results: Sequence[RuleResult], saving: float) -> Mapping[str, Sequence[Section]]:
    """Make every section, by its group."""
    job, quality, learning, speed, rules = GROUPS
    return {
        job: [job_summary(record), photographs_of_the_job(record)],
        quality: [final_results(record), confusion(record), photographs(record), calibration(record)],
        learning: [learning_curves(record), search_trials(record), inside_the_network(record)],
        speed: [
            framework_metrics(record),
            step_durations(record, results),
            system_usage(record),
            gpu_utilization(record),
            batch_size(record),
            cpu_bottlenecks(record, results),
            io_bottlenecks(record, results),
            load_balancing(record),
            memory(record),
        ],
        rules: [rules_summary(results), cost(record, saving)],
    }


def _write(file: Path, text: str) -> None:
    """Replace a file at once: a reader finds the old one or the new one."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(text.encode("utf-8", "replace"))
    partial.replace(file)


def _plain(value: object) -> object:
    """Turn numpy's values into those that JSON knows."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
