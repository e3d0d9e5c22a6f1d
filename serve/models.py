"""The model of a server process: loaded beside the server, so that `/ping` answers while it loads."""

import logging
import os
import threading
from pathlib import Path

from gunicorn.arbiter import Arbiter

from classifier.errors import ClassifierError
from classifier.inference import ImageClassifier
from container.resources import num_cpus, num_gpus

logger = logging.getLogger(__name__)


class ServedModel:
    """Holds the classifier once its artifact is verified and its probe has passed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._classifier: ImageClassifier | None = None
        self.failure = ""
        """Why the model cannot be served; empty while it loads and when it is ready."""

    def start_loading(self) -> None:
        """Load in a thread of its own."""
        threading.Thread(target=self._load, name="load-model", daemon=True).start()

    @property
    def classifier(self) -> ImageClassifier | None:
        """The classifier; None until it is ready."""
        return self._classifier

    def _load(self) -> None:
        cores = num_cpus()
        device = "cuda" if num_gpus() else "cpu"
        try:
            classifier = ImageClassifier.load(self._directory, device=device, num_threads=cores, num_streams=cores)
        except ClassifierError as error:
            self.failure = str(error)
            logger.error("the model cannot be served, /ping stays at 503: %s", error)
        except Exception:
            logger.exception("the model could not be loaded, by a defect of Kennel; the server stops")
            # gunicorn ends the whole server, with this code, when a worker ends with it
            os._exit(Arbiter.WORKER_BOOT_ERROR)
        else:
            self._classifier = classifier
            logger.info("ready: %d classes, %s", len(classifier.artifact.class_names), classifier.engine.name)
