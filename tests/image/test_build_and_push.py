"""build_and_push.sh, with a registry of its own."""

import hashlib
import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from image.containers import BASE_IMAGE, ROOT, Result, copy_project, docker, free_port, run, status_of

NAME = "kennel-test/pushed"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
# The stage below the dependencies is pushed in seconds, where the whole image has gigabytes.
SMALL = ("--base-image", BASE_IMAGE, NAME, "--", "--network", "host", "--target", "python")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run Debian's docker-registry on the loopback interface."""
    folder = tmp_path_factory.mktemp("registry")
    address = f"127.0.0.1:{free_port()}"
    configuration = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder)}},
        "http": {"addr": address},
        "log": {"level": "error"},
    }
    (folder / "config.yml").write_text(json.dumps(configuration))
    process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")])
    try:
        while status_of(f"http://{address}/v2/") != 200:
            assert process.poll() is None
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """Make a repository of the project's files, in a folder with a space in its name."""
    folder = copy_project(tmp_path / "a project")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "all")
    yield folder
    for image in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split():
        if NAME in image:
            docker("image", "rm", image)


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody."""
    somebody = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
    result = run("git", *somebody, *arguments, cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def build_and_push(project: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Result:
    """Run the script from another folder, as a user may."""
    return run(project / "build_and_push.sh", *arguments, cwd=project.parent, environment=environment)


def test_the_digest_that_is_printed_is_the_registrys(registry: str, project: Path) -> None:
    revision = git(project, "rev-parse", "--short=12", "HEAD")
    result = build_and_push(project, "--registry", registry, *SMALL)
    assert result.returncode == 0, result.stderr
    url = f"http://{registry}/v2/{NAME}/manifests/{revision}"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": MANIFEST}), timeout=10) as response:
        content, digest = response.read(), response.headers["Docker-Content-Digest"]
    assert result.stdout.splitlines()[-1] == f"{registry}/{NAME}@{digest}"
    assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert json.loads(content)["mediaType"] == MANIFEST


def test_a_change_since_the_revision_shows_in_the_tag_and_nothing_is_pushed_without_push(project: Path) -> None:
    revision = git(project, "rev-parse", "--short=12", "HEAD")
    (project / "train" / "config.py").write_text("changed = True\n")
    result = build_and_push(project, "--no-push", *SMALL)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"built {NAME}:{revision}-dirty"
    assert (
        docker("image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", f"{NAME}:{revision}-dirty") == "linux/amd64"
    )


@pytest.mark.usefixtures("image")
def test_the_image_names_its_revision(project: Path) -> None:
    revision = git(project, "rev-parse", "--short=12", "HEAD")
    result = build_and_push(project, "--no-push", "--base-image", BASE_IMAGE, NAME, "--", "--network", "host")
    assert result.returncode == 0, result.stderr
    label = '{{index .Config.Labels "org.opencontainers.image.revision"}}'
    assert docker("image", "inspect", "--format", label, f"{NAME}:{revision}") == revision


def test_a_push_that_fails_fails_the_script(project: Path) -> None:
    result = build_and_push(project, "--registry", f"127.0.0.1:{free_port()}", *SMALL)
    assert result.returncode != 0
    assert "@sha256:" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "usage: build_and_push.sh"),
        (("Kennel",), "lower case"),
        (("--rejoin", "x", "kennel"), "--rejoin: unknown option"),
        (("one", "two"), "NAME is one already"),
        (("kennel", "--region"), "--region: no value given"),
    ],
)
def test_wrong_arguments_are_told(arguments: tuple[str, ...], said: str) -> None:
    result = run(ROOT / "build_and_push.sh", *arguments)
    assert result.returncode != 0
    assert said in result.stderr


def test_what_is_missing_is_told_before_anything_is_built(project: Path, tmp_path: Path) -> None:
    for tool in ("bash", "cat", "dirname", "docker", "git"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / tool).symlink_to(run("which", tool).stdout.strip())
    few = str(tmp_path / "bin")
    assert "no aws command" in build_and_push(project, NAME, environment={"PATH": few}).stderr
    assert (
        "docker answers no call" in build_and_push(project, NAME, environment={"DOCKER_HOST": "unix:///nowhere"}).stderr
    )
    assert "no docker command" in build_and_push(project, NAME, environment={"DOCKER": "docker-of-another-name"}).stderr
    assert "no git revision" in build_and_push(without_revision(tmp_path), "--no-push", NAME).stderr


def without_revision(tmp_path: Path) -> Path:
    """Copy the project to where there is no repository."""
    assert not any((folder / ".git").exists() for folder in tmp_path.parents)
    return copy_project(tmp_path / "no repository")
