"""Supervises a training job: tree, `train`, metrics, model.tar.gz, and the states that the service goes through."""

import shutil
import time
from dataclasses import dataclass
from datetime import timedelta

from container.errors import PlatformError
from container.paths import ContainerPaths
from jobs.kinds import TRAINING
from jobs.launch import Child, Launch
from jobs.metrics import LogReader, MetricReader
from jobs.store import Description, now
from jobs.supervisor import ShutdownError, Supervisor, Wish, shorten
from jobs.tree import NoDataError, collect, lay_out, mounts

GRACE_SECONDS = 120.0
"""Between SIGTERM and SIGKILL (StopTrainingJob in the SageMaker API)."""

FULL_DISK_BYTES = 1_000_000

MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Interrupted": "Training job interrupted: the instance was taken back",
    "Stopping": "Stopping the training job",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}
"""StatusMessage of each secondary status, as the service words them."""


@dataclass(frozen=True)
class Outcome:
    """How `train` ended."""

    exit_code: int
    cut_short: str = ""
    """Secondary status of what ended it: Stopped, MaxRuntimeExceeded, MaxWaitTimeExceeded or Interrupted."""


def enter(description: Description, status: str, reason: str = "") -> None:
    """Note a transition of the secondary status; a final one ends the job."""
    moment = now()
    transitions = description.setdefault("SecondaryStatusTransitions", [])
    if transitions:
        transitions[-1]["EndTime"] = moment
    transitions.append({"Status": status, "StartTime": moment, "StatusMessage": reason or MESSAGES[status]})
    description |= {"SecondaryStatus": status, "LastModifiedTime": moment}
    if status in ("Completed", "Failed", "Stopped", "MaxRuntimeExceeded", "MaxWaitTimeExceeded"):
        transitions[-1]["EndTime"] = moment
        description["TrainingJobStatus"] = status if status in ("Completed", "Failed") else "Stopped"
        description["TrainingEndTime"] = moment
        started = description.get("TrainingStartTime", moment)
        description["TrainingTimeInSeconds"] = max(1, round((moment - started).total_seconds()))
    if reason and status == "Failed":
        description["FailureReason"] = shorten(reason)


class TrainingSupervisor(Supervisor):
    """Carries a training job from Starting to its end."""

    def run(self) -> None:
        """Train, again after each interruption."""
        try:
            while self._attempt():
                self._enter("Starting")
        except NoDataError as error:
            self._fail(f"ClientError: Data download failed: {error}")
        except OSError as error:
            self._fail(f"InternalServerError: {error.strerror}: {error.filename or self.folder}{self._disk()}")

    def _attempt(self) -> bool:
        """Train once; true when the machine was taken away and the job begins again."""
        record = self.record()
        request = record.private["Request"]
        self._enter("Downloading")
        lay_out(self.root, request, self.launcher.network_interface, link=self.launcher.links_channels)
        outcome = Outcome(0, "Stopped") if self.wishes(Wish.STOP) else self._train(request)
        if outcome.cut_short == "Interrupted":
            self._enter("Interrupted")
            return True
        self._note_metrics(request)
        if outcome.exit_code and not outcome.cut_short:
            reason = self._reason(outcome.exit_code)
            collect(self.root, request, with_model=False)
            self._fail(reason)
            return False
        self._enter("Uploading")
        collect(self.root, request, with_model=True)
        self._enter(outcome.cut_short or "Completed")
        return False

    def _train(self, request: Description) -> Outcome:
        self._enter("Training")
        with self.store.change(self.kind, self.name) as record:
            record.description.setdefault("TrainingStartTime", now())
        child = Child(self.launcher, self._launch(request), self.folder)
        started, created = time.monotonic(), self.record().description["CreationTime"]
        limits = request["StoppingCondition"]
        run_limit = limits.get("MaxRuntimeInSeconds", 86400)
        wait_limit = timedelta(seconds=limits.get("MaxWaitTimeInSeconds", 10**9))
        try:
            while (code := child.exit_code) is None:
                if self.wishes(Wish.STOP):
                    return self._stop(child, "Stopped")
                if self.wishes(Wish.INTERRUPT):
                    self.fulfil(Wish.INTERRUPT)
                    return Outcome(child.stop(GRACE_SECONDS), "Interrupted")
                if time.monotonic() - started > run_limit:
                    return self._stop(child, "MaxRuntimeExceeded")
                if now() - created > wait_limit:
                    return self._stop(child, "MaxWaitTimeExceeded")
                self.pause()
            # At a shutdown of the machine `train` ends well, though not at its end.
            self.pause()
        except ShutdownError:
            child.stop(GRACE_SECONDS)
            raise
        return Outcome(code)

    def _stop(self, child: Child, cause: str) -> Outcome:
        self._enter("Stopping")
        return Outcome(child.stop(GRACE_SECONDS), cause)

    def _launch(self, request: Description) -> Launch:
        algorithm = request["AlgorithmSpecification"]
        variables = {"TRAINING_JOB_NAME": self.name, "TRAINING_JOB_ARN": TRAINING.arn(self.name)}
        self.features.mkdir(parents=True, exist_ok=True)
        return Launch(
            "train",
            f"kennel-train-{self.name}",
            self.root,
            image=algorithm.get("TrainingImage", ""),
            environment={**request.get("Environment", {}), **variables},
            arguments=tuple(algorithm.get("ContainerArguments", ())),
            features=self.features,
            mounts=mounts(request),
            network=not request.get("EnableNetworkIsolation", False),
        )

    def _note_metrics(self, request: Description) -> None:
        reader = MetricReader(request["AlgorithmSpecification"].get("MetricDefinitions", ()))
        last = dict(reader.values(LogReader(self.folder / "log.txt").lines()))
        if last:
            moment = now()
            final = [{"MetricName": name, "Value": value, "Timestamp": moment} for name, value in last.items()]
            self.update(FinalMetricDataList=final)

    def _reason(self, exit_code: int) -> str:
        """Word the failure as the service does, from output/failure and the exit code."""
        try:
            text = ContainerPaths(self.root).failure.read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            text = ""
        if not text and exit_code < 0:
            text = f"train was ended by signal {-exit_code}" + (": out of memory?" if exit_code == -9 else "")
        if not text and exit_code == PlatformError.exit_code:
            text = "PlatformError"
        ending = f"{self._disk()}, exit code: {exit_code}"
        return f"AlgorithmError: {text[: 1024 - len('AlgorithmError: ') - len(ending)]}{ending}"

    def _disk(self) -> str:
        free = shutil.disk_usage(self.folder).free
        return f" (the disk is full: {free} bytes free at {self.store.root})" if free < FULL_DISK_BYTES else ""

    def _enter(self, status: str) -> None:
        with self.store.change(self.kind, self.name) as record:
            if status == "Stopping":
                record.description["TrainingJobStatus"] = "Stopping"
            enter(record.description, status)

    def _fail(self, reason: str) -> None:
        with self.store.change(self.kind, self.name) as record:
            enter(record.description, "Failed", reason)
