"""The choice of hyperparameters, without training: on functions whose best point is known."""

import math
from typing import Any

import pytest

from jobs.tuner import Tuner

LR = {"Name": "lr", "MinValue": "0.0001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
LAYERS = {"Name": "layers", "MinValue": "1", "MaxValue": "4", "ScalingType": "Linear"}
MOMENTUM = {"Name": "momentum", "MinValue": "0.5", "MaxValue": "0.999", "ScalingType": "ReverseLogarithmic"}
OPTIMIZER = {"Name": "optimizer", "Values": ["adamw", "sgd"]}
MIXED = {
    "ContinuousParameterRanges": [LR, MOMENTUM],
    "IntegerParameterRanges": [LAYERS],
    "CategoricalParameterRanges": [OPTIMIZER],
}


def config(strategy: str = "Bayesian", ranges: dict[str, Any] = MIXED, **more: Any) -> dict[str, Any]:
    return {
        "Strategy": strategy,
        "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "validation:loss"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 30, "MaxParallelTrainingJobs": 1},
        "ParameterRanges": ranges,
        "RandomSeed": 3,
        **more,
    }


def loss(parameters: dict[str, str]) -> float:
    """Lowest, 0, at lr 0.01, 2 layers, adamw."""
    distance = abs(math.log10(float(parameters["lr"])) + 2) + abs(int(parameters.get("layers", "2")) - 2)
    return distance + (parameters.get("optimizer", "adamw") == "sgd")


def best_of(tuner: Tuner, num_trials: int) -> float:
    values = []
    for _ in range(num_trials):
        suggestion = tuner.suggest()
        values.append(loss(suggestion.parameters))
        tuner.tell(suggestion.number, "Completed", values[-1])
    return min(values)


def test_values_lie_in_their_ranges_and_are_strings() -> None:
    tuner = Tuner("t", config("Random"), {})
    for _ in range(50):
        values = tuner.suggest().parameters
        assert 0.0001 <= float(values["lr"]) <= 0.1
        assert 0.5 <= float(values["momentum"]) <= 0.999
        assert values["layers"] in ("1", "2", "3", "4")
        assert values["optimizer"] in ("adamw", "sgd")


def test_reverse_logarithmic_tries_more_close_to_one() -> None:
    tuner = Tuner("t", config("Random", {"ContinuousParameterRanges": [MOMENTUM]}), {})
    momenta = sorted(float(tuner.suggest().parameters["momentum"]) for _ in range(200))
    assert momenta[100] > 0.95


def test_bayesian_comes_closer_than_random() -> None:
    scores = {}
    for strategy in ("Bayesian", "Random"):
        scores[strategy] = [best_of(Tuner("t", config(strategy, RandomSeed=seed), {}), 30) for seed in range(8)]
    assert sum(scores["Bayesian"]) < 0.7 * sum(scores["Random"])


def test_the_same_seed_suggests_the_same() -> None:
    first, second = (Tuner("t", config(), {}) for _ in range(2))
    assert [first.suggest().parameters for _ in range(5)] == [second.suggest().parameters for _ in range(5)]


def test_a_tuner_that_takes_over_goes_on_from_what_was_tried() -> None:
    tuner = Tuner("t", config(), {})
    tried = []
    for _ in range(12):
        suggestion = tuner.suggest()
        tried.append(suggestion)
        tuner.tell(suggestion.number, "Completed", loss(suggestion.parameters))
    heir = Tuner("t", config(), {}, num_resumed=12)
    for suggestion in tried:
        resumed = heir.resume(suggestion.parameters)
        assert resumed.number == suggestion.number
        for name, text in suggestion.parameters.items():
            if name == "optimizer":
                assert resumed.parameters[name] == text
            else:
                assert float(resumed.parameters[name]) == pytest.approx(float(text), rel=1e-9)
        heir.tell(resumed.number, "Completed", loss(suggestion.parameters))
    new = heir.suggest()
    assert new.number == 12
    assert new.parameters not in [suggestion.parameters for suggestion in tried]


def test_a_grid_tries_every_point_once() -> None:
    ranges = {"CategoricalParameterRanges": [OPTIMIZER, {"Name": "lr", "Values": ["0.1", "0.01", "0.001"]}]}
    tuner = Tuner("t", config("Grid", ranges), {})
    assert tuner.max_trials == 6
    points = {tuple(sorted(tuner.suggest().parameters.items())) for _ in range(6)}
    assert len(points) == 6


def test_hyperband_stops_most_bad_trials_early_and_lets_the_best_go_on() -> None:
    limits = {"StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 27}}}
    tuner = Tuner("t", config("Hyperband", {"ContinuousParameterRanges": [LR]}, **limits), {})
    epochs, lowest = {}, {}
    for _ in range(40):
        suggestion = tuner.suggest()
        for epoch in range(1, 28):
            value = loss(suggestion.parameters) + 1 / epoch
            if tuner.report(suggestion.number, epoch, value):
                tuner.tell(suggestion.number, "Stopped", value)
                break
        else:
            tuner.tell(suggestion.number, "Completed", value)
        epochs[suggestion.number], lowest[suggestion.number] = epoch, value
    assert sum(epochs.values()) < 0.5 * 40 * 27
    assert epochs[min(lowest, key=lambda number: lowest[number])] == 27


def test_early_stopping_stops_what_is_worse_than_the_median() -> None:
    tuner = Tuner("t", config(TrainingJobEarlyStoppingType="Auto"), {})
    for value in (1.0, 1.1, 1.2, 1.3, 1.4, 1.5):
        number = tuner.suggest().number
        assert not tuner.report(number, 1, value) or value > 1.4
        tuner.tell(number, "Completed", value)
    assert tuner.report(tuner.suggest().number, 1, 2.0)


@pytest.mark.parametrize(
    ("wrong", "static", "message"),
    [
        (config("Grid"), {}, "takes CategoricalParameterRanges only"),
        (config("Hyperband"), {}, "give MaxResource, or epochs"),
        (config(ranges={}), {}, "nothing to search"),
        (config(ranges={"ContinuousParameterRanges": [{**LR, "MinValue": "0"}]}), {}, "a MinValue above 0"),
        (config(ranges={"ContinuousParameterRanges": [{**LR, "MinValue": "1"}]}), {}, "is above MaxValue"),
        (config(ranges={"ContinuousParameterRanges": [{**MOMENTUM, "MaxValue": "1"}]}), {}, r"in \[0, 1\)"),
    ],
)
def test_a_search_that_cannot_be_is_refused(wrong: dict[str, Any], static: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tuner("t", wrong, static)


@pytest.mark.parametrize("name", ["epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs"])
def test_hyperband_finds_its_epochs_among_the_static_hyperparameters(name: str) -> None:
    Tuner("t", config("Hyperband"), {name: "9"})
