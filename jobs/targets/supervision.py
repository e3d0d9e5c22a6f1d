"""How the jobs of this machine come to be, are settled when their supervisor was killed, and go."""

import os
import subprocess
import sys
from typing import Any

from jobs.kinds import ENDPOINT, TRAINING, TUNING, Kind
from jobs.launch import LAUNCHERS, PACKAGES, Verb, end_orphans
from jobs.shapes import check_constraints, check_request, client_error, refuse
from jobs.store import Description, ExistsError, NotFoundError, Record, now
from jobs.supervisor import Wish, ask
from jobs.targets.catalogue import Answer, Catalogue, answered
from jobs.targets.checks import problems
from jobs.training import enter

LOST = (
    "InternalServerError: the process that supervised the job was ended, or the machine restarted; start the job again "
    "(with spot training and checkpoints it goes on by itself)"
)

STARTED: list["subprocess.Popen[bytes]"] = []
"""Supervisors that this process started; those that have ended are let go of when the next one starts."""


class Supervision(Catalogue):
    """Creates, settles, stops and removes records, and starts their supervisors."""

    def current(self, kind: Kind, name: str) -> Record:
        """Read a record that is true now: what a dead supervisor left is settled first. Raises NotFoundError."""
        record = self.store.read(kind, name)
        if not kind.status or record.description[kind.status] in kind.ended:
            return record
        return self.store.read(kind, name) if self.settle(kind, name) else record

    def check(self, operation: str, request: Description) -> None:
        """Check a request as boto3, the service and this target do. Raises their errors."""
        check_request(operation, request)
        check_constraints(operation, request)
        if found := problems(operation, request):
            refuse(operation, "; ".join(found))

    def register(self, kind: Kind, request: Description) -> Answer:
        """Keep what needs no supervisor."""
        operation, name = f"Create{kind.noun}", request[kind.name_key]
        shown = {key: value for key, value in request.items() if key != "Tags"}
        description = {**shown, kind.arn_key: kind.arn(name), "CreationTime": now()}
        os.close(self._take(operation, kind, name, Record(description)))
        return answered({kind.arn_key: kind.arn(name)})

    def create(self, kind: Kind, request: Description, verb: Verb, image: str, **members: Any) -> Answer:
        """Take the name, and start the supervisor; the description is the request with more members."""
        operation, name = f"Create{kind.noun}", request[kind.name_key]
        try:
            LAUNCHERS[self.target].check(verb, image)
        except ValueError as error:
            refuse(operation, str(error))
        moment = now()
        description = {
            **{key: value for key, value in request.items() if key != "Tags"},
            kind.arn_key: kind.arn(name),
            "CreationTime": moment,
            "LastModifiedTime": moment,
            **members,
        }
        record = Record(description, {"Request": request, "Target": self.target})
        self._start(kind, name, self._take(operation, kind, name, record))
        return answered({kind.arn_key: kind.arn(name)})

    def _take(self, operation: str, kind: Kind, name: str, record: Record) -> int:
        try:
            return self.store.create(kind, name, record)
        except ExistsError:
            code, message = kind.exists
            raise client_error(operation, code, message.format(words=kind.words, arn=kind.arn(name))) from None

    def _start(self, kind: Kind, name: str, lock: int) -> None:
        """Start a supervisor that outlives this process; it inherits the lock, which so is never free meanwhile."""
        STARTED[:] = [process for process in STARTED if process.poll() is None]
        folder = self.store.folder(kind, name)
        path = os.pathsep.join(part for part in (str(PACKAGES), os.environ.get("PYTHONPATH", "")) if part)
        command = [sys.executable, "-P", "-m", "jobs.runner", kind.noun, name, str(self.home), self.target]
        try:
            with (folder / "supervisor.txt").open("ab") as log:
                process = subprocess.Popen(
                    command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, start_new_session=True, pass_fds=(lock,),
                )  # fmt: skip
        finally:
            os.close(lock)
        STARTED.append(process)

    def settle(self, kind: Kind, name: str) -> bool:
        """Settle what a dead supervisor left: end it, or start another one. True when the supervisor was dead."""
        lock = self.store.take_over(kind, name)
        if lock is None:
            return False
        record = self.store.read(kind, name)
        status = record.description[kind.status]
        if status in kind.ended:
            os.close(lock)
            return True
        end_orphans(LAUNCHERS[self.target], self.store.folder(kind, name))
        if status == "Deleting":
            self.store.remove(kind, name)
        elif kind in (TUNING, ENDPOINT) or is_spot(record):
            self._start_again(kind, name, lock)
            return True
        else:
            with self.store.change(kind, name) as changed:
                lose(kind, changed.description)
        os.close(lock)
        return True

    def _start_again(self, kind: Kind, name: str, lock: int) -> None:
        with self.store.change(kind, name) as changed:
            if kind is TRAINING:
                enter(changed.description, "Interrupted")
                enter(changed.description, "Starting")
            elif kind is ENDPOINT and changed.description["EndpointStatus"] == "InService":
                changed.description["EndpointStatus"] = "SystemUpdating"
        self._start(kind, name, lock)

    def stop(self, kind: Kind, parameters: Answer) -> Answer:
        """Ask a job to end."""
        name, record = self.find(f"Stop{kind.noun}", kind, parameters)
        status = record.description[kind.status]
        if status in kind.ended:
            refuse(f"Stop{kind.noun}", f"The request was rejected because the {kind.words} is in status {status}.")
        ask(self.store, kind, name, Wish.STOP)
        with self.store.change(kind, name) as changed:
            if changed.description[kind.status] not in kind.ended:
                changed.description[kind.status] = "Stopping"
        return answered()

    def delete_ended(self, kind: Kind, parameters: Answer) -> Answer:
        """Remove a job that has ended."""
        operation = f"Delete{kind.noun}"
        name, record = self.find(operation, kind, parameters)
        status = record.description[kind.status]
        if status not in kind.ended:
            message = f"The {kind.words} {name} is in status {status}; stop it first and wait until it has ended"
            raise client_error(operation, "ResourceInUse", message)
        return self.remove(kind, parameters)

    def remove(self, kind: Kind, parameters: Answer) -> Answer:
        """Forget a name."""
        operation = f"Delete{kind.noun}"
        name, _ = self.find(operation, kind, parameters)
        try:
            self.store.remove(kind, name)
        except NotFoundError:
            raise self.not_found(operation, kind, name) from None
        return answered()


def is_spot(record: Record) -> bool:
    """Tell whether a training job goes on after its machine was taken away."""
    return bool(record.private["Request"].get("EnableManagedSpotTraining", False))


def lose(kind: Kind, description: Description) -> None:
    """End a job whose supervisor was lost."""
    if kind is TRAINING:
        enter(description, "Failed", LOST)
    else:
        moment = now()
        description |= {kind.status: "Failed", "FailureReason": LOST, "LastModifiedTime": moment}
        description["TransformEndTime"] = moment
