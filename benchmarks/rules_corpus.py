"""Ill and healthy training runs through the real `train`, and what the rules say of each.

    PYTHONPATH=. python benchmarks/rules_corpus.py [--cases NAME ...] [--repeats 1] [--keep FOLDER]

Each run is a fork of one process that has imported the libraries, with photographs, seed and /opt/ml tree of its own.
The exit code is 1 when an illness is not named by its rule, or a healthy run has a problem.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "local_test"))

# A fork of a process with waiting threads of torch that spin would begin behind them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from corpus_cases import CASES, Case
from make_test_dir import make_test_dir

import train.__main__
from train.debugger.record import RECORD_NAME, read_record
from train.debugger.rule_settings import RuleSettings
from train.debugger.rules import RuleResult, evaluate_rules

TIMEOUT_SECONDS = 240


@dataclass(frozen=True)
class Run:
    """What the rules said of a run."""

    case: Case
    seed: int
    seconds: float
    exit_code: int
    found: Mapping[str, str]
    """Severity, by rule that found something."""

    @property
    def is_right(self) -> bool:
        """Tell whether an illness was named by its rule, or a healthy run has no more than advice."""
        if self.case.rule:
            return bool(self.found.keys() & {self.case.rule, *self.case.also})
        return "problem" not in self.found.values() and self.exit_code == 0

    def line(self) -> str:
        """Write the run as a row of a table."""
        found = ", ".join(f"**{rule}**" if severity == "problem" else rule for rule, severity in self.found.items())
        expected = " or ".join([self.case.rule, *self.case.also]) if self.case.rule else "healthy"
        verdict = "yes" if self.is_right else "NO"
        return f"| {self.case.name} | {expected} | {verdict} | {found} | {self.seconds:.0f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", help="names, or parts of names; all by default")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each case, with other seeds")
    parser.add_argument("--keep", type=Path, help="folder that keeps records and logs")
    arguments = parser.parse_args()
    chosen = [case for case in CASES if not arguments.cases or any(part in case.name for part in arguments.cases)]
    print("| run | expected | right | found (**problem**, advice) | seconds |\n| --- | --- | --- | --- | --- |")
    runs: list[Run] = []
    for seed in range(arguments.repeats):
        for case in chosen:
            runs.append(perform(case, seed, arguments.keep))
            print(runs[-1].line(), flush=True)
    print(f"\n{confusion_table(runs)}\n\n{summary(runs)}")
    return 0 if all(run.is_right for run in runs) else 1


def perform(case: Case, seed: int, keep: Path | None) -> Run:
    """Run a case in a folder of its own, and judge its record."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="corpus-") as temporary:
        root = prepare(case, seed, Path(temporary))
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(case.num_busy)]
        try:
            exit_code = fork(case, root)
        finally:
            for process in busy:
                process.kill()
                process.wait()
        results = judge(root)
        if keep is not None:
            target = keep / f"{case.name.replace(' ', '_').replace(',', '')}_{seed}"
            shutil.copytree(root / "output", target, dirs_exist_ok=True)
            shutil.copy(root / "log.txt", target)
    found = {result.rule: result.severity for result in results if result.status == "IssuesFound"}
    return Run(case, seed, time.monotonic() - started, exit_code, found)


def prepare(case: Case, seed: int, folder: Path) -> Path:
    """Lay out photographs and configuration as SageMaker does."""
    data = case.data.write(folder / "photographs", seed)
    return make_test_dir(folder / "ml", data, {**case.hyperparameters(), "seed": str(seed)}, link=True)


def fork(case: Case, root: Path) -> int:
    """Run the `train` command in a fork of this process, ill as the case says; return its exit code."""
    pid = os.fork()
    if pid == 0:
        become_job(case, root)
    end = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGKILL


def become_job(case: Case, root: Path) -> None:
    """Be the job, and end with it."""
    exit_code = 70
    try:
        log = os.open(root / "log.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ["SAGEMAKER_BASE_DIR"] = str(root)
        sys.argv = ["train"]
        case.infect()
        exit_code = train.__main__.main()
        sys.stdout.flush()
    finally:
        os._exit(exit_code)


def judge(root: Path) -> list[RuleResult]:
    """Judge a record by the rules, with the parameters of its job."""
    file = root / "output" / "data" / RECORD_NAME
    if not file.exists():
        return []
    record = read_record(file)
    return evaluate_rules(record, RuleSettings.of_job(record.job.get("hyperparameters", {})))


def confusion_table(runs: Sequence[Run]) -> str:
    """Count by rule: illnesses it should name and does, other ill runs and healthy ones in which it finds something."""
    ill, healthy = [run for run in runs if run.case.rule], [run for run in runs if not run.case.rule]
    rules = sorted({rule for run in runs for rule in (*run.found, run.case.rule) if rule})
    lines = [
        "| rule | its illnesses | named | in other ill runs | problem in healthy runs | advice in healthy runs |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for rule in rules:
        own = [run for run in ill if run.case.rule == rule]
        named = sum(run.is_right for run in own)
        others = sum(rule in run.found for run in ill if run.case.rule != rule)
        severities = Counter(run.found[rule] for run in healthy if rule in run.found)
        lines.append(f"| {rule} | {len(own)} | {named} | {others} | {severities['problem']} | {severities['advice']} |")
    return "\n".join(lines)


def summary(runs: Sequence[Run]) -> str:
    """Say how many runs were judged rightly."""
    ill, healthy = [run for run in runs if run.case.rule], [run for run in runs if not run.case.rule]
    return (
        f"{sum(run.is_right for run in ill)} of {len(ill)} illnesses are named by their rule; "
        f"{sum(run.is_right for run in healthy)} of {len(healthy)} healthy runs have no more than advice. "
        f"torch {torch.__version__}, Python {sys.version.split()[0]}, {os.cpu_count()} processors."
    )


if __name__ == "__main__":
    sys.exit(main())
