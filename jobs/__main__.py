"""The `kennel` command."""

import sys
from importlib import import_module

import click

from container.errors import UserError
from jobs.commands.session import INTERRUPTED, REFUSED, UNAVAILABLE, WRONG_USE, CommandFailedError

COMMANDS = {
    "data": "data:data",
    "train": "train:train",
    "tune": "train:tune",
    "best": "train:best",
    "report": "train:report",
    "deploy": "serve:deploy",
    "predict": "serve:predict",
    "transform": "serve:transform",
    "serve": "serve:serve",
    "list": "manage:list_",
    "describe": "manage:describe",
    "logs": "manage:logs",
    "stop": "manage:stop",
    "interrupt": "manage:interrupt",
    "delete": "manage:delete",
}


class Commands(click.Group):
    """Finds commands by name, in the order in which a journey needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Name the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command when it is asked for."""
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"jobs.commands.{module}"), function)
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kennel")
def kennel() -> None:
    """From a folder of photographs to a classifier that answers: in a process, in Docker, or on AWS.

    \b
    kennel data check DATA
    kennel tune DATA --jobs 20        then  kennel best JOB --out best.json
    kennel train DATA --from best.json
    kennel deploy JOB                 then  kennel predict ENDPOINT PHOTO
    """


def main() -> int:
    """Run a command and return its exit code."""
    try:
        kennel.main(prog_name="kennel", standalone_mode=False)
    except CommandFailedError as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return WRONG_USE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except UserError as error:
        return fail(str(error), WRONG_USE)
    except OSError as error:
        return fail(f"{error.filename or 'kennel'}: {error.strerror or error}", UNAVAILABLE)
    except Exception as error:
        if code := exit_code_of(error):
            return fail(str(error), code)
        raise
    return 0


def exit_code_of(error: Exception) -> int:
    """Give the exit code of boto3's errors; 0 for an error that is none of them, which so is a defect."""
    if type(error).__module__.partition(".")[0] != "botocore" and "botocore" not in sys.modules:
        return 0
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ClientError):
        return REFUSED
    return UNAVAILABLE if isinstance(error, BotoCoreError) else 0


def fail(message: str, exit_code: int) -> int:
    """Tell what went wrong."""
    click.echo(f"kennel: {message}", err=True)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
