"""Supervises a tuning job: starts training jobs, reads their objective, stops those that fall behind."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.kinds import TRAINING, TUNING
from jobs.metrics import LogReader, MetricReader
from jobs.store import Description, NotFoundError, Record, Store, now
from jobs.supervisor import Supervisor, Wish, shorten
from jobs.tuner import Tuner

if TYPE_CHECKING:
    from jobs.targets.process import ProcessClient

MAX_FAILED_IN_A_ROW = 5
DEFAULT_MAX_JOBS = 750
"""Of one tuning job, on the service (its limits page in the developer guide)."""

DEFINITION_MEMBERS = (
    "AlgorithmSpecification", "RoleArn", "InputDataConfig", "VpcConfig", "OutputDataConfig", "ResourceConfig",
    "StoppingCondition", "EnableNetworkIsolation", "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining", "CheckpointConfig", "RetryStrategy", "Environment",
)  # fmt: skip
"""Members of a training job definition that its training jobs have too."""


@dataclass
class Trial:
    """A training job of this tuning job that has not ended."""

    number: int
    name: str
    log: LogReader
    num_values: int = 0
    last_value: float | None = None
    is_stopping: bool = False


class TuningSupervisor(Supervisor):
    """Carries a tuning job to its end; a supervisor that takes over goes on where the last one was."""

    def __init__(self, store: Store, name: str, features: Path, client: "ProcessClient") -> None:
        super().__init__(store, TUNING, name, features)
        self._client = client
        record = self.record()
        self._created = record.description["CreationTime"]
        self._config: Description = record.private["Request"]["HyperParameterTuningJobConfig"]
        self._definition: Description = record.private["Request"]["TrainingJobDefinition"]
        self._objective: Mapping[str, str] = self._config["HyperParameterTuningJobObjective"]
        specification = self._definition["AlgorithmSpecification"]
        self._reader = MetricReader(
            item for item in specification["MetricDefinitions"] if item["Name"] == self._objective["MetricName"]
        )
        self._resumed = record.private.get("Trials", [])
        static = self._definition.get("StaticHyperParameters", {})
        self._tuner = Tuner(name, self._config, static, len(self._resumed))
        self._running: dict[str, Trial] = {}
        self._num_started = 0
        self._reason = ""
        """State in which the tuning job ends; empty while training jobs are started."""
        self._summaries: list[Description] = []

    def run(self) -> None:
        """Start training jobs until the limits, then wait for the last."""
        for entry in self._resumed:
            self._follow(self._tuner.resume(entry["Parameters"]).number, entry["TrainingJobName"])
        self._summarise()
        while True:
            self._look()
            if not self._reason and self.wishes(Wish.STOP):
                self._stop_all("Stopped")
            self._reason = self._reason or self._limit_reached()
            if self._reason and not self._running:
                break
            if not self._reason and len(self._running) < self._config["ResourceLimits"]["MaxParallelTrainingJobs"]:
                self._start()
            else:
                self.pause()
        self._end()

    def _limit_reached(self) -> str:
        """Say which limit ends the tuning job, if any."""
        limits = self._config["ResourceLimits"]
        num_jobs = min(limits.get("MaxNumberOfTrainingJobs", DEFAULT_MAX_JOBS), self._tuner.max_trials)
        if self._num_started >= num_jobs:
            return "Completed"
        if now() - self._created > timedelta(seconds=limits.get("MaxRuntimeInSeconds", 10**9)):
            self._stop_all("Completed")
            return "Completed"
        ended = [item for item in self._summaries if item["TrainingJobStatus"] in TRAINING.ended]
        if len(ended) >= MAX_FAILED_IN_A_ROW and all(item["TrainingJobStatus"] == "Failed" for item in ended):
            return "Failed"
        return "Completed" if self._is_good_enough(ended) else ""

    def _is_good_enough(self, ended: list[Description]) -> bool:
        """Apply the completion criteria of the request."""
        criteria = self._config.get("TuningJobCompletionCriteria", {})
        values = [objective_value(item) for item in ended]
        sign = -1 if self._objective["Type"] == "Minimize" else 1
        scores = [sign * value for value in values if value is not None]
        if not scores:
            return False
        target = criteria.get("TargetObjectiveMetricValue")
        patience = criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving")
        reached = target is not None and max(scores) >= sign * target
        stalled = patience is not None and len(scores) - 1 - scores.index(max(scores)) >= patience
        if reached or stalled:
            self._stop_all("Completed")
        return reached or stalled

    def _start(self) -> None:
        suggestion = self._tuner.suggest()
        name = f"{self.name}-{suggestion.number + 1:03d}-{secrets.token_hex(4)}"
        entry = {"Number": suggestion.number, "TrainingJobName": name, "Parameters": suggestion.parameters}
        # Noted before it is created: a supervisor that takes over must not lose it.
        with self.store.change(self.kind, self.name) as record:
            record.private.setdefault("Trials", []).append(entry)
        self._create(name, suggestion.parameters)
        self._follow(suggestion.number, name)
        self._summarise()

    def _create(self, name: str, parameters: Mapping[str, str]) -> None:
        static = self._definition.get("StaticHyperParameters", {})
        quoted = f'"{self._objective["MetricName"]}"'
        members = {key: self._definition[key] for key in DEFINITION_MEMBERS if key in self._definition}
        if checkpoints := members.get("CheckpointConfig"):
            members["CheckpointConfig"] = {**checkpoints, "S3Uri": f"{checkpoints['S3Uri'].rstrip('/')}/{name}"}
        specification = {key: text for key, text in members["AlgorithmSpecification"].items() if key != "AlgorithmName"}
        request = {
            **members,
            "AlgorithmSpecification": specification,
            "TrainingJobName": name,
            "HyperParameters": {**static, **parameters, "_tuning_objective_metric": quoted},
        }
        self._client.start_training_job(request, tuning_job=self.name)

    def _follow(self, number: int, name: str) -> None:
        self._num_started += 1
        self._running[name] = Trial(number, name, LogReader(self.store.folder(TRAINING, name) / "log.txt"))

    def _look(self) -> None:
        """Read what the training jobs have printed, and note those that ended."""
        ended = []
        for trial in list(self._running.values()):
            status = self._status(trial)
            # The log is read after the state: a job that has ended has written all of it.
            for _, value in self._reader.values(trial.log.lines()):
                trial.num_values += 1
                trial.last_value = value
                if self._tuner.report(trial.number, trial.num_values, value) and not trial.is_stopping:
                    trial.is_stopping = True
                    self._client.stop_training_job(TrainingJobName=trial.name)
            if status in ("Completed", "Stopped", "Failed"):
                self._tuner.tell(trial.number, status, trial.last_value)
                ended.append(trial.name)
        for name in ended:
            del self._running[name]
        if ended:
            self._summarise()

    def _status(self, trial: Trial) -> Any:
        try:
            return self._client.describe_training_job(TrainingJobName=trial.name)["TrainingJobStatus"]
        except self._client.exceptions.ClientError:
            # Noted and not created, as the last supervisor was killed between the two; or deleted by a person.
            return "Failed"

    def _stop_all(self, reason: str) -> None:
        if reason == "Stopped":
            self.update(HyperParameterTuningJobStatus="Stopping")
        self._reason = reason
        for trial in self._running.values():
            if not trial.is_stopping:
                trial.is_stopping = True
                self._client.stop_training_job(TrainingJobName=trial.name)

    def _summarise(self) -> None:
        with self.store.change(self.kind, self.name) as record:
            self._summaries = summarise(self.store, record)
            record.description |= {**counters_and_best(self._summaries), "LastModifiedTime": now()}

    def _end(self) -> None:
        self._summarise()
        status = self._reason
        if status == "Completed" and all(item["TrainingJobStatus"] == "Failed" for item in self._summaries):
            status = "Failed"
        with self.store.change(self.kind, self.name) as record:
            if status == "Failed":
                reasons = [item["FailureReason"] for item in self._summaries if "FailureReason" in item]
                record.description["FailureReason"] = shorten(
                    f"No training job succeeded after {self._num_started} attempts. First: {(*reasons, 'unknown')[0]}"
                )
            moment = now()
            record.description |= {
                "HyperParameterTuningJobStatus": status,
                "HyperParameterTuningEndTime": moment,
                "LastModifiedTime": moment,
            }


def summarise(store: Store, record: Record) -> list[Description]:
    """List the training jobs of a tuning job as HyperParameterTrainingJobSummary, oldest first."""
    objective = record.private["Request"]["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    summaries = []
    for entry in record.private.get("Trials", []):
        try:
            job = store.read(TRAINING, entry["TrainingJobName"]).description
        except NotFoundError:
            continue
        members = ("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingStartTime", "TrainingEndTime")
        summary = {key: job[key] for key in (*members, "TrainingJobStatus", "FailureReason") if key in job}
        summary["TunedHyperParameters"] = entry["Parameters"]
        summary["ObjectiveStatus"] = "Pending"
        final = {item["MetricName"]: item["Value"] for item in job.get("FinalMetricDataList", ())}
        if job["TrainingJobStatus"] in TRAINING.ended:
            value = final.get(objective["MetricName"])
            has_value = value is not None and job["TrainingJobStatus"] != "Failed"
            summary["ObjectiveStatus"] = "Succeeded" if has_value else "Failed"
            if has_value:
                metric = {"Type": objective["Type"], "MetricName": objective["MetricName"], "Value": value}
                summary["FinalHyperParameterTuningJobObjectiveMetric"] = metric
        summaries.append(summary)
    return summaries


def objective_value(summary: Description) -> float | None:
    """Give the final objective of a training job; None when it has none."""
    metric = summary.get("FinalHyperParameterTuningJobObjectiveMetric")
    return None if metric is None else float(metric["Value"])


def counters_and_best(summaries: Sequence[Description]) -> Description:
    """Count the training jobs by state, and find the best one."""
    states = [item["TrainingJobStatus"] for item in summaries]
    objectives = [item["ObjectiveStatus"] for item in summaries]
    members: Description = {
        "TrainingJobStatusCounters": {
            "Completed": states.count("Completed"),
            "InProgress": states.count("InProgress") + states.count("Stopping"),
            "RetryableError": 0,
            "NonRetryableError": states.count("Failed"),
            "Stopped": states.count("Stopped"),
        },
        "ObjectiveStatusCounters": {state: objectives.count(state) for state in ("Succeeded", "Pending", "Failed")},
    }
    # A job that was cut short had fewer epochs: its value stands only where no job went to its end.
    scored = [item for item in summaries if objective_value(item) is not None]
    candidates = [item for item in scored if item["TrainingJobStatus"] == "Completed"] or scored
    if candidates:
        sign = 1 if candidates[0]["FinalHyperParameterTuningJobObjectiveMetric"]["Type"] == "Minimize" else -1
        members["BestTrainingJob"] = min(candidates, key=lambda item: sign * (objective_value(item) or 0.0))
    return members
