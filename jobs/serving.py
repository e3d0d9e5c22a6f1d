"""Starts a server for a supervisor, and asks it: the model's tree, a port, /ping, /invocations."""

import errno
import http.client
import shutil
import socket
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.launch import Child, Launch
from jobs.store import Description
from jobs.supervisor import Supervisor, Wish
from jobs.uris import fetch, local_path

HOST = "127.0.0.1"
PING_TIMEOUT_SECONDS = 2.0
"""The service's own limit for /ping."""

STARTUP_TIMEOUT_SECONDS = 120
"""Unless the request says otherwise; the SageMaker SDK's local mode waits as long, the service 480 s."""

GRACE_SECONDS = 30.0
"""Between SIGTERM and SIGKILL of a serving container."""

HOPELESS = b"cannot be served"
"""What /ping answers when the model has been looked at and refused."""


class ServerError(Exception):
    """The server cannot serve, however often it is started."""


class DiedError(ServerError):
    """The server ended by itself; another one may live."""


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def ask(port: int, method: str, path: str, timeout: float, body: bytes = b"", **headers: str) -> Answer:
    """Send a request and read the answer. Raises OSError when there is none."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=timeout)) as connection:
        try:
            named = {name.replace("_", "-"): text for name, text in headers.items()}
            connection.request(method, path, body=body or None, headers=named)
            response = connection.getresponse()
            return Answer(response.status, response.read(), dict(response.getheaders()))
        except http.client.HTTPException as error:
            raise OSError(errno.EPROTO, f"no HTTP answer: {error!r}") from error


def free_port() -> int:
    """Find a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_taken(port: int) -> bool:
    """Tell whether something listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104 - to see whether it is free on any address
        except OSError:
            return True
    return False


def model_path(container: Description) -> Path:
    """Give the model of a container definition, an archive or a folder. Raises ValueError for what is not a file."""
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    uri = container.get("ModelDataUrl") or source.get("S3Uri")
    if not uri:
        raise ValueError("PrimaryContainer: give ModelDataUrl, the model.tar.gz of a training job")
    return local_path(uri)


class ServerSupervisor(Supervisor):
    """Runs `serve` for an endpoint or a transform job."""

    def put_model(self, container: Description) -> None:
        """Lay the model out at /opt/ml/model. Raises ServerError."""
        folder = self.root / "model"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            fetch(model_path(container), folder)
        except (ValueError, OSError) as error:
            raise ServerError(f"Failed to download model data: {error}") from error

    def start_server(self, container: Description, environment: Mapping[str, str]) -> tuple[Child, int]:
        """Start `serve` on a free port, or on that of SAGEMAKER_BIND_TO_PORT. Raises ServerError when it is taken."""
        variables = {**environment, **container.get("Environment", {})}
        fixed = variables.pop("SAGEMAKER_BIND_TO_PORT", "")
        if fixed and is_taken(int(fixed)):
            raise ServerError(f"port {fixed} is taken; give another, or none to get a free one")
        port = int(fixed) if fixed else free_port()
        launch = Launch(
            "serve",
            f"kennel-{self.kind.noun.lower()}-{self.name}",
            self.root,
            image=container.get("Image", ""),
            environment=variables,
            port=port,
        )
        return Child(self.launcher, launch, self.folder), port

    def wait_until_ready(self, child: Child, port: int, timeout_seconds: float, end: Wish) -> None:
        """Ask /ping until it answers 200, or until another process wants the end.

        Raises ServerError when it never will, DiedError, ShutdownError.
        """
        deadline = time.monotonic() + timeout_seconds
        while not self.wishes(end):
            with suppress(OSError):
                answer = ask(port, "GET", "/ping", PING_TIMEOUT_SECONDS)
                if answer.status == 200:
                    return
                if HOPELESS in answer.body:
                    raise ServerError(f"the model cannot be served{self.last_words()}")
            if child.exit_code is not None:
                raise DiedError(f"the server ended with exit code {child.exit_code}{self.last_words()}")
            if time.monotonic() > deadline:
                raise ServerError(f"/ping did not answer 200 within {timeout_seconds:.0f} s{self.last_words()}")
            self.pause()

    def last_words(self) -> str:
        """Quote the end of the log."""
        with suppress(OSError):
            lines = (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace").split("\n")
            return f": {' '.join(line.strip() for line in lines[-4:] if line.strip())[-400:]}"
        return ""
