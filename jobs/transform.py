"""Supervises a transform job: starts the server, sends it every file, writes every answer."""

import json
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.kinds import MODEL
from jobs.serving import GRACE_SECONDS, STARTUP_TIMEOUT_SECONDS, ServerError, ServerSupervisor, ask
from jobs.store import Description, NotFoundError, now
from jobs.supervisor import Wish, shorten
from jobs.uris import file_uri, local_path, walk_files

DEFAULT_TIMEOUT_SECONDS = 600
DEFAULT_RETRIES = 3
DEFAULT_PAYLOAD_MB = 6
"""ModelClientConfig and MaxPayloadInMB, unless the request or /execution-parameters say otherwise."""

BYTES_PER_MB = 1024 * 1024
BACK_OFF_SECONDS = 0.5


@dataclass(frozen=True)
class Limits:
    """How files are sent."""

    concurrency: int
    payload_bytes: int
    """0 for no limit."""
    timeout_seconds: float
    num_retries: int


class TransformSupervisor(ServerSupervisor):
    """Carries a transform job to its end."""

    def run(self) -> None:
        """Send every file; the job fails when one was not answered, and the others are answered all the same."""
        request = self.record().private["Request"]
        try:
            num_files, failures = self._transform(request)
        except ServerError as error:
            self._end("Failed", f"AlgorithmError: {error}")
            return
        except OSError as error:
            self._end("Failed", f"InternalServerError: {error.strerror}: {error.filename}")
            return
        if self.wishes(Wish.STOP):
            self._end("Stopped")
        elif failures:
            first, why = next(iter(failures.items()))
            self._end("Failed", f"AlgorithmError: {len(failures)} of {num_files} files have no answer; {first}: {why}")
        else:
            self._end("Completed")

    def _end(self, status: str, reason: str = "") -> None:
        failure = {"FailureReason": shorten(reason)} if reason else {}
        self.update(TransformJobStatus=status, TransformEndTime=now(), **failure)

    def _transform(self, request: Description) -> tuple[int, dict[str, str]]:
        source = local_path(request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"])
        files = [file for file in walk_files(source) if file.name[0] != "."]
        if not files:
            raise ServerError(f"no files found under {file_uri(source)} given in TransformInput")
        try:
            container = self.store.read(MODEL, request["ModelName"]).description["PrimaryContainer"]
        except NotFoundError as error:
            raise ServerError(f"model {error} was deleted") from error
        self.put_model(container)
        child, port = self.start_server(container, batch_environment(request))
        try:
            self.wait_until_ready(child, port, STARTUP_TIMEOUT_SECONDS, Wish.STOP)
            self.update(TransformStartTime=now())
            return len(files), self._send_all(request, source, files, port)
        finally:
            child.stop(GRACE_SECONDS)

    def _send_all(self, request: Description, source: Path, files: list[Path], port: int) -> dict[str, str]:
        """Send files side by side; return the reason for each that has no answer."""
        limits = choose_limits(request, execution_parameters(port))
        output = local_path(request["TransformOutput"]["S3OutputPath"])
        base = source if source.is_dir() else source.parent
        failures: dict[str, str] = {}
        waiting = iter(files)
        running: dict[Future[str], Path] = {}
        with ThreadPoolExecutor(limits.concurrency) as pool:
            while True:
                while len(running) < limits.concurrency and (file := next(waiting, None)):
                    target = output / f"{file.relative_to(base)}.out"
                    running[pool.submit(send, file, target, request, port, limits)] = file
                if not running or self.wishes(Wish.STOP):
                    return failures
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    file = running.pop(future)
                    if reason := future.result():
                        failures[str(file.relative_to(base))] = reason


def batch_environment(request: Description) -> dict[str, str]:
    """Give the variables that tell a server of a batch; the last three only where the request says so."""
    strategies = {"SingleRecord": "SINGLE_RECORD", "MultiRecord": "MULTI_RECORD"}
    variables = {"SAGEMAKER_BATCH": "true", **request.get("Environment", {})}
    if "MaxPayloadInMB" in request:
        variables["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = str(request["MaxPayloadInMB"] or 1024)
    if "BatchStrategy" in request:
        variables["SAGEMAKER_BATCH_STRATEGY"] = strategies[request["BatchStrategy"]]
    if "MaxConcurrentTransforms" in request:
        variables["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = str(request["MaxConcurrentTransforms"])
    return variables


def execution_parameters(port: int) -> Mapping[str, Any]:
    """Ask the server how it wants to be asked; nothing when it does not say."""
    with suppress(OSError, ValueError):
        answer = ask(port, "GET", "/execution-parameters", timeout=2)
        if answer.status == 200:
            content = json.loads(answer.body)
            return content if isinstance(content, dict) else {}
    return {}


def choose_limits(request: Description, wanted: Mapping[str, Any]) -> Limits:
    """Choose limits: the request's, else the server's, else the service's defaults."""
    client = request.get("ModelClientConfig", {})
    concurrency = request.get("MaxConcurrentTransforms") or wanted.get("MaxConcurrentTransforms") or 1
    payload = request.get("MaxPayloadInMB", wanted.get("MaxPayloadInMB", DEFAULT_PAYLOAD_MB))
    return Limits(
        concurrency=int(concurrency),
        payload_bytes=int(payload) * BYTES_PER_MB,
        timeout_seconds=client.get("InvocationsTimeoutInSeconds", DEFAULT_TIMEOUT_SECONDS),
        num_retries=client.get("InvocationsMaxRetries", DEFAULT_RETRIES),
    )


def send(file: Path, target: Path, request: Description, port: int, limits: Limits) -> str:
    """Send a file and write the answer; return why there is none, empty when there is."""
    body = file.read_bytes()
    if limits.payload_bytes and len(body) > limits.payload_bytes:
        return f"{len(body)} bytes are more than MaxPayloadInMB"
    headers = {"Content_Type": request["TransformInput"].get("ContentType", "application/octet-stream")}
    if accept := request["TransformOutput"].get("Accept"):
        headers["Accept"] = accept
    reason = ""
    for attempt in range(limits.num_retries + 1):
        time.sleep(BACK_OFF_SECONDS * attempt)
        try:
            answer = ask(port, "POST", "/invocations", limits.timeout_seconds, body, **headers)
        except OSError as error:
            reason = f"no answer ({error})"
            continue
        if answer.status == 200:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(answer.body)
            return ""
        reason = (
            f"Bad HTTP status received from algorithm: {answer.status} {answer.body[:200].decode(errors='replace')}"
        )
        if answer.status < 500 and answer.status != 429:
            break
    return reason
