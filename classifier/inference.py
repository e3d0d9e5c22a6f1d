"""Photographs in, predictions out: the one class that training evaluates with and `serve` answers with."""

import logging
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from classifier.artifact import ModelArtifact, read_artifact
from classifier.engines import Array, Engine, OpenVinoEngine
from classifier.errors import ArtifactError, ImageError
from classifier.preprocessing import Pixels, Preprocessing, load_pixels
from classifier.tasks import to_probabilities

logger = logging.getLogger(__name__)

BATCH_SIZE = 16
"""Photographs that pass the engine together when many are waiting; more gains nothing on a CPU."""

NUM_AHEAD = 256
"""Batches that threads may be ahead of what is read of their results."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Prediction:
    """A class and its probability in [0, 1]."""

    label: str
    probability: float
    selected: bool | None = None
    """Where an image may have several labels: whether the probability reaches the label's threshold."""


class ImageClassifier:
    """An artifact on an engine."""

    def __init__(self, artifact: ModelArtifact, engine: Engine) -> None:
        self.artifact = artifact
        self.engine = engine

    @classmethod
    def load(cls, directory: Path, *, device: str, num_threads: int, num_streams: int = 1) -> "ImageClassifier":
        """Verify an artifact, put it on an engine and run the probe through it.

        `device` is `cpu` (OpenVINO) or `cuda` (torch; OpenVINO where CUDA cannot start). Raises ArtifactError.
        """
        artifact = read_artifact(directory)
        engine = cuda_engine(artifact) if device == "cuda" else None
        if engine is None:
            try:
                engine = OpenVinoEngine(artifact.ir, num_threads=num_threads, num_streams=num_streams)
            except RuntimeError as error:
                raise ArtifactError(f"{artifact.ir}: OpenVINO cannot load it ({error})") from error
        classifier = cls(artifact, engine)
        artifact.check_probe(engine)
        return classifier

    def read(self, photograph: bytes | Path) -> Pixels:
        """Decode and transform a photograph to pixels (crop_size, crop_size, 3). Raises ImageError."""
        return load_pixels(photograph, self.artifact.preprocessing)

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float64]:
        """Compute class probabilities (batch, num_classes) of pixels (batch, crop_size, crop_size, 3)."""
        return to_probabilities(self.engine.run(pixels), self.artifact.task)

    def predict(self, pixels: Pixels, top_k: int, *, keep_selected: bool = False) -> list[list[Prediction]]:
        """Name the `top_k` most probable classes of each image, best first; `keep_selected` adds all selected ones."""
        names, is_multi_label = self.artifact.class_names, self.artifact.task == "multi_label"
        answers = []
        for row in self.probabilities(pixels):
            selected: list[bool | None] = [None] * len(row)
            if is_multi_label:
                selected = (row >= self.artifact.thresholds).tolist()
            order = np.argsort(-row, kind="stable").tolist()
            shown = [i for rank, i in enumerate(order) if rank < top_k or (keep_selected and selected[i])]
            answers.append([Prediction(names[i], float(row[i]), selected[i]) for i in shown])
        return answers


def cuda_engine(artifact: ModelArtifact) -> Engine | None:
    """Load the weights into torch on CUDA; None, with a line in the log, where CUDA cannot start."""
    import torch
    from safetensors.torch import load_file

    from classifier.architectures import create_network
    from classifier.engines import TorchEngine

    if not torch.cuda.is_available():
        logger.warning("CUDA cannot start (driver too old or no device); serving on the CPU with OpenVINO")
        return None
    network = create_network(artifact.architecture, len(artifact.class_names))
    network.load_state_dict(load_file(artifact.weights))
    return TorchEngine(network, artifact.preprocessing, "cuda")


@dataclass(frozen=True)
class Outputs:
    """What an engine made of many photographs."""

    values: Array
    """Outputs (num_read, num_outputs) of the photographs that could be read, in order."""
    indices: npt.NDArray[np.int64]
    """Which photographs those are (num_read,)."""
    unreadable: dict[int, ImageError]
    """Why the others could not be read, by index."""


def run_ahead(pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Give the results of a function in order, as `pool.map` does, which keeps all items and results in memory."""
    running: deque[Future[R]] = deque()
    for item in items:
        running.append(pool.submit(function, item))
        if len(running) >= NUM_AHEAD:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def run_photographs(
    engine: Engine,
    preprocessing: Preprocessing,
    photographs: Sequence[Path],
    *,
    num_threads: int,
    progress: Callable[[int], object] = lambda _: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Outputs:
    """Run many photographs through an engine, each thread decoding and inferring a batch of its own.

    `progress` is told the size of each batch that is done. When `is_stopped` turns true, the rest is left out.
    """
    starts = range(0, len(photographs), BATCH_SIZE)
    unreadable: dict[int, ImageError] = {}

    def run_batch(start: int) -> tuple[list[int], Array | None]:
        if is_stopped():
            return [], None
        indices, pixels = [], []
        for index in range(start, min(start + BATCH_SIZE, len(photographs))):
            try:
                pixels.append(load_pixels(photographs[index], preprocessing))
                indices.append(index)
            except ImageError as error:
                unreadable[index] = error
        return indices, engine.run(np.stack(pixels)) if pixels else None

    all_indices = array("q")
    values: list[Array] = []
    with ThreadPoolExecutor(num_threads) as pool:
        for start, (indices, outputs) in zip(starts, run_ahead(pool, run_batch, starts), strict=True):
            if outputs is not None:
                all_indices.extend(indices)
                values.append(outputs)
            progress(min(BATCH_SIZE, len(photographs) - start))
    merged = np.concatenate(values) if values else np.zeros((0, 0), np.float32)
    return Outputs(merged, np.array(all_indices, dtype=np.int64), dict(sorted(unreadable.items())))
