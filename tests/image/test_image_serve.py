"""`docker run IMAGE serve`."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from image.containers import (
    ROOT,
    USER,
    Server,
    container,
    docker,
    exit_code,
    free_port,
    logs_of,
    run,
    serving,
    status_of,
)

HARDENED = ("--read-only", "--tmpfs", "/tmp", "--user", USER)
DRAIN_SECONDS = 15
ASK_INSIDE = """
import json, sys, time, urllib.request
deadline = time.monotonic() + 60
while True:
    try:
        assert urllib.request.urlopen("http://127.0.0.1:8080/ping", timeout=2).status == 200
        break
    except OSError:
        assert time.monotonic() < deadline
        time.sleep(0.1)
request = urllib.request.Request("http://127.0.0.1:8080/invocations", data=sys.stdin.buffer.read())
request.add_header("Content-Type", "image/png")
print(json.load(urllib.request.urlopen(request))["predictions"][0]["label"])
"""


@pytest.fixture(scope="module")
def server(image: str, trained: Path) -> Iterator[Server]:
    """Serve as a user that the image does not know, with no file system to write to but /tmp."""
    with serving(image, trained / "model", options=HARDENED) as server:
        yield server


def test_ping_answers_200_with_nothing(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/ping", timeout=2) as response:
        assert (response.status, response.read()) == (200, b"")


def test_a_photograph_is_answered_best_class_first(server: Server, photograph: Path, class_names: list[str]) -> None:
    result = run(ROOT / "local_test" / "predict.sh", photograph, environment={"PORT": str(server.port)})
    assert result.returncode == 0, result.stderr
    predictions = json.loads(result.stdout)["predictions"]
    probabilities = [prediction["probability"] for prediction in predictions]
    assert predictions[0]["label"] == photograph.parent.name
    assert sorted(prediction["label"] for prediction in predictions) == class_names
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-4)


def test_what_is_no_photograph_is_a_400_that_says_so(server: Server, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no photograph")
    result = run(ROOT / "local_test" / "predict.sh", tmp_path / "broken.jpg", environment={"PORT": str(server.port)})
    assert result.returncode != 0
    assert set(json.loads(result.stdout)["error"]) >= {"code", "message"}
    assert "400" in result.stderr


def test_another_content_type_is_a_415(server: Server) -> None:
    request = urllib.request.Request(f"{server.url}/invocations", data=b"1,2", headers={"Content-Type": "text/csv"})
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=10)
    assert raised.value.code == 415


def test_python_is_pid_1(server: Server) -> None:
    assert "/python3" in docker("exec", server.container, "readlink", "/proc/1/exe")


def test_serving_needs_no_network(image: str, trained: Path, photograph: Path) -> None:
    mount = f"type=bind,source={trained / 'model'},target=/opt/ml/model,readonly"
    with container(image, "serve", options=("--network", "none", "--mount", mount)) as name:
        copied = run("docker", "cp", photograph, f"{name}:/tmp/photograph")
        assert copied.returncode == 0, copied.stderr
        ask = f"python -c '{ASK_INSIDE}' < /tmp/photograph"
        assert docker("exec", name, "sh", "-c", ask) == photograph.parent.name


def test_the_port_is_the_one_that_sagemaker_names(image: str, trained: Path) -> None:
    bound = ("--env", "SAGEMAKER_BIND_TO_PORT=8099")
    with serving(image, trained / "model", options=bound, inner_port=8099) as server:
        assert status_of(f"{server.url}/ping") == 200


def test_without_a_model_ping_stays_at_503_and_the_log_names_what_is_missing(image: str, tmp_path: Path) -> None:
    port = free_port()
    options = (f"--publish=127.0.0.1:{port}:8080", f"--mount=type=bind,source={tmp_path},target=/opt/ml/model,readonly")
    with container(image, "serve", options=options) as name:
        deadline = time.monotonic() + 30
        while "model.json" not in logs_of(name) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert "model.json" in logs_of(name)
        assert status_of(f"http://127.0.0.1:{port}/ping") == 503


def test_a_stop_answers_the_request_in_flight_then_ends_with_0(image: str, trained: Path, photograph: Path) -> None:
    with serving(image, trained / "model", options=HARDENED) as server:
        body = photograph.read_bytes()
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            headers = ("Host: x", "Content-Type: image/png", f"Content-Length: {len(body)}")
            head = "\r\n".join(("POST /invocations HTTP/1.1", *headers, "", ""))
            connection.sendall(head.encode() + body[:1000])
            time.sleep(1)
            started = time.monotonic()
            stop = threading.Thread(target=docker, args=("stop", "--time", "60", server.container))
            stop.start()
            time.sleep(2)
            connection.sendall(body[1000:])
            answer = read_all(connection)
        stop.join(timeout=60)
        assert time.monotonic() - started < DRAIN_SECONDS
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert photograph.parent.name.encode() in answer
        assert exit_code(server.container) == 0


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received
