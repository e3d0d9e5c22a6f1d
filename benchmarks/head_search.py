"""The search of heads on frozen features: what 64 trials cost, and how good the best one is.

    python benchmarks/head_search.py FOLDER [--trials 64] [--repeats 3] [--seeds 5]

FOLDER holds train / valid / test folders of classes. One trial and all of them train on the same features for the same
epochs, in turn. The peer is scikit-learn's LogisticRegressionCV on the same standardised features: 10 strengths of
regularisation, 5 folds, chosen by cross-entropy, refitted on all training photographs, then scaled by a temperature
fitted on validation as ours is.
"""

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegressionCV
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent / "local_test"))

from make_test_dir import make_test_dir

from classifier.conversion import convert_backbone
from classifier.engines import OpenVinoEngine
from classifier.evaluation import Array, Labels, evaluate_logits, expected_calibration_error, softmax
from classifier.weights import imagenet_network
from container.lifecycle import StopSignal
from container.paths import ContainerPaths
from container.resources import num_cpus
from train.calibration import fit_temperature
from train.config import TrainingConfig
from train.data import find_photographs
from train.feature_cache import FeatureCache
from train.features import FeatureExtractor, Features, Scaler, UnreadablePhotographs
from train.history import History
from train.search import HeadSearch, choose_epochs, propose_trials

ARCH = "timm/tf_efficientnet_lite0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(num_cpus())
    with tempfile.TemporaryDirectory() as folder:
        names, splits = extract(arguments.folder, Path(folder))
        train = splits["train"]
        print(f"{len(train)} photographs, {len(names)} classes, {choose_epochs(len(train))} epochs")
        cost = [measure_cost(names, splits, arguments.trials) for _ in range(arguments.repeats)]
        one, many = (statistics.median(times) for times in zip(*cost, strict=True))
        ratios = sorted(many / one for one, many in cost)
        print(f"one trial {one:.2f} s, {arguments.trials} trials {many:.2f} s: {', '.join(f'{r:.1f}' for r in ratios)}")
        print("| head | test loss | test accuracy | calibration error before | after |")
        print("| --- | --- | --- | --- | --- |")
        for trials in (1, arguments.trials):
            rows = [best_of_search(names, splits, trials, seed) for seed in range(arguments.seeds)]
            describe(f"best of {trials}, {arguments.seeds} seeds", rows)
        describe("LogisticRegressionCV", [peer(names, splits)])


def extract(data: Path, folder: Path) -> tuple[tuple[str, ...], dict[str, Features]]:
    backbone, head, preprocessing = imagenet_network(ARCH, [])
    engine = OpenVinoEngine(convert_backbone(backbone, preprocessing), num_threads=num_cpus(), num_streams=num_cpus())
    cache = FeatureCache(folder, "benchmark", head.in_features)
    extractor = FeatureExtractor(engine, preprocessing, cache, num_cpus())
    photographs = find_photographs(ContainerPaths(make_test_dir(folder / "ml", data, {}, link=True)), 0.2, 0)
    splits = {"train": photographs.train, "validation": photographs.validation, "test": photographs.test}
    rows = {
        name: extractor.rows(split, UnreadablePhotographs(1.0), name=name, stop=StopSignal())
        for name, split in splits.items()
        if split is not None
    }
    scaler = Scaler.fit(cache.array(), rows["train"][0])
    features = {name: Features(cache.array(), of_split, labels, scaler) for name, (of_split, labels) in rows.items()}
    return photographs.class_names, features


def measure_cost(names: tuple[str, ...], splits: dict[str, Features], num_trials: int) -> tuple[float, float]:
    """Time one trial and many, in seconds."""
    seconds = []
    for number in (1, num_trials):
        started = time.perf_counter()
        search(names, splits, number, seed=0)
        seconds.append(time.perf_counter() - started)
    return seconds[0], seconds[1]


def search(
    names: tuple[str, ...], splits: dict[str, Features], num_trials: int, seed: int
) -> tuple[nn.Linear, History]:
    train = splits["train"]
    head = nn.Linear(train.num_features, len(names))
    history = History(names)
    trials = propose_trials(TrainingConfig(seed=seed), num_trials, fix_lr=True)
    with contextlib.redirect_stdout(io.StringIO()):
        job = HeadSearch(train, splits["validation"], len(names), trials, choose_epochs(len(train)))
        job.run(head, history, seed, StopSignal())
    return head, history


Row = tuple[float, float, float, float]
"""Test loss, test accuracy, calibration error before and after."""


def best_of_search(names: tuple[str, ...], splits: dict[str, Features], num_trials: int, seed: int) -> Row:
    head, history = search(names, splits, num_trials, seed)
    history.restore(head)
    test = splits["test"]
    # the head is for raw features
    raw = torch.cat([features for features, _ in test.chunks()]) * test.scaler.deviation + test.scaler.mean
    with torch.no_grad():
        return judge(head(raw).numpy(), test.labels.numpy(), history.temperature, names)


def peer(names: tuple[str, ...], splits: dict[str, Features]) -> Row:
    x, labels = {}, {}
    for name, split in splits.items():
        x[name] = torch.cat([features for features, _ in split.chunks()]).numpy()
        labels[name] = split.labels.numpy()
    model = LogisticRegressionCV(Cs=10, cv=5, scoring="neg_log_loss", max_iter=1000)
    model.fit(x["train"], labels["train"])
    logits = {name: two_sided(model.decision_function(x[name])) for name in ("validation", "test")}
    temperature, _ = fit_temperature(logits["validation"], labels["validation"])
    return judge(logits["test"], labels["test"], temperature, names)


def two_sided(scores: Array) -> Array:
    """Give logits (batch, num_classes), of which scikit-learn has one column for two classes."""
    return scores if scores.ndim == 2 else np.stack([np.zeros_like(scores), scores], axis=1)


def judge(logits: Array, labels: Labels, temperature: float, names: tuple[str, ...]) -> Row:
    before = expected_calibration_error(softmax(logits), labels)
    evaluation = evaluate_logits(logits / temperature, labels, names)
    return evaluation.loss, evaluation.accuracy, before, evaluation.calibration_error


def describe(label: str, rows: list[Row]) -> None:
    """Print a row of the table: mean and standard deviation of each column."""
    cells = [f"{np.mean(column):.4f} ± {np.std(column):.4f}" for column in zip(*rows, strict=True)]
    print(f"| {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
