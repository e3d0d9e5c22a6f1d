"""Starts and stops `train` and `serve` as SageMaker does: in a process, or in a container."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol

from jobs.store import try_lock

Verb = Literal["train", "serve"]

NEEDED: Mapping[Verb, str] = {"train": "torch", "serve": "openvino"}
"""The library without which a command does nothing."""

PACKAGES = Path(__file__).parent.parent
"""Where the packages train and serve are."""

SERVER_PORT = 8080
"""On which a container serves (SageMaker developer guide, "Use your own inference code")."""

FEATURES_IN_CONTAINER = "/tmp/kennel-features"  # noqa: S108 - a mount point that any user may have
ORPHAN_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Mount:
    """A folder of this machine in a container."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Launch:
    """What is started."""

    verb: Verb
    name: str
    """Unique on this machine: names the container."""
    root: Path
    """The /opt/ml tree."""
    image: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    port: int = 0
    """Port of this machine at which it serves."""
    features: Path | None = None
    """Folder of the features that jobs share."""
    mounts: tuple[Mount, ...] = ()
    network: bool = True


class Launcher(Protocol):
    """Says how a command is started, and how it is ended for sure."""

    network_interface: str
    links_channels: bool
    """Whether the tree links to folders, or the launcher mounts them."""

    def check(self, verb: Verb, image: str) -> None:
        """Raise ValueError when the command cannot be started here."""

    def command(self, launch: Launch) -> list[str]:
        """Give the command line."""

    def environment(self, launch: Launch) -> dict[str, str]:
        """Give the environment of the command line."""

    def kill(self, name: str) -> None:
        """End what a killed command line would leave behind."""


class ProcessLauncher:
    """Starts the commands of this Python environment; SAGEMAKER_BASE_DIR stands for /opt/ml."""

    network_interface = "lo"
    links_channels = True

    def check(self, verb: Verb, image: str) -> None:  # noqa: ARG002
        """Raise ValueError when this environment lacks what the command is made of."""
        needed = NEEDED[verb]
        if find_spec(needed) is None:
            raise ValueError(f"{needed} is not installed here; install kennel[container], or take --on docker or aws")

    def command(self, launch: Launch) -> list[str]:
        """Run the module of the verb."""
        return [sys.executable, "-P", "-m", launch.verb, *launch.arguments]

    def environment(self, launch: Launch) -> dict[str, str]:
        """Add the job's variables to this process's, without credentials."""
        inherited = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
        path = os.pathsep.join(part for part in (str(PACKAGES), inherited.get("PYTHONPATH", "")) if part)
        variables = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "SAGEMAKER_BASE_DIR": str(launch.root)}
        if launch.features:
            variables["KENNEL_FEATURES_DIR"] = str(launch.features)
        if launch.verb == "serve":
            variables |= {"SAGEMAKER_BIND_TO_PORT": str(launch.port), "KENNEL_BIND_ADDRESS": "127.0.0.1"}
        return {**inherited, **launch.environment, **variables}

    def kill(self, name: str) -> None:
        """Do nothing more: the group of processes has been killed."""


class DockerLauncher:
    """Starts containers by `docker run`, as the person who asks, so that files are theirs."""

    network_interface = "eth0"
    links_channels = False

    def check(self, verb: Verb, image: str) -> None:  # noqa: ARG002
        """Raise ValueError when no engine answers or the image is not there."""
        if shutil.which("docker") is None:
            raise ValueError("no docker command found; install Docker, or take --on process")
        engine = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
        if engine.returncode:
            why = last_line(engine.stderr)
            raise ValueError(f"no Docker engine answers ({why}); start Docker, or take --on process")
        found = subprocess.run(["docker", "image", "inspect", image], capture_output=True, text=True, check=False)
        if found.returncode:
            raise ValueError(f"image {image!r} is not on this machine; build it (make image), or name another")

    def command(self, launch: Launch) -> list[str]:
        """Run the image with the tree at /opt/ml."""
        mounts = [Mount(launch.root, "/opt/ml"), *launch.mounts]
        options = ["--rm", "--name", launch.name, "--user", f"{os.getuid()}:{os.getgid()}", "--shm-size", "1g"]
        if launch.features:
            mounts.append(Mount(launch.features, FEATURES_IN_CONTAINER))
        if launch.port:
            options += ["--publish", f"127.0.0.1:{launch.port}:{SERVER_PORT}"]
        elif not launch.network:
            options += ["--network", "none"]
        for mount in mounts:
            suffix = ",readonly" if mount.read_only else ""
            options += ["--mount", f"type=bind,source={mount.source},target={mount.target}{suffix}"]
        # Values stay out of the command line, which every user of the machine can read.
        options += [f"--env={name}" for name in self._variables(launch)]
        return ["docker", "run", *options, launch.image, *([launch.verb] if not launch.arguments else launch.arguments)]

    def environment(self, launch: Launch) -> dict[str, str]:
        """Give docker the job's variables, which it hands on by name."""
        return {**os.environ, **self._variables(launch)}

    def _variables(self, launch: Launch) -> dict[str, str]:
        features = {"KENNEL_FEATURES_DIR": FEATURES_IN_CONTAINER} if launch.features else {}
        return {**launch.environment, **features}

    def kill(self, name: str) -> None:
        """Remove the container: it outlives the docker command."""
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)


LAUNCHERS: dict[str, Launcher] = {"process": ProcessLauncher(), "docker": DockerLauncher()}


class Child:
    """A command that runs; its output goes to log.txt of the job's folder, whatever becomes of this process."""

    def __init__(self, launcher: Launcher, launch: Launch, folder: Path) -> None:
        self._launcher = launcher
        self._launch = launch
        lock = os.open(folder / "child.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            try_lock(lock)
            with (folder / "log.txt").open("ab") as log:
                # The lock is inherited, and so held until the last of its processes ends.
                self._process = subprocess.Popen(
                    launcher.command(launch), env=launcher.environment(launch), cwd=folder, stdin=subprocess.DEVNULL,
                    stdout=log, stderr=subprocess.STDOUT, start_new_session=True, pass_fds=(lock,),
                )  # fmt: skip
        finally:
            os.close(lock)
        (folder / "child.pid").write_text(f"{self._process.pid} {launch.name}")

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs, negative when a signal ended it."""
        return self._process.poll()

    def terminate(self) -> None:
        """Send SIGTERM, to the first process alone as `docker stop` does."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End all of its processes at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._launcher.kill(self._launch.name)
        self._process.wait()

    def stop(self, grace_seconds: float) -> int:
        """Send SIGTERM, SIGKILL after the grace, and return the exit code."""
        self.terminate()
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        return self._process.wait()


def end_orphans(launcher: Launcher, folder: Path) -> None:
    """End what a supervisor that was killed has left running."""
    try:
        process, _, name = (folder / "child.pid").read_text().partition(" ")
        lock = os.open(folder / "child.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        started = time.monotonic()
        # The held lock proves that the process number is still that of our child, or of one of its children.
        while not try_lock(lock) and time.monotonic() - started < 2 * ORPHAN_GRACE_SECONDS:
            number = signal.SIGTERM if time.monotonic() - started < ORPHAN_GRACE_SECONDS else signal.SIGKILL
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(int(process), number)
            time.sleep(0.2)
    finally:
        os.close(lock)
    launcher.kill(name)


def last_line(text: str) -> str:
    """Give the last line that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
