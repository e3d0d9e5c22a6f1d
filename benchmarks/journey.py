"""Times the whole journey by the `kennel` command: look, tune, best, train, report, deploy, predict, transform, delete.

benchmarks/journey.py DATA [--on process|docker] [--jobs 12] [--parallel 2] [--image NAME]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
NUM_TRANSFORMED = 200
SUFFIXES = {".jpg", ".jpeg", ".png"}


class Journey:
    """Runs commands and keeps their times."""

    def __init__(self, home: Path, on: str, image: str) -> None:
        self._environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "KENNEL_HOME": str(home), "KENNEL_ON": on, "KENNEL_IMAGE": image,
            "KENNEL_CONFIG": os.devnull,
        }  # fmt: skip
        self.seconds: dict[str, float] = {}

    def step(self, what: str, *arguments: str) -> str:
        """Run a command that must succeed, and return what it prints."""
        started = time.monotonic()
        command = [sys.executable, "-m", "jobs", *arguments]
        result = subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False)
        self.seconds[what] = time.monotonic() - started
        print(f"{self.seconds[what]:7.1f} s  {what}", flush=True)
        if result.returncode:
            raise SystemExit(
                f"kennel {' '.join(arguments)}: exit code {result.returncode}\n{result.stdout}{result.stderr}"
            )
        return result.stdout


def photographs_of(data: Path) -> Iterator[Path]:
    """List photographs, those of the test split first."""
    for folder in (data / "test", data):
        yield from (file for file in sorted(folder.rglob("*")) if file.suffix.lower() in SUFFIXES)


def gather(data: Path, target: Path) -> Path:
    """Link some photographs into a folder."""
    target.mkdir()
    for number, file in enumerate(photographs_of(data)):
        if number == NUM_TRANSFORMED:
            break
        (target / f"{number:03d}{file.suffix}").symlink_to(file)
    return target


def main() -> None:
    """Make the journey in a temporary home."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with class folders, or with train / valid / test of them")
    parser.add_argument("--on", default="process", choices=["process", "docker"])
    parser.add_argument("--jobs", type=int, default=12)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--image", default="kennel:local")
    arguments = parser.parse_args()
    data = arguments.data.absolute()
    with tempfile.TemporaryDirectory(prefix="kennel-journey-") as folder:
        here = Path(folder)
        journey = Journey(here / "home", arguments.on, arguments.image)
        started = time.monotonic()
        journey.step("data check", "data", "check", str(data), "--sheet", str(here / "sheet.png"))
        journey.step(
            f"tune, {arguments.jobs} jobs", "tune", str(data), "--name", "tuning", "--jobs", str(arguments.jobs),
            "--parallel", str(arguments.parallel), "--objective", "validation:loss",
        )  # fmt: skip
        best = here / "best.json"
        journey.step("best", "best", "tuning", "--out", str(best))
        journey.step("train", "train", str(data), "--from", str(best), "--name", "final")
        journey.step("report", "report", "final", "--no-open", "--out", str(here / "report"))
        journey.step("deploy", "deploy", "final", "--name", "endpoint")
        photograph = next(photographs_of(data))
        answer = json.loads(journey.step("predict", "predict", "endpoint", str(photograph), "--json"))
        batch = gather(data, here / "batch")
        answers = here / "answers"
        journey.step(
            f"transform of {NUM_TRANSFORMED}", "transform", "final", str(batch), str(answers), "--name", "batch"
        )
        journey.step("list", "list")
        journey.step("delete", "delete", "endpoint", "batch", "final", "tuning")
        total = time.monotonic() - started
        metrics = json.loads((here / "report" / "metrics.json").read_text())
        num_answers = len(list(answers.rglob("*.out")))
    print(f"{total:7.1f} s  in all, on {arguments.on}")
    print(f"{num_answers} answers; {photograph.name}: {answer[str(photograph)]['predictions'][0]}")
    print({name: round(value, 4) for name, value in metrics.items() if name.endswith((":accuracy", ":loss"))})
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
