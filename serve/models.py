"""The model of a server process: loaded beside the server, so that `/ping` answers while it loads."""

import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from gunicorn.arbiter import Arbiter

from classifier.errors import ClassifierError
from classifier.inference import ImageClassifier
from container.resources import num_gpus
from serve.batching import Batcher
from serve.config import ServeConfig
from serve.sizing import Sizes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadyModel:
    """A verified classifier and the queue before it."""

    classifier: ImageClassifier
    batcher: Batcher
    decoding: threading.Semaphore
    """Held while a photograph is decoded."""


class ServedModel:
    """Holds the model once its artifact is verified and its probe has passed."""

    def __init__(self, directory: Path, config: ServeConfig, sizes: Sizes) -> None:
        self._directory = directory
        self._config = config
        self._sizes = sizes
        self._model: ReadyModel | None = None
        self.failure = ""
        """Why the model cannot be served; empty while it loads and when it is ready."""

    def start_loading(self) -> None:
        """Load in a thread of its own."""
        threading.Thread(target=self._load, name="load-model", daemon=True).start()

    @property
    def model(self) -> ReadyModel | None:
        """The model; None until it is ready."""
        return self._model

    def _load(self) -> None:
        try:
            self._model = load_model(self._directory, self._config, self._sizes)
        except ClassifierError as error:
            self.failure = str(error)
            logger.error("the model cannot be served, /ping stays at 503: %s", error)
        except Exception:
            logger.exception("the model could not be loaded, by a defect of Kennel; the server stops")
            # gunicorn ends the whole server, with this code, when a worker ends with it
            os._exit(Arbiter.WORKER_BOOT_ERROR)


def load_model(directory: Path, config: ServeConfig, sizes: Sizes) -> ReadyModel:
    """Load and verify an artifact, and put a queue before it. Raises ClassifierError."""
    device, num_streams = "cuda" if num_gpus() else "cpu", sizes.num_streams
    classifier = ImageClassifier.load(directory, device=device, num_threads=num_streams, num_streams=num_streams)
    batcher = Batcher(
        lambda pixels: list(classifier.probabilities(pixels)), num_streams=num_streams, capacity=config.queue_images
    )
    logger.info("ready: %d classes, %s", len(classifier.artifact.class_names), classifier.engine.name)
    return ReadyModel(classifier, batcher, threading.Semaphore(sizes.num_decoders))
