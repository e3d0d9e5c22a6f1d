"""`kennel deploy`, `predict`, `transform`, `serve`: from a model to answers."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from container.errors import UserError
from jobs.commands.follow import finish, for_person
from jobs.commands.session import REFUSED, CommandFailedError, Session, complete_names, with_session
from jobs.kinds import ENDPOINT, TRAINING, TRANSFORM
from jobs.requests import endpoint, endpoint_config, model, new_name, scaling, transform_job

RETRIED_STATUSES = (429, 503)
"""Of a container, on which the same request may be sent again."""

NUM_TRIES = 4


def model_data(session: Session, job: str) -> str:
    """Give the model of a training job, or the URI or path of one. Raises UserError."""
    from jobs.targets.opening import describe, kinds_of

    if "/" in job or job.endswith(".tar.gz"):
        return session.target.uri(job)
    if not kinds_of(session.target, job, (TRAINING,)):
        raise UserError(f"{job}: no training job of that name on {session.target.name}, and no path of a model.tar.gz")
    description = describe(session.target, TRAINING, job)
    status = description["TrainingJobStatus"]
    if status not in ("Completed", "Stopped"):
        raise UserError(f"{job}: is {status} and has no model; `kennel describe {job}` says more")
    return str(description["ModelArtifacts"]["S3ModelArtifacts"])


def endpoint_name(job: str) -> str:
    """Name the endpoint of a job, within the 63 characters that a name may have."""
    stem = Path(job).name.removesuffix(".tar.gz").replace("_", "-").replace(".", "-")
    return f"{stem[:54].rstrip('-')}-endpoint"


@click.command()
@click.argument("job", shell_complete=complete_names("TrainingJob"))
@click.option("--name", help="Name of the endpoint.  [default: JOB-endpoint]")
@click.option("--port", type=click.IntRange(1, 65535), help="process, docker: port; a free one is chosen otherwise.")
@click.option("--min", "low", default=1, show_default=True, type=click.IntRange(min=1), help="Instances.")
@click.option("--max", "high", type=click.IntRange(min=1), help="aws: instances under load.")
@click.option("--serverless", is_flag=True, help="Pay by request; no instances.")
@click.option("--async", "asynchronous", is_flag=True, help="Requests and answers are files.")
@click.option("--multi-model", is_flag=True, help="aws: serve every model.tar.gz below the URI that JOB is.")
@click.option("--no-wait", is_flag=True, help="Return before it is in service.")
@with_session
def deploy(
    session: Session, job: str, name: str | None, port: int | None, low: int, high: int | None, serverless: bool,
    asynchronous: bool, multi_model: bool, no_wait: bool,
) -> None:  # fmt: skip
    """Serve the model of JOB, a training job or a model.tar.gz, at an endpoint."""
    name = name or endpoint_name(job)
    if high is not None and high < low:
        raise UserError(f"--min {low} --max {high}: the first must not be above the second")
    environment = {"SAGEMAKER_BIND_TO_PORT": str(port)} if port else {}
    container = model(name, model_data(session, job), session.terms, environment, multi=multi_model)
    config = endpoint_config(
        name, name, session.terms, num_instances=low, serverless=serverless, asynchronous=asynchronous
    )
    requests = [("CreateModel", container), ("CreateEndpointConfig", config), ("CreateEndpoint", endpoint(name, name))]
    send_all(session, requests)
    description = finish(session, ENDPOINT, name, wait=not no_wait)
    if high is not None and high > low:
        scale(session, name, low, high)
    if for_person(session, description) is None:
        return
    session.say(f"next: kennel predict {name} PHOTO...\n      kennel delete {name}")


def send_all(session: Session, requests: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Send requests that belong together; what the first ones made is removed when a later one is refused."""
    from jobs.targets.catalogue import as_method

    done: list[tuple[str, dict[str, Any]]] = []
    try:
        for operation, request in requests:
            session.send(operation, request)
            done.append((operation, request))
    except Exception:
        for operation, request in reversed(done if not session.dry_run else []):
            key = f"{operation.removeprefix('Create')}Name"
            getattr(session.target.sagemaker, as_method(operation.replace("Create", "Delete")))(**{key: request[key]})
        raise


def scale(session: Session, name: str, low: int, high: int) -> None:
    """Let the service choose the number of instances."""
    target, policy = scaling(name, low, high)
    if session.dry_run:
        session.emit({"operation": "RegisterScalableTarget", "request": target})
        session.emit({"operation": "PutScalingPolicy", "request": policy})
    elif session.target.scaling is None:
        session.say(f"--max {high}: only aws scales; {name} keeps --min {low}")
    else:
        session.target.scaling.register_scalable_target(**target)
        session.target.scaling.put_scaling_policy(**policy)


@click.command()
@click.argument("name", metavar="ENDPOINT", shell_complete=complete_names("Endpoint"))
@click.argument("photographs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top-k", default=5, show_default=True, type=click.IntRange(min=1), help="Classes in an answer.")
@with_session
def predict(session: Session, name: str, photographs: tuple[Path, ...], top_k: int) -> None:
    """Ask an endpoint what is on photographs."""
    answers: dict[str, Any] = {}
    for photograph in photographs:
        try:
            body = photograph.read_bytes()
        except OSError as error:
            raise UserError(f"{photograph}: {error.strerror}") from error
        if session.dry_run:
            session.emit({"operation": "InvokeEndpoint", "request": {"EndpointName": name, "Body": str(photograph)}})
        else:
            answers[str(photograph)] = invoke(session, name, body, top_k)
    if session.as_json and not session.dry_run:
        session.emit(answers)
        return
    for file, answer in answers.items():
        best = "  ".join(f"{item['label']} {item['probability']:.3f}" for item in answer["predictions"])
        session.say(f"{file}: {best}")


def invoke(session: Session, name: str, body: bytes, top_k: int) -> Any:
    """Send one image; a container that is busy is asked again."""
    import time

    from botocore.exceptions import ClientError

    for attempt in range(1, NUM_TRIES + 1):
        try:
            answer = session.target.runtime.invoke_endpoint(
                EndpointName=name, Body=body, ContentType="application/x-image", CustomAttributes=f"top_k={top_k}"
            )
            return json.loads(answer["Body"].read())
        except ClientError as error:
            if error.response.get("OriginalStatusCode") not in RETRIED_STATUSES or attempt == NUM_TRIES:
                raise
            time.sleep(2 ** (attempt - 2))
    raise AssertionError("the last attempt returns or raises")


@click.command()
@click.argument("job", shell_complete=complete_names("TrainingJob"))
@click.argument("source", metavar="INPUT")
@click.argument("output")
@click.option("--name", help="Name of the transform job; one is made up otherwise.")
@click.option("--no-wait", is_flag=True, help="Return at once; the job runs on.")
@with_session
def transform(session: Session, job: str, source: str, output: str, name: str | None, no_wait: bool) -> None:
    """Ask the model of JOB about every photograph below INPUT; OUTPUT gets a .out file for each."""
    from jobs.uris import file_uri

    name = name or new_name(Path(source).name)
    target = output if "://" in output else file_uri(Path(output).expanduser())
    container = model(name, model_data(session, job), session.terms, {})
    request = transform_job(name, name, session.target.uri(source), target, session.terms)
    send_all(session, [("CreateModel", container), ("CreateTransformJob", request)])
    if for_person(session, finish(session, TRANSFORM, name, wait=not no_wait)) is None:
        return
    session.say(f"{name}: Completed; answers in {output}")


@click.command()
@click.argument("job", metavar="MODEL", shell_complete=complete_names("TrainingJob"))
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535))
@with_session
def serve(session: Session, job: str, port: int) -> None:
    """Serve MODEL, a training job or a model.tar.gz, here until Ctrl-C."""
    from jobs.launch import LAUNCHERS, Launch
    from jobs.serving import is_taken
    from jobs.uris import fetch

    if session.target.name == "aws":
        raise UserError("serve runs on this machine; take `kennel deploy` for aws")
    path = session.target.download(model_data(session, job))
    launcher = LAUNCHERS[session.target.name]
    try:
        launcher.check("serve", session.terms.image)
    except ValueError as error:
        raise UserError(str(error)) from error
    if is_taken(port):
        session.say(f"port {port} is taken; choose another by --port")
        raise CommandFailedError(REFUSED)
    with tempfile.TemporaryDirectory(prefix="kennel-serve-") as folder:
        fetch(path, Path(folder, "model"))
        launch = Launch("serve", f"kennel-serve-{os.getpid()}", Path(folder), image=session.terms.image, port=port)
        session.say(f"http://127.0.0.1:{port}/invocations; Ctrl-C ends it")
        sys.exit(run_in_foreground(launcher.command(launch), launcher.environment(launch)))


def run_in_foreground(command: list[str], environment: dict[str, str]) -> int:
    """Run a command until it ends; Ctrl-C reaches it too, and it ends well."""
    with subprocess.Popen(command, env=environment) as process:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        return process.wait()
