"""The linear probe: features of a frozen backbone once, then the heads of a search on them."""

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from classifier.architectures import Network
from classifier.conversion import convert_backbone
from classifier.engines import Engine, OpenVinoEngine, TorchEngine
from classifier.preprocessing import Preprocessing
from container.errors import PlatformError
from container.lifecycle import StopSignal
from container.paths import ContainerPaths
from container.resources import ResourceConfig
from train.config import TrainingConfig
from train.data import Photographs
from train.debugger.recorder import Recorder
from train.feature_cache import FeatureCache, check_room
from train.features import FeatureExtractor, Features, Scaler, UnreadablePhotographs, sample, shuffled
from train.history import History
from train.search import HeadSearch, TrialResult, choose_epochs, choose_num_trials, propose_trials
from train.split import Labels, Split

if TYPE_CHECKING:
    import openvino

logger = logging.getLogger(__name__)

NUM_SAMPLED = 64
"""Validation photographs that are read after a stop: under a second for them on two cores."""

CACHE_VERSION = 1

WAIT_SECONDS = 0.2


class LinearProbe:
    """Trains the head of a network on frozen features."""

    def __init__(
        self,
        config: TrainingConfig,
        paths: ContainerPaths,
        resources: ResourceConfig,
        device: str,
        unreadable: UnreadablePhotographs,
        stop: StopSignal,
        recorder: Recorder | None = None,
    ) -> None:
        self._recorder = recorder or Recorder()
        self._config = config
        self._paths = paths
        self._num_threads = resources.num_cpus
        self._device = device
        self._unreadable = unreadable
        self._stop = stop
        self.results: list[TrialResult] = []
        """All trials, best first."""
        self.converted: openvino.Model | None = None
        """The backbone as OpenVINO model, where it was converted for the features."""

    def run(
        self,
        network: Network,
        preprocessing: Preprocessing,
        photographs: Photographs,
        history: History,
        *,
        is_last: bool,
    ) -> None:
        """Leave the best head in the network; a stop before the first features leaves it as it was.

        The configured epochs and lr count when the probe `is_last`: no fine-tuning follows.
        """
        engine = self._engine(network, preprocessing)
        logger.info("features with %s", engine.name)
        num_rows = len(photographs.train) * self._config.num_views + len(photographs.validation)
        key = cache_key(network, preprocessing, engine, self._config.arch)
        with self._open_cache(key, num_rows, network.head.in_features) as cache:
            extractor = FeatureExtractor(engine, preprocessing, cache, self._num_threads)
            features = self._features(extractor, cache, photographs)
            cache.release()
            if features is None:
                return
            train, validation = features
            num_classes = len(photographs.class_names)
            epochs = self._config.epochs if is_last and self._config.epochs else choose_epochs(len(train))
            num_trials = self._config.search_trials or choose_num_trials(
                len(train), train.num_features, num_classes, epochs
            )
            logger.info(
                "head: %d trials of %d epochs, for %d photographs with %d features in %d classes",
                num_trials, epochs, len(train), train.num_features, num_classes,
            )  # fmt: skip
            trials = propose_trials(self._config, num_trials, fix_lr=is_last)
            with self._recorder.phase("search"):
                search = HeadSearch(train, validation, num_classes, trials, epochs)
                self.results = search.run(network.head.cpu(), history, self._config.seed, self._stop, self._recorder)
            self._recorder.write_rows("trial", [result.row() for result in self.results])

    def _engine(self, network: Network, preprocessing: Preprocessing) -> Engine:
        if self._device == "cuda":
            return TorchEngine(network.backbone, preprocessing, self._device)
        with self._recorder.phase("conversion"):
            self.converted = convert_backbone(network.backbone, preprocessing)
        return OpenVinoEngine(self.converted, num_threads=self._num_threads, num_streams=self._num_threads)

    def _features(
        self, extractor: FeatureExtractor, cache: FeatureCache, photographs: Photographs
    ) -> tuple[Features, Features] | None:
        train = shuffled(photographs.train, self._config.seed)
        train_rows, train_labels = self._rows(extractor, train, "train", self._config.num_views)
        validation = photographs.validation
        rows, labels = self._rows(extractor, validation, "validation", 1)
        if self._stop.requested:
            # A few photographs tell how good the head on the features made so far is.
            few, collector = sample(validation, NUM_SAMPLED), UnreadablePhotographs(max_share=1.0)
            rows, labels = extractor.rows(few, collector, name="validation", stop=StopSignal())
        if len(train_rows) == 0 or len(rows) == 0:
            return None
        array = cache.array()
        scaler = Scaler.fit(array, train_rows)
        return (
            Features(array, train_rows, train_labels, scaler, self._device),
            Features(array, rows, labels, scaler, self._device),
        )

    def _rows(
        self, extractor: FeatureExtractor, split: Split, name: str, num_views: int
    ) -> tuple[npt.NDArray[np.int64], Labels]:
        with self._recorder.phase(f"features {name}") as fields:
            found = extractor.rows(split, self._unreadable, name=name, stop=self._stop, num_views=num_views)
            fields |= {**extractor.seconds, "num_photographs": len(split), "num_threads": self._num_threads}
        return found

    @contextmanager
    def _open_cache(self, key: str, num_rows: int, num_features: int) -> Iterator[FeatureCache]:
        """Open the cache in KENNEL_FEATURES_DIR, or in the checkpoint folder, or else in a temporary folder."""
        with ExitStack() as stack:
            folders = [self._paths.checkpoints / "features"] if self._paths.checkpoints.is_dir() else []
            if shared := os.environ.get("KENNEL_FEATURES_DIR"):
                folders.insert(0, Path(shared))
            folders.append(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kennel-features-"))))
            for folder in folders:
                try:
                    check_room(folder, num_rows, num_features)
                    cache = self._wait_for_cache(folder, key, num_features)
                except OSError as error:
                    logger.warning("%s: not used for features (%s)", folder, error.strerror)
                    continue
                stack.callback(cache.close)
                yield cache
                return
        megabytes = num_rows * num_features * 2 / 1e6
        raise PlatformError(
            f"no room for {megabytes:.0f} MB of features in {folders}; free space or take a larger volume"
        )

    def _wait_for_cache(self, folder: Path, key: str, num_features: int) -> FeatureCache:
        """Open a cache once no other job writes it: that job makes the features of the same network."""
        waits = False
        while True:
            try:
                return FeatureCache(folder, key, num_features)
            except BlockingIOError:
                if self._stop.requested:
                    raise
            if not waits:
                logger.info("%s: waiting for another job that writes it", folder)
                waits = True
            time.sleep(WAIT_SECONDS)


def cache_key(network: Network, preprocessing: Preprocessing, engine: Engine, architecture: str) -> str:
    """Name everything that features depend on, other than the photograph."""
    weights = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(network.backbone.state_dict().items()):
        weights.update(name.encode())
        weights.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    parts = {
        "version": CACHE_VERSION,
        "architecture": architecture,
        "weights": weights.hexdigest(),
        "preprocessing": preprocessing.to_json(),
        "engine": type(engine).__name__,
    }
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()
