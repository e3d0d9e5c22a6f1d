"""Seconds and memory by the number of photographs: of listing them, and of a whole `train` job.

    python benchmarks/scale.py [--sizes 1000 10000 100000] [--classes 20] [--folder DIR] [--arch NAME]

Makes JPEGs of 64x64 pixels, no two of the same bytes, and runs `train` (linear_probe) on them twice as a process: the
first job makes the features, the second finds them in the checkpoint folder. Memory is the largest resident size of the
process (VmHWM), in which pages of mapped files count too; growth is from one size to the next, for each photograph.
"""

import argparse
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
NUM_PICTURES = 50
"""Pictures of each class that are encoded; their copies differ in a comment."""

LIST = """
import sys
from pathlib import Path
from train.class_folders import read_class_folders
from train.source import Source
folder = Path(sys.argv[1])
listing = read_class_folders(Source(folder, folder))
"""

TRAIN = """
from train.__main__ import main
assert main() == 0
"""

TELL_PEAK = """
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@dataclass(frozen=True)
class Run:
    """What a process took."""

    seconds: float
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where the photographs go for the time being")
    parser.add_argument("--arch", default="timm/tf_efficientnet_lite0")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} threads, {arguments.arch}")
    rows: dict[int, dict[str, Run]] = {}
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="kennel-scale-", dir=arguments.folder) as folder:
            rows[size] = measure(Path(folder), size, arguments.classes, arguments.arch)
    report(rows)


def measure(root: Path, num_photographs: int, num_classes: int, arch: str) -> dict[str, Run]:
    """List the photographs, then train on them twice."""
    channel = root / "input" / "data" / "training"
    started = time.monotonic()
    make_photographs(channel, num_photographs, num_classes)
    print(f"{num_photographs} photographs made in {time.monotonic() - started:.0f} s", flush=True)
    (root / "input" / "config").mkdir(parents=True)
    hyperparameters = {"strategy": "linear_probe", "arch": arch}
    (root / "input" / "config" / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    (root / "checkpoints").mkdir()
    runs = {
        "import only": run("import train.class_folders", root),
        "listing": run(LIST, root, str(channel)),
        "job": run(TRAIN, root),
    }
    shutil.rmtree(root / "model")
    return {**runs, "job, features cached": run(TRAIN, root)}


def make_photographs(folder: Path, num_photographs: int, num_classes: int) -> None:
    """Write JPEGs of smooth colours, each class around a colour of its own."""
    generator = np.random.default_rng(0)
    for label in range(num_classes):
        (folder / f"class_{label:03d}").mkdir(parents=True)
    colours = generator.integers(60, 196, (num_classes, 1, 1, 3))
    pictures = [
        [encode(colour + generator.integers(-60, 60, (4, 4, 3))) for _ in range(NUM_PICTURES)] for colour in colours
    ]
    for number in range(num_photographs):
        label, place = number % num_classes, number // num_classes
        data = pictures[label][place % NUM_PICTURES]
        # A JPEG's comment: marker, length, text. It follows the marker that begins the file.
        comment = b"\xff\xfe\x00\x0a" + number.to_bytes(8, "big")
        (folder / f"class_{label:03d}" / f"photograph-{number:07d}.jpg").write_bytes(data[:2] + comment + data[2:])


def encode(coarse: "np.typing.NDArray[np.integer]") -> bytes:
    """Encode coarse colours (height, width, 3) as a JPEG of 64x64 pixels."""
    buffer = io.BytesIO()
    image = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def run(code: str, root: Path, *arguments: str) -> Run:
    """Run code in a process of its own, which tells its largest resident size at its end."""
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(root), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code + TELL_PEAK, *arguments]
    started = time.monotonic()
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    seconds = time.monotonic() - started
    if result.returncode:
        raise SystemExit(f"{code}\nended with {result.returncode}:\n{result.stderr[-2000:]}")
    return Run(seconds, int(result.stdout.split()[-2]) * 1024 / 1e6)


def report(rows: dict[int, dict[str, Run]]) -> None:
    """Print a table, and what each photograph more took from one size to the next."""
    print(f"\n{'photographs':>11}  {'':24} {'seconds':>9} {'peak MB':>9} {'ms each more':>13} {'bytes each more':>16}")
    before: tuple[int, dict[str, Run]] | None = None
    for size, runs in rows.items():
        for name, result in runs.items():
            line = f"{size:11,d}  {name:24} {result.seconds:9.1f} {result.peak_mb:9.0f}"
            if before:
                more, earlier = size - before[0], before[1][name]
                milliseconds = 1000 * (result.seconds - earlier.seconds) / more
                line += f" {milliseconds:13.3f} {1e6 * (result.peak_mb - earlier.peak_mb) / more:16.0f}"
            print(line)
        before = size, runs


if __name__ == "__main__":
    main()
