"""Fine-tuning, on pictures that a small network can tell apart in seconds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from colours import PREPROCESSING, RECIPE, equal, network, train

from container.errors import UserError
from container.lifecycle import StopSignal
from train.config import TrainingConfig
from train.data import Photographs
from train.features import UnreadablePhotographs
from train.history import History
from train.optim import Recipe
from train.step import Step, choose_dtype
from train.trainer import FineTuner

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_same_seed_gives_the_same_weights_bit_for_bit_whatever_the_workers(
    photographs: Photographs, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, epochs=2, augmentation="trivial_augment", mixup_alpha=0.2, cutmix_alpha=1.0)
    options: dict[str, Any] = {"photograph_cache": True, "cache_directory": tmp_path}
    expected, _ = train(photographs, recipe)
    for num_workers in (0, 1, 2):
        assert equal(train(photographs, recipe, num_workers=num_workers)[0], expected)
    # Photographs as small as these are kept as they are.
    assert equal(train(photographs, recipe, num_workers=2, **options)[0], expected)
    assert not equal(train(photographs, replace(recipe, seed=1))[0], expected)


def test_fine_tuning_learns_and_leaves_the_best_epochs_weights(photographs: Photographs) -> None:
    recipe = replace(RECIPE, epochs=8, layer_decay=0.95)
    state, history = train(photographs, recipe)
    losses = [row["validation:loss"] for row in history.rows]
    assert history.best is not None
    assert history.best.loss <= min(losses) < 0.6
    assert history.rows[-1]["train:loss"] < history.rows[0]["train:loss"]
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"precision": "fp16", "gradient_accumulation_steps": 2, "max_grad_norm": 1.0},
        {"mixup_alpha": 0.2, "label_smoothing": 0.1},
        {"cutmix_alpha": 1.0, "class_balance": "loss"},
        {"class_balance": "sampling", "augmentation": "rand_augment"},
        {"optimizer_name": "sgd", "lr": 0.1, "lr_schedule": "one_cycle"},
        {"ema_decay": 0.9},
    ],
)
def test_recipes_lower_the_loss_and_report_finite_metrics(photographs: Photographs, changes: dict[str, Any]) -> None:
    _, history = train(photographs, replace(RECIPE, epochs=4, **changes))
    assert len(history.rows) == 4
    assert history.best is not None
    assert history.best.loss < np.log(3)
    assert all(0 <= row["train:accuracy"] <= 1 and np.isfinite(row["train:loss"]) for row in history.rows)


def test_accumulated_batches_give_the_gradient_of_one_large_batch() -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 3
    results = []
    for num_parts in (1, 4):
        # Batch normalisation would tell batches of other sizes apart.
        trained = network().eval()
        recipe = replace(RECIPE, gradient_accumulation_steps=num_parts, max_grad_norm=0.5, optimizer_name="sgd", lr=0.1)
        step = Step(recipe, trained, torch.device("cpu"), num_batches=num_parts)
        for part, part_labels in zip(images.chunk(num_parts), labels.chunk(num_parts), strict=True):
            step.backward(recipe.criterion()(trained(part), part_labels))
        step.update()
        results.append(trained.state_dict())
    for name, tensor in results[0].items():
        assert torch.allclose(tensor.float(), results[1][name].float(), atol=1e-5)
    assert not equal(results[0], network().state_dict())


def test_a_clipped_step_is_no_longer_than_the_norm() -> None:
    trained = network()
    before = {name: p.detach().clone() for name, p in trained.named_parameters()}
    recipe = replace(
        RECIPE, max_grad_norm=0.01, optimizer_name="sgd", momentum=0.0, lr=1.0, weight_decay=0.0, lr_schedule="constant"
    )
    step = Step(recipe, trained, torch.device("cpu"), num_batches=1)
    step.backward(1000 * recipe.criterion()(trained(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 2, 0])))
    step.update()
    moved = torch.stack([(p.detach() - before[name]).norm() for name, p in trained.named_parameters()]).norm()
    assert float(moved) == pytest.approx(0.01, rel=1e-3)


def test_the_average_of_weights_follows_its_formula_and_takes_the_batch_norms_along() -> None:
    trained = network().train()
    step = Step(replace(RECIPE, ema_decay=0.5), trained, torch.device("cpu"), num_batches=100)
    assert step.ema is not None
    expected: dict[str, torch.Tensor] = {}
    for number in range(1, 6):
        step.backward(RECIPE.criterion()(trained(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 2, 0])))
        step.update()
        # timm's warm-up of the decay, (1 + steps) ** -2/3, and the first update is a copy
        decay = 0.0 if number == 1 else min(0.5, 1 - number ** (-2 / 3))
        for name, value in trained.state_dict().items():
            if value.is_floating_point():
                expected[name] = value.clone() if number == 1 else decay * expected[name] + (1 - decay) * value
    averaged = step.ema.module.state_dict()
    assert any(name.endswith("running_var") for name in expected)
    for name, value in expected.items():
        assert torch.allclose(averaged[name], value, atol=1e-6), name


def test_the_averaged_weights_are_evaluated_and_left_in_the_network(photographs: Photographs) -> None:
    recipe = replace(RECIPE, epochs=2)
    plain, plain_history = train(photographs, recipe)
    averaged, history = train(photographs, replace(recipe, ema_decay=0.99))
    assert not equal(plain, averaged)
    assert history.rows[0]["train:loss"] == plain_history.rows[0]["train:loss"]
    assert history.rows[-1]["validation:loss"] != plain_history.rows[-1]["validation:loss"]


def test_early_stopping_ends_training(photographs: Photographs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    recipe = replace(RECIPE, epochs=20, lr=1e-6, early_stopping_patience=2, early_stopping_min_delta=0.5)
    _, history = train(photographs, recipe)
    assert len(history.rows) == 3
    assert "early stopping after epoch 3 of 20" in caplog.text


def test_a_failing_compiler_is_told_and_training_goes_on(
    photographs: Photographs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("no C++ compiler")

    expected, _ = train(photographs, replace(RECIPE, epochs=1))
    monkeypatch.setattr(torch, "compile", fail)
    state, _ = train(photographs, replace(RECIPE, epochs=1, compile=True))
    assert "torch.compile failed, going on without it: no C++ compiler" in caplog.text
    assert equal(state, expected)


def test_trying_the_compiled_network_changes_nothing(photographs: Photographs, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = train(photographs, replace(RECIPE, epochs=1))
    monkeypatch.setattr(torch, "compile", lambda module: module)
    assert equal(train(photographs, replace(RECIPE, epochs=1, compile=True))[0], expected)


def test_frozen_batch_norms_keep_their_statistics_and_train_their_scale(photographs: Photographs) -> None:
    before = network().state_dict()
    state, _ = train(photographs, replace(RECIPE, epochs=1, freeze_batch_norm=True))
    assert torch.equal(state["backbone.1.running_var"], before["backbone.1.running_var"])
    assert not torch.equal(state["backbone.1.weight"], before["backbone.1.weight"])
    assert not torch.equal(train(photographs, replace(RECIPE, epochs=1))[0]["backbone.1.running_var"], torch.ones(8))
    assert Recipe.for_all_layers(TrainingConfig(), after_probe=False).freeze_batch_norm
    assert not Recipe.for_all_layers(TrainingConfig(pretrained=False), after_probe=False).freeze_batch_norm


def test_training_that_diverges_ends_with_the_best_model_before(
    photographs: Photographs, caplog: pytest.LogCaptureFixture
) -> None:
    trained, history = network(), History(photographs.class_names)
    tuner = FineTuner(
        trained, photographs, PREPROCESSING, UnreadablePhotographs(0.0), device="cpu", num_workers=0, num_threads=1
    )
    tuner.run(RECIPE, history, StopSignal())
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    diverging = replace(RECIPE, lr=1e30, optimizer_name="sgd", lr_warmup_epochs=0.0)
    tuner.run(diverging, history, StopSignal())
    assert equal(trained.state_dict(), before)
    assert "training diverged in epoch 1, and ends with the best model before" in caplog.text
    with pytest.raises(UserError, match=r"training diverged in epoch 1: .* set a lower lr"):
        tuner.run(diverging, History(photographs.class_names), StopSignal())


def test_the_cache_is_gone_after_training(photographs: Photographs, tmp_path: Path) -> None:
    train(photographs, replace(RECIPE, epochs=2), photograph_cache=None, cache_directory=tmp_path)
    assert list(tmp_path.rglob("*.bin")) == []


def test_a_stop_before_the_first_epoch_ends_saves_what_there_is(photographs: Photographs) -> None:
    stop = StopSignal()
    stop.requested = True
    _, history = train(photographs, RECIPE, stop)
    assert len(history.rows) == 1


def test_precision_auto_is_float32_on_a_cpu() -> None:
    assert choose_dtype("auto", torch.device("cpu")) is None
    assert choose_dtype("float32", torch.device("cuda")) is None
    assert choose_dtype("bf16", torch.device("cpu")) is torch.bfloat16
