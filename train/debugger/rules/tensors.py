"""Rules on gradients, weights and activations."""

from collections.abc import Sequence

import numpy as np

from train.debugger.record import Record, TensorRow
from train.debugger.rules.advice import change, learn_less, learn_more
from train.debugger.rules.measures import by_tensor, hyperparameter, is_bias, named, stages
from train.debugger.rules.result import Outcome, not_applicable
from train.debugger.training_parameters import (
    AllZero,
    DeadRelu,
    ExplodingTensor,
    SaturatedActivation,
    TensorVariance,
    UnchangedTensor,
    VanishingGradient,
    WeightUpdateRatio,
)

MANY = 0.25
"""Share of tensors from which a trouble of some is one of the network."""

AS_BEFORE = 10.0
"""Points by which the share of dead nodes of pretrained weights varies from batch to batch."""

PERCENTILES = np.linspace(0, 100, 21)

FEW_ROWS = 2
"""Logged steps that it takes: one alone may be the first, before anything has changed."""

Key = tuple[str, str, str]
"""Stage, collection and name of a tensor."""


def vanishing_gradient(record: Record, parameters: VanishingGradient) -> Outcome:
    """Judge each weight by most of its logged steps after the first, in which a head of zeros passes nothing back.

    Gradients fall with the loss: the threshold is that of a loss of 1, and falls with it.
    """
    series = {key: rows for key, rows in by_tensor(record, "gradients").items() if not is_bias(key[2])}
    losses = {stage: loss_at(record, stage) for stage in stages(record)}
    small: dict[Key, list[TensorRow]] = {}
    for key, rows in series.items():
        known = losses.get(key[0], {})
        limits = [parameters.threshold * min(1.0, known.get(row.step, 1.0)) for row in rows]
        small[key] = [row for row, limit in list(zip(rows, limits, strict=True))[1:] if is_below(row, limit)]
    found = [key for key, rows in small.items() if len(series[key]) > FEW_ROWS and 2 * len(rows) > len(series[key]) - 1]
    datapoints = sum(map(len, series.values()))
    if not found:
        return Outcome(datapoints) if series else not_applicable("no gradients were recorded")
    finding = (
        f"The gradients of {len(found)} of {len(series)} weights are below {parameters.threshold:g} on average: "
        f"{named(key[2] for key in found)}."
    )
    is_pretrained = hyperparameter(record, "pretrained") is True
    advice = (
        "Take a network with normalisation layers and ReLU"
        f"{'' if is_pretrained else ', or set pretrained=true'}; see SaturatedActivation and DeadRelu first."
    )
    return found_in(found, small, len(series), datapoints, finding, advice)


def is_below(row: TensorRow, limit: float) -> bool:
    """Tell whether a tensor that is finite is small on average."""
    return row.mean_abs < limit and row.nan + row.inf == 0


def loss_at(record: Record, stage: str) -> dict[int, float]:
    """Map the steps of a stage to their losses."""
    steps = record.steps.of(stage)
    return dict(zip(steps.number.tolist(), steps.loss.tolist(), strict=True))


def found_in(
    found: Sequence[Key],
    rows: dict[Key, list[TensorRow]],
    num_tensors: int,
    datapoints: int,
    finding: str,
    advice: str,
) -> Outcome:
    """Report tensors with a trouble: a problem when many have it."""
    return Outcome(
        datapoints,
        triggered=sum(len(rows[key]) for key in found),
        finding=finding,
        advice=advice,
        severity="problem" if len(found) >= MANY * num_tensors else "advice",
        first_step=min((row.step for key in found for row in rows[key]), default=None),
        details={"tensors": [key[2] for key in found][:100]},
    )


def exploding_tensor(record: Record, parameters: ExplodingTensor) -> Outcome:
    """Judge losses and every tensor; infinite gradients that fp16's loss scaling skips do not count."""
    bad_loss = np.isnan(record.steps.loss) if parameters.only_nan else ~np.isfinite(record.steps.loss)
    is_fp16 = hyperparameter(record, "precision") == "fp16"
    scaled = is_fp16 and not bad_loss.any()
    bad = [
        row
        for row in record.tensors
        if row.nan + (0 if parameters.only_nan else row.inf) and not (scaled and row.collection == "gradients")
    ]
    datapoints = len(record.steps) + len(record.tensors)
    if not bad and not bad_loss.any():
        return Outcome(datapoints) if datapoints else not_applicable("no losses and no tensors were recorded")
    steps = [int(step) for step in record.steps.number[bad_loss]] + [row.step for row in bad]
    first = min(steps)
    names = ["the loss"] * bool(bad_loss.any()) + [row.name for row in sorted(bad, key=lambda row: row.step)]
    stage = str(record.steps.stage[bad_loss][0]) if bad_loss.any() else bad[0].stage
    return Outcome(
        datapoints,
        triggered=len(steps),
        finding=f"From step {first} on, values are infinite or no number: {named(names)}.",
        advice=learn_less(
            record, stage, precision="float32" if hyperparameter(record, "precision") == "fp16" else None
        ),
        severity="problem",
        first_step=first,
        details={"tensors": names[:100]},
    )


def dead_relu(record: Record, parameters: DeadRelu) -> Outcome:
    """Judge each ReLU by the last half of its logged steps."""
    series = by_tensor(record, "relu_output")
    shares = {
        key: [100 - share_above(row.activity, parameters.threshold_inactivity) for row in rows if row.activity]
        for key, rows in series.items()
    }
    return judge_layers(record, series, shares, parameters.threshold_layer, "ReLU", "channels never positive")


def saturated_activation(record: Record, parameters: SaturatedActivation) -> Outcome:
    """Judge each tanh and sigmoid by the last half of its logged steps."""
    series = by_tensor(record, "tanh_input", "sigmoid_input")
    limit = 100 - parameters.threshold_inactivity
    shares = {key: [share_above(row.saturated, limit) for row in rows if row.saturated] for key, rows in series.items()}
    return judge_layers(record, series, shares, parameters.threshold_layer, "tanh and sigmoid", "channels saturated")


def share_above(values: Sequence[float] | None, limit: float) -> float:
    """Interpolate the percentage of nodes whose value is at least `limit`, from percentiles 0, 5, ... 100."""
    if not values:
        return 0.0
    below = sum(value < limit for value in values)
    if below in (0, len(values)):
        return 100.0 if below == 0 else 0.0
    low, high = values[below - 1], values[below]
    return float(100 - np.interp(limit, [low, high], [PERCENTILES[below - 1], PERCENTILES[below]]))


def judge_layers(
    record: Record,
    series: dict[Key, list[TensorRow]],
    shares: dict[Key, list[float]],
    limit: float,
    kind: str,
    what: str,
) -> Outcome:
    """Report layers of which too many nodes do nothing: a problem when most of one does, as it cuts off those below.

    Pretrained weights may have such layers and be none the worse: there, only what training adds counts.
    """
    datapoints = sum(map(len, shares.values()))
    if datapoints == 0:
        return not_applicable(f"no {kind} layers were recorded")
    late = {key: values[len(values) // 2 :] for key, values in shares.items() if values}
    is_pretrained = hyperparameter(record, "pretrained") is True
    at_first = {key: values[0] + AS_BEFORE if is_pretrained else 0.0 for key, values in shares.items() if values}
    found = [key for key, values in late.items() if min(values) > limit and np.mean(values) > at_first[key]]
    found.sort(key=lambda key: -np.mean(late[key]))
    if not found:
        return Outcome(datapoints, details=layer_details(late))
    worst = float(np.mean(late[found[0]]))
    advice = change(record, found[0][0], 0.1, pretrained="true")
    return Outcome(
        datapoints,
        triggered=sum(len(late[key]) for key in found),
        finding=f"{len(found)} of {len(late)} {kind} layers have more than {limit:g} % of their {what}: "
        f"{named(key[2] for key in found)} (up to {worst:.0f} %).",
        advice=f"{advice} A network with normalisation before its activations does not get there.",
        severity="problem" if worst > (100 + limit) / 2 else "advice",
        first_step=min(
            row.step for key in found for row, share in zip(series[key], shares[key], strict=False) if share > limit
        ),
        details=layer_details(late),
    )


def layer_details(shares: dict[Key, list[float]]) -> dict[str, dict[str, float]]:
    """List the mean percentage of each layer, for a chart."""
    return {"layers": {key[2]: round(float(np.mean(values)), 2) for key, values in shares.items()}}


def weight_update_ratio(record: Record, parameters: WeightUpdateRatio) -> Outcome:
    """Judge each weight by the median of its small ratios, and by two large ones in a row."""
    ratios = {
        key: np.array([row.ratio for row in rows if row.ratio is not None], dtype=np.float64)
        for key, rows in by_tensor(record, "updates").items()
        if not is_bias(key[2])
    }
    ratios = {key: values for key, values in ratios.items() if len(values) >= FEW_ROWS}
    if not ratios:
        return not_applicable("no two changes of a weight were recorded")
    large = [key for key, r in ratios.items() if (np.minimum(r[1:], r[:-1]) > parameters.large_threshold).any()]
    small = [key for key, r in ratios.items() if np.median(r) < parameters.small_threshold]
    datapoints = sum(map(len, ratios.values()))
    worst, is_large = (large, True) if large else (small, False)
    details = {"median": {key[2]: float(np.median(r)) for key, r in ratios.items()}}
    if not worst:
        return Outcome(datapoints, details=details)
    limit = parameters.large_threshold if is_large else parameters.small_threshold
    return Outcome(
        datapoints,
        triggered=len(worst),
        finding=f"{len(worst)} of {len(ratios)} weights change by {'more' if is_large else 'less'} than {limit:g} of "
        f"their size between two logged steps: {named(key[2] for key in worst)}.",
        advice=learn_less(record, worst[0][0]) if is_large else learn_more(record, worst[0][0]),
        severity="problem" if len(worst) >= MANY * len(ratios) else "advice",
        details=details,
    )


def unchanged_tensor(record: Record, parameters: UnchangedTensor) -> Outcome:
    """Judge each weight by the sum of its changes in a stage, as the last steps of a schedule change little."""
    series = {
        key: rows
        for key, rows in by_tensor(record, "updates").items()
        if len(rows) + 1 >= parameters.num_steps and not is_bias(key[2])
    }
    if not series:
        return not_applicable(f"no weight was logged {parameters.num_steps} times")
    found = [
        key for key, rows in series.items() if total_change(rows) <= parameters.atol + parameters.rtol * size(rows)
    ]
    datapoints = sum(map(len, series.values()))
    if not found:
        return Outcome(datapoints)
    finding = f"{len(found)} of {len(series)} weights never changed: {named(key[2] for key in found)}."
    return found_in(found, series, len(series), datapoints, finding, learn_more(record, found[0][0]))


def total_change(rows: Sequence[TensorRow]) -> float:
    """Bound the change of a tensor by the sum of its largest ones, step by step; infinite where one is unknown."""
    changes = [np.inf if row.max_abs_change is None else row.max_abs_change for row in rows]
    return float(np.sum(np.nan_to_num(changes, nan=np.inf)))


def size(rows: Sequence[TensorRow]) -> float:
    """Give the mean absolute weight, which the ratio of an update to it tells."""
    sizes = [row.mean_abs / row.ratio for row in rows if row.ratio]
    return float(np.median(sizes)) if sizes else 0.0


def tensor_variance(record: Record, parameters: TensorVariance) -> Outcome:
    """Judge every row of weights, gradients and activations."""
    low, high = parameters.min_threshold, parameters.max_threshold
    if low is None and high is None:
        return not_applicable(
            "no limits are set: rule_tensor_variance_max_threshold, rule_tensor_variance_min_threshold"
        )
    rows = [row for row in record.tensors if row.collection != "updates"]
    bad = [row for row in rows if (high is not None and row.std**2 > high) or (low is not None and row.std**2 < low)]
    finding = f"The variance of {named(row.name for row in bad)} is outside of [{low}, {high}]." if bad else ""
    return Outcome(
        len(rows), len(bad), finding, change(record, bad[0].stage if bad else "", 0.1) + " Or set other limits.",
        first_step=min((row.step for row in bad), default=None),
    )  # fmt: skip


def all_zero(record: Record, parameters: AllZero) -> Outcome:
    """Judge each tensor by all of its logged steps."""
    series = {
        key: rows
        for key, rows in by_tensor(record, "inputs", "outputs", "weights", "gradients", "relu_output").items()
        if len(rows) >= FEW_ROWS and not is_bias(key[2])
    }
    if not series:
        return not_applicable("no tensor was logged twice")
    found = [key for key, rows in series.items() if min(100 * row.zeros for row in rows) >= parameters.threshold]
    datapoints = sum(map(len, series.values()))
    if not found:
        return Outcome(datapoints)
    finding = f"{len(found)} of {len(series)} tensors hold nothing but zeros: {named(key[2] for key in found)}."
    advice = (
        "Look at the photographs: the network sees nothing. Remove black ones."
        if any(key[1] == "inputs" for key in found)
        else f"{change(record, found[0][0], 0.1, pretrained='true')} A layer of zeros passes nothing on."
    )
    outcome = found_in(found, series, len(series), datapoints, finding, advice)
    if any(key[1] in ("inputs", "outputs") for key in found):
        return Outcome(**{**vars(outcome), "severity": "problem"})
    return outcome
