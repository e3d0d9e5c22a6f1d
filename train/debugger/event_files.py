"""Event files for TensorBoard: losses, learning rates and times, weights, and a sample of the photographs."""

import json
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from container.paths import ContainerPaths
from train.debugger.clock import Clock
from train.debugger.tensor_statistics import sample
from train.debugger.watcher import Outcome, Row, Stage, Validation, Watcher

logger = logging.getLogger(__name__)

CONFIGURATION = "tensorboardoutputconfig.json"

NUM_HISTOGRAMS = 10
"""Times in a stage that weights are summarised."""

HISTOGRAM_VALUES = 65_536

NUM_IMAGES = 16


def event_directory(paths: ContainerPaths, *, wanted: bool) -> Path | None:
    """Choose the folder of event files: where tensorboardoutputconfig.json says, else output/tensorboard if wanted."""
    default = paths.root / "output" / "tensorboard"
    file = paths.input_config / CONFIGURATION
    if file.exists():
        try:
            return Path(json.loads(file.read_text(encoding="utf-8")).get("LocalPath") or default)
        except (ValueError, AttributeError) as error:
            logger.warning("%s: expected an object with LocalPath (%s); event files go to %s", file, error, default)
            return default
    return default if wanted else None


class EventFiles(Watcher):
    """Writes event files."""

    name = "tensorboard"

    def __init__(self, directory: Path, clock: Clock) -> None:
        """Begin to write. Raises ImportError when the package tensorboard is missing, OSError when there is no room."""
        super().__init__()
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(directory))
        self._began = time.time() - clock.now()
        self._has_images = False

    def begin_stage(self, stage: Stage) -> None:
        """Note the stage."""
        self._stage = stage

    def begin_epoch(self, epoch: int) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def end_step(self, step: int, outcome: Outcome | None) -> None:
        """Keep some of the first images that the network sees."""
        if outcome is None or self._has_images:
            return
        from torchvision.utils import make_grid

        self._has_images = True
        grid = make_grid(outcome.images[:NUM_IMAGES].detach().float().cpu(), nrow=4, normalize=True)
        self._writer.add_image(f"{self._stage.name}/images", grid, step)

    def end_epoch(self, validation: Validation) -> None:  # noqa: ARG002
        """Summarise the weights from time to time, and at the end."""
        epochs = self._stage.epochs
        if self._epoch % math.ceil(epochs / NUM_HISTOGRAMS) == 0 or self._epoch == epochs:
            for name, parameter in self._stage.network.named_parameters():
                values = sample(parameter, HISTOGRAM_VALUES).float().cpu()
                if values.numel() and values.isfinite().all():
                    self._writer.add_histogram(f"{self._stage.name}/{name}", values, self._epoch)
        self._writer.flush()

    def wrote(self, rows: Sequence[Row]) -> None:
        """Add what steps and epochs measured."""
        for row in rows:
            if row["kind"] == "steps":
                self._add_steps(row)
            elif row["kind"] == "epoch":
                for name, value in row.items():
                    if name not in ("kind", "time", "stage", "epoch"):
                        self._add(f"{row['stage']}/epoch/{name}", value, row["epoch"], row["time"])

    def _add_steps(self, row: Row) -> None:
        for name, tag in (("loss", "loss"), ("lr", "lr"), ("total", "seconds")):
            for index, (value, end) in enumerate(zip(row[name], row["end_time"], strict=True)):
                self._add(f"{row['stage']}/{tag}", value, row["first"] + index * row["merged"], end)

    def _add(self, tag: str, value: float, step: int, seconds: float) -> None:
        self._writer.add_scalar(tag, value, step, walltime=self._began + seconds)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
