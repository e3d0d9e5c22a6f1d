"""`kennel train`, `tune`, `best`, `report`: from photographs to a model."""

import json
from pathlib import Path
from typing import Any

import click

from container.errors import UserError
from jobs.commands.follow import finish, for_person, short, show_metrics, training_jobs_of
from jobs.commands.session import REFUSED, CommandFailedError, Session, complete_names, parse_settings, with_session
from jobs.kinds import TRAINING, TUNING
from jobs.requests import MAX_RUNTIME_SECONDS, Search, new_name, parse_ranges, training_job, tuning_job

SET = click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A hyperparameter; may be repeated.")
FROM = click.option("--from", "file", type=click.Path(path_type=Path), help="File that `kennel best` wrote.")
NAME = click.option("--name", help="Name of the job; one is made up otherwise.")
CHANNEL = click.option(
    "--channel", "channels", multiple=True, metavar="NAME=URI",
    help="Another channel, such as validation=DIR, or model=DIR with weights.",
)  # fmt: skip
SPOT = click.option("--spot", is_flag=True, help="Spot instances, with checkpoints.")
HOURS = click.option("--max-hours", type=click.FloatRange(min=0, min_open=True), help="Longest time that a job runs.")
MODE = click.option(
    "--input-mode", type=click.Choice(["File", "FastFile"]), default="File", help="aws: how channels are read."
)
NO_WAIT = click.option("--no-wait", is_flag=True, help="Return at once; the job runs on.")


def read_channels(session: Session, data: str, others: tuple[str, ...]) -> dict[str, str]:
    """Give the URIs of the channels. Raises UserError for a folder that is not there."""
    channels = {"training": session.target.uri(data)}
    for text in others:
        name, separator, uri = text.partition("=")
        if not separator:
            raise UserError(f"--channel {text}: expected NAME=URI")
        if name == "train" and "training" in channels:
            raise UserError(f"--channel {text}: DATA is that channel")
        channels[name] = session.target.uri(uri)
    return channels


def seconds(max_hours: float | None) -> int:
    """Turn hours into whole seconds."""
    return MAX_RUNTIME_SECONDS if max_hours is None else max(1, round(max_hours * 3600))


@click.command()
@click.argument("data")
@SET
@FROM
@NAME
@CHANNEL
@SPOT
@HOURS
@MODE
@NO_WAIT
@with_session
def train(
    session: Session, data: str, settings: tuple[str, ...], file: Path | None, name: str | None,
    channels: tuple[str, ...], spot: bool, max_hours: float | None, input_mode: str, no_wait: bool,
) -> None:  # fmt: skip
    """Train on DATA: a folder with a folder for each class, or with train / validation / test of such folders."""
    name = name or new_name(Path(data).name)
    request = training_job(
        name, read_channels(session, data, channels), parse_settings(settings, file), session.terms,
        spot=spot, max_runtime_seconds=seconds(max_hours), input_mode=input_mode,
    )  # fmt: skip
    session.send("CreateTrainingJob", request)
    description = for_person(session, finish(session, TRAINING, name, wait=not no_wait))
    if description is None:
        return
    show_metrics(session, description)
    session.say(f"model: {description['ModelArtifacts']['S3ModelArtifacts']}")
    session.say(f"next: kennel report {name}\n      kennel deploy {name}")


@click.command()
@click.argument("data")
@click.option("--jobs", "num_jobs", default=20, show_default=True, type=click.IntRange(min=1), help="Training jobs.")
@click.option(
    "--parallel", "num_parallel", default=2, show_default=True, type=click.IntRange(min=1), help="Of them at a time."
)
@click.option(
    "--strategy", default="bayesian", show_default=True,
    type=click.Choice(["bayesian", "random", "grid", "hyperband"]),
)  # fmt: skip
@click.option("--objective", default="validation:loss", show_default=True, help="Metric to improve.")
@click.option(
    "--range", "ranges", multiple=True, metavar="NAME=LOW:HIGH[:log]",
    help="Search this, or NAME=VALUE,VALUE, instead of the declared ranges; may be repeated.",
)  # fmt: skip
@click.option("--early-stopping", is_flag=True, help="Stop jobs that fall behind the median.")
@click.option("--seed", type=int, help="Makes the choice of hyperparameters repeatable.")
@SET
@FROM
@NAME
@CHANNEL
@SPOT
@HOURS
@MODE
@NO_WAIT
@with_session
def tune(
    session: Session, data: str, num_jobs: int, num_parallel: int, strategy: Any, objective: str,
    ranges: tuple[str, ...], early_stopping: bool, seed: int | None, settings: tuple[str, ...], file: Path | None,
    name: str | None, channels: tuple[str, ...], spot: bool, max_hours: float | None, input_mode: str, no_wait: bool,
) -> None:  # fmt: skip
    """Search hyperparameters by many training jobs on DATA."""
    name = name or new_name(Path(data).name)
    search = Search(objective, strategy, num_jobs, num_parallel, early_stopping, seed, parse_ranges(ranges))
    request = tuning_job(
        name, read_channels(session, data, channels), parse_settings(settings, file), search, session.terms,
        spot=spot, max_runtime_seconds=seconds(max_hours), input_mode=input_mode,
    )  # fmt: skip
    session.send("CreateHyperParameterTuningJob", request)
    description = for_person(session, finish(session, TUNING, name, wait=not no_wait))
    if description is None:
        return
    show_best(session, name)
    session.say(f"next: kennel best {name} --out best.json\n      kennel train {data} --from best.json")


def show_best(session: Session, name: str) -> None:
    """Draw the best training jobs of a tuning job."""
    scored = [item for item in training_jobs_of(session, name) if "FinalHyperParameterTuningJobObjectiveMetric" in item]
    if not scored:
        return
    metric = scored[0]["FinalHyperParameterTuningJobObjectiveMetric"]
    sign = 1 if metric.get("Type") == "Minimize" else -1
    scored.sort(key=lambda item: sign * item["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])
    names = sorted(scored[0]["TunedHyperParameters"])
    rows = [
        (
            item["TrainingJobName"],
            item["FinalHyperParameterTuningJobObjectiveMetric"]["Value"],
            *(short(item["TunedHyperParameters"].get(key, "")) for key in names),
        )
        for item in scored[:5]
    ]
    session.table("best", ("training job", metric["MetricName"], *names), rows)


@click.command()
@click.argument("tuning_job", shell_complete=complete_names("HyperParameterTuningJob"))
@click.option("--out", type=click.Path(path_type=Path), help="Write the file here instead of to standard output.")
@with_session
def best(session: Session, tuning_job: str, out: Path | None) -> None:
    """Write the best hyperparameters of a tuning job as a file that `kennel train --from` takes."""
    from jobs.targets.opening import describe, find_kind

    description = describe(session.target, find_kind(session.target, tuning_job, (TUNING,)), tuning_job)
    job = description.get("BestTrainingJob")
    if not job:
        session.say(f"{tuning_job}: no training job has an objective yet; `kennel logs -f {tuning_job}` waits for it")
        raise CommandFailedError(REFUSED)
    static = description["TrainingJobDefinition"].get("StaticHyperParameters", {})
    values = {**static, **job["TunedHyperParameters"]}
    if out is None:
        session.emit(values)
        return
    out.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    metric = job["FinalHyperParameterTuningJobObjectiveMetric"]
    session.say(f"{out}: hyperparameters of {job['TrainingJobName']}, {metric['MetricName']} {metric['Value']:.5g}")
    session.say(f"next: kennel train DATA --from {out}")


@click.command()
@click.argument("job", shell_complete=complete_names("TrainingJob"))
@click.option("--out", type=click.Path(path_type=Path), help="Folder to put it in.  [default: JOB-report]")
@click.option("--open/--no-open", "opens", default=True, help="Open it in the browser.")
@with_session
def report(session: Session, job: str, out: Path | None, opens: bool) -> None:
    """Fetch what a training job reported, and open it."""
    from jobs.targets.opening import describe, find_kind
    from jobs.uris import unpack

    description = describe(session.target, find_kind(session.target, job, (TRAINING,)), job)
    uri = description["ModelArtifacts"]["S3ModelArtifacts"]
    folder = out or Path(f"{job}-report")
    archive = session.target.download(f"{uri.rpartition('/')[0]}/output.tar.gz")
    if not archive.exists():
        raise UserError(
            f"{job}: has left no report; it is {description['TrainingJobStatus']}, see `kennel describe {job}`"
        )
    unpack(archive, folder)
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    if session.as_json:
        session.emit({"folder": str(folder), "files": files})
        return
    show_metrics(session, description)
    session.say(f"{folder}: {', '.join(files)}")
    pages = sorted(folder.rglob("*.html")) or [folder / "learning_curves.png"]
    if opens and pages[0].exists():
        click.launch(str(pages[0]))
