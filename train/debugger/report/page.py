"""Writes the report of a record and of what the rules said about it."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from train.debugger.record import RECORD_NAME, Record, named_non_finite, read_record
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
from train.debugger.rule_settings import RuleSettings
from train.debugger.rules import RuleResult, evaluate_rules

logger = logging.getLogger(__name__)

HTML_NAME, JSON_NAME = "profiler-report.html", "profiler-report.json"

FORMAT = 1
"""Of the JSON file; another number when a name in it changes its meaning or goes."""


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


def report_job(directory: Path, settings: RuleSettings) -> None:
    """Write the report of the record in a job's output directory; what goes wrong is told in the log, never raised."""
    file = directory / RECORD_NAME
    if not file.exists():
        return
    try:
        record = read_record(file)
        write_debugger_report(record, evaluate_rules(record, settings), directory)
    except Exception as error:
        logger.warning("report: %s was not written; `python -m train.debugger %s` tries again", HTML_NAME, directory,
                       exc_info=error)  # fmt: skip
    else:
        logger.info("report: %s", directory / HTML_NAME)


def sections(record: Record, results: Sequence[RuleResult], saving: float) -> Mapping[str, Sequence[Section]]:
    """Make every section, by its group."""
    groups: dict[str, Sequence[partial[Section]]] = {
        "The job": [partial(make, record) for make in (job_summary, photographs_of_the_job)],
        "How good it is": [partial(make, record) for make in (final_results, confusion, photographs, calibration)],
        "How it learned": [partial(make, record) for make in (learning_curves, search_trials, inside_the_network)],
        "How fast it was": [
            partial(framework_metrics, record),
            partial(step_durations, record, results),
            *(partial(make, record) for make in (system_usage, gpu_utilization, batch_size)),
            *(partial(make, record, results) for make in (cpu_bottlenecks, io_bottlenecks)),
            *(partial(make, record) for make in (load_balancing, memory)),
        ],
        "Rules and cost": [partial(rules_summary, results), partial(cost, record, saving)],
    }
    return {name: [_section(make) for make in makers] for name, makers in groups.items()}


def _section(make: partial[Section]) -> Section:
    """Make a section; one that fails leaves the others."""
    try:
        return make()
    except Exception as error:
        title = make.func.__name__.replace("_", " ").capitalize()
        logger.warning("report: section %s was not made", title, exc_info=error)
        return Section(title, "", empty=f"This section could not be made: {type(error).__name__}, see the job's log.")


def _write(file: Path, text: str) -> None:
    """Replace a file at once: a reader finds the old one or the new one."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(text.encode("utf-8", "replace"))
    partial.replace(file)


def _plain(value: object) -> object:
    """Turn numpy's values into those that JSON knows."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
