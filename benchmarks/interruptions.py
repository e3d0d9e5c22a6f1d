"""Jobs that are interrupted at random instants: do they end with the same weights, and how fast do they stop?

    python benchmarks/interruptions.py [--runs 20] [--seed 0]

Fine-tunes a tiny network on sample photographs as a process. Once undisturbed; then each run is killed (SIGKILL) at a
random instant and started again, and its weights are compared bit for bit; and each is stopped (SIGTERM) at a random
instant, which must end within 30 s with exit code 0, and is then started again to its end.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "local_test")]

from make_test_dir import make_test_dir  # noqa: E402
from sample_data import copy_classes, sample_photographs  # noqa: E402

HYPERPARAMETERS = {
    "strategy": "finetune", "arch": "timm/test_resnet", "pretrained": "false", "epochs": "8", "batch_size": "4",
    "gradient_accumulation_steps": "2", "ema_decay": "0.9", "mixup_alpha": "0.2", "checkpoint_interval": "1",
}  # fmt: skip
MAX_STOP_SECONDS = 30


def start(root: Path) -> "subprocess.Popen[bytes]":
    """Start the `train` command."""
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(root), "PYTHONPATH": str(ROOT)}
    with (root / "log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "train"], cwd=ROOT, env=environment, stdout=log, stderr=log)


def finish(root: Path) -> bytes:
    """Run a job to its end; return its weights."""
    with start(root) as process:
        if process.wait() != 0:
            raise SystemExit((root / "log").read_text()[-3000:])
    return (root / "model" / "model.safetensors").read_bytes()


def interrupt(root: Path, number: signal.Signals, after: float) -> tuple[int, float]:
    """Start a job and send a signal some seconds later; return the exit code and the seconds until it ended."""
    with start(root) as process:
        time.sleep(after)
        process.send_signal(number)
        sent = time.monotonic()
        return process.wait(), time.monotonic() - sent


def main() -> None:
    """Interrupt and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        faces = copy_classes(sample_photographs(), Path(folder, "faces"), 5)
        root = make_test_dir(Path(folder, "ml"), faces, HYPERPARAMETERS)
        (root / "checkpoints").mkdir()
        started = time.monotonic()
        expected = finish(root)
        whole = time.monotonic() - started
        print(f"undisturbed: {whole:.1f} s", flush=True)
        for number in (signal.SIGKILL, signal.SIGTERM):
            for run in range(arguments.runs):
                for name in ("checkpoints", "model"):
                    shutil.rmtree(root / name)
                    (root / name).mkdir()
                after = chance.uniform(0.2, 0.95) * whole
                code, seconds = interrupt(root, number, after)
                has_model = (root / "model" / "model.json").exists()
                kept = sorted(file.name for file in (root / "checkpoints").glob("kennel-*"))
                is_same = finish(root) == expected
                is_well = number == signal.SIGKILL or (code == 0 and seconds < MAX_STOP_SECONDS)
                print(
                    f"{number.name} {run}: after {after:.2f} s, exit {code} in {seconds:.2f} s, model {has_model}, "
                    f"last {kept[-1:]}, same weights {is_same}{'' if is_same and is_well else '  WRONG'}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
