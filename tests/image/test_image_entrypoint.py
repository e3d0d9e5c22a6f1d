"""The entry point: which command runs, as PID 1, and when CUDA's compat libraries are used."""

from pathlib import Path

import pytest
from image.containers import BASE_IMAGE, ROOT, Result, docker, run

COMPAT = "/usr/local/cuda/compat"
CLOSED_MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Sun May 12 19:39:15 UTC 2024"
OPEN_MODULE = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (archive@host)  Sep 2025"
COMPILER = "GCC version:  gcc version 999.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)"


def run_on_host(tmp_path: Path, compat: str, driver: str, library_path: str = "") -> Result:
    """Run the entry point where the NVIDIA driver and the compat libraries look installed.

    Docker mounts nothing below /proc, so the container itself lays a file system over /proc/driver.
    """
    folder = tmp_path / "compat"
    folder.mkdir()
    (folder / f"libcuda.so.{compat}").touch()
    (folder / "libcuda.so.1").symlink_to(f"libcuda.so.{compat}")
    (tmp_path / "version").write_text(f"{driver}\n{COMPILER}\n")
    script = (
        "mount -t tmpfs tmpfs /proc/driver && mkdir /proc/driver/nvidia && cp /version /proc/driver/nvidia/version"
        " && exec /entrypoint.sh sh -c 'echo \"path=$LD_LIBRARY_PATH\"'"
    )
    mounts = {folder: COMPAT, tmp_path / "version": "/version", ROOT / "docker" / "entrypoint.sh": "/entrypoint.sh"}
    options = [f"--mount=type=bind,source={source},target={target},readonly" for source, target in mounts.items()]
    if library_path:
        options.append(f"--env=LD_LIBRARY_PATH={library_path}")
    rights = ("--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined")
    result = run("docker", "run", "--rm", *rights, *options, BASE_IMAGE, "sh", "-c", script)
    assert result.returncode == 0, result.stderr
    return result


@pytest.mark.parametrize(
    ("compat", "driver"),
    [
        ("590.48.01", CLOSED_MODULE.format("550.54.15")),
        ("590.48.01", OPEN_MODULE.format("580.95.05")),
        ("590.48.01", CLOSED_MODULE.format("590.44.01")),
        ("590.48.01", CLOSED_MODULE.format("590.48")),
        ("1000.10", CLOSED_MODULE.format("999.99.99")),
        ("580.105.08", CLOSED_MODULE.format("580.95.05")),
    ],
)
def test_compat_libraries_stand_in_for_an_older_driver(tmp_path: Path, compat: str, driver: str) -> None:
    result = run_on_host(tmp_path, compat, driver)
    assert result.stdout == f"path={COMPAT}\n"
    assert compat in result.stderr


@pytest.mark.parametrize(
    ("compat", "driver"),
    [
        ("590.48.01", CLOSED_MODULE.format("590.48.01")),
        ("590.48.01", OPEN_MODULE.format("600.10")),
        ("580.95.05", CLOSED_MODULE.format("580.105.08")),
        ("590.48.01", "no version here"),
    ],
)
def test_compat_libraries_are_left_alone_beside_a_driver_as_new(tmp_path: Path, compat: str, driver: str) -> None:
    result = run_on_host(tmp_path, compat, driver)
    assert result.stdout == "path=\n"
    assert result.stderr == ""


def test_compat_libraries_come_before_the_library_path_that_was_set(tmp_path: Path) -> None:
    result = run_on_host(tmp_path, "590.48.01", CLOSED_MODULE.format("550.54.15"), library_path="/mine:/yours")
    assert result.stdout == f"path={COMPAT}:/mine:/yours\n"


def test_without_a_driver_the_library_path_is_not_touched(image: str) -> None:
    assert docker("run", "--rm", "--env", "LD_LIBRARY_PATH=/mine", image, "printenv", "LD_LIBRARY_PATH") == "/mine"


def test_any_other_command_is_run_as_pid_1(image: str) -> None:
    program = "import os, sys; print(os.getpid(), sys.argv[1:])"
    assert docker("run", "--rm", image, "python", "-c", program, "a b") == "1 ['a b']"


@pytest.mark.parametrize("arguments", [("train", "--help"), ("--help",)])
def test_options_go_to_train(image: str, arguments: tuple[str, ...]) -> None:
    assert docker("run", "--rm", image, *arguments).startswith("usage: train ")


@pytest.mark.parametrize("command", ["train", "serve"])
def test_commands_are_on_the_path_for_another_entry_point(image: str, command: str) -> None:
    found = docker("run", "--rm", "--entrypoint", "sh", image, "-c", f"command -v {command}")
    assert found == f"/opt/venv/bin/{command}"
