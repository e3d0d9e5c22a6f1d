"""What every command has: a target, tables for people or JSON for machines, and requests that may stay on paper."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from container.errors import UserError
from jobs.config import KennelConfig, read_config
from jobs.requests import Terms, terms_of

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.targets.opening import Target

JOB_FAILED, WRONG_USE, REFUSED, UNAVAILABLE, INTERRUPTED = 1, 2, 3, 4, 130
"""Exit codes; docs/jobs.md says what they mean."""


PIPE_WIDTH = 240
"""Characters of a line where there is no terminal to fit."""


class CommandFailedError(Exception):
    """The command has said what went wrong; only the exit code is left to give."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Session:
    """One call of `kennel`."""

    config: KennelConfig
    as_json: bool
    dry_run: bool

    @cached_property
    def target(self) -> "Target":
        """Who carries out requests."""
        from jobs.targets.opening import open_target

        return open_target(self.config)

    @cached_property
    def terms(self) -> Terms:
        """What the requests have in common."""
        return terms_of(self.config)

    @cached_property
    def console(self) -> "Console":
        """Where people read: standard error with --json, which has standard output for itself."""
        from rich.console import Console

        console = Console(stderr=self.as_json, highlight=False, soft_wrap=True)
        return console if console.is_terminal else Console(stderr=self.as_json, highlight=False, width=PIPE_WIDTH)

    def say(self, text: str) -> None:
        """Tell a person something."""
        self.console.print(text, markup=False, soft_wrap=True)

    def emit(self, content: object) -> None:
        """Write JSON for a machine."""
        sys.stdout.write(json.dumps(content, indent=1, default=as_text) + "\n")
        sys.stdout.flush()

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Draw a table for a person."""
        from rich.table import Table

        table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*("" if cell is None else as_text(cell) for cell in row))
        self.console.print(table)

    def send(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Check a request and hand it to the target; with --dry-run, print it."""
        from jobs.shapes import check_request
        from jobs.targets.catalogue import as_method

        check_request(operation, request)
        if self.dry_run:
            self.emit({"operation": operation, "request": request})
            return {}
        answer: dict[str, Any] = getattr(self.target.sagemaker, as_method(operation))(**request)
        return answer


def as_text(value: object) -> str:
    """Write a value for a table or for JSON; times in the time zone of the reader."""
    if isinstance(value, datetime):
        return value.astimezone().isoformat(" ", "seconds")
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def with_session(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all have, and its Session as first argument."""

    @click.option("--on", type=click.Choice(["process", "docker", "aws"]), help="Who carries it out.")
    @click.option("--home", metavar="DIR", help="Folder of the jobs of process and docker.")
    @click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output.")
    @click.option("--dry-run", is_flag=True, help="Print the requests as JSON, and send none.")
    @wraps(command)
    def run(on: str | None, home: str | None, as_json: bool, dry_run: bool, **options: Any) -> None:
        command(Session(read_config(on=on, home=home), as_json, dry_run), **options)

    return run


def parse_settings(settings: Sequence[str], file: Path | None) -> dict[str, str]:
    """Merge hyperparameters of a file and those of `--set NAME=VALUE`, which win. Raises UserError."""
    values: dict[str, str] = {}
    if file is not None:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            values = {name.replace("-", "_"): value if isinstance(value, str) else json.dumps(value) for name, value
                      in content.items()}  # fmt: skip
        except (OSError, ValueError, AttributeError) as error:
            raise UserError(f"--from {file}: expected a JSON object of hyperparameters ({error})") from error
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator:
            raise UserError(f"--set {setting}: expected NAME=VALUE, such as lr=0.01")
        values[name.strip().replace("-", "_")] = value
    return values


def complete_names(*nouns: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Complete the names of what the process and docker targets hold."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
        from jobs.kinds import KINDS
        from jobs.store import Store

        config = read_config(on=context.params.get("on"), home=context.params.get("home"))
        store = Store(config.home_folder / config.on)
        kinds = [kind for kind in KINDS if not nouns or kind.noun in nouns]
        return [name for kind in kinds for name in store.names(kind) if name.startswith(incomplete)]

    return complete
