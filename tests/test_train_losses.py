"""Losses and weights of photographs with any number of labels, against torch."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from heads import train_with_torch
from torch import nn
from torch.nn import functional

from classifier.multilabel import mean_binary_cross_entropy, sigmoid
from classifier.tasks import calibration_error
from container.lifecycle import StopSignal
from train.augment import BatchMixer, photograph_weights, positive_weights
from train.calibration import fit_temperature, fit_temperatures
from train.config import TrainingConfig
from train.features import Features, Scaler
from train.history import History
from train.losses import MultiLabelLoss, heads_losses, heads_recognised
from train.report import Report, write_report
from train.search import NUM_AVERAGED, HeadGroup, HeadSearch, Trial, propose_trials

NUM_FEATURES, NUM_CLASSES = 20, 4
CLASS_NAMES = ("a", "b", "c", "d")


def drawn(num_images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Draw features, and labels that each depend on a direction of their own."""
    generator = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(NUM_FEATURES, NUM_CLASSES))
    values = generator.normal(size=(num_images, NUM_FEATURES))
    logits = values @ directions - np.array([0.0, 1.0, 2.0, 4.0])
    labels = (generator.random(logits.shape) < sigmoid(logits)).astype(np.uint8)
    return (5 + 3 * values).astype(np.float16), labels


def test_a_batched_step_equals_torchs_adamw_on_the_binary_loss() -> None:
    num_steps = 20
    features = torch.randn(16, NUM_FEATURES, generator=torch.Generator().manual_seed(0))
    labels = torch.from_numpy(drawn(16, 0)[1])
    trials = [Trial(0, 0.01, 0.1, 16, 0.0), Trial(1, 0.003, 0.5, 16, 0.2)]
    group = HeadGroup(trials, NUM_FEATURES, NUM_CLASSES, num_steps)
    expected_sums = [0.0, 0.0]
    for _ in range(num_steps):
        group.step(features, labels)
    for index, trial in enumerate(trials):
        head = nn.Linear(NUM_FEATURES, NUM_CLASSES)
        targets = labels * (1 - trial.label_smoothing) + trial.label_smoothing / 2
        loss_of = partial(functional.binary_cross_entropy_with_logits, target=targets)
        losses = train_with_torch(head, trial, num_steps, features, loss_of, scale=NUM_CLASSES)
        expected_sums[index] = 16 * sum(losses)
        assert torch.allclose(group.weight[index], head.weight, atol=1e-4)
        assert torch.allclose(group.bias[index], head.bias, atol=1e-4)
    assert group.loss_sum.tolist() == pytest.approx(expected_sums, rel=1e-3)


def test_the_head_separates_labels_nearly_as_well_as_their_source(tmp_path: Path) -> None:
    train, validation, test = drawn(1000, 0), drawn(400, 1), drawn(2000, 2)
    scaler = Scaler.fit(train[0], np.arange(1000))
    features = [Features(part[0], np.arange(len(part[0])), part[1], scaler) for part in (train, validation)]
    head, history = nn.Linear(NUM_FEATURES, NUM_CLASSES), History(CLASS_NAMES)
    trials = propose_trials(TrainingConfig(), 8, fix_lr=True)
    results = HeadSearch(features[0], features[1], NUM_CLASSES, trials, 20).run(head, history, 0, StopSignal())
    with torch.no_grad():
        logits = head(torch.from_numpy(test[0].astype(np.float32))).numpy() / history.temperature
    directions = np.random.default_rng(99).normal(size=(NUM_FEATURES, NUM_CLASSES))
    source = (test[0].astype(np.float64) - 5) / 3 @ directions - np.array([0.0, 1.0, 2.0, 4.0])
    assert mean_binary_cross_entropy(logits, test[1]) < 1.15 * mean_binary_cross_entropy(source, test[1])
    assert calibration_error(logits, test[1]) < 0.03
    assert history.best is not None
    # cross-entropy is convex: that of the mean is at most the mean of theirs
    assert history.best.loss <= np.mean([result.validation_loss for result in results[:NUM_AVERAGED]]) * 1.01
    assert len(history.thresholds) == NUM_CLASSES
    report = Report({}, history.rows, history.best, results, history.temperature, {}, {})
    write_report(tmp_path, report)
    assert {"per_class.csv", "per_class.png", "trials.png", "learning_curves.png"} <= {
        p.name for p in tmp_path.iterdir()
    }
    assert not list(tmp_path.glob("confusion_matrix*"))


def test_losses_and_hits_of_heads_agree_with_torch() -> None:
    logits, labels = torch.randn(7, 3, NUM_CLASSES), torch.from_numpy(drawn(7, 0)[1])
    losses, hits = heads_losses(logits, labels), heads_recognised(logits, labels)
    for i in range(3):
        expected = functional.binary_cross_entropy_with_logits(logits[:, i], labels.float())
        assert losses[i].item() == pytest.approx(expected.item(), rel=1e-5)
        assert hits[:, i].tolist() == ((logits[:, i] > 0) == labels.bool()).all(1).tolist()


def test_the_loss_smooths_towards_one_half_and_weighs_what_is_there() -> None:
    logits, targets = torch.tensor([[2.0, -1.0]]), torch.tensor([[1, 0]], dtype=torch.uint8)
    smooth = functional.binary_cross_entropy_with_logits(logits, torch.tensor([[0.9, 0.1]]))
    assert MultiLabelLoss(0.2, None)(logits, targets).item() == pytest.approx(smooth.item())
    weights = torch.tensor([3.0, 5.0])
    weighted = functional.binary_cross_entropy_with_logits(logits, targets.float(), pos_weight=weights)
    assert MultiLabelLoss(0.0, weights)(logits, targets).item() == pytest.approx(weighted.item())


def test_weights_balance_labels_and_draw_photographs_by_their_rarest() -> None:
    labels = np.zeros((1000, 3), np.uint8)
    labels[:500, 0] = 1
    labels[:100, 1] = 1
    labels[0, 2] = 1
    assert positive_weights(labels).tolist() == pytest.approx([1, 9, 100])
    weights = photograph_weights(labels)
    assert weights[[0, 1, 200, 700]].tolist() == pytest.approx([1, 1 / 100, 1 / 500, 1 / 500])


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0)])
def test_mixing_mixes_the_labels_of_both_images(mixup: float, cutmix: float) -> None:
    images = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    labels = torch.tensor([[1, 1], [0, 1], [0, 0]], dtype=torch.uint8)
    mixed, targets = BatchMixer(mixup, cutmix, 2)(images, labels)
    # Image 1 is mixed with image 0: its mean tells the share of itself.
    share = float(mixed[1].mean())
    assert targets[1].tolist() == pytest.approx([1 - share, 1.0], abs=1e-5)


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_miscalibrated_sigmoids_is_found(true_temperature: float) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(5000, NUM_CLASSES)) * 2
    labels = (generator.random(logits.shape) < sigmoid(logits)).astype(np.uint8)
    temperature, loss = fit_temperature(logits * true_temperature, labels)
    assert temperature == pytest.approx(true_temperature, rel=0.05)
    assert loss == pytest.approx(mean_binary_cross_entropy(logits, labels), rel=1e-3)


def test_temperatures_of_several_models_are_those_of_each_alone() -> None:
    logits, labels = np.random.default_rng(0).normal(size=(50, 2, NUM_CLASSES)), drawn(50, 3)[1]
    temperatures, losses = fit_temperatures(logits, labels)
    alone = [fit_temperature(logits[:, i], labels) for i in range(2)]
    assert list(zip(temperatures, losses, strict=True)) == [pytest.approx(pair) for pair in alone]
