"""Follows a job for a person: states, log, metrics by epoch, and what to do next."""

import re
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from jobs.commands.session import INTERRUPTED, JOB_FAILED, CommandFailedError, Session
from jobs.kinds import ENDPOINT, TRAINING, TUNING, Kind

LOCAL_POLL_SECONDS, AWS_POLL_SECONDS = 0.2, 10.0

METRIC = re.compile(r"#metric (\S+)=(\S+)(?: epoch=(\d+))?")
SHOWN = ("train:loss", "validation:loss", "validation:accuracy")


class Follower:
    """Shows a job while it runs."""

    def __init__(self, session: Session, kind: Kind, name: str) -> None:
        self._session = session
        self._kind = kind
        self._name = name
        self._log = session.target.log(kind, name) if kind is not TUNING else None
        self._state = ""
        self._epoch: dict[str, str] = {}
        self._trials: set[str] = set()
        self._status: Any = None

    def run(self) -> dict[str, Any]:
        """Show the job to its end; Ctrl-C leaves it running. Raises CommandFailedError for both ends that are none."""
        from jobs.targets.opening import wait_for_end

        session = self._session
        poll = AWS_POLL_SECONDS if session.target.name == "aws" else LOCAL_POLL_SECONDS
        try:
            with self._progress() as self._status:
                description = wait_for_end(session.target, self._kind, self._name, self._look, poll)
        except KeyboardInterrupt:
            session.say(f"\n{self._name} goes on without us; come back with `kennel logs -f {self._name}`")
            session.say(f"or end it with `kennel stop {self._name}`")
            raise CommandFailedError(INTERRUPTED) from None
        if description[self._kind.status] == "Failed":
            session.say(f"{self._name}: Failed: {description.get('FailureReason', 'no reason given')}")
            if session.as_json:
                session.emit(description)
            raise CommandFailedError(JOB_FAILED)
        return description

    def _progress(self) -> AbstractContextManager[Any]:
        console = self._session.console
        return console.status("starting", spinner="dots") if console.is_terminal else nullcontext()

    def _look(self, description: dict[str, Any]) -> None:
        state = description.get("SecondaryStatus", description[self._kind.status])
        if self._log is not None:
            self._show_log(self._log.lines())
        if self._kind is TUNING:
            self._show_trials()
        if state != self._state:
            self._state = state
            self._session.say(f"{self._name}: {state}")
        if self._status is not None:
            shown = "  ".join(f"{name} {self._epoch[name]}" for name in SHOWN if name in self._epoch)
            epoch = f"epoch {self._epoch['epoch']}  {shown}" if shown else state
            self._status.update(epoch)

    def _show_log(self, lines: Iterable[str]) -> None:
        """Print the log; the metrics of an epoch are shown in place."""
        for line in lines:
            match = METRIC.match(line)
            if match is None:
                self._session.say(f"  {line}")
            elif match[3]:
                self._epoch |= {"epoch": match[3], match[1]: match[2]}

    def _show_trials(self) -> None:
        """Print a line for each training job that has ended."""
        for number, item in enumerate(training_jobs_of(self._session, self._name), 1):
            name = item["TrainingJobName"]
            if item["TrainingJobStatus"] not in TRAINING.ended or name in self._trials:
                continue
            self._trials.add(name)
            metric = item.get("FinalHyperParameterTuningJobObjectiveMetric")
            value = (
                f"{metric['MetricName']} {metric['Value']:.5g}" if metric else item.get("FailureReason", "no objective")
            )
            tuned = "  ".join(f"{key}={short(text)}" for key, text in sorted(item["TunedHyperParameters"].items()))
            self._session.say(f"  {number:3d}. {item['TrainingJobStatus']}  {value}  {tuned}")


def short(text: str) -> str:
    """Shorten a number for a person."""
    try:
        return f"{float(text):.3g}"
    except ValueError:
        return text


def training_jobs_of(session: Session, tuning_job: str) -> list[dict[str, Any]]:
    """List all training jobs of a tuning job, page by page."""
    from jobs.targets.catalogue import MAX_PAGE_SIZE

    found: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        answer = session.target.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=tuning_job, MaxResults=MAX_PAGE_SIZE, **token
        )
        found += answer["TrainingJobSummaries"]
        if "NextToken" not in answer:
            return found
        token = {"NextToken": answer["NextToken"]}


def finish(session: Session, kind: Kind, name: str, *, wait: bool) -> dict[str, Any] | None:
    """Follow a job that was just created, or say how to come to it later."""
    if session.dry_run:
        return None
    if not wait:
        session.say(f"{name}: started; follow it with `kennel logs -f {name}`")
        if session.as_json:
            session.emit({kind.name_key: name})
        return None
    return Follower(session, kind, name).run()


def for_person(session: Session, description: dict[str, Any] | None) -> dict[str, Any] | None:
    """Give what `finish` gave when a person is to be told more; with --json a machine gets it instead."""
    if description is not None and session.as_json:
        session.emit(description)
        return None
    return description


def follow_log(session: Session, kind: Kind, name: str) -> None:
    """Print the log as it grows, whole, until the job ends; Ctrl-C leaves it running."""
    from jobs.targets.opening import describe

    log = session.target.log(kind, name)
    try:
        while True:
            status = describe(session.target, kind, name)[kind.status]
            for line in log.lines():
                session.say(line)
            if status in kind.ended:
                return
            time.sleep(AWS_POLL_SECONDS if session.target.name == "aws" else LOCAL_POLL_SECONDS)
    except KeyboardInterrupt:
        verb = "is in service" if kind is ENDPOINT else "goes on"
        session.say(f"\n{name} {verb}; come back with `kennel logs -f {name}`")
        raise CommandFailedError(INTERRUPTED) from None


def show_metrics(session: Session, description: dict[str, Any]) -> None:
    """Draw the final metrics of a training job, split by split."""
    rows = [(item["MetricName"], item["Value"]) for item in description.get("FinalMetricDataList", ())]
    session.table("", ("metric", "value"), sorted(rows))
