"""The settings of `kennel`: a file, then environment variables, then the command line."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from container.errors import UserError
from container.settings import declared, from_strings, setting

TargetName = Literal["process", "docker", "aws"]

DEFAULT_FILE = Path("~/.config/kennel.toml")


@dataclass(frozen=True)
class KennelConfig:
    """Settings of the launcher; none of them is a secret."""

    on: TargetName = setting("process", "Who carries out a request.", environment="KENNEL_ON")
    home: str = setting("~/.kennel", "Folder of the jobs of the process and docker targets.", environment="KENNEL_HOME")
    image: str = setting(
        "kennel:local",
        "Image of docker and aws: for aws the one that build_and_push.sh printed.",
        environment="KENNEL_IMAGE",
    )
    output: str = setting(
        "", "Where jobs put what they make: a folder, or s3://bucket/prefix. none is output/ in home.",
        environment="KENNEL_OUTPUT", example="s3://bucket/kennel",
    )  # fmt: skip
    role: str = setting(
        "", "aws: ARN of the execution role.", environment="KENNEL_ROLE",
        example="arn:aws:iam::123456789012:role/kennel",
    )  # fmt: skip
    instance_type: str = setting(
        "ml.g5.xlarge", "aws: instance type of training and tuning.", environment="KENNEL_INSTANCE_TYPE"
    )
    serving_instance_type: str = setting(
        "ml.c6i.xlarge", "aws: instance type of endpoints and transforms.", environment="KENNEL_SERVING_INSTANCE_TYPE"
    )
    region: str = setting(
        "", "aws: region. none is that of the AWS configuration.", environment="KENNEL_REGION", example="eu-west-1"
    )
    profile: str = setting(
        "", "aws: profile of the AWS configuration. none is its default.", environment="KENNEL_PROFILE", example="work"
    )

    @property
    def home_folder(self) -> Path:
        """Give the folder of jobs, without `~`."""
        return Path(self.home).expanduser().absolute()


def features_folder(home: Path) -> Path:
    """Give the folder of the features that all jobs share."""
    return home / "features"


def read_config(environment: Mapping[str, str] = os.environ, **options: str | None) -> KennelConfig:
    """Merge the settings file, the environment and the options of the command line, the last the strongest.

    The file is that of KENNEL_CONFIG, or ~/.config/kennel.toml. Raises UserError that lists every problem.
    """
    names = {declaration.environment: name for name, declaration in declared(KennelConfig).items()}
    given = {names[variable]: text for variable, text in environment.items() if variable in names}
    chosen = {name: text for name, text in options.items() if text is not None}
    return from_strings(KennelConfig, {**read_file(environment), **given, **chosen}, source="setting")


def read_file(environment: Mapping[str, str]) -> dict[str, str]:
    """Read the settings file; none when it is not there. Raises UserError for one that is no flat TOML."""
    named = environment.get("KENNEL_CONFIG")
    file = Path(named or DEFAULT_FILE).expanduser()
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named:
            raise UserError(f"KENNEL_CONFIG={named}: no such file; write it, or unset the variable") from None
        return {}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{file}: not readable as TOML ({error})") from error
    nested = [name for name, value in content.items() if isinstance(value, (dict, list))]
    if nested:
        raise UserError(f"{file}: {', '.join(nested)}: expected lines such as home = '~/jobs'")
    return {name: str(value) for name, value in content.items()}
