"""One training job, from photographs to artifact and report."""

import logging
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from classifier.architectures import Network, create_network
from classifier.artifact import write_artifact
from classifier.conversion import attach_head, convert_backbone
from classifier.engines import Engine, OpenVinoEngine, TorchEngine
from classifier.evaluation import Evaluation, evaluate_logits
from classifier.inference import ImageClassifier
from classifier.preprocessing import Preprocessing
from classifier.weights import default_preprocessing, load_pretrained
from container.errors import UserError
from container.lifecycle import StopSignal
from container.metrics import print_metrics
from container.paths import ContainerPaths
from container.resources import ResourceConfig
from train.config import TrainingConfig
from train.data import Photographs, Split, find_photographs
from train.features import UnreadablePhotographs, run_split, sample, shuffled
from train.optim import History, Recipe
from train.report import write_report
from train.trainer import Features, FineTuner, train_head

logger = logging.getLogger(__name__)

NUM_SAMPLED = 64
"""Validation photographs that are read after a stop: under a second for them on two cores."""


class TrainingJob:
    """Fine-tunes a network on the photographs of a job's channels."""

    def __init__(self, config: TrainingConfig, paths: ContainerPaths, stop: StopSignal) -> None:
        self._config = config
        self._paths = paths
        self._stop = stop
        self._started = time.monotonic()
        self._resources = ResourceConfig.from_paths(paths)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._strategy = self._choose_strategy()
        self._unreadable = UnreadablePhotographs(config.max_unreadable)
        self._history = History()

    def run(self) -> None:
        """Train, write the artifact, then measure the artifact."""
        torch.manual_seed(self._config.seed)
        torch.set_num_threads(self._resources.num_cpus)
        photographs = find_photographs(self._paths, self._config.validation_split, self._config.seed)
        self._describe(photographs)
        network, preprocessing = self._create_network(len(photographs.class_names))
        if self._strategy != "finetune":
            self._probe(network, preprocessing, photographs)
        if self._strategy != "linear_probe" and not self._stop.requested:
            self._finetune(network, preprocessing, photographs)
        if self._history.best is None:
            logger.warning("stopped before the first epoch ended: there is no model to save")
            return
        self._save(network.cpu(), preprocessing, photographs.class_names)
        self._report(photographs)

    def _choose_strategy(self) -> str:
        if self._config.strategy != "auto":
            return self._config.strategy
        chosen = "lp_ft" if self._device == "cuda" else "linear_probe"
        logger.info("strategy=%s: chosen for the device, %s", chosen, self._device)
        return chosen

    def _describe(self, photographs: Photographs) -> None:
        num_test = len(photographs.test) if photographs.test else 0
        logger.info(
            "%d classes; photographs: %d train, %d validation, %d test; %s, %s on %s with %d cores",
            len(photographs.class_names), len(photographs.train), len(photographs.validation), num_test,
            self._config.arch, self._strategy, self._device, self._resources.num_cpus,
        )  # fmt: skip

    def _create_network(self, num_classes: int) -> tuple[Network, Preprocessing]:
        arch = self._config.arch
        if not self._config.pretrained:
            return create_network(arch, num_classes), default_preprocessing(arch)
        directories = [path for name, path in self._paths.channels().items() if name == "model"]
        if baked := os.environ.get("KENNEL_WEIGHTS_DIR"):
            directories.append(type(self._paths.root)(baked))
        pretrained = load_pretrained(arch, directories)
        logger.info("weights of %s: %s", arch, pretrained.source)
        return create_network(arch, num_classes, pretrained.state), pretrained.preprocessing

    def _probe(self, network: Network, preprocessing: Preprocessing, photographs: Photographs) -> None:
        engine: Engine
        if self._device == "cuda":
            engine = TorchEngine(network.backbone, preprocessing, self._device)
        else:
            cores = self._resources.num_cpus
            engine = OpenVinoEngine(
                convert_backbone(network.backbone, preprocessing), num_threads=cores, num_streams=cores
            )
        logger.info("features with %s", engine.name)
        train = self._features(engine, preprocessing, shuffled(photographs.train, self._config.seed), "train")
        validation = self._validation_features(engine, preprocessing, photographs.validation)
        if len(train[1]) == 0 or len(validation[1]) == 0:
            return
        recipe = Recipe.for_head(self._config, is_last=self._strategy == "linear_probe")
        history = self._history
        train_head(network.head.cpu(), train, validation, photographs.class_names, recipe, history, self._stop)

    def _features(self, engine: Engine, preprocessing: Preprocessing, split: Split, name: str) -> Features:
        return run_split(
            engine, preprocessing, split, self._unreadable,
            name=f"{name} features", num_threads=self._resources.num_cpus, stop=self._stop,
        )  # fmt: skip

    def _validation_features(self, engine: Engine, preprocessing: Preprocessing, split: Split) -> Features:
        features = self._features(engine, preprocessing, split, "validation")
        if not self._stop.requested:
            return features
        # A stop while features are made: a few photographs tell how good the head on those made so far is.
        collector = UnreadablePhotographs(max_share=1.0)
        few = sample(split, NUM_SAMPLED)
        return run_split(engine, preprocessing, few, collector, name="validation", num_threads=self._resources.num_cpus)

    def _finetune(self, network: Network, preprocessing: Preprocessing, photographs: Photographs) -> None:
        tuner = FineTuner(
            network, photographs, preprocessing, self._unreadable, device=self._device,
            num_workers=self._config.num_workers, num_threads=self._resources.num_cpus,
            photograph_cache=self._config.photograph_cache,
            cache_directory=Path(tempfile.gettempdir(), f"kennel-photographs-{os.getuid()}"),
        )  # fmt: skip
        self._history.widen(network)
        tuner.run(Recipe.for_all_layers(self._config), self._history, self._stop)

    def _save(self, network: Network, preprocessing: Preprocessing, class_names: tuple[str, ...]) -> None:
        write_artifact(
            self._paths.model,
            architecture=self._config.arch,
            class_names=class_names,
            preprocessing=preprocessing,
            weights={name: tensor.contiguous().numpy() for name, tensor in network.state_dict().items()},
            ir=attach_head(convert_backbone(network.backbone, preprocessing), network.head),
            reference=TorchEngine(network, preprocessing, "cpu"),
        )

    def _report(self, photographs: Photographs) -> None:
        cores = self._resources.num_cpus
        classifier = ImageClassifier.load(self._paths.model, device=self._device, num_threads=cores, num_streams=cores)
        metrics: dict[str, float] = {}
        evaluation = self._history.best
        splits = {"validation": photographs.validation, "test": photographs.test}
        for name, split in splits.items():
            if split is not None and not self._stop.requested:
                evaluation = self._evaluate(classifier, split, name)
                metrics |= evaluation.metrics(name)
        if evaluation is None or not np.isfinite(evaluation.loss):
            raise UserError("training diverged; set a lower lr")
        print_metrics(metrics)
        write_report(self._paths.output_data, metrics, self._history.rows, evaluation, self._unreadable.reasons)
        logger.info("artifact in %s, report in %s", self._paths.model, self._paths.output_data)
        logger.info("job took %.1f s", time.monotonic() - self._started)

    def _evaluate(self, classifier: ImageClassifier, split: Split, name: str) -> Evaluation:
        logits, labels = run_split(
            classifier.engine, classifier.artifact.preprocessing, split, self._unreadable,
            name=f"{name} of the artifact", num_threads=self._resources.num_cpus,
        )  # fmt: skip
        if len(labels) == 0:
            raise UserError(f"{name}: none of {len(split)} photographs can be read")
        return evaluate_logits(logits, labels, classifier.artifact.class_names)
