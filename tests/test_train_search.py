"""Heads on features: trained together, judged without fitting the validation photographs."""

from functools import partial

import numpy as np
import pytest
import torch
from heads import train_with_torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from classifier.evaluation import expected_calibration_error, mean_cross_entropy, softmax
from container.errors import UserError
from container.lifecycle import StopSignal
from train.calibration import fit_temperature
from train.config import TrainingConfig
from train.features import Features, Scaler
from train.history import History
from train.search import (
    NUM_AVERAGED,
    HeadGroup,
    HeadSearch,
    Trial,
    TrialResult,
    choose_epochs,
    choose_num_trials,
    propose_trials,
)

NUM_FEATURES, NUM_CLASSES = 20, 3
CLASS_NAMES = ("a", "b", "c")


def blobs(num_images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(NUM_CLASSES, NUM_FEATURES))
    labels = generator.integers(0, NUM_CLASSES, num_images)
    values = 5 + 3 * (centers[labels] + 1.5 * generator.normal(size=(num_images, NUM_FEATURES)))
    return values.astype(np.float16), labels


def make_features() -> tuple[Features, Features]:
    train, validation = blobs(300, 0), blobs(200, 1)
    scaler = Scaler.fit(train[0], np.arange(300))
    return (
        Features(train[0], np.arange(300), train[1], scaler),
        Features(validation[0], np.arange(200), validation[1], scaler),
    )


def search(
    trials: list[Trial], epochs: int = 20, stop: StopSignal | None = None
) -> tuple[nn.Linear, History, list[TrialResult]]:
    train, validation = make_features()
    head, history = nn.Linear(NUM_FEATURES, NUM_CLASSES), History(CLASS_NAMES)
    results = HeadSearch(train, validation, NUM_CLASSES, trials, epochs).run(head, history, 0, stop or StopSignal())
    return head, history, results


def test_a_batched_step_equals_torchs_adamw_with_label_smoothing() -> None:
    num_steps = 20
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(16, NUM_FEATURES, generator=generator)
    labels = torch.randint(0, NUM_CLASSES, (16,), generator=generator)
    trials = [Trial(0, 0.01, 0.1, 16, 0.0), Trial(1, 0.003, 0.5, 16, 0.2)]
    group = HeadGroup(trials, NUM_FEATURES, NUM_CLASSES, num_steps)
    for _ in range(num_steps):
        group.step(features, labels)
    for index, trial in enumerate(trials):
        head = nn.Linear(NUM_FEATURES, NUM_CLASSES)
        loss_of = partial(nn.functional.cross_entropy, target=labels, label_smoothing=trial.label_smoothing)
        train_with_torch(head, trial, num_steps, features, loss_of)
        assert torch.allclose(group.weight[index], head.weight, atol=1e-4)
        assert torch.allclose(group.bias[index], head.bias, atol=1e-4)


def test_trials_together_give_the_same_heads_as_one_alone() -> None:
    trials = propose_trials(TrainingConfig(batch_size=32), 3, fix_lr=True)
    train, validation = make_features()
    together = HeadSearch(train, validation, NUM_CLASSES, trials, 5)
    together.run(nn.Linear(NUM_FEATURES, NUM_CLASSES), History(CLASS_NAMES), 0, StopSignal())
    assert together._groups[0].trials
    for trial in together._groups[0].trials:
        alone = HeadSearch(train, validation, NUM_CLASSES, [trial], 5)
        alone.run(nn.Linear(NUM_FEATURES, NUM_CLASSES), History(CLASS_NAMES), 0, StopSignal())
        index = together._groups[0].trials.index(trial)
        assert torch.allclose(together._groups[0].weight[index], alone._groups[0].weight[0], atol=1e-5)


def test_the_head_is_as_good_as_scikit_learns_logistic_regression() -> None:
    head, history, _ = search(propose_trials(TrainingConfig(), 32, fix_lr=True), epochs=50)
    (train, train_labels), (test, test_labels) = blobs(300, 0), blobs(2000, 2)
    with torch.no_grad():
        logits = head(torch.from_numpy(test.astype(np.float32))).numpy() / history.temperature
    scaler = Scaler.fit(train, np.arange(300))
    regression = LogisticRegression(max_iter=1000).fit(scaler(train).numpy(), train_labels)
    reference = regression.predict_log_proba(scaler(test).numpy())
    assert mean_cross_entropy(logits, test_labels) <= mean_cross_entropy(reference, test_labels) * 1.05


def test_the_head_works_on_raw_features() -> None:
    head, history, results = search(propose_trials(TrainingConfig(), 1, fix_lr=True))
    values, labels = blobs(200, 1)
    with torch.no_grad():
        logits = head(torch.from_numpy(values.astype(np.float32))).numpy()
    assert mean_cross_entropy(logits / history.temperature, labels) == pytest.approx(
        results[0].validation_loss, rel=1e-3
    )


def test_every_trial_is_reported_and_the_mean_of_the_best_is_kept() -> None:
    _, history, results = search(propose_trials(TrainingConfig(), 16, fix_lr=True), epochs=20)
    assert sorted(result.trial.number for result in results) == list(range(16))
    epochs = [result.epoch for result in results]
    assert epochs == sorted(epochs, reverse=True)
    ended = [result for result in results if result.epoch == 20]
    assert len(ended) == NUM_AVERAGED
    assert results[0].validation_loss == min(result.validation_loss for result in ended)
    assert history.best is not None
    # cross-entropy is convex: that of the mean is at most the mean of theirs
    assert history.best.loss <= np.mean([result.validation_loss for result in ended]) * 1.01
    assert [row["epoch"] for row in history.rows] == list(range(1, 21))


@pytest.mark.parametrize(
    ("num_photographs", "num_features", "num_classes", "epochs", "num_trials"),
    [(200, 1280, 40, 100, 32), (1000, 1280, 2, 100, 32), (6680, 2048, 133, 20, 32), (10**6, 2048, 1000, 20, 1)],
)
def test_epochs_and_trials_are_chosen_by_the_size_of_the_task(
    num_photographs: int, num_features: int, num_classes: int, epochs: int, num_trials: int
) -> None:
    assert choose_epochs(num_photographs) == epochs
    assert choose_num_trials(num_photographs, num_features, num_classes, epochs) == num_trials


def test_a_hyperparameter_that_was_given_is_not_searched() -> None:
    config = TrainingConfig(lr=0.02, weight_decay=0.0, batch_size=64, label_smoothing=0.1)
    assert {
        (t.lr, t.weight_decay, t.batch_size, t.label_smoothing) for t in propose_trials(config, 8, fix_lr=True)
    } == {(0.02, 0.0, 64, 0.1)}
    assert len({trial.lr for trial in propose_trials(config, 8, fix_lr=False)}) == 8


def test_the_same_seed_proposes_the_same_trials_and_gives_the_same_head_bit_for_bit() -> None:
    trials = propose_trials(TrainingConfig(seed=3), 8, fix_lr=True)
    assert trials == propose_trials(TrainingConfig(seed=3), 8, fix_lr=True)
    assert trials != propose_trials(TrainingConfig(seed=4), 8, fix_lr=True)
    assert torch.equal(search(trials)[0].weight, search(trials)[0].weight)


def test_a_stop_leaves_the_best_head_so_far() -> None:
    stop = StopSignal()
    stop.requested = True
    head, history, results = search(propose_trials(TrainingConfig(), 4, fix_lr=True), stop=stop)
    assert len(history.rows) == 1
    assert len(results) == 4
    assert head.weight.abs().sum() > 0


def test_a_learning_rate_that_diverges_everywhere_is_the_users_error() -> None:
    train, validation = make_features()
    one = HeadSearch(train, validation, NUM_CLASSES, [Trial(0, 1e38, 0.0, 32, 0.0)], 5)
    with pytest.raises(UserError, match="training diverged; set a lower lr"):
        one.run(nn.Linear(NUM_FEATURES, NUM_CLASSES), History(CLASS_NAMES), 0, StopSignal())


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_miscalibrated_logits_is_found(true_temperature: float) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 5)) * 2
    labels = (softmax(logits).cumsum(axis=1) > generator.random((20_000, 1))).argmax(axis=1)
    temperature, loss = fit_temperature(logits * true_temperature, labels)
    assert temperature == pytest.approx(true_temperature, rel=0.05)
    assert loss == pytest.approx(mean_cross_entropy(logits, labels), rel=1e-3)
    after = expected_calibration_error(softmax(logits * true_temperature / temperature), labels)
    assert after < 0.02


def test_few_photographs_hardly_move_the_temperature() -> None:
    logits = np.array([[5.0, 0.0], [0.0, 5.0]])
    assert 0.5 < fit_temperature(logits, np.array([0, 1]))[0] < 1
    assert 1 < fit_temperature(logits, np.array([1, 0]))[0] < 4
