"""Opens a target: its boto3 clients, its URIs, its logs and what its jobs leave."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from container.errors import UserError
from jobs.config import KennelConfig, TargetName
from jobs.kinds import ENDPOINT, KINDS, TUNING, Kind
from jobs.metrics import LogReader
from jobs.uris import file_uri, local_path


class Log(Protocol):
    """A log that grows."""

    def lines(self) -> list[str]:
        """Give the lines that were added since the last look."""


@dataclass(frozen=True)
class Target:
    """Who carries out requests."""

    name: TargetName
    sagemaker: Any
    """boto3's SageMaker client, or what has its methods."""
    runtime: Any
    """boto3's sagemaker-runtime client, or what has its methods."""
    uri: Callable[[str], str]
    """Turns what a person names, a path or a URI, into a URI that the target reads."""
    log: Callable[[Kind, str], Log]
    download: Callable[[str], Path]
    """Brings a file behind a URI to this machine."""
    has: Callable[[Kind, str], bool]
    scaling: Any = None
    """boto3's application-autoscaling client, where the target has such a thing."""


def open_target(config: KennelConfig) -> Target:
    """Open the target of the settings. Raises UserError when it cannot be used."""
    if config.on == "aws":
        from jobs.targets.aws import open_aws

        return open_aws(config)
    from jobs.targets.process import ProcessClient
    from jobs.targets.runtime import RuntimeClient

    client = ProcessClient(config.home_folder, config.on)
    return Target(
        config.on,
        client,
        RuntimeClient(client),
        uri=existing_uri,
        log=lambda kind, name: LogReader(client.store.folder(kind, name) / log_name(kind)),
        download=local_path,
        has=lambda kind, name: (client.store.root / kind.folder / name / "state.json").exists(),
    )


def existing_uri(text: str) -> str:
    """Turn a path, or a file:// URI, into a URI. Raises UserError when nothing is there."""
    if "://" in text and not text.startswith("file://"):
        raise UserError(f"{text}: process and docker read folders of this machine; take --on aws for S3")
    path = local_path(text) if text.startswith("file://") else Path(text).expanduser()
    if not path.exists():
        raise UserError(f"{text}: no such file or folder")
    return file_uri(path)


def log_name(kind: Kind) -> str:
    """Give the file that tells how a job went: a tuning job has no `train` of its own."""
    return "supervisor.txt" if kind is TUNING else "log.txt"


def kinds_of(target: Target, name: str, kinds: Sequence[Kind] = KINDS) -> list[Kind]:
    """Find what goes by a name."""
    return [kind for kind in kinds if target.has(kind, name)]


def find_kind(target: Target, name: str, kinds: Sequence[Kind] = KINDS) -> Kind:
    """Find what goes by a name, jobs first. Raises UserError when nothing does."""
    found = kinds_of(target, name, kinds)
    if not found:
        words = ", ".join(kind.words for kind in kinds)
        raise UserError(f"{name}: no {words} of that name on {target.name}; `kennel list` shows what there is")
    return found[0]


def describe(target: Target, kind: Kind, name: str) -> dict[str, Any]:
    """Ask for the state of what goes by a name."""
    method = f"describe_{method_noun(kind)}"
    answer: dict[str, Any] = getattr(target.sagemaker, method)(**{kind.name_key: name})
    answer.pop("ResponseMetadata", None)
    return answer


def method_noun(kind: Kind) -> str:
    """Spell a noun as boto3's methods do: `hyper_parameter_tuning_job`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind.noun).lstrip("_")


def list_method(target: Target, kind: Kind) -> Any:
    """Give the method that lists a kind."""
    return getattr(target.sagemaker, f"list_{method_noun(kind)}s")


def wait_for_end(
    target: Target, kind: Kind, name: str, look: Callable[[dict[str, Any]], None], poll_seconds: float
) -> dict[str, Any]:
    """Look at the state again and again until it is a final one; an endpoint's is InService or Failed."""
    final = {*kind.ended, *(("InService",) if kind is ENDPOINT else ())}
    while True:
        description = describe(target, kind, name)
        look(description)
        if description[kind.status] in final:
            return description
        time.sleep(poll_seconds)
