"""Tensors that smdebug saved, as a record that the rules judge.

smdebug is imported when a folder of its tensors is read, and only then.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from container.errors import UserError
from train.debugger.record import Record, Row, build_record

STAGE = "training"
"""smdebug knows of no stages."""

ACTIVATIONS = {
    "relu_input": r"relu\d*_input_\d+$",
    "relu_output": r"relu\d*_output_\d+$",
    "tanh_input": r"tanh\d*_input_\d+$",
    "sigmoid_input": r"sigmoid\d*_input_\d+$",
}
"""Names of saved activations, by collection: a layer has the name of its attribute."""

LIMITS = {"tanh_input": (-9.4999, 9.4999), "sigmoid_input": (-23.0, 16.99999)}
"""Beyond these, AWS's SaturatedActivation takes an input for saturated."""

EPSILON = 1e-9
"""Of AWS's WeightUpdateRatio."""

Values = npt.NDArray[np.float64]


def is_smdebug(directory: Path) -> bool:
    """Tell whether a folder holds tensors of smdebug."""
    return any((directory / "collections").rglob("*_collections.json"))


def read_smdebug(directory: Path) -> Record:
    """Read what smdebug's hook saved of a job. Raises UserError when smdebug is missing or saved nothing.

    Losses in mode TRAIN become steps; those of mode EVAL after them end an epoch. Times are nan, as smdebug does not
    save them with tensors.
    """
    if not is_smdebug(directory):
        raise UserError(f"{directory}: no tensors of smdebug, which are a folder with collections and index in it")
    # Its logger, which is made when it is imported, writes to standard output.
    os.environ.setdefault("SMDEBUG_LOG_LEVEL", "error")
    try:
        from smdebug.trials import create_trial
    except ImportError as error:
        raise UserError(f"{directory}: smdebug cannot be imported ({error}); install the extra `debugger`") from error
    return build_record(Trial(create_trial(str(directory))).rows())


class Trial:
    """A trial of smdebug, as lines of a record."""

    def __init__(self, trial: Any) -> None:
        from smdebug import modes

        self._trial = trial
        self._train, self._eval = modes.TRAIN, modes.EVAL
        self._epoch_of: dict[int, int] = {}
        """Epochs, from 1, of the steps of mode TRAIN."""

    def rows(self) -> Iterator[Row]:
        """Make the lines."""
        yield row("job", hyperparameters={}, device="", num_gpus=0)
        yield from self._losses()
        known = {name: values for values in (self._collected("weights"), self._collected("biases")) for name in values}
        root = next(iter(sorted(known)), "").partition("_")[0]
        for name in self._trial.tensor_names():
            collection = "weights" if name in known else collection_of(name, root)
            if collection:
                yield from self._tensor(name, collection)

    def _collected(self, collection: str) -> dict[str, None]:
        if collection not in self._trial.collections():
            return {}
        return dict.fromkeys(self._trial.collection(collection).tensor_names)

    def _losses(self) -> Iterator[Row]:
        """Make steps and epochs of the losses, in the order in which they were saved."""
        saved = sorted(self._saved_losses())
        if not saved:
            return
        epoch = 1
        train: list[float] = []
        validation: list[float] = []
        for index, (_, mode, step, loss) in enumerate(saved):
            (train if mode == self._train.name else validation).append(loss)
            if mode == self._train.name:
                self._epoch_of[step] = epoch
                yield row("steps", stage=STAGE, epoch=epoch, first=step, end_time=[float("nan")], loss=[loss])
            is_last = index + 1 == len(saved)
            if is_last or (mode == self._eval.name and saved[index + 1][1] == self._train.name):
                means = {"train_loss": mean(train), "validation_loss": mean(validation)}
                yield row("epoch", stage=STAGE, epoch=epoch, **means)
                epoch, train, validation = epoch + 1, [], []

    def _saved_losses(self) -> Iterator[tuple[int, str, int, float]]:
        """Go through the losses: the step among those of all modes, the mode, the step in it, the loss."""
        names = [name for name in self._trial.tensor_names() if name in self._collected("losses")]
        for name in names:
            for mode in (self._train, self._eval):
                for step, values in self._values(name, mode):
                    yield self._trial.global_step(mode, step), mode.name, step, float(values.mean())

    def _values(self, name: str, mode: Any) -> Iterator[tuple[int, Values]]:
        """Go through what was saved of a tensor; steps of which only reductions were saved are left out."""
        from smdebug.exceptions import TensorUnavailableForStep

        tensor = self._trial.tensor(name)
        for step in tensor.steps(mode=mode):
            try:
                values = np.asarray(tensor.value(step, mode=mode), dtype=np.float64)
            except TensorUnavailableForStep:
                continue
            if values.size:
                yield step, values

    def _tensor(self, name: str, collection: str) -> Iterator[Row]:
        """Make the statistics of a tensor, and of a weight those of its changes too."""
        before: Values | None = None
        for step, values in self._values(name, self._train):
            labels = {"stage": STAGE, "step": step, "epoch": self._epoch_of.get(step, 1), "mode": "TRAIN", "name": name}
            yield row("tensor", **labels, collection=collection, **statistics(values), **of_nodes(values, collection))
            if collection == "weights":
                if before is not None:
                    yield row(
                        "tensor",
                        **labels,
                        collection="updates",
                        **statistics(values - before),
                        **change(before, values),
                    )
                before = values


def row(kind: str, **fields: Any) -> Row:
    """Make a line of a record."""
    return {"kind": kind, "time": 0.0, **fields}


def mean(values: list[float]) -> float:
    """Average losses; nan of none."""
    return float(np.mean(values)) if values else float("nan")


def collection_of(name: str, root: str) -> str:
    """Tell what a tensor is by its name; empty for what no rule looks at. `root` names the network's class."""
    if name.startswith("gradient/"):
        return "gradients"
    if name in (f"{root}_input_0", f"{root}_output_0"):
        return "inputs" if name.endswith("_input_0") else "outputs"
    return next((collection for collection, pattern in ACTIVATIONS.items() if re.search(pattern, name)), "")


def statistics(values: Values) -> dict[str, Any]:
    """Summarise a tensor over its finite values, as the recorder does."""
    finite = values[np.isfinite(values)]
    known = finite if finite.size else np.zeros(1)
    p5, p95 = np.percentile(known, [5, 95])
    return {
        "size": values.size, "mean": float(known.mean()), "mean_abs": float(np.abs(known).mean()),
        "std": float(known.std()), "min": float(known.min()), "max": float(known.max()), "p5": float(p5),
        "p95": float(p95), "zeros": float((finite == 0).mean()) if finite.size else 0.0,
        "nan": int(np.isnan(values).sum()), "inf": int(np.isinf(values).sum()),
    }  # fmt: skip


def of_nodes(values: Values, collection: str) -> dict[str, list[float]]:
    """Compute how active, or saturated, the nodes of an activation (batch, channels, ...) are, in percentiles."""
    if collection not in ACTIVATIONS or collection == "relu_input" or values.ndim < 2:
        return {}
    nodes = np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])
    low, high = LIMITS.get(collection, (-np.inf, np.inf))
    chosen = nodes > 0 if collection == "relu_output" else (nodes < low) | (nodes > high)
    percentages = np.percentile(100 * chosen.mean(axis=0), np.linspace(0, 100, 21))
    return {"activity" if collection == "relu_output" else "saturated": percentages.tolist()}


def change(before: Values, now: Values) -> dict[str, float]:
    """Compare a weight with itself at the logged step before."""
    difference = np.abs(now - before)
    ratio = float(difference.mean() / (np.abs(now).mean() + EPSILON))
    return {"ratio": ratio, "max_abs_change": float(difference.max())}
