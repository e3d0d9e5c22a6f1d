"""The `serve` command, as a process over HTTP."""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
from PIL import Image
from support import ROOT

from classifier.inference import ImageClassifier

JPEG = {"Content-Type": "image/jpeg"}


@dataclass
class Server:
    url: str
    process: "subprocess.Popen[bytes]"

    def ask(self, data: bytes, headers: dict[str, str] | None = None, query: str = "") -> requests.Response:
        return requests.post(f"{self.url}/invocations{query}", data=data, headers=headers or JPEG, timeout=30)


@contextmanager
def serving(root: Path, **environment: str) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {**os.environ, "SAGEMAKER_BASE_DIR": str(root), "SAGEMAKER_BIND_TO_PORT": str(port), **environment}
    process = subprocess.Popen([sys.executable, "-m", "serve"], cwd=ROOT, env=variables)
    try:
        yield Server(f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        process.wait(timeout=30)


def status_of_ping(url: str) -> int:
    try:
        return requests.get(f"{url}/ping", timeout=2).status_code
    except requests.ConnectionError:
        return 0


def wait_until_ready(url: str, timeout_seconds: float = 20) -> float:
    started = time.monotonic()
    while status_of_ping(url) != 200:
        assert time.monotonic() - started < timeout_seconds
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.fixture(scope="module")
def server(trained: Path) -> Iterator[Server]:
    with serving(trained) as running:
        wait_until_ready(running.url)
        yield running


@pytest.fixture(scope="module")
def photographs(faces: Path) -> list[Path]:
    return sorted((faces / "test").rglob("*.png"))


def encode(photograph: Path, form: str) -> bytes:
    buffer = io.BytesIO()
    # what compression loses is not what these tests are about
    Image.open(photograph).save(buffer, form, quality=95)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("image/jpeg", "JPEG"), ("image/png", "PNG"), ("image/webp", "WEBP"), ("image/bmp", "BMP"),
        ("image/gif", "GIF"), ("image/tiff", "TIFF"),
        ("application/x-image", "JPEG"), ("application/octet-stream", "PNG"), ("IMAGE/JPEG; charset=x", "JPEG"),
    ],
)  # fmt: skip
def test_an_answer_names_the_classes_best_first(
    content_type: str, form: str, server: Server, photographs: list[Path]
) -> None:
    response = server.ask(encode(photographs[0], form), {"Content-Type": content_type})
    assert response.status_code == 200
    predictions = response.json()["predictions"]
    assert predictions[0]["label"] == photographs[0].parent.name
    probabilities = [prediction["probability"] for prediction in predictions]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)


@pytest.mark.parametrize(
    ("query", "headers"),
    [("?top_k=2", {}), ("", {"X-Amzn-SageMaker-Custom-Attributes": "trace=7, top_k=2"})],
)
def test_top_k_is_taken_from_query_or_custom_attributes(
    query: str, headers: dict[str, str], server: Server, photographs: list[Path]
) -> None:
    response = server.ask(photographs[0].read_bytes(), {**JPEG, **headers}, query)
    assert len(response.json()["predictions"]) == 2


def test_answers_equal_what_the_classifier_computes_in_training(
    server: Server, trained: Path, many_photographs: list[Path]
) -> None:
    classifier = ImageClassifier.load(trained / "model", device="cpu", num_threads=1)
    assert len(many_photographs) == 200
    for photograph in many_photographs:
        answer = {p["label"]: p["probability"] for p in server.ask(photograph.read_bytes()).json()["predictions"]}
        expected = classifier.probabilities(classifier.read(photograph)[None])[0]
        assert np.allclose([answer[name] for name in classifier.artifact.class_names], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "headers", "status", "code"),
    [
        (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        (b"no image", JPEG, 400, "bad_request"),
        (b"", JPEG, 400, "bad_request"),
        (b"\xff\xd8\xff\xe0", JPEG, 400, "bad_request"),
    ],
)
def test_a_wrong_request_is_a_4xx_in_json(
    data: bytes, headers: dict[str, str], status: int, code: str, server: Server
) -> None:
    response = server.ask(data, headers)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert response.json()["error"]["message"]


def test_other_wrong_requests_have_the_same_shape(server: Server, photographs: list[Path]) -> None:
    assert server.ask(photographs[0].read_bytes(), query="?top_k=0").status_code == 400
    assert requests.get(f"{server.url}/nowhere", timeout=5).json()["error"]["code"] == "not_found"
    assert requests.get(f"{server.url}/invocations", timeout=5).status_code == 405
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    assert server.ask(bomb.getvalue()).status_code == 413


def test_a_body_over_the_limit_is_413(trained: Path) -> None:
    with serving(trained, SAGEMAKER_MAX_PAYLOAD_IN_MB="1") as running:
        wait_until_ready(running.url)
        response = running.ask(b"x" * 1_500_000)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "request_entity_too_large"


def test_it_is_ready_at_once_and_small(trained: Path) -> None:
    with serving(trained) as running:
        seconds = wait_until_ready(running.url)
        parent = psutil.Process(running.process.pid)
        memory = sum(process.memory_info().rss for process in [parent, *parent.children(recursive=True)])
        # the measured values are 0.6 s and 200 MB; a server that loads torch takes 6 s and 840 MB
        assert seconds < 4
        assert memory < 300e6


def test_sigterm_answers_the_requests_in_flight(trained: Path, photographs: list[Path]) -> None:
    photograph = photographs[0].read_bytes()
    with serving(trained) as running:
        wait_until_ready(running.url)
        statuses: list[int] = []
        half_sent = threading.Event()

        def slow_body() -> Iterator[bytes]:
            yield photograph[:100]
            half_sent.set()
            time.sleep(1.5)
            yield photograph[100:]

        def ask() -> None:
            url = f"{running.url}/invocations"
            headers = {**JPEG, "Content-Length": str(len(photograph))}
            request = requests.Request("POST", url, data=slow_body(), headers=headers).prepare()
            request.headers.pop("Transfer-Encoding", None)
            with requests.Session() as session:
                statuses.append(session.send(request, timeout=30).status_code)

        thread = threading.Thread(target=ask)
        thread.start()
        assert half_sent.wait(10)
        time.sleep(0.3)
        running.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        thread.join(30)
        assert running.process.wait(timeout=30) == 0
    assert statuses == [200]
    assert time.monotonic() - started < 25


def spoil_weights(model: Path) -> None:
    data = bytearray((model / "model.bin").read_bytes())
    data[5000] ^= 1
    (model / "model.bin").write_bytes(bytes(data))


def remove_probe(model: Path) -> None:
    (model / "probe.png").unlink()


def remove_all(model: Path) -> None:
    shutil.rmtree(model)


@pytest.mark.parametrize("spoil", [spoil_weights, remove_probe, remove_all])
def test_a_spoilt_artifact_keeps_ping_at_503(spoil: object, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "model", tmp_path / "model")
    assert callable(spoil)
    spoil(tmp_path / "model")
    with serving(tmp_path) as running:
        started = time.monotonic()
        seen = set()
        while time.monotonic() - started < 3:
            seen.add(status_of_ping(running.url))
            time.sleep(0.05)
        assert seen == {0, 503} or seen == {503}
        response = running.ask(b"x")
        assert response.status_code == 503
        assert response.headers["Retry-After"]


def test_a_wrong_setting_ends_the_server_with_its_name(trained: Path) -> None:
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(trained), "SAGEMAKER_BIND_TO_PORT": "eighty"}
    command = [sys.executable, "-m", "serve"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "SAGEMAKER_BIND_TO_PORT" in result.stderr
    assert "Traceback" not in result.stderr
