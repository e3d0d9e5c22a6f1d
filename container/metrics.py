"""Metrics: the log line that a job prints and the regular expression by which SageMaker reads it back."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from container.errors import AlgorithmError, UserError


@dataclass(frozen=True)
class MetricDefinition:
    """A metric that `train` prints, in the shape of a SageMaker MetricDefinition."""

    name: str
    """Such as `validation:accuracy`, at most 255 characters."""
    unit: str
    direction: Literal["Maximize", "Minimize"]
    tasks: tuple[str, ...] = ("single_label", "multi_label")
    """The jobs that print it: photographs with one label each, or with any number."""

    @property
    def regex(self) -> str:
        """The pattern whose first group is the value, at most 500 characters.

        It is anchored by the whole name, so that no metric matches the tail of another one's.
        """
        return f"#metric {re.escape(self.name)}=([0-9.eE+-]+)"

    def line(self, value: float, epoch: int | None = None) -> str:
        """Format the log line. Raises UserError for a value that is not finite: the service cannot read it."""
        if not math.isfinite(value):
            raise UserError(f"{self.name}={value}: training diverged; set a lower lr, such as a tenth of this one")
        return f"#metric {self.name}={value:.6g}" + (f" epoch={epoch}" if epoch is not None else "")

    def request(self) -> dict[str, str]:
        """Build the entry for AlgorithmSpecification.MetricDefinitions."""
        return {"Name": self.name, "Regex": self.regex}


def _metrics() -> tuple[MetricDefinition, ...]:
    definitions = [
        MetricDefinition("train:loss", "nats", "Minimize"),
        MetricDefinition("train:accuracy", "fraction", "Maximize"),
    ]
    for split in ("validation", "test"):
        definitions += [
            MetricDefinition(f"{split}:loss", "nats", "Minimize"),
            MetricDefinition(f"{split}:accuracy", "fraction", "Maximize"),
            MetricDefinition(f"{split}:top5_accuracy", "fraction", "Maximize", ("single_label",)),
            MetricDefinition(f"{split}:mean_average_precision", "fraction", "Maximize", ("multi_label",)),
            MetricDefinition(f"{split}:micro_f1", "fraction", "Maximize", ("multi_label",)),
            MetricDefinition(f"{split}:macro_f1", "fraction", "Maximize"),
            MetricDefinition(f"{split}:calibration_error", "fraction", "Minimize"),
        ]
    return tuple(definitions)


METRICS = _metrics()
"""Every metric that `train` prints. The service takes at most 40 definitions a job."""


def metric(name: str) -> MetricDefinition:
    """Find a metric by name. Raises AlgorithmError for one that is not declared."""
    for definition in METRICS:
        if definition.name == name:
            return definition
    raise AlgorithmError(f"{name}: not declared in container.metrics")


def print_metrics(values: dict[str, float], epoch: int | None = None) -> None:
    """Print one line a metric, at once, so that the service sees it while the job runs."""
    for name, value in values.items():
        print(metric(name).line(value, epoch), flush=True)
