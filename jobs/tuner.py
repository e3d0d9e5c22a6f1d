"""Chooses hyperparameters for the training jobs of a tuning job, with Optuna, from the service's own request.

Bayesian is the tree-structured Parzen estimator (Bergstra et al. 2011), Hyperband the pruner of Li et al. 2018 with
asynchronous halving, Auto early stopping the median rule.
"""

import itertools
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

TuningConfig = Mapping[str, Any]
"""HyperParameterTuningJobConfig of the request."""

End = Literal["Completed", "Stopped", "Failed"]

EPOCH_NAMES = re.compile(r"(num|n)?[_-]?epochs")
"""Static hyperparameters that hold Hyperband's MaxResource (HyperbandStrategyConfig in the SageMaker API)."""

REDUCTION_FACTOR = 3
NUM_STARTUP_TRIALS = 10
WIDE_RATIO = 100.0
"""A range of `Auto` scale is searched by logarithm from this ratio of its ends on."""


@dataclass(frozen=True)
class Suggestion:
    """Hyperparameters to try."""

    number: int
    parameters: dict[str, str]


class Tuner:
    """Suggests hyperparameters, learns from what came of them, and says which trials are not worth going on."""

    def __init__(self, name: str, config: TuningConfig, static: Mapping[str, str], num_resumed: int = 0) -> None:
        """Read the request; some trials are to be resumed. Raises ValueError for what cannot be searched."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = Space(config.get("ParameterRanges", {}))
        # Resumed trials draw no random numbers: with the same seed the next ones would be the first ones again.
        seed = config.get("RandomSeed", zlib.crc32(name.encode())) + num_resumed
        self._grid = grid(config) if config["Strategy"] == "Grid" else []
        objective = config["HyperParameterTuningJobObjective"]
        self._study = optuna.create_study(
            study_name=name,
            direction="minimize" if objective["Type"] == "Minimize" else "maximize",
            sampler=choose_sampler(config, seed),
            pruner=choose_pruner(config, static),
        )
        self._trials: dict[int, optuna.Trial] = {}

    @property
    def max_trials(self) -> float:
        """How many trials there can be: as many as a grid has points, else no end."""
        return len(self._grid) or math.inf

    def suggest(self) -> Suggestion:
        """Choose hyperparameters that have not been tried."""
        if self._grid:
            return self.resume(self._grid[len(self._study.trials)])
        trial = self._study.ask(self._space.distributions)
        return self._note(trial)

    def resume(self, parameters: Mapping[str, str]) -> Suggestion:
        """Take up given hyperparameters as the next trial."""
        self._study.enqueue_trial(self._space.to_study(parameters))
        return self._note(self._study.ask(self._space.distributions))

    def _note(self, trial: "optuna.Trial") -> Suggestion:
        self._trials[trial.number] = trial
        return Suggestion(trial.number, self._space.to_request(trial.params))

    def report(self, number: int, step: int, value: float) -> bool:
        """Note the objective after an epoch; true when the trial should stop."""
        trial = self._trials[number]
        trial.report(value, step)
        return trial.should_prune()

    def tell(self, number: int, end: End, value: float | None) -> None:
        """Note how a trial ended."""
        from optuna.trial import TrialState

        trial = self._trials.pop(number)
        if value is None or end == "Failed":
            self._study.tell(trial, state=TrialState.FAIL)
        elif end == "Stopped" and self._study.trials[number].intermediate_values:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, value)


class Space:
    """The ranges of a request, as Optuna's distributions."""

    def __init__(self, ranges: Mapping[str, Any]) -> None:
        from optuna.distributions import CategoricalDistribution

        if ranges.get("AutoParameters"):
            raise ValueError("AutoParameters: give ranges; only the service finds them by itself")
        self._reversed: set[str] = set()
        self.distributions: dict[str, BaseDistribution] = {}
        for item in ranges.get("CategoricalParameterRanges", ()):
            self.distributions[item["Name"]] = CategoricalDistribution(item["Values"])
        for kind in ("IntegerParameterRanges", "ContinuousParameterRanges"):
            for item in ranges.get(kind, ()):
                self.distributions[item["Name"]] = self._number(item, whole=kind == "IntegerParameterRanges")
        if not self.distributions:
            raise ValueError("ParameterRanges: nothing to search; give at least one range")

    def _number(self, item: Mapping[str, str], *, whole: bool) -> "BaseDistribution":
        from optuna.distributions import FloatDistribution, IntDistribution

        name, low, high = item["Name"], float(item["MinValue"]), float(item["MaxValue"])
        scale = item.get("ScalingType", "Auto")
        if low > high:
            raise ValueError(f"{name}: MinValue={low} is above MaxValue={high}")
        if scale == "ReverseLogarithmic":
            if whole or low < 0 or high >= 1:
                raise ValueError(f"{name}: ReverseLogarithmic takes a continuous range in [0, 1)")
            self._reversed.add(name)
            return FloatDistribution(1 - high, 1 - low, log=True)
        if scale == "Logarithmic" and low <= 0:
            raise ValueError(f"{name}: Logarithmic takes a MinValue above 0")
        log = scale == "Logarithmic" or (scale == "Auto" and low > 0 and high / low >= WIDE_RATIO)
        return IntDistribution(int(low), int(high), log=log) if whole else FloatDistribution(low, high, log=log)

    def to_request(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        """Write hyperparameters as strings."""
        shown = {name: 1 - value if name in self._reversed else value for name, value in parameters.items()}
        return {name: value if isinstance(value, str) else repr(value) for name, value in shown.items()}

    def to_study(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        """Read hyperparameters from strings; those that are not searched are left out."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        values: dict[str, Any] = {}
        for name, distribution in self.distributions.items():
            if name not in parameters:
                continue
            text = parameters[name]
            if isinstance(distribution, CategoricalDistribution):
                values[name] = text
            elif isinstance(distribution, FloatDistribution):
                number = 1 - float(text) if name in self._reversed else float(text)
                values[name] = min(max(number, distribution.low), distribution.high)
            else:
                values[name] = int(text)
        return values


def choose_sampler(config: TuningConfig, seed: int) -> "optuna.samplers.BaseSampler":
    """Choose who proposes hyperparameters."""
    from optuna.samplers import RandomSampler, TPESampler

    if config["Strategy"] in ("Random", "Grid"):
        return RandomSampler(seed)
    # A short tuning job would otherwise be random to its end.
    planned = config["ResourceLimits"].get("MaxNumberOfTrainingJobs", 4 * NUM_STARTUP_TRIALS)
    num_startup = min(NUM_STARTUP_TRIALS, max(4, planned // 3))
    return TPESampler(n_startup_trials=num_startup, multivariate=True, seed=seed)


def choose_pruner(config: TuningConfig, static: Mapping[str, str]) -> "optuna.pruners.BasePruner":
    """Choose who stops trials that fall behind. Raises ValueError when Hyperband has no epochs to divide."""
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    if config["Strategy"] == "Hyperband":
        limits = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {})
        epochs = next((int(text) for name, text in static.items() if EPOCH_NAMES.fullmatch(name)), None)
        max_resource = limits.get("MaxResource", epochs)
        if max_resource is None:
            raise ValueError("Hyperband: give MaxResource, or epochs as a static hyperparameter")
        return HyperbandPruner(limits.get("MinResource", 1), max_resource, REDUCTION_FACTOR)
    if config.get("TrainingJobEarlyStoppingType") == "Auto":
        return MedianPruner()
    return NopPruner()


def grid(config: TuningConfig) -> list[dict[str, str]]:
    """List the points of a grid. Raises ValueError for a range that has no points."""
    ranges = config.get("ParameterRanges", {})
    if ranges.get("IntegerParameterRanges") or ranges.get("ContinuousParameterRanges"):
        raise ValueError("Grid: takes CategoricalParameterRanges only; list the values to try")
    names = [item["Name"] for item in ranges.get("CategoricalParameterRanges", ())]
    values = [item["Values"] for item in ranges.get("CategoricalParameterRanges", ())]
    return [dict(zip(names, point, strict=True)) for point in itertools.product(*values)]
