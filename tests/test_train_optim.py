"""Recipes: optimizers, schedules, parameter groups and early stopping."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import pytest
import torch
from torch import nn

from classifier.architectures import create_network
from train.config import OptimizerName, ScheduleName, TrainingConfig
from train.history import EarlyStopping
from train.optim import Recipe, block_depths, parameter_groups

RECIPE = Recipe(
    "finetune", epochs=10, batch_size=8, lr=0.01, weight_decay=0.1, label_smoothing=0.0, seed=0, lr_warmup_epochs=1.0
)


def rates(recipe: Recipe, steps_per_epoch: int = 10) -> list[float]:
    """Collect the learning rate of every step."""
    optimizer, schedule = recipe.optimizer(nn.Linear(2, 2), recipe.epochs * steps_per_epoch)
    collected = []
    for _ in range(recipe.epochs * steps_per_epoch):
        collected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return collected


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_every_optimizer_lowers_the_loss_from_its_own_default_rate(name: OptimizerName) -> None:
    torch.manual_seed(0)
    recipe = replace(Recipe.for_all_layers(TrainingConfig(optimizer=name), after_probe=False), lr_schedule="constant")
    images, labels = torch.randn(64, 10), torch.arange(64) % 2
    images[:, 0] += 4.0 * labels
    network = nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
    optimizer, schedule = recipe.optimizer(network, 100)
    losses = []
    for _ in range(100):
        loss = recipe.criterion()(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_hyperparameters_reach_the_optimizer(name: OptimizerName) -> None:
    config = TrainingConfig(optimizer=name, momentum=0.8, beta_1=0.7, beta_2=0.9, eps=1e-3, lr=0.02)
    optimizer, _ = Recipe.for_all_layers(config, after_probe=False).optimizer(nn.Linear(2, 2), 10)
    defaults = optimizer.defaults
    assert defaults["lr"] == 0.02
    if name in ("sgd", "nag"):
        assert (defaults["momentum"], defaults["nesterov"]) == (0.8, name == "nag")
    elif name in ("adam", "adamw"):
        assert (defaults["betas"], defaults["eps"], defaults["fused"]) == ((0.7, 0.9), 1e-3, True)
    else:
        assert defaults["eps"] == 1e-3


def test_nag_without_momentum_is_sgd() -> None:
    optimizer, _ = replace(RECIPE, optimizer_name="nag", momentum=0.0).optimizer(nn.Linear(2, 2), 10)
    assert not optimizer.defaults["nesterov"]


def test_warm_up_rises_over_its_epochs_then_cosine_falls_to_nothing() -> None:
    values = rates(RECIPE)
    assert values[:10] == pytest.approx([0.001 * (i + 1) for i in range(10)])
    assert values[10] == pytest.approx(0.01)
    assert values[55] == pytest.approx(0.005)
    assert values[-1] < 1e-5
    assert all(later <= earlier for earlier, later in pairwise(values[10:]))


def test_step_falls_by_gamma_after_its_epochs() -> None:
    values = rates(replace(RECIPE, lr_schedule="step", lr_gamma=0.1, lr_step_epochs=4, lr_warmup_epochs=0.0))
    assert [values[i] for i in (0, 39, 40, 79, 80)] == pytest.approx([0.01, 0.01, 0.001, 0.001, 0.0001])


def test_constant_stays() -> None:
    assert set(rates(replace(RECIPE, lr_schedule="constant", lr_warmup_epochs=0.0))) == {0.01}


def test_one_cycle_rises_to_its_peak_and_falls_below_its_start() -> None:
    values = rates(replace(RECIPE, lr_schedule="one_cycle", lr_warmup_epochs=None))
    assert max(values) == pytest.approx(0.01, rel=0.01)
    assert 25 <= values.index(max(values)) <= 32
    assert values[-1] < values[0] < max(values) / 10


@pytest.mark.parametrize("schedule", get_args(ScheduleName))
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adadelta"])
def test_every_schedule_works_with_one_step_in_all(schedule: ScheduleName, optimizer: OptimizerName) -> None:
    recipe = replace(RECIPE, epochs=1, lr_schedule=schedule, optimizer_name=optimizer, lr_warmup_epochs=None)
    values = rates(recipe, steps_per_epoch=1)
    assert all(0 < value <= 0.01 for value in values)


def test_biases_and_norms_do_not_decay() -> None:
    network = create_network("resnet18", 3)
    for layer_decay in (1.0, 0.7):
        for group in parameter_groups(network, 0.01, 0.1, layer_decay):
            assert all((parameter.ndim > 1) == (group["weight_decay"] > 0) for parameter in group["params"])


def test_frozen_parameters_are_left_out() -> None:
    network = create_network("resnet18", 3)
    network.set_frozen(True)
    for layer_decay in (1.0, 0.7):
        groups = parameter_groups(network, 0.01, 0.1, layer_decay)
        assert sum(len(group["params"]) for group in groups) == 2


@pytest.mark.parametrize(
    ("architecture", "num_blocks"),
    [
        ("resnet18", 9),  # the stem and 8 basic blocks
        ("mobilenet_v3_small", 14),
        ("efficientnet_b0", 18),
        ("vgg11", 10),
        ("shufflenet_v2_x0_5", 18),
        ("timm/tf_efficientnet_lite0", 17),
        ("timm/vit_tiny_patch16_224", 13),
    ],
)
def test_layer_decay_is_geometric_in_depth_and_the_head_keeps_its_rate(architecture: str, num_blocks: int) -> None:
    network = create_network(architecture, 3)
    depths = block_depths(network.backbone)
    assert set(depths) == {name for name, _ in network.backbone.named_parameters()}
    assert sorted(set(depths.values())) == list(range(num_blocks))
    groups = parameter_groups(network, 0.01, 0.1, 0.5)
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert rate[id(network.head.weight)] == 0.01
    for name, parameter in network.backbone.named_parameters():
        assert rate[id(parameter)] == pytest.approx(0.01 * 0.5 ** (num_blocks - depths[name]))
    assert depths[next(iter(depths))] == 0


def test_layer_decay_keeps_its_ratios_under_a_schedule() -> None:
    network = create_network("resnet18", 3)
    for schedule in get_args(ScheduleName):
        optimizer, scheduler = replace(RECIPE, layer_decay=0.5, lr_schedule=schedule).optimizer(network, 100)
        for _ in range(30):
            optimizer.step()
            scheduler.step()
        values = sorted({round(math.log2(group["lr"]), 6) for group in optimizer.param_groups})
        assert [round(b - a, 4) for a, b in pairwise(values)] == [1.0] * 9


def test_vision_transformers_blocks_are_their_encoder_layers() -> None:
    depths = block_depths(create_network("vit_b_16", 3).backbone)
    layers = [depths[f"encoder.layers.encoder_layer_{i}.mlp.0.weight"] for i in range(12)]
    assert layers == list(range(2, 14))
    assert depths["class_token"] == depths["encoder.pos_embedding"] == 0


def test_early_stopping_waits_for_a_fall_of_min_delta() -> None:
    stopping = EarlyStopping(patience=2, min_delta=0.1)
    assert [stopping.is_over(loss) for loss in (1.0, 0.95, 0.8, 0.75, 0.72)] == [False, False, False, False, True]


def test_early_stopping_without_patience_never_stops() -> None:
    stopping = EarlyStopping(patience=None, min_delta=0.0)
    assert not any(stopping.is_over(1.0) for _ in range(100))


def test_fine_tuning_after_a_probe_has_a_tenth_of_the_learning_rate_unless_one_is_given() -> None:
    alone = Recipe.for_all_layers(TrainingConfig(), after_probe=False)
    assert Recipe.for_all_layers(TrainingConfig(), after_probe=True).lr == pytest.approx(alone.lr / 10)
    assert Recipe.for_all_layers(TrainingConfig(lr=0.02), after_probe=True).lr == 0.02
