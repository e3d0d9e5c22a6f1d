"""One training job, from photographs to artifact and report."""

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from classifier.architectures import Network
from classifier.artifact import write_artifact
from classifier.conversion import attach_head, convert_backbone
from classifier.engines import TorchEngine
from classifier.evaluation import Evaluation
from classifier.inference import ImageClassifier
from classifier.multilabel import MultiLabelEvaluation
from classifier.preprocessing import Preprocessing
from classifier.tasks import calibration_error, evaluate, task_of
from container.errors import UserError
from container.lifecycle import StopSignal
from container.metrics import print_metrics
from container.paths import ContainerPaths
from container.resources import ResourceConfig
from train.calibration import Calibration
from train.checkpoint import Checkpoints, identify
from train.config import TrainingConfig
from train.data import Photographs, find_photographs
from train.debugger.create import create_recorder
from train.debugger.leaks import find_leaks
from train.debugger.report import report_job
from train.debugger.rows import data_row, job_row, leak_row, predictions_row
from train.features import UnreadablePhotographs, run_split
from train.history import History
from train.optim import Recipe
from train.probe import LinearProbe
from train.report import Report, write_report
from train.split import Split
from train.starting_point import StartingPoint, find_starting_point
from train.trainer import FineTuner

if TYPE_CHECKING:
    import openvino

logger = logging.getLogger(__name__)


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
        self._recorder = create_recorder(config, paths, stop)
        self._seconds_of_imports = round(self._recorder.clock.now(), 3)

    def run(self) -> None:
        """Train, write the artifact, then measure the artifact."""
        torch.manual_seed(self._config.seed)
        torch.set_num_threads(self._resources.num_cpus)
        try:
            with self._recorder as recorder:
                recorder.write_made(
                    "job", job_row, self._config, self._strategy, self._device, self._resources, recorder.clock
                )
                recorder.write("phase", name="imports", start=0.0, seconds=self._seconds_of_imports)
                self._run()
                recorder.end("stopped" if self._stop.requested else "completed", self._stop.reason)
        finally:
            report_job(self._paths.output_data, self._config.rules)

    def _run(self) -> None:
        with self._recorder.phase("find photographs"):
            photographs = self._find_photographs()
        with self._recorder.phase("weights"):
            start = self._find_starting_point(photographs)
        network, preprocessing = start.network, start.preprocessing
        history = History(photographs.class_names)
        recipe = Recipe.for_all_layers(self._config, after_probe=self._strategy == "lp_ft")
        checkpoints = self._open_checkpoints(photographs, preprocessing, recipe)
        probe = LinearProbe(
            self._config, self._paths, self._resources, self._device, self._unreadable, self._stop, self._recorder
        )
        if start.has_head and self._strategy == "linear_probe":
            logger.info("strategy=linear_probe: a new head is searched; finetune and lp_ft go on from the one given")
        # A head that tells the classes needs no probe before all layers train.
        if self._strategy == "linear_probe" or (self._strategy == "lp_ft" and not start.has_head):
            probe.run(network, preprocessing, photographs, history, is_last=self._strategy == "linear_probe")
        if self._strategy != "linear_probe" and (checkpoints.is_there or not self._stop.requested):
            with self._recorder.phase("finetune"):
                self._finetune(start, photographs, history, recipe, checkpoints)
            probe.converted = None
        if history.best is None:
            logger.warning("stopped before the first epoch ended: there is no model to save")
            return
        with self._recorder.phase("artifact"):
            converted = probe.converted or convert_backbone(network.backbone, preprocessing)
            self._save(network.cpu(), preprocessing, photographs.class_names, converted, history)
        self._report(photographs, history, probe)

    def _choose_strategy(self) -> str:
        if self._config.strategy != "auto":
            return self._config.strategy
        chosen = "lp_ft" if self._device == "cuda" else "linear_probe"
        logger.info("strategy=%s: chosen for the device, %s", chosen, self._device)
        return chosen

    def _find_photographs(self) -> Photographs:
        config = self._config
        photographs = find_photographs(self._paths, config.validation_split, config.seed, config.multi_label)
        self._describe(photographs)
        self._check_num_classes(len(photographs.class_names))
        self._recorder.write_made("data", data_row, photographs, self._unreadable.reasons)
        self._tell_leaks(photographs)
        return photographs

    def _tell_leaks(self, photographs: Photographs) -> None:
        leaks = find_leaks(photographs)
        if leaks:
            (split, file), (other_split, other) = leaks[0]
            logger.warning(
                "%d photographs are in two splits, such as %s (%s) and %s (%s): results on them look too good; keep "
                "each in one split", len(leaks), file, split, other, other_split,
            )  # fmt: skip
            self._recorder.write_made("leak", leak_row, leaks)

    def _describe(self, photographs: Photographs) -> None:
        num_test = len(photographs.test) if photographs.test else 0
        logger.info(
            "%d classes%s; photographs: %d train, %d validation, %d test; %s, %s on %s with %d cores",
            len(photographs.class_names),
            ", any number of them a photograph" if task_of(photographs.train.labels) == "multi_label" else "",
            len(photographs.train), len(photographs.validation), num_test,
            self._config.arch, self._strategy, self._device, self._resources.num_cpus,
        )  # fmt: skip

    def _check_num_classes(self, num_classes: int) -> None:
        if self._config.num_classes not in (None, num_classes):
            raise UserError(
                f"num_classes={self._config.num_classes}: the photographs have {num_classes} classes; give that "
                f"number, or none, or add photographs of the missing classes"
            )

    def _find_starting_point(self, photographs: Photographs) -> StartingPoint:
        baked = os.environ.get("KENNEL_WEIGHTS_DIR")
        return find_starting_point(
            self._config.arch,
            photographs.class_names,
            task_of(photographs.train.labels),
            self._paths.channels().get("model"),
            [Path(baked)] if baked else [],
            pretrained=self._config.pretrained,
        )

    def _open_checkpoints(self, photographs: Photographs, preprocessing: Preprocessing, recipe: Recipe) -> Checkpoints:
        folder = self._paths.checkpoints if self._strategy != "linear_probe" else None
        identity = identify(self._config.arch, photographs, preprocessing, recipe)
        return Checkpoints(folder, identity, self._config.checkpoint_interval)

    def _finetune(
        self,
        start: StartingPoint,
        photographs: Photographs,
        history: History,
        recipe: Recipe,
        checkpoints: Checkpoints,
    ) -> None:
        tuner = FineTuner(
            start.network, photographs, start.preprocessing, self._unreadable, device=self._device,
            num_workers=self._config.num_workers, num_threads=self._resources.num_cpus,
            photograph_cache=self._config.photograph_cache,
            cache_directory=Path(tempfile.gettempdir(), f"kennel-photographs-{os.getuid()}"),
            recorder=self._recorder, checkpoints=checkpoints,
        )  # fmt: skip
        history.widen(start.network)
        if start.has_head and not checkpoints.is_there:
            tuner.note_start(history)
        tuner.run(recipe, history, self._stop)

    def _save(
        self,
        network: Network,
        preprocessing: Preprocessing,
        class_names: tuple[str, ...],
        converted: "openvino.Model",
        history: History,
    ) -> None:
        """Write the artifact, whose head gives calibrated logits: those of the network over the temperature."""
        with torch.no_grad():
            network.head.weight.div_(history.temperature)
            network.head.bias.div_(history.temperature)
        write_artifact(
            self._paths.model,
            architecture=self._config.arch,
            class_names=class_names,
            thresholds=history.thresholds,
            preprocessing=preprocessing,
            weights={name: tensor.contiguous().numpy() for name, tensor in network.state_dict().items()},
            ir=attach_head(converted, network.head),
            reference=TorchEngine(network, preprocessing, "cpu"),
        )

    def _report(self, photographs: Photographs, history: History, probe: LinearProbe) -> None:
        cores = self._resources.num_cpus
        metrics: dict[str, float] = {}
        calibrations: dict[str, Calibration] = {}
        evaluation = history.best
        splits = {"validation": photographs.validation, "test": photographs.test}
        with self._recorder.phase("evaluation"):
            classifier = ImageClassifier.load(
                self._paths.model, device=self._device, num_threads=cores, num_streams=cores
            )
            for name, split in splits.items():
                if split is not None and not self._stop.is_urgent:
                    evaluation, calibrations[name] = self._evaluate(classifier, split, name, history.temperature)
                    metrics |= evaluation.metrics(name)
        self._recorder.write_made("data", data_row, photographs, self._unreadable.reasons)
        assert evaluation is not None, "a model was saved, so an epoch was recorded"
        print_metrics(metrics)
        report = Report(
            metrics,
            history.rows,
            evaluation,
            probe.results,
            history.temperature,
            calibrations,
            self._unreadable.reasons,
        )
        with self._recorder.phase("report"):
            write_report(self._paths.output_data, report)
        logger.info("artifact in %s, report in %s", self._paths.model, self._paths.output_data)
        logger.info("job took %.1f s", time.monotonic() - self._started)

    def _evaluate(
        self, classifier: ImageClassifier, split: Split, name: str, temperature: float
    ) -> tuple[Evaluation | MultiLabelEvaluation, Calibration]:
        logits, read = run_split(
            classifier.engine, classifier.artifact.preprocessing, split, self._unreadable,
            name=f"{name} of the artifact", num_threads=self._resources.num_cpus,
        )  # fmt: skip
        if len(read) == 0:
            raise UserError(f"{name}: none of {len(split)} photographs can be read")
        artifact = classifier.artifact
        evaluation = evaluate(logits, read.labels, artifact.class_names, np.array(artifact.thresholds))
        before = calibration_error(logits * temperature, read.labels)
        logger.info(
            "%s: expected calibration error %.4f before and %.4f after scaling by temperature %.3f",
            name, before, evaluation.calibration_error, temperature,
        )  # fmt: skip
        calibration = Calibration(before, evaluation.calibration_error)
        self._recorder.write_made(
            "predictions",
            predictions_row,
            name,
            evaluation,
            logits,
            read,
            artifact.class_names,
            calibration,
            temperature,
        )
        return evaluation, calibration
