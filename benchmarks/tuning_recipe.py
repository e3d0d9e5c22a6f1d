"""Tuning and final training as scripts usually do them on SageMaker, against one job of Kennel with a search inside.

    python benchmarks/tuning_recipe.py FOLDER [--photographs 500] [--trials 8] [--epochs 5]

FOLDER holds train / valid folders of classes. The peer: a frozen pretrained backbone and a two-layer head; PIL and
torchvision's ImageFolder; in every epoch of every trial each photograph is read and passes the network again; each
trial and the final training are jobs (processes) of their own. Both have the same backbone, weights and photographs, on
the same machine, and are timed whole, from the start of the first process to the end of the last.
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

sys.path.insert(0, str(Path(__file__).parent.parent / "local_test"))

from make_test_dir import make_test_dir

ROOT = Path(__file__).parent.parent
WORKERS = 2
BATCH_SIZES = (32, 64, 128, 256)
LR_RANGE = (0.001, 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photographs", type=int, default=500, help="how many, in train and valid together")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(peer_job(arguments.folder, **json.loads(arguments.job))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        data = copy_subset(arguments.folder, Path(temporary, "data"), arguments.photographs)
        seconds, loss = time_kennel(data, Path(temporary, "ml"), arguments.trials)
        print(
            f"Kennel, one job with search_trials={arguments.trials}: {seconds:.1f} s, validation loss {loss:.4f}",
            flush=True,
        )
        peer_seconds, peer_loss = time_peer(data, arguments.trials, arguments.epochs)
        print(f"peer, trials and final training: {peer_seconds:.1f} s, validation loss {peer_loss:.4f}")
        print(f"ratio {peer_seconds / seconds:.0f}")


def copy_subset(source: Path, target: Path, num_photographs: int) -> Path:
    """Link the same share of each class of train and valid."""
    files = [file for split in ("train", "valid") for file in sorted((source / split).rglob("*.*"))]
    random.Random(0).shuffle(files)
    for file in files[:num_photographs]:
        link = target / file.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.resolve())
    return target


def time_kennel(data: Path, root: Path, num_trials: int) -> tuple[float, float]:
    make_test_dir(root, data, {"strategy": "linear_probe", "search_trials": str(num_trials)}, link=True)
    command = [sys.executable, "-m", "train"]
    started = time.perf_counter()
    subprocess.run(
        command, cwd=ROOT, env={**os.environ, "SAGEMAKER_BASE_DIR": str(root)}, check=True, capture_output=True
    )
    seconds = time.perf_counter() - started
    metrics = json.loads((root / "output" / "data" / "metrics.json").read_text())
    return seconds, metrics["validation:loss"]


def time_peer(data: Path, num_trials: int, epochs: int) -> tuple[float, float]:
    choose = random.Random(1)
    started = time.perf_counter()
    trials = []
    for _ in range(num_trials):
        low, high = LR_RANGE
        job = {"lr": low * (high / low) ** choose.random(), "batch_size": choose.choice(BATCH_SIZES), "epochs": epochs}
        trials.append((run_peer_job(data, job), job))
        print(f"  trial {trials[-1][1]}: validation loss {trials[-1][0]:.4f}", flush=True)
    loss = run_peer_job(data, min(trials, key=lambda trial: trial[0])[1])
    return time.perf_counter() - started, loss


def run_peer_job(data: Path, job: dict[str, float]) -> float:
    command = [sys.executable, __file__, str(data), "--job", json.dumps(job)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(result.stdout.splitlines()[-1]))


def peer_job(data: Path, lr: float, batch_size: int, epochs: int) -> float:
    """Train as the usual script does; give the validation loss of the last epoch."""
    import torch
    from torch import nn
    from torchvision import datasets, transforms

    from classifier.weights import imagenet_network

    backbone, head, preprocessing = imagenet_network("timm/tf_efficientnet_lite0", [])
    normalize = transforms.Normalize(preprocessing.mean, preprocessing.std)
    train_transform = transforms.Compose(
        [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalize]
    )
    transform = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), normalize]
    )
    train = datasets.ImageFolder(str(data / "train"), train_transform)
    valid = datasets.ImageFolder(str(data / "valid"), transform)
    train_loader = torch.utils.data.DataLoader(train, batch_size, shuffle=True, num_workers=WORKERS)
    valid_loader = torch.utils.data.DataLoader(valid, batch_size, num_workers=WORKERS)
    backbone.requires_grad_(False)
    classifier = nn.Sequential(nn.Linear(head.in_features, 256), nn.ReLU(), nn.Linear(256, len(train.classes)))
    model = nn.Sequential(backbone, classifier)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(classifier.parameters(), lr=lr)
    loss_sum = 0.0
    for _ in range(epochs):
        model.train()
        for images, labels in train_loader:
            optimizer.zero_grad()
            criterion(model(images), labels).backward()
            optimizer.step()
        model.eval()
        loss_sum = 0.0
        with torch.no_grad():
            for images, labels in valid_loader:
                loss_sum += criterion(model(images), labels).item() * len(labels)
    return loss_sum / len(valid)


if __name__ == "__main__":
    main()
