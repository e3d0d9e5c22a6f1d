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
        self._num_streams, self._num_decoders = sizes.num_streams, sizes.num_decoders
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
        device, num_streams = "cuda" if num_gpus() else "cpu", self._num_streams
        try:
            classifier = ImageClassifier.load(
                self._directory, device=device, num_threads=num_streams, num_streams=num_streams
            )
        except ClassifierError as error:
            self.failure = str(error)
            logger.error("the model cannot be served, /ping stays at 503: %s", error)
        except Exception:
            logger.exception("the model could not be loaded, by a defect of Kennel; the server stops")
            # gunicorn ends the whole server, with this code, when a worker ends with it
            os._exit(Arbiter.WORKER_BOOT_ERROR)
        else:
            capacity = self._config.queue_images
            batcher = Batcher(
                lambda pixels: list(classifier.probabilities(pixels)), num_streams=num_streams, capacity=capacity
            )
            self._model = ReadyModel(classifier, batcher, threading.Semaphore(self._num_decoders))
            logger.info("ready: %d classes, %s", len(classifier.artifact.class_names), classifier.engine.name)
