"""`kennel list`, `describe`, `logs`, `stop`, `interrupt`, `delete`: what there is, and its end."""

from typing import Any

import click

from container.errors import UserError
from jobs.commands.follow import follow_log
from jobs.commands.session import REFUSED, CommandFailedError, Session, complete_names, with_session
from jobs.kinds import ENDPOINT, ENDPOINT_CONFIG, KINDS, MODEL, TRAINING, TRANSFORM, TUNING, Kind

BY_WORD: dict[str, Kind] = {
    "training": TRAINING,
    "tuning": TUNING,
    "transform": TRANSFORM,
    "endpoint": ENDPOINT,
    "model": MODEL,
    "endpoint-config": ENDPOINT_CONFIG,
}
KIND = click.option("--kind", type=click.Choice(list(BY_WORD)), help="Of what kind NAME is, where it is of several.")
ANY_NAME = click.argument("name", shell_complete=complete_names())
WITH_PROCESS = (TRAINING, TUNING, TRANSFORM, ENDPOINT)


def chosen(session: Session, name: str, word: str | None, kinds: tuple[Kind, ...] = KINDS) -> Kind:
    """Find what a name means. Raises UserError."""
    from jobs.targets.opening import find_kind

    return find_kind(session.target, name, (BY_WORD[word],) if word else kinds)


@click.command("list")
@click.option("--kind", type=click.Choice(list(BY_WORD)), help="Only this kind.")
@click.option("--name", "contains", default="", help="Only names that hold this.")
@click.option("--status", help="Only this state, such as Failed.")
@click.option(
    "--max", "number", default=100, show_default=True, type=click.IntRange(min=1), help="Newest of each kind."
)
@with_session
def list_(session: Session, kind: str | None, contains: str, status: str | None, number: int) -> None:
    """List jobs and endpoints, the newest first."""
    kinds = [BY_WORD[kind]] if kind else list(WITH_PROCESS)
    found = {item.noun: newest(session, item, contains, status, number) for item in kinds}
    if session.as_json:
        session.emit(found)
        return
    for item in kinds:
        rows = [(entry[item.name_key], entry.get(item.status, ""), entry["CreationTime"]) for entry in found[item.noun]]
        if rows:
            session.table(f"{item.words}s", ("name", "status", "created"), rows)
    if not any(found.values()):
        session.say("nothing yet; begin with `kennel train DATA`")


def newest(session: Session, kind: Kind, contains: str, status: str | None, number: int) -> list[dict[str, Any]]:
    """List the newest of a kind, page by page."""
    from jobs.targets.opening import list_method

    found: list[dict[str, Any]] = []
    filters: dict[str, Any] = {"SortBy": "CreationTime", "SortOrder": "Descending"}
    if contains:
        filters["NameContains"] = contains
    if status and kind.status:
        filters["StatusEquals"] = status
    while len(found) < number:
        answer = list_method(session.target, kind)(MaxResults=min(100, number - len(found)), **filters)
        found += answer[kind.listed]
        if "NextToken" not in answer:
            break
        filters["NextToken"] = answer["NextToken"]
    return found


@click.command()
@ANY_NAME
@KIND
@with_session
def describe(session: Session, name: str, kind: str | None) -> None:
    """Show the state of a job, model or endpoint."""
    from jobs.targets.opening import describe as ask

    description = ask(session.target, chosen(session, name, kind), name)
    if session.as_json:
        session.emit(description)
        return
    flat = {key: value for key, value in description.items() if not isinstance(value, (dict, list))}
    session.table("", ("", ""), flat.items())
    for transition in description.get("SecondaryStatusTransitions", ()):
        session.say(
            f"{transition['StartTime'].astimezone():%H:%M:%S}  {transition['Status']}: {transition['StatusMessage']}"
        )
    if values := description.get("HyperParameters"):
        session.say("hyperparameters: " + "  ".join(f"{key}={text}" for key, text in sorted(values.items())))
    for item in description.get("FinalMetricDataList", ()):
        session.say(f"{item['MetricName']} {item['Value']:.5g}")


@click.command()
@ANY_NAME
@click.option("-f", "--follow", "follows", is_flag=True, help="Wait for more, until the job ends.")
@KIND
@with_session
def logs(session: Session, name: str, follows: bool, kind: str | None) -> None:
    """Print what a job or an endpoint has printed."""
    found = chosen(session, name, kind, WITH_PROCESS)
    if follows and found is TUNING:
        from jobs.commands.follow import Follower

        Follower(session, found, name).run()
    elif follows:
        follow_log(session, found, name)
    else:
        for line in session.target.log(found, name).lines():
            click.echo(line)


@click.command()
@ANY_NAME
@KIND
@with_session
def stop(session: Session, name: str, kind: str | None) -> None:
    """Ask a job to end; a training job keeps its best model so far."""
    found = chosen(session, name, kind, WITH_PROCESS)
    if found is ENDPOINT:
        raise UserError(f"{name}: an endpoint cannot be stopped, only deleted: kennel delete {name}")
    session.send(f"Stop{found.noun}", {found.name_key: name})
    if not session.dry_run:
        session.say(f"{name}: Stopping; `kennel logs -f {name}` waits for its end")


@click.command()
@click.argument("name", shell_complete=complete_names("TrainingJob"))
@with_session
def interrupt(session: Session, name: str) -> None:
    """Take the machine away from a spot training job, as AWS may: a rehearsal (process and docker)."""
    if session.target.name == "aws":
        raise UserError("interrupt rehearses on this machine what AWS does by itself; take --on process or docker")
    chosen(session, name, "training")
    session.target.sagemaker.interrupt_training_job(name)
    session.say(f"{name}: interrupted; `kennel logs -f {name}` shows how it goes on")


@click.command()
@click.argument("names", nargs=-1, required=True, shell_complete=complete_names())
@KIND
@click.option("--no-wait", is_flag=True, help="Return while an endpoint still ends.")
@with_session
def delete(session: Session, names: tuple[str, ...], kind: str | None, no_wait: bool) -> None:
    """Remove jobs that have ended, models and endpoints; an endpoint takes its configuration and model along."""
    for name in names:
        found = chosen(session, name, kind)
        if found is ENDPOINT:
            delete_endpoint(session, name, wait=not no_wait)
        elif found is TRANSFORM:
            forget_transform(session, name)
        else:
            session.send(f"Delete{found.noun}", {found.name_key: name})
        if not session.dry_run:
            session.say(f"{name}: deleted")


def delete_endpoint(session: Session, name: str, *, wait: bool) -> None:
    """Delete an endpoint, and the configuration and model that `kennel deploy` made for it."""
    from jobs.targets.opening import kinds_of

    session.send("DeleteEndpoint", {"EndpointName": name})
    for kind in kinds_of(session.target, name, (ENDPOINT_CONFIG, MODEL)):
        session.send(f"Delete{kind.noun}", {kind.name_key: name})
    if wait and not session.dry_run:
        delay = 15 if session.target.name == "aws" else 0.2
        waiter = session.target.sagemaker.get_waiter("endpoint_deleted")
        waiter.wait(EndpointName=name, WaiterConfig={"Delay": delay, "MaxAttempts": int(600 / delay)})


def forget_transform(session: Session, name: str) -> None:
    """Remove a transform job, and the model that `kennel transform` made for it."""
    from jobs.targets.opening import kinds_of

    if session.target.name == "aws":
        session.say(f"{name}: AWS keeps the records of transform jobs; nothing was deleted")
        raise CommandFailedError(REFUSED)
    if not session.dry_run:
        session.target.sagemaker.delete_ended(TRANSFORM, {"TransformJobName": name})
    for kind in kinds_of(session.target, name, (MODEL,)):
        session.send("DeleteModel", {kind.name_key: name})
