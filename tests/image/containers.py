"""Containers of the image under test, and the /opt/ml trees that they work on."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from make_test_dir import make_test_dir

ROOT = Path(__file__).parents[2]
BASE_IMAGE = "debian:bookworm-slim"
LABEL = "kennel-image-test"
USER = "1234:1234"
"""A user that the image does not know."""

QUICK = {"strategy": "linear_probe", "epochs": "20"}
PROJECT = ("LICENSE", "README.md", "build_and_push.sh", "pyproject.toml")
PROJECT_FOLDERS = ("classifier", "container", "docker", "local_test", "serve", "train")

Result = subprocess.CompletedProcess[str]


def run(
    *command: str | Path, timeout: float = 600, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> Result:
    """Run a command to its end and keep what it prints."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        check=False,
    )


def docker(*arguments: str | Path, timeout: float = 600) -> str:
    """Run a docker command that must succeed, and return its output."""
    result = run("docker", *arguments, timeout=timeout)
    assert result.returncode == 0, f"docker {arguments}: {result.stdout}{result.stderr}"
    return result.stdout.strip()


def build(image: str, *options: str, root: Path = ROOT) -> Result:
    """Build the image from a copy of the project, on the tests' base."""
    base = f"BASE_IMAGE={BASE_IMAGE}"
    script = root / "docker" / "build.sh"
    result = run(script, image, "--network", "host", "--build-arg", base, "--progress", "plain", *options, timeout=1800)
    assert result.returncode == 0, result.stderr[-4000:]
    return result


def layers(image: str) -> list[str]:
    """List the digests of an image's layers, the base first."""
    digests: list[str] = json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image))
    return digests


def copy_project(target: Path) -> Path:
    """Copy what the image and its scripts are made of."""
    target.mkdir(parents=True)
    for name in PROJECT:
        shutil.copy2(ROOT / name, target)
    for name in PROJECT_FOLDERS:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "test_dir"))
    return target


def opt_ml(root: Path, data: Path, hyperparameters: dict[str, str]) -> Path:
    """Lay out a tree that any user may write to, as SageMaker lays out /opt/ml."""
    make_test_dir(root, data, hyperparameters)
    for folder in (root / "input").rglob("*/"):
        folder.chmod(0o755)
    for folder in (root, root / "model", root / "output", root / "output" / "data"):
        folder.chmod(0o777)
    return root


def train(image: str, root: Path, *command: str, options: Sequence[str] = ()) -> Result:
    """Run a training job without any network."""
    mount = f"type=bind,source={root},target=/opt/ml"
    isolated = ("--rm", "--label", LABEL, "--network", "none", "--mount", mount)
    return run("docker", "run", *isolated, *options, image, *command, timeout=300)


def free_port() -> int:
    """Find a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Server:
    """A serving container, and the port of this machine at which it answers."""

    container: str
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def container(image: str, *command: str, options: Sequence[str] = ()) -> Iterator[str]:
    """Start a container in the background, and remove it whatever happens."""
    name = docker("run", "--detach", "--label", LABEL, *options, image, *command)
    try:
        yield name
    finally:
        docker("rm", "--force", name)


@contextmanager
def serving(image: str, model: Path, *, options: Sequence[str] = (), inner_port: int = 8080) -> Iterator[Server]:
    """Serve a model that the container may only read, and wait until it is ready."""
    port = free_port()
    mount = f"type=bind,source={model},target=/opt/ml/model,readonly"
    published = ("--publish", f"127.0.0.1:{port}:{inner_port}", "--mount", mount)
    with container(image, "serve", options=(*published, *options)) as name:
        server = Server(name, port)
        assert becomes_ready(server.url), logs_of(name)
        yield server


def becomes_ready(url: str, timeout_seconds: float = 60) -> bool:
    """Ask /ping until it answers 200."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if status_of(f"{url}/ping") == 200:
            return True
        time.sleep(0.1)
    return False


def logs_of(name: str) -> str:
    """Read what a container has printed so far."""
    result = run("docker", "logs", name)
    return result.stdout + result.stderr


def status_of(url: str) -> int:
    """Ask with GET; 0 when there is no answer."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def exit_code(name: str) -> int:
    """Read the exit code of a container that ended."""
    running, code = docker("inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", name).split()
    assert running == "false"
    return int(code)
