"""The epochs of a job, and the weights of the best one."""

import copy
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from classifier.evaluation import Evaluation
from classifier.multilabel import MultiLabelEvaluation
from classifier.tasks import evaluate, thresholds_for
from container.metrics import print_metrics
from train.calibration import fit_temperature
from train.split import Labels

Logits = npt.NDArray[np.float32]
Validation = tuple[Logits, Labels]
"""Logits (batch, num_classes) and labels of the validation photographs."""


class History:
    """The epochs of a job, and the weights of the best one: the lowest validation loss after temperature scaling."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        self.rows: list[dict[str, float | int | str]] = []
        self.temperature = 1.0
        """By which the best model's logits are divided for calibrated probabilities."""
        self._class_names = class_names
        self._best_loss = math.inf
        self._best_state: dict[str, torch.Tensor] = {}
        self._best_validation: Validation | None = None

    @property
    def best(self) -> Evaluation | MultiLabelEvaluation | None:
        """Evaluate the best model, calibrated, on the validation photographs; None before the first epoch."""
        if self._best_validation is None:
            return None
        logits, labels = self._best_validation
        return evaluate(logits / self.temperature, labels, self._class_names)

    @property
    def thresholds(self) -> list[float]:
        """Give the best model's threshold of each class; none where photographs have one label each."""
        assert self._best_validation is not None, "there is no model without an epoch"
        logits, labels = self._best_validation
        return [float(threshold) for threshold in thresholds_for(logits / self.temperature, labels)]

    def record(
        self,
        stage: str,
        module: nn.Module,
        train_loss: float,
        train_accuracy: float,
        validation: Validation,
    ) -> Evaluation | MultiLabelEvaluation:
        """Note an epoch, and keep the module's weights when they are the best so far."""
        evaluation = self.note(stage, train_loss, train_accuracy, validation)
        temperature, loss = fit_temperature(*validation)
        if loss < self._best_loss:
            self._keep(module, validation, temperature, loss)
        return evaluation

    def note(
        self, stage: str, train_loss: float, train_accuracy: float, validation: Validation
    ) -> Evaluation | MultiLabelEvaluation:
        """Note an epoch of which no weights are kept, and print its metrics."""
        epoch = len(self.rows) + 1
        evaluation = evaluate(*validation, self._class_names)
        values = {"train:loss": train_loss, "train:accuracy": train_accuracy, **evaluation.metrics("validation")}
        print_metrics(values, epoch)
        self.rows.append({"epoch": epoch, "stage": stage, **values})
        return evaluation

    def replace(self, module: nn.Module, validation: Validation) -> None:
        """Take a module as the best one."""
        self._keep(module, validation, *fit_temperature(*validation))

    def _keep(self, module: nn.Module, validation: Validation, temperature: float, loss: float) -> None:
        self.temperature, self._best_loss = temperature, loss
        self._best_validation = validation
        self._best_state = copy.deepcopy(module.state_dict())

    def widen(self, module: nn.Module) -> None:
        """Keep the weights of a module that the best one so far is a part of, before the next stage trains it whole."""
        if self._best_state:
            self._best_state = copy.deepcopy(module.state_dict())

    def restore(self, module: nn.Module) -> None:
        """Put the best weights back; a module that was never recorded stays as it is."""
        if self._best_state:
            module.load_state_dict(self._best_state)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Name the tensors that a checkpoint keeps."""
        named = {f"best.{name}": tensor for name, tensor in self._best_state.items()}
        if self._best_validation is not None:
            logits, labels = self._best_validation
            named |= {"logits": torch.from_numpy(logits), "labels": torch.from_numpy(labels)}
        return named

    def values(self) -> dict[str, Any]:
        """Give what a checkpoint keeps besides."""
        return {"rows": self.rows, "temperature": self.temperature, "best_loss": self._best_loss}

    def load(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Become the history of which a checkpoint was kept."""
        self.rows, self.temperature, self._best_loss = values["rows"], values["temperature"], values["best_loss"]
        self._best_state = {n.removeprefix("best."): tensor for n, tensor in tensors.items() if n.startswith("best.")}
        if "logits" in tensors:
            self._best_validation = (tensors["logits"].numpy(), tensors["labels"].numpy())


class EarlyStopping:
    """Tells when the validation loss has not fallen for some epochs."""

    def __init__(self, patience: int | None, min_delta: float) -> None:
        self._patience = patience
        self._min_delta = min_delta
        self._lowest = math.inf
        self._num_waited = 0

    def is_over(self, loss: float) -> bool:
        """Note the loss of an epoch; true once `patience` epochs in a row lowered it by `min_delta` or less."""
        if loss < self._lowest - self._min_delta:
            self._lowest, self._num_waited = loss, 0
        else:
            self._num_waited += 1
        return self._patience is not None and self._num_waited >= self._patience

    def values(self) -> dict[str, Any]:
        """Give what a checkpoint keeps."""
        return {"lowest": self._lowest, "num_waited": self._num_waited}

    def load(self, values: dict[str, Any]) -> None:
        """Become the one of which a checkpoint was kept."""
        self._lowest, self._num_waited = values["lowest"], values["num_waited"]
