"""Every shell script of the project, and the one that starts the engine."""

import os
from pathlib import Path

import pytest
from image.containers import ROOT, run

SCRIPTS = sorted(
    [path for folder in (".", "docker", "local_test", "tests/image") for path in (ROOT / folder).glob("*.sh")]
    + [ROOT / ".ci" / "run"]
)


def test_all_scripts_are_found() -> None:
    assert {"build_and_push.sh", "entrypoint.sh", "train_local.sh", "engine.sh"} <= {path.name for path in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_is_clean_executable_and_has_unix_line_endings(script: Path) -> None:
    result = run("shellcheck", script)
    assert result.returncode == 0, result.stdout
    assert os.access(script, os.X_OK)
    assert b"\r" not in script.read_bytes()


def test_a_running_engine_is_left_running_and_the_commands_code_is_kept() -> None:
    engine = ROOT / "tests" / "image" / "engine.sh"
    assert run(engine, "run", "sh", "-c", "docker info && exit 7").returncode == 7
    assert run("docker", "info").returncode == 0


def test_engine_explains_itself() -> None:
    engine = ROOT / "tests" / "image" / "engine.sh"
    assert "usage: engine.sh start | stop | run COMMAND" in run(engine).stderr
    assert "run: no command given" in run(engine, "run").stderr
