"""How long the report of a record takes, and how large its page is.

    PYTHONPATH=. python benchmarks/report_size.py [--steps 100000] [--samples 20000] [--tensors 50000] [--repeats 5]

The record is made by hand: fine-tuning on two GPUs with 1,000 classes, 24 photographs, every section filled; then one
of 300 steps and 133 classes, as a usual job leaves it. Each repeat is a process of its own, which has imported what a
job has by then: numpy, Pillow and matplotlib.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "local_test"))

from debugger_records import Job, write  # noqa: E402
from sample_data import sample_photographs  # noqa: E402

TARGETS = "under 10 s and under 5 MB"

TIMED = """
import json, sys, time
from pathlib import Path
import matplotlib.figure, numpy, PIL.Image
directory, seconds = Path(sys.argv[1]), {}
def lap(name, start=[time.perf_counter()]):
    now = time.perf_counter()
    seconds[name], start[0] = now - start[0], now
from train.debugger.record import RECORD_NAME, read_record
from train.debugger.report import HTML_NAME, write_debugger_report
from train.debugger.rule_settings import RuleSettings
from train.debugger.rules import evaluate_rules
lap("imports")
record = read_record(directory / RECORD_NAME)
lap("reading")
results = evaluate_rules(record, RuleSettings())
lap("rules")
write_debugger_report(record, results, directory)
lap("report")
print(json.dumps({**seconds, "bytes": (directory / HTML_NAME).stat().st_size}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--tensors", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    photographs = sorted(sample_photographs().rglob("*.png"))[:24]
    long = Job(
        num_steps=arguments.steps, steps_per_epoch=max(1, arguments.steps // 50), num_samples=arguments.samples,
        num_tensor_rows=arguments.tensors, num_gpus=2, gpu_use=(85, 60), num_trials=64, has_operators=True,
        class_names=[f"class {index:04}" for index in range(1000)], photographs=photographs,
    )  # fmt: skip
    usual = Job(
        num_tensor_rows=1440, class_names=[f"breed {index:03}" for index in range(133)], photographs=photographs,
        num_trials=32,
    )  # fmt: skip
    for name, job in (("long", long), ("usual", usual)):
        print(f"{name}: {job.num_steps} steps, {job.num_samples} samples, {job.num_tensor_rows} rows of tensors")
        measure(job, arguments.repeats)


def measure(job: Job, repeats: int) -> None:
    """Print the median, least and most of each part."""
    with tempfile.TemporaryDirectory() as folder:
        write(job, Path(folder))
        command = [sys.executable, "-c", TIMED, folder]
        runs = [
            json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
            for _ in range(repeats)
        ]
    for part in runs[0]:
        values = sorted(run[part] for run in runs)
        print(f"    {part}: {statistics.median(values):.3g} ({values[0]:.3g}-{values[-1]:.3g})")
    whole = [run["reading"] + run["rules"] + run["report"] for run in runs]
    print(f"    reading, rules and report: {statistics.median(whole):.2f} s; target {TARGETS}")


if __name__ == "__main__":
    main()
