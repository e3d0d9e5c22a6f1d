"""The models of a multi-model endpoint: loaded and unloaded while the server runs, within a memory budget."""

import logging
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from werkzeug.exceptions import BadRequest, Conflict, NotFound, UnprocessableEntity

from classifier.errors import ClassifierError
from serve.config import ServeConfig
from serve.errors import InsufficientStorage
from serve.models import ReadyModel, load_model
from serve.sizing import Sizes, model_mb

logger = logging.getLogger(__name__)

PAGE_SIZE = 100


@dataclass(frozen=True)
class LoadedModel:
    """A model, and what SageMaker calls it."""

    name: str
    url: str
    model: ReadyModel
    megabytes: int

    def describe(self) -> dict[str, str]:
        """Describe the model as SageMaker asks for it."""
        return {"modelName": self.name, "modelUrl": self.url}


class Repository:
    """Holds the loaded models, least recently used first."""

    def __init__(self, folder: Path, config: ServeConfig, sizes: Sizes) -> None:
        """Take the folder below which all models lie."""
        self._folder = folder.resolve()
        self._config = config
        self._sizes = sizes
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def load(self, name: str, url: str) -> None:
        """Load a model, unloading the least recently used ones where memory is short.

        Raises Conflict for a name that is loaded, InsufficientStorage for a model beyond the whole budget, BadRequest
        for a folder elsewhere, UnprocessableEntity for an artifact that must not be served.
        """
        directory = Path(url).resolve()
        if not directory.is_relative_to(self._folder):
            raise BadRequest(f"url {url!r} is not below {self._folder}")
        with self._loading:
            if name in self._models:
                raise Conflict(f"model {name!r} is loaded; unload it first")
            megabytes = model_mb(directory)
            self._make_room(megabytes)
            try:
                model = load_model(directory, self._config, self._sizes)
            except ClassifierError as error:
                raise UnprocessableEntity(str(error)) from error
            with self._lock:
                self._models[name] = LoadedModel(name, url, model, megabytes)

    def get(self, name: str) -> LoadedModel:
        """Give a model, which is then the most recently used one. Raises NotFound."""
        with self._lock:
            if name not in self._models:
                raise NotFound(f"model {name!r} is not loaded")
            self._models.move_to_end(name)
            return self._models[name]

    def unload(self, name: str) -> None:
        """Answer what waits for a model and let it go. Raises NotFound."""
        with self._lock:
            model = self._models.pop(name, None)
        if model is None:
            raise NotFound(f"model {name!r} is not loaded")
        model.model.batcher.close()

    def page(self, token: str) -> dict[str, object]:
        """List the models whose names come after a token, at most PAGE_SIZE, with the token of the next page."""
        with self._lock:
            models = sorted((item for item in self._models.values() if item.name > token), key=lambda item: item.name)
        content: dict[str, object] = {"models": [item.describe() for item in models[:PAGE_SIZE]]}
        return content | ({"nextPageToken": models[PAGE_SIZE - 1].name} if len(models) > PAGE_SIZE else {})

    def _make_room(self, megabytes: int) -> None:
        budget = self._sizes.model_budget_mb
        if megabytes > budget:
            raise InsufficientStorage(f"the model takes {megabytes} MB; the budget of all models is {budget} MB")
        while oldest := self._oldest_over(budget - megabytes):
            logger.info("model %s, the least recently used, makes room", oldest)
            with suppress(NotFound):
                self.unload(oldest)

    def _oldest_over(self, megabytes: int) -> str | None:
        with self._lock:
            used = sum(item.megabytes for item in self._models.values())
            return next(iter(self._models), None) if used > megabytes else None
