"""Compares what `kennel tune` chooses on this machine with random search and with Optuna's defaults.

    benchmarks/tuning_quality.py [--seeds 20] [--trials 50]

Bayesian: best value so far on published test functions (Hartmann 6; Branin with a logarithmic axis, as a learning rate
has) and on a surface of the shape of a training job's loss, by seed. Hyperband: epochs until the target that full
training reaches, on learning curves whose order at an early epoch is right in most cases only.
Sources: Surjanovic and Bingham, "Virtual Library of Simulation Experiments"; Li et al., "Hyperband" (2018).
"""

import argparse
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from jobs.tuner import Tuner

Parameters = dict[str, float]
Surface = Callable[[Parameters], float]

HARTMANN_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
HARTMANN_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


@dataclass(frozen=True)
class Task:
    """A surface to minimise, and its ranges as a request has them."""

    name: str
    surface: Surface
    ranges: dict[str, list[dict[str, str]]]


def hartmann(values: Parameters) -> float:
    """Compute Hartmann 6: lowest -3.32237."""
    point = np.array([values[f"x{i}"] for i in range(6)])
    return float(-(HARTMANN_ALPHA * np.exp(-(HARTMANN_A * (point - HARTMANN_P) ** 2).sum(1))).sum())


def branin(values: Parameters) -> float:
    """Compute Branin over a logarithmic axis: lowest 0.397887."""
    x, y = 5 * (math.log10(values["lr"]) + 3) + 2.5, values["y"]
    a, b, c, r, s, t = 1, 5.1 / (4 * math.pi**2), 5 / math.pi, 6, 10, 1 / (8 * math.pi)
    return a * (y - b * x**2 + c * x - r) ** 2 + s * (1 - t) * math.cos(x) + s


def training_loss(values: Parameters) -> float:
    """Give a loss with a valley along lr over batch size, a weak weight decay and a useless hyperparameter."""
    step = math.log10(values["lr"]) - 0.5 * math.log10(values["batch_size"] / 32)
    decay = math.log10(values["weight_decay"])
    return 0.1 + 0.25 * (step + 2.3) ** 2 + 0.02 * (decay + 1.5) ** 2 + 0.5 * values["label_smoothing"] ** 2


def number(name: str, low: float, high: float, scale: str = "Linear") -> dict[str, str]:
    """Write a range."""
    return {"Name": name, "MinValue": str(low), "MaxValue": str(high), "ScalingType": scale}


TASKS = (
    Task("Hartmann 6", hartmann, {"ContinuousParameterRanges": [number(f"x{i}", 0, 1) for i in range(6)]}),
    Task(
        "Branin, one axis logarithmic",
        branin,
        {"ContinuousParameterRanges": [number("lr", 1e-4, 1e-1, "Logarithmic"), number("y", 0, 15)]},
    ),
    Task(
        "loss of a training job",
        training_loss,
        {
            "ContinuousParameterRanges": [
                number("lr", 1e-4, 0.1, "Logarithmic"),
                number("weight_decay", 1e-3, 1, "Logarithmic"),
                number("label_smoothing", 0, 0.2),
            ],
            "IntegerParameterRanges": [number("batch_size", 16, 512, "Logarithmic")],
        },
    ),
)


def configuration(strategy: str, ranges: dict[str, Any], num_trials: int, seed: int, **more: Any) -> dict[str, Any]:
    """Write HyperParameterTuningJobConfig."""
    return {
        "Strategy": strategy,
        "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "validation:loss"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": num_trials, "MaxParallelTrainingJobs": 1},
        "ParameterRanges": ranges,
        "RandomSeed": seed,
        **more,
    }


def search(task: Task, strategy: str, num_trials: int, seed: int) -> list[float]:
    """Give the best value so far after each trial of our tuner."""
    tuner = Tuner("benchmark", configuration(strategy, task.ranges, num_trials, seed), {})
    values: list[float] = []
    for _ in range(num_trials):
        suggestion = tuner.suggest()
        values.append(task.surface({name: float(text) for name, text in suggestion.parameters.items()}))
        tuner.tell(suggestion.number, "Completed", values[-1])
    return list(np.minimum.accumulate(values))


def optuna_default(task: Task, num_trials: int, seed: int) -> list[float]:
    """Give the best value so far after each trial of Optuna as it comes."""
    from jobs.tuner import Space

    space = Space(task.ranges).distributions
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    values: list[float] = []
    for _ in range(num_trials):
        trial = study.ask(space)
        values.append(task.surface(trial.params))
        study.tell(trial, values[-1])
    return list(np.minimum.accumulate(values))


def curve(seed: int, lr: float, epoch: int) -> float:
    """Give the validation loss after an epoch: what is best at first is mostly, not always, best at last."""
    noise = np.random.default_rng([seed, int(lr * 1e9)]).normal(0, 0.02, 100)
    distance = abs(math.log10(lr) + 2)
    return 0.1 + 0.3 * distance + (1.2 + 0.2 * distance) * math.exp(-epoch / 6) + float(noise[epoch]) / (1 + epoch / 9)


def halving(strategy: str, num_trials: int, epochs: int, seed: int, target: float) -> tuple[float, int]:
    """Search by learning curves; give the lowest final loss and the epochs until the target, all where it is missed."""
    ranges = {"ContinuousParameterRanges": [number("lr", 1e-4, 1, "Logarithmic")]}
    limits = {"StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": epochs}}}
    more = limits if strategy == "Hyperband" else {}
    tuner = Tuner("benchmark", configuration(strategy, ranges, num_trials, seed, **more), {})
    lowest, used, reached = math.inf, 0, 0
    for _ in range(num_trials):
        suggestion = tuner.suggest()
        value = math.inf
        for epoch in range(1, epochs + 1):
            value, used = curve(seed, float(suggestion.parameters["lr"]), epoch), used + 1
            if tuner.report(suggestion.number, epoch, value):
                tuner.tell(suggestion.number, "Stopped", value)
                break
        else:
            tuner.tell(suggestion.number, "Completed", value)
        lowest = min(lowest, value)
        if lowest <= target and not reached:
            reached = used
    return lowest, reached or used


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=50)
    arguments = parser.parse_args()
    seeds = range(arguments.seeds)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    counts = [number for number in (12, 20, 30, 50) if number <= arguments.trials]
    print(
        "| surface | trials | kennel | Optuna's default | random | better than random |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    for task in TASKS:
        for count in counts:
            ours = [search(task, "Bayesian", count, seed)[-1] for seed in seeds]
            default = [optuna_default(task, count, seed)[-1] for seed in seeds]
            random = [search(task, "Random", count, seed)[-1] for seed in seeds]
            wins = sum(a < b for a, b in zip(ours, random, strict=True))
            cells = [
                f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}" for values in (ours, default, random)
            ]
            print(f"| {task.name} | {count} | {' | '.join(cells)} | {wins} of {len(ours)} |", flush=True)
    print(
        "\n| search of 30 trials, 27 epochs | lowest loss | epochs to the target | epochs in all |\n"
        "| --- | --- | --- | --- |"
    )
    full = [halving("Bayesian", 30, 27, seed, -1.0) for seed in seeds]
    pruned = [halving("Hyperband", 30, 27, seed, lowest + 0.005) for seed, (lowest, _) in zip(seeds, full, strict=True)]
    whole = [halving("Bayesian", 30, 27, seed, lowest + 0.005) for seed, (lowest, _) in zip(seeds, full, strict=True)]
    used = [halving("Hyperband", 30, 27, seed, -1.0) for seed in seeds]
    for name, runs, all_epochs in (("Bayesian", whole, full), ("Hyperband", pruned, used)):
        losses, epochs = [run[0] for run in runs], [run[1] for run in runs]
        total = statistics.mean(run[1] for run in all_epochs)
        print(f"| {name} | {statistics.mean(losses):.4f} | {statistics.mean(epochs):.0f} | {total:.0f} |")


if __name__ == "__main__":
    main()
