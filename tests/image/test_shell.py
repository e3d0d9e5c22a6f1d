"""Every shell script of the project."""

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
