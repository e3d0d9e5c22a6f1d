"""Endpoints and transform jobs of the process target: real servers, and what becomes of them when they are killed."""

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError
from jobs_support import assert_shape, terms, until
from support import NUM_CLASSES

from jobs.kinds import ENDPOINT
from jobs.requests import endpoint, endpoint_config, model, transform_job
from jobs.serving import ask, free_port
from jobs.targets.process import ProcessClient
from jobs.targets.runtime import RuntimeClient
from jobs.targets.supervision import STARTED
from jobs.uris import file_uri, pack


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessClient]:
    made = ProcessClient(tmp_path_factory.mktemp("home"), "process")
    yield made
    for item in made.list_endpoints(MaxResults=100)["Endpoints"]:
        delete(made, item["EndpointName"])


@pytest.fixture(scope="module")
def archive(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "model.tar.gz"
    pack(trained / "model", file)
    return file


def deploy(
    client: ProcessClient, archive: Path, name: str, *, wait: bool = True, port: int = 0, **options: Any
) -> None:
    environment = {"SAGEMAKER_BIND_TO_PORT": str(port)} if port else {}
    client.create_model(**model(name, file_uri(archive), terms(client.home), environment))
    client.create_endpoint_config(**endpoint_config(name, name, terms(client.home), **options))
    assert_shape("CreateEndpoint", client.create_endpoint(**endpoint(name, name)))
    if wait:
        client.get_waiter("endpoint_in_service").wait(
            EndpointName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 300}
        )


def delete(client: ProcessClient, name: str) -> None:
    client.delete_endpoint(EndpointName=name)
    client.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 400})


def status(client: ProcessClient, name: str) -> str:
    return str(client.describe_endpoint(EndpointName=name)["EndpointStatus"])


def server_of(client: ProcessClient, name: str) -> psutil.Process:
    return psutil.Process(int((client.store.folder(ENDPOINT, name) / "child.pid").read_text().split()[0]))


@pytest.fixture(scope="module")
def in_service(client: ProcessClient, archive: Path) -> str:
    started = time.monotonic()
    deploy(client, archive, "served")
    assert time.monotonic() - started < 20
    return "served"


@pytest.fixture(scope="module")
def photograph(faces: Path) -> Path:
    return sorted((faces / "test").rglob("*.png"))[0]


def best(client: ProcessClient, name: str, photograph: Path) -> str:
    answer = RuntimeClient(client).invoke_endpoint(
        EndpointName=name, Body=photograph.read_bytes(), ContentType="image/png", CustomAttributes="top_k=2"
    )
    predictions = json.loads(answer["Body"].read())["predictions"]
    assert len(predictions) == 2
    assert (answer["InvokedProductionVariant"], answer["ContentType"]) == ("AllTraffic", "application/json")
    return str(predictions[0]["label"])


def test_an_endpoint_answers(client: ProcessClient, in_service: str, photograph: Path) -> None:
    told = client.describe_endpoint(EndpointName=in_service)
    assert_shape("DescribeEndpoint", told)
    assert_shape("ListEndpoints", client.list_endpoints(StatusEquals="InService"))
    assert best(client, in_service, photograph) == photograph.parent.name


def test_an_endpoint_listens_on_this_machine_only(client: ProcessClient, in_service: str) -> None:
    port = client.store.read(ENDPOINT, in_service).private["Port"]
    listening = [item.laddr for item in psutil.net_connections("tcp") if item.status == "LISTEN" and item.laddr]
    assert {address.ip for address in listening if address.port == port} == {"127.0.0.1"}


def test_errors_of_the_container_are_those_of_the_service(client: ProcessClient, in_service: str) -> None:
    runtime = RuntimeClient(client)
    with pytest.raises(runtime.exceptions.ModelError) as error:
        runtime.invoke_endpoint(EndpointName=in_service, Body=b"no image", ContentType="image/png")
    response = error.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == 400
    assert json.loads(response["OriginalMessage"])["error"]["code"] == "bad_request"
    with pytest.raises(ClientError, match=r"Endpoint none of account .* not found") as missing:
        runtime.invoke_endpoint(EndpointName="none", Body=b"")
    assert missing.value.response["Error"]["Code"] == "ValidationError"


def test_a_killed_worker_is_replaced(client: ProcessClient, in_service: str, photograph: Path) -> None:
    (worker,) = server_of(client, in_service).children()
    worker.kill()
    port = client.store.read(ENDPOINT, in_service).private["Port"]
    until(lambda: worker.pid not in {child.pid for child in server_of(client, in_service).children()})
    until(lambda: is_ready(port))
    assert best(client, in_service, photograph) == photograph.parent.name


def is_ready(port: int) -> bool:
    try:
        return ask(port, "GET", "/ping", timeout=2).status == 200
    except OSError:
        return False


def test_a_killed_server_is_started_again(client: ProcessClient, in_service: str, photograph: Path) -> None:
    old = server_of(client, in_service)
    os.killpg(old.pid, signal.SIGKILL)
    until(lambda: server_of(client, in_service).pid != old.pid and status(client, in_service) == "InService")
    assert best(client, in_service, photograph) == photograph.parent.name


def test_an_endpoint_whose_supervisor_was_killed_comes_back_with_the_next_command(
    client: ProcessClient, archive: Path, photograph: Path
) -> None:
    deploy(client, archive, "phoenix")
    old = server_of(client, "phoenix")
    STARTED[-1].kill()
    STARTED[-1].wait()
    assert old.is_running()
    assert status(client, "phoenix") != "Failed"
    until(lambda: status(client, "phoenix") == "InService")
    assert not old.is_running() or old.status() == psutil.STATUS_ZOMBIE
    assert best(client, "phoenix", photograph) == photograph.parent.name
    server = server_of(client, "phoenix")
    delete(client, "phoenix")
    assert not server.is_running()


def test_a_server_that_keeps_dying_fails_the_endpoint(client: ProcessClient, archive: Path) -> None:
    deploy(client, archive, "mortal")
    for _ in range(3):
        until(lambda: status(client, "mortal") == "InService")
        os.killpg(server_of(client, "mortal").pid, signal.SIGKILL)
        until(lambda: status(client, "mortal") != "InService")
    until(lambda: status(client, "mortal") == "Failed")
    assert "did not pass the ping health check" in client.describe_endpoint(EndpointName="mortal")["FailureReason"]
    delete(client, "mortal")


def test_a_taken_port_is_told(client: ProcessClient, archive: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        deploy(client, archive, "taken", wait=False, port=port)
        until(lambda: status(client, "taken") == "Failed")
    reason = client.describe_endpoint(EndpointName="taken")["FailureReason"]
    assert f"port {port} is taken; give another, or none to get a free one" in reason
    delete(client, "taken")


def test_an_endpoint_whose_folder_is_removed_ends(client: ProcessClient, archive: Path) -> None:
    deploy(client, archive, "removed")
    server = server_of(client, "removed")
    shutil.rmtree(client.store.folder(ENDPOINT, "removed"))
    until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)
    assert STARTED[-1].wait(30) == 0


def test_a_chosen_port_is_used(client: ProcessClient, archive: Path) -> None:
    port = free_port()
    deploy(client, archive, "chosen", port=port)
    assert ask(port, "GET", "/ping", timeout=2).status == 200
    delete(client, "chosen")


def test_a_model_that_cannot_be_served_fails_at_once_and_says_why(
    client: ProcessClient, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained / "model", tmp_path / "model")
    weights = next((tmp_path / "model").glob("*.bin"))
    weights.write_bytes(weights.read_bytes()[:1000])
    pack(tmp_path / "model", tmp_path / "broken.tar.gz")
    deploy(client, tmp_path / "broken.tar.gz", "broken", wait=False)
    until(lambda: status(client, "broken") == "Failed", timeout=30)
    assert "the model cannot be served" in client.describe_endpoint(EndpointName="broken")["FailureReason"]
    delete(client, "broken")


def test_a_model_that_is_not_there_fails_the_endpoint(client: ProcessClient, tmp_path: Path) -> None:
    deploy(client, tmp_path / "none.tar.gz", "nothing", wait=False)
    until(lambda: status(client, "nothing") == "Failed")
    assert "no such file or folder" in client.describe_endpoint(EndpointName="nothing")["FailureReason"]
    with pytest.raises(ClientError, match="nothing is Failed"):
        RuntimeClient(client).invoke_endpoint(EndpointName="nothing", Body=b"x")
    delete(client, "nothing")


def test_an_asynchronous_endpoint_answers_into_a_file(client: ProcessClient, archive: Path, photograph: Path) -> None:
    deploy(client, archive, "queue", asynchronous=True)
    runtime = RuntimeClient(client)
    answer = runtime.invoke_endpoint_async(
        EndpointName="queue", InputLocation=file_uri(photograph), ContentType="image/png"
    )
    content = json.loads(Path(answer["OutputLocation"].removeprefix("file://")).read_text())
    assert content["predictions"][0]["label"] == photograph.parent.name
    delete(client, "queue")


def transformed(client: ProcessClient, name: str) -> dict[str, Any]:
    until(lambda: client.describe_transform_job(TransformJobName=name)["TransformJobStatus"] in ("Completed", "Failed"))
    return client.describe_transform_job(TransformJobName=name)


def test_a_transform_job_answers_every_file_under_its_name(
    client: ProcessClient, archive: Path, many_photographs: list[Path], tmp_path: Path
) -> None:
    source, output = many_photographs[0].parents[1], tmp_path / "out"
    common = terms(client.home)
    client.create_model(**model("batch", file_uri(archive), common, {}))
    request = transform_job("batch", "batch", file_uri(source), file_uri(output), common)
    assert_shape("CreateTransformJob", client.create_transform_job(**request))
    told = transformed(client, "batch")
    assert_shape("DescribeTransformJob", told)
    assert_shape("ListTransformJobs", client.list_transform_jobs())
    assert told["TransformJobStatus"] == "Completed", told
    files = {str(file.relative_to(source)) for file in source.rglob("*.png")}
    assert {str(file.relative_to(output)).removesuffix(".out") for file in output.rglob("*.out")} == files
    content = json.loads(next(output.rglob("*.out")).read_text())
    assert len(content["predictions"]) == NUM_CLASSES


def test_a_file_that_is_no_image_has_an_error_record_and_one_too_large_fails_the_transform(
    client: ProcessClient, archive: Path, photograph: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    shutil.copy(photograph, source / "good.png")
    (source / "bad.png").write_bytes(b"no image")
    with (source / "large.png").open("wb") as large:
        large.truncate(26 * 1024 * 1024)
    common = terms(client.home)
    client.create_model(**model("half", file_uri(archive), common, {}))
    client.create_transform_job(**transform_job("half", "half", file_uri(source), file_uri(tmp_path / "out"), common))
    told = transformed(client, "half")
    assert told["TransformJobStatus"] == "Failed"
    assert told["FailureReason"].startswith(
        "AlgorithmError: 1 of 3 files have no answer; large.png: 27262976 bytes are more than MaxPayloadInMB"
    )
    answers = {file.name: json.loads(file.read_text()) for file in (tmp_path / "out").iterdir()}
    assert {name: next(iter(answer)) for name, answer in answers.items()} == {
        "good.png.out": "predictions",
        "bad.png.out": "error",
    }
