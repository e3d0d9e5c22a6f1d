"""Rules on losses."""

import math
import random
from typing import Any

import pytest
from rule_records import data, epochs, falling, fires, job, judge, record, stage, steps, tensor


def noisy(mean: list[float], deviation: float, seed: int = 0) -> list[float]:
    generator = random.Random(seed)
    return [value + generator.gauss(0, deviation) for value in mean]


@pytest.mark.parametrize("seed", range(5))
def test_a_loss_that_stays_is_found_and_one_that_falls_is_not(seed: int) -> None:
    assert fires("LossNotDecreasing", record(steps(noisy([0.69] * 120, 0.03, seed))))
    assert not fires("LossNotDecreasing", record(steps(noisy(falling(120, 0.7, 0.4), 0.1, seed))))


@pytest.mark.parametrize("seed", range(5))
def test_a_short_noisy_job_is_not_blamed(seed: int) -> None:
    assert not fires("LossNotDecreasing", record(steps(noisy(falling(20, 0.7, 0.62), 0.2, seed))))


@pytest.mark.parametrize(("end", "expected"), [(0.999, True), (0.99, False)])
def test_a_fall_counts_from_diff_percent_on(end: float, expected: bool) -> None:
    # A straight fall: the thirds differ by two thirds of it, 0.07 % or 0.7 %.
    given = record(steps(noisy(falling(600, 1.0, end), 1e-6)))
    assert fires("LossNotDecreasing", given) is expected
    assert fires("LossNotDecreasing", given, diff_percent=5)


@pytest.mark.parametrize(("end", "expected"), [(1.02, False), (1.2, True), (100.0, True)])
def test_a_rise_counts_from_increase_threshold_percent_on(end: float, expected: bool) -> None:
    rising = noisy([1.0] * 40 + [end] * 80, 0.1)
    result = judge("LossNotDecreasing", record(steps(rising, lr=0.5), stage()), diff_percent=0)
    assert ("stayed" not in result.finding) is expected
    if expected:
        assert "lr=0.05" in result.advice


@pytest.mark.parametrize(("end", "expected"), [(1.0, False), (1.1, True)])
def test_a_loss_that_exploded_and_ends_above_guessing_is_found(end: float, expected: bool) -> None:
    # Guessing between two classes gives 0.69; one and a half times that is 1.04.
    given = record(data([50, 50]), steps([0.69, *falling(79, 1e9, 10), *[end] * 80]))
    assert fires("LossNotDecreasing", given) is expected


def test_a_loss_that_gives_back_most_of_its_fall_is_found() -> None:
    losses = noisy(falling(60, 2.0, 0.5) + falling(60, 0.5, 1.6), 0.02)
    result = judge("LossNotDecreasing", record(steps(losses)))
    assert "again" in result.finding
    assert 55 <= (result.first_step or 0) <= 65


def test_a_plateau_after_a_fall_is_no_trouble() -> None:
    assert not fires("LossNotDecreasing", record(steps(noisy(falling(40, 2.0, 0.3) + [0.3] * 80, 0.05))))


def test_a_solved_task_has_nothing_left_to_fall() -> None:
    given = [steps([0.2] * 60), epochs([0.2, 0.2], [0.2, 0.2], train_accuracy=[0.99, 0.99])]
    assert not fires("LossNotDecreasing", record(*given))
    assert fires("LossNotDecreasing", record(given[0]))


def test_many_labels_are_nearly_all_absent_and_say_nothing_of_a_solved_task() -> None:
    given = [steps([0.2] * 60), epochs([0.2, 0.2], [0.2, 0.2], train_accuracy=[0.99, 0.99])]
    assert fires("LossNotDecreasing", record({**data([50, 50]), "task": "multi_label"}, *given))


def test_too_few_steps_are_not_judged() -> None:
    assert judge("LossNotDecreasing", record(steps([0.7] * 11))).status == "NotApplicable"
    assert fires("LossNotDecreasing", record(steps([0.7] * 12)))


def test_losses_that_are_no_number_are_left_to_another_rule() -> None:
    assert not fires("LossNotDecreasing", record(steps(falling(60) + [math.nan] * 30)))
    assert judge("LossNotDecreasing", record(steps([math.nan] * 60))).status == "NotApplicable"


def test_a_window_of_steps_is_shortened_in_a_short_job() -> None:
    assert judge("LossNotDecreasing", record(steps(falling(20)))).parameters["num_steps"] == 4
    assert judge("LossNotDecreasing", record(steps(falling(500)))).parameters["num_steps"] == 10


@pytest.mark.parametrize(("rise", "expected"), [(1.09, False), (1.12, True)])
def test_validation_must_pay_for_an_overfit(rise: float, expected: bool) -> None:
    given = record(epochs([0.5, 0.3, 0.1], [0.6, 0.5, 0.5 * rise]))
    assert fires("Overfit", given) is expected


@pytest.mark.parametrize(("train", "expected"), [(0.454, True), (0.455, False), (0.46, False)])
def test_an_overfit_begins_at_the_ratio(train: float, expected: bool) -> None:
    # The validation loss is 0.5: (0.5 - 0.4545) / 0.4545 = 0.1
    accuracies: dict[str, Any] = {"train_accuracy": [0.9, 0.9], "validation_accuracy": [0.8, 0.8]}
    given = record(epochs([0.5, train], [0.5, 0.5], **accuracies))
    assert fires("Overfit", given) is expected
    assert not fires("Overfit", given, ratio_threshold=0.2)


def test_an_overfit_must_last_for_the_patience_and_begins_after_the_first_epochs() -> None:
    given = record(epochs([0.5, 0.5, 0.1], [0.5, 0.5, 0.9]))
    assert fires("Overfit", given)
    assert not fires("Overfit", given, patience=2)
    assert judge("Overfit", given, start_step=2).status == "NotApplicable"


def test_an_overfit_is_a_problem_in_fine_tuning_and_advice_in_a_probe() -> None:
    accuracies: dict[str, Any] = {"train_accuracy": [0.9, 1.0], "validation_accuracy": [0.7, 0.6]}
    tuned = judge("Overfit", record(epochs([0.5, 0.01], [0.8, 1.6], **accuracies)))
    probed = judge("Overfit", record(epochs([0.5, 0.01], [0.8, 1.6], stage="linear_probe", **accuracies)))
    assert (tuned.severity, probed.severity) == ("problem", "advice")
    assert "epochs=1" in tuned.advice
    assert "num_views=4" in probed.advice


@pytest.mark.parametrize(("still", "expected"), [(2, False), (3, True), (6, True)])
def test_training_goes_on_too_long_when_no_loss_falls(still: int, expected: bool) -> None:
    # Of nine epochs a third is patience enough.
    losses = falling(9 - still, 1.0, 0.5) + [0.495] * still
    given = record(epochs(losses, losses))
    result = judge("Overtraining", given)
    assert (result.status == "IssuesFound") is expected
    assert result.parameters["patience_train"] == 3
    if expected:
        assert f"epochs={9 - still}" in result.advice
        assert result.gain == pytest.approx(still * 10 / 100)


def test_training_that_still_lowers_one_of_the_losses_goes_on() -> None:
    assert not fires("Overtraining", record(epochs(falling(9, 1.0, 0.5), [0.5] * 9)))


def test_epochs_that_cost_nothing_are_not_worth_a_word() -> None:
    given = record(epochs([0.5] * 20, [0.5] * 20, seconds=0.01), {"kind": "end", "time": 60.0, "status": "completed"})
    assert not fires("Overtraining", given)


def begun(variances: tuple[float, float], losses: list[float], spread: float = 0.4) -> list[Any]:
    return [
        data([50, 50]),
        steps(losses),
        tensor("relu1_input_0", "relu_input", 4, std=variances[0] ** 0.5),
        tensor("relu2_input_0", "relu_input", 4, std=variances[1] ** 0.5),
        tensor("gradient/fc.weight", "gradients", 4, p5=-spread / 2, p95=spread / 2),
        tensor("fc.weight", "updates", 4, ratio=0.01, max_abs_change=0.01),
    ]


@pytest.mark.parametrize(("variances", "losses", "expected"), [
    ((1.0, 10.1), [60.0] * 20 + falling(20, 60, 1), True),
    ((1.0, 9.9), [60.0] * 20 + falling(20, 60, 1), False),
    ((1.0, 10.1), falling(40, 0.7, 0.2), False),
    ((1.0, 10.1), [0.69, 0.7] * 20, False),
])  # fmt: skip
def test_first_weights_are_poor_when_layers_differ_and_training_does_not_get_going(
    variances: tuple[float, float], losses: list[float], expected: bool
) -> None:
    assert fires("PoorWeightInitialization", record(*begun(variances, losses))) is expected


@pytest.mark.parametrize(("variance", "spread", "expected"), [
    (10.1, 0.00099, True), (10.1, 0.0011, False), (9.9, 0.00099, False),
])  # fmt: skip
def test_first_weights_are_poor_when_the_loss_stays_and_both_signs_are_there(
    variance: float, spread: float, expected: bool
) -> None:
    given = record(*begun((1.0, variance), [0.69, 0.7] * 20, spread))
    assert fires("PoorWeightInitialization", given) is expected


def test_a_head_that_trains_for_twenty_epochs_has_no_problem() -> None:
    """The default job on a CPU: steps are merged, an epoch a row, and take a millisecond."""
    losses = [0.9 * 0.7**i + 0.005 for i in range(20)]
    probe = steps(losses, stage="linear_probe", epochs=20, merged=40, times={"forward": 0.001})
    rows = epochs(losses, [loss + 0.1 for loss in losses], stage="linear_probe", seconds=0.05,
                  train_accuracy=[1.0] * 20, validation_accuracy=[0.97] * 20)  # fmt: skip
    given = record(job(), data([100, 100]), stage("linear_probe", epochs=20), probe, rows,
                   {"kind": "end", "time": 30.0, "status": "completed"})  # fmt: skip
    for rule in ("LossNotDecreasing", "Overfit", "Overtraining", "StalledTraining"):
        assert judge(rule, given).severity == "advice", rule
    assert not fires("LossNotDecreasing", given)
    assert not fires("Overtraining", given)
    assert judge("Dataloader", given).status == judge("BatchSize", given).status == "NotApplicable"
