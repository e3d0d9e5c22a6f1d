"""Rules on gradients, weights and activations."""

import math
from typing import Any

import pytest
from rule_records import Event, dead, falling, fires, job, judge, record, stage, steps, tensor

LAYERS = ("conv1.weight", "conv2.weight", "fc.weight")


def gradients(mean_abs: float, number: int = 4) -> list[Event]:
    return [row for name in LAYERS for row in tensor(f"gradient/{name}", "gradients", number, mean_abs=mean_abs)]


@pytest.mark.parametrize(("mean_abs", "expected"), [(9.9e-8, True), (1e-7, False), (1.1e-7, False), (0.0, True)])
def test_a_gradient_vanishes_below_the_threshold(mean_abs: float, expected: bool) -> None:
    given = record(steps(falling(4, 2.0, 1.0)), gradients(mean_abs))
    assert fires("VanishingGradient", given) is expected
    assert fires("VanishingGradient", given, threshold=1e-9) is (mean_abs == 0)


@pytest.mark.parametrize(("loss", "expected"), [(0.01, False), (0.011, True), (1.0, True), (9.0, True)])
def test_a_gradient_may_fall_with_the_loss(loss: float, expected: bool) -> None:
    assert fires("VanishingGradient", record(steps([loss] * 4), gradients(1e-9))) is expected


def test_the_first_gradient_below_a_head_of_zeros_does_not_count() -> None:
    first = tensor("gradient/conv.weight", "gradients", 3, mean_abs=(0.0, 0.01, 1e-9))
    assert not fires("VanishingGradient", record(steps(falling(3)), first))


def test_one_vanishing_layer_of_many_is_advice_and_many_are_a_problem() -> None:
    few = [row for i in range(9) for row in tensor(f"gradient/{i}.weight", "gradients", 4, mean_abs=0.01)]
    one = tensor("gradient/first.weight", "gradients", 4, mean_abs=1e-9)
    result = judge("VanishingGradient", record(steps(falling(4)), few, one))
    assert (result.severity, result.triggered, result.datapoints, result.first_step) == ("advice", 3, 40, 1)
    assert "gradient/first.weight" in result.finding
    assert judge("VanishingGradient", record(steps(falling(4)), gradients(1e-9))).severity == "problem"


def test_a_bias_before_a_normalisation_has_no_gradient_and_is_left_out() -> None:
    bias = tensor("gradient/conv1.bias", "gradients", 4, mean_abs=1e-10)
    assert not fires("VanishingGradient", record(steps(falling(4)), gradients(0.01), bias))


@pytest.mark.parametrize(("loss", "expected"), [(math.nan, True), (math.inf, True), (-math.inf, True), (1e30, False)])
def test_a_loss_that_is_not_finite_explodes(loss: float, expected: bool) -> None:
    given = record(job(), steps([1.0, 0.9, loss, 0.8]))
    result = judge("ExplodingTensor", given)
    assert (result.status == "IssuesFound") is expected
    assert (result.first_step == 2) is expected
    if expected:
        assert result.severity == "problem"
        assert "lr=0.0001" in result.advice
        assert "max_grad_norm=1.0" in result.advice


@pytest.mark.parametrize(("column", "only_nan", "expected"), [
    ("nan", False, True), ("inf", False, True), ("nan", True, True), ("inf", True, False), ("zeros", False, False),
])  # fmt: skip
def test_a_tensor_explodes_by_what_is_counted_in_it(column: str, only_nan: bool, expected: bool) -> None:
    given = record(steps(falling(4)), tensor("fc.weight", "weights", 4, **{column: (0, 0, 0, 1)}))
    assert fires("ExplodingTensor", given, only_nan=only_nan) is expected


def test_infinite_gradients_that_loss_scaling_skips_are_no_trouble() -> None:
    exploded = tensor("gradient/fc.weight", "gradients", 4, inf=(1, 0, 0, 0))
    assert not fires("ExplodingTensor", record(job(precision="fp16"), steps(falling(4)), exploded))
    assert fires("ExplodingTensor", record(job(precision="float32"), steps(falling(4)), exploded))
    assert fires("ExplodingTensor", record(job(precision="fp16"), steps([1.0, math.nan]), exploded))


@pytest.mark.parametrize(("share", "expected"), [(45, False), (50, False), (60, True), (100, True)])
def test_a_relu_layer_is_dead_when_too_many_channels_are(share: float, expected: bool) -> None:
    given = record(steps(falling(4)), tensor("layer1.0.relu_output_0", "relu_output", 4, activity=dead(share)))
    assert fires("DeadRelu", given) is expected
    assert not fires("DeadRelu", given, threshold_layer=100)


@pytest.mark.parametrize(("activity", "expected"), [(0.99, True), (1.0, False), (1.01, False)])
def test_a_channel_is_dead_below_the_threshold_of_inactivity(activity: float, expected: bool) -> None:
    given = record(tensor("relu_output_0", "relu_output", 4, activity=[activity] * 21))
    assert fires("DeadRelu", given) is expected


def test_dead_channels_are_a_problem_when_they_are_most_of_a_layer() -> None:
    half = judge("DeadRelu", record(tensor("relu_output_0", "relu_output", 4, activity=dead(60))))
    most = judge("DeadRelu", record(tensor("relu_output_0", "relu_output", 4, activity=dead(95))))
    assert (half.severity, most.severity) == ("advice", "problem")


def test_a_relu_that_comes_alive_again_is_not_dead() -> None:
    given = record(tensor("relu_output_0", "relu_output", 4, activity=(dead(100), dead(100), dead(0), dead(0))))
    assert not fires("DeadRelu", given)


@pytest.mark.parametrize(("saturated", "expected"), [(98.9, False), (99.0, True), (100.0, True)])
def test_a_tanh_is_saturated_when_hardly_any_value_is_within_its_range(saturated: float, expected: bool) -> None:
    given = record(tensor("tanh_input_0", "tanh_input", 4, saturated=[saturated] * 21))
    assert fires("SaturatedActivation", given) is expected


def updates(ratio: float | tuple[float, ...], number: int = 4, **values: Any) -> list[Event]:
    given = {"mean_abs": 0.01, "max_abs_change": 0.02, **values}
    return [row for name in LAYERS for row in tensor(name, "updates", number, ratio=ratio, **given)]


@pytest.mark.parametrize(
    ("ratio", "expected"), [(9.9, False), (10.0, False), (10.1, True), (1e-8, False), (9e-9, True)]
)
def test_a_weight_changes_too_much_or_too_little(ratio: float, expected: bool) -> None:
    assert fires("WeightUpdateRatio", record(steps(falling(4)), updates(ratio))) is expected


def test_the_first_change_of_a_weight_that_began_at_zero_is_no_trouble() -> None:
    assert not fires("WeightUpdateRatio", record(updates((1e6, 0.5, 0.1, 0.1))))


def test_the_end_of_a_schedule_changes_little_and_is_no_trouble() -> None:
    assert not fires("WeightUpdateRatio", record(updates((0.01, 0.01, 1e-4, 1e-10))))


def test_a_tiny_learning_rate_is_named_in_the_advice() -> None:
    result = judge("WeightUpdateRatio", record(steps([0.7] * 4, lr=1e-12), updates(0.0)))
    assert "1e-12" in result.advice
    assert result.severity == "problem"


@pytest.mark.parametrize(("change", "expected"), [(0.0, True), (2.4e-7, True), (3e-7, False), (0.02, False)])
def test_a_weight_is_unchanged_within_the_tolerance_of_all_its_changes(change: float, expected: bool) -> None:
    # mean |weight| is 0.1: within 1e-8 + 1e-5 * 0.1 = 1.01e-6, over four changes
    given = record(stage(), updates(0.1, max_abs_change=change))
    assert fires("UnchangedTensor", given) is expected


@pytest.mark.parametrize(("number", "applies"), [(1, False), (2, True)])
def test_a_weight_must_have_been_logged_three_times_to_be_unchanged(number: int, applies: bool) -> None:
    result = judge("UnchangedTensor", record(updates(0.0, number, max_abs_change=0.0)))
    assert (result.status == "IssuesFound") is applies
    assert (result.status == "NotApplicable") is not applies


def test_the_factor_between_layers_is_named_when_it_freezes_some() -> None:
    frozen = tensor("stem.weight", "updates", 4, ratio=0.0, mean_abs=0.0, max_abs_change=0.0)
    result = judge("UnchangedTensor", record(job(layer_decay=0.01), steps(falling(4)), updates(0.1), frozen))
    assert result.severity == "problem"
    assert "layer_decay=1.0" in result.advice


@pytest.mark.parametrize(("zeros", "threshold", "expected"), [
    (1.0, 100, True), (0.999, 100, False), (0.9, 90, True), (0.89, 90, False),
])  # fmt: skip
def test_a_tensor_is_zero_at_the_threshold(zeros: float, threshold: float, expected: bool) -> None:
    given = record(tensor("Net_input_0", "inputs", 4, zeros=zeros))
    assert fires("AllZero", given, threshold=threshold) is expected


def test_a_tensor_that_was_zero_at_first_only_is_no_trouble() -> None:
    assert not fires("AllZero", record(tensor("head.weight", "weights", 4, zeros=(1.0, 0.0, 0.0, 0.0))))


def test_zero_inputs_are_a_problem_and_point_to_the_photographs() -> None:
    result = judge("AllZero", record(tensor("Net_input_0", "inputs", 2, zeros=1.0), gradients(0.01)))
    assert result.severity == "problem"
    assert "photographs" in result.advice


@pytest.mark.parametrize(("std", "expected"), [(0.1, False), (2.0, False), (2.1, True), (0.05, True)])
def test_a_variance_has_limits_when_they_are_set(std: float, expected: bool) -> None:
    given = record(tensor("fc.weight", "weights", 2, std=std))
    assert fires("TensorVariance", given, max_threshold=4.0, min_threshold=0.01) is expected
    assert judge("TensorVariance", given).status == "NotApplicable"
