"""Settings of the launcher: file, environment, command line."""

from pathlib import Path

import pytest

from container.errors import UserError
from jobs.config import KennelConfig, read_config


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "kennel.toml"
    file.write_text('on = "docker"\nhome = "/a"\nimage = "mine:1"\n')
    environment = {"KENNEL_CONFIG": str(file), "KENNEL_HOME": "/b", "KENNEL_ON": "process"}
    config = read_config(environment, on="aws", home=None)
    assert (config.on, config.home, config.image) == ("aws", "/b", "mine:1")


def test_without_a_file_the_process_target_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_config({}) == KennelConfig(on="process")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('on = "proces"', "did you mean process"),
        ('hom = "/x"', "did you mean home"),
        ("on process", "not readable as TOML"),
        ("[process]\nhome = 1", "process: expected lines such as"),
    ],
)
def test_a_wrong_settings_file_is_told(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "kennel.toml"
    file.write_text(content)
    with pytest.raises(UserError, match=message):
        read_config({"KENNEL_CONFIG": str(file)})


def test_a_settings_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_config({"KENNEL_CONFIG": str(tmp_path / "none.toml")})
