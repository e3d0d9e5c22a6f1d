"""Judges and reports a job by its record, or by tensors that smdebug saved: `python -m train.debugger output/data`."""

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from container.errors import UserError
from container.settings import flat, from_strings
from train.debugger.record import RECORD_NAME, Record, named_non_finite, read_record
from train.debugger.report import write_debugger_report
from train.debugger.rule_settings import PREFIX, RuleSettings
from train.debugger.rules import RuleResult, evaluate_rules
from train.debugger.smdebug_record import is_smdebug, read_smdebug

WIDEST = 160


def main() -> int:
    """Print what each rule finds, as a table or as JSON, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m train.debugger", description=__doc__)
    parser.add_argument(
        "record", type=Path, help=f"{RECORD_NAME}, the folder it is in, or a folder of smdebug's tensors"
    )
    parser.add_argument("--json", action="store_true", help="print the results as a list of JSON objects")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a rule's parameter, instead of the job's"
    )
    parser.add_argument("--report", type=Path, help="folder of the report; that of the record by default")
    arguments = parser.parse_args()
    beside = arguments.record if arguments.record.is_dir() else arguments.record.parent
    try:
        record = load(arguments.record)
        results = evaluate_rules(record, settings_of(record, arguments.set))
        write_debugger_report(record, results, arguments.report or beside)
    except (UserError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps([named_non_finite(asdict(result)) for result in results], indent=1))
    else:
        print("\n".join(table(results, min(WIDEST, shutil.get_terminal_size((120, 24)).columns))))
    return 0


def load(path: Path) -> Record:
    """Read a record from its file or folder, or a folder of smdebug's tensors. Raises UserError for neither."""
    if path.is_file():
        return read_record(path)
    if (path / RECORD_NAME).is_file():
        return read_record(path / RECORD_NAME)
    if is_smdebug(path):
        return read_smdebug(path)
    raise UserError(f"{path}: neither {RECORD_NAME} nor tensors of smdebug are there; give a job's output/data folder")


def settings_of(record: Record, given: Sequence[str]) -> RuleSettings:
    """Take the rules' parameters of the job, and of the command line, which wins. Raises UserError for a wrong one."""
    wrong = [item for item in given if "=" not in item]
    if wrong:
        raise UserError(f"--set {wrong[0]}: expected NAME=VALUE")
    pairs = (item.split("=", 1) for item in given)
    texts = {name.replace("-", "_").removeprefix(PREFIX): text for name, text in pairs}
    asked = flat(from_strings(RuleSettings, texts, source="parameter of a rule"))
    return RuleSettings.of_job(
        {**record.job.get("hyperparameters", {}), **{PREFIX + name: asked[name] for name in texts}}
    )


def table(results: Iterable[RuleResult], width: int) -> list[str]:
    """Lay results out in lines: problems, then advice by what it gains, then the rest."""
    order = {"problem": 0, "advice": 1, "no issues": 2, "not applicable": 3}
    ordered = sorted(results, key=lambda result: (order[verdict(result)], -(result.gain or 0)))
    return [line for result in ordered for line in lines_of(result, width)]


def verdict(result: RuleResult) -> str:
    """Say in a word or two how a rule judged."""
    if result.status == "IssuesFound":
        return result.severity
    return "no issues" if result.status == "NoIssuesFound" else "not applicable"


def lines_of(result: RuleResult, width: int) -> list[str]:
    """Lay one result out."""
    head = f"{result.rule:24} {verdict(result):15}"
    gain = f" Saves about {result.gain:.0%} of the time." if result.gain and result.gain >= 0.005 else ""
    text = f"{result.finding} {result.advice}{gain}".strip() or str(result.details.get("reason", ""))
    indent = " " * (len(head) + 1)
    wrapped = textwrap.wrap(text, width, initial_indent=f"{head} ", subsequent_indent=indent)
    return wrapped or [head.rstrip()]


if __name__ == "__main__":
    sys.exit(main())
