"""How good each strategy is, and the defaults beside runs set by hand, on held-out photographs over several seeds.

    python benchmarks/strategies.py FOLDER [--photographs 200] [--seeds 5] [--only defaults lp_ft]

FOLDER holds train / valid / test folders of classes. Each seed draws photographs of its own from train and valid (the
same share of each class), and is the seed of the job. The test photographs are always all of them. Every run is a whole
`train` process; features are shared between the runs of a seed.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "local_test"))

from make_test_dir import make_test_dir

ROOT = Path(__file__).parent.parent

RUNS: dict[str, dict[str, str]] = {
    "defaults": {},
    "linear_probe": {"strategy": "linear_probe"},
    "lp_ft": {"strategy": "lp_ft"},
    "finetune": {"strategy": "finetune"},
    "probe, 64 trials": {"strategy": "linear_probe", "search_trials": "64"},
    "probe, 100 epochs, one trial": {"strategy": "linear_probe", "search_trials": "1", "epochs": "100"},
    "lp_ft, sgd": {"strategy": "lp_ft", "optimizer": "sgd"},
    "lp_ft, lr 1e-4, layer_decay 0.8": {"strategy": "lp_ft", "lr": "1e-4", "layer_decay": "0.8"},
    "lp_ft, 10 epochs, label smoothing": {"strategy": "lp_ft", "epochs": "10", "label_smoothing": "0.1"},
    "finetune, 10 epochs, ema": {"strategy": "finetune", "epochs": "10", "ema_decay": "0.99"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photographs", type=int, default=200, help="how many, in train and valid together")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), metavar="RUN")
    arguments = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.only}
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as temporary:
            data = draw(arguments.folder, Path(temporary, "data"), arguments.photographs, seed)
            for name in arguments.only:
                results[name].append(run_job(data, Path(temporary), {**RUNS[name], "seed": str(seed)}))
                print(f"  seed {seed}, {name}: {results[name][-1]}", file=sys.stderr, flush=True)
    columns = ("test:accuracy", "test:loss", "validation:loss", "test:calibration_error", "seconds")
    print(f"| run, {arguments.seeds} seeds, {arguments.photographs} photographs | {' | '.join(columns)} |")
    print(f"| --- {'| --- ' * len(columns)}|")
    for name, rows in results.items():
        cells = [f"{np.mean(values):.4f} ± {np.std(values):.4f}" for values in ([r[c] for r in rows] for c in columns)]
        print(f"| {name} | {' | '.join(cells)} |")


def draw(source: Path, target: Path, num_photographs: int, seed: int) -> Path:
    """Link a share of each class of train and valid, and all of test."""
    files = {split: sorted((source / split).rglob("*.*")) for split in ("train", "valid", "test")}
    share = num_photographs / (len(files["train"]) + len(files["valid"]))
    chosen = list(files["test"])
    for split in ("train", "valid"):
        classes: dict[str, list[Path]] = {}
        for file in files[split]:
            classes.setdefault(file.parent.name, []).append(file)
        for of_class in classes.values():
            count = max(1, round(min(1.0, share) * len(of_class)))
            chosen += random.Random(f"{seed} {split}").sample(of_class, count)
    for file in chosen:
        link = target / file.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.resolve())
    return target


def run_job(data: Path, temporary: Path, hyperparameters: dict[str, str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=temporary) as folder:
        root = make_test_dir(Path(folder), data, hyperparameters, link=True)
        (temporary / "checkpoints").mkdir(exist_ok=True)
        (root / "checkpoints").symlink_to(temporary / "checkpoints")
        environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(root)}
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "train"], cwd=ROOT, env=environment, check=True, capture_output=True)
        metrics: dict[str, float] = json.loads((root / "output" / "data" / "metrics.json").read_text())
        return {**metrics, "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    main()
