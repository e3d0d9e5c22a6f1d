"""What a request may hold, and how it is answered, over HTTP."""

import base64
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from test_serve import JPEG, Server, serving, wait_until_ready

from classifier.inference import ImageClassifier

JSON = {"Content-Type": "application/json"}
LINES = {"Content-Type": "application/jsonlines"}
NPY = {"Content-Type": "application/x-npy"}


@pytest.fixture(scope="module")
def server(trained: Path) -> Iterator[Server]:
    with serving(trained, KENNEL_MAX_IMAGES="8") as running:
        wait_until_ready(running.url)
        yield running


@pytest.fixture(scope="module")
def batch_server(trained: Path) -> Iterator[Server]:
    with serving(trained, SAGEMAKER_BATCH="True") as running:
        wait_until_ready(running.url)
        yield running


@pytest.fixture(scope="module")
def two(faces: Path) -> list[bytes]:
    photographs = sorted((faces / "test").rglob("*.png"))
    return [photographs[0].read_bytes(), photographs[-1].read_bytes()]


@pytest.fixture(scope="module")
def expected(two: list[bytes], trained: Path) -> Any:
    classifier = ImageClassifier.load(trained / "model", device="cpu", num_threads=1)
    return classifier.probabilities(np.stack([classifier.read(photograph) for photograph in two]))


@pytest.fixture(scope="module")
def names(trained: Path) -> list[str]:
    return list(json.loads((trained / "model" / "model.json").read_text())["class_names"])


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def probabilities(response: requests.Response) -> Any:
    assert response.status_code == 200, response.text
    return np.array([json.loads(line)["prediction"] for line in response.text.splitlines()])


def test_one_image_in_json_is_answered_as_its_bytes_are(server: Server, two: list[bytes]) -> None:
    direct = server.ask(two[0]).json()
    text = b64(two[0])
    for value in (
        text,
        {"b64": text},
        {"image": text},
        {"image": {"b64": text}},
        {"data": f"data:image/png;base64,{text}"},
    ):
        assert server.ask(json.dumps(value).encode(), JSON).json() == direct
    array = json.dumps(pixels(two[0]).tolist()).encode()
    assert server.ask(array, JSON).json() == direct


def test_many_images_in_json_are_answered_in_order(server: Server, two: list[bytes]) -> None:
    direct = [server.ask(photograph).json()["predictions"] for photograph in two]
    texts = [b64(photograph) for photograph in two]
    objects = [{"b64": text} for text in texts]
    for value in (texts, objects, {"instances": objects}, {"images": texts}, {"inputs": texts},
                  {"instances": [{"image_bytes": item} for item in objects]}):  # fmt: skip
        answer = server.ask(json.dumps(value).encode(), JSON).json()["predictions"]
        for given, wanted in zip(answer, direct, strict=True):
            assert [item["label"] for item in given] == [item["label"] for item in wanted]
            assert [item["probability"] for item in given] == pytest.approx([item["probability"] for item in wanted])
    assert len(server.ask(json.dumps({"instances": objects[:1]}).encode(), JSON).json()["predictions"]) == 1


def test_arrays_are_taken_with_channels_first_or_last_as_integers_or_fractions(
    server: Server, two: list[bytes], expected: Any
) -> None:
    smallest = min(min(pixels(data).shape[:2]) for data in two)
    array = np.stack([pixels(data)[:smallest, :smallest] for data in two])
    first = probabilities(server.ask(npy(array), {**NPY, "Accept": "application/jsonlines"}))
    assert len(first) == 2
    for other in (array.transpose(0, 3, 1, 2), np.asfortranarray(array), array / 255, array.astype(">i4"),
                  array.astype(np.float32), (array / 255).astype(np.float32)):  # fmt: skip
        given = probabilities(server.ask(npy(other), {**NPY, "Accept": "application/jsonlines"}))
        assert np.allclose(given, first, atol=1e-6)
    single = probabilities(server.ask(npy(pixels(two[0])), {**NPY, "Accept": "application/jsonlines"}))
    assert np.allclose(single, expected[:1], atol=1e-6)
    grey = server.ask(npy(array[0, :, :, 0]), NPY)
    assert len(grey.json()["predictions"]) == 5


def test_json_lines_and_forms_hold_several_images(server: Server, two: list[bytes], expected: Any) -> None:
    body = "\n\n".join(json.dumps({"b64": b64(photograph)}) for photograph in two).encode()
    for content_type in ("application/jsonlines", "application/jsonl", "Application/JSONLines; charset=utf-8"):
        headers = {"Content-Type": content_type, "Accept": "application/jsonlines"}
        assert np.allclose(probabilities(server.ask(body, headers)), expected, atol=1e-6)
    files = [("a", ("1.png", two[0], "image/png")), ("b", ("2.png", two[1], "image/png"))]
    url = f"{server.url}/invocations"
    response = requests.post(url, files=files, headers={"Accept": "application/jsonlines"}, timeout=30)
    assert np.allclose(probabilities(response), expected, atol=1e-6)
    single = requests.post(url, files={"image": two[0]}, timeout=30)
    assert single.json() == server.ask(two[0]).json()


def test_answers_are_written_as_accepted(server: Server, two: list[bytes], expected: Any, names: list[str]) -> None:
    verbose = server.ask(two[0], {**JPEG, "Accept": "application/json;verbose"})
    assert verbose.headers["Content-Type"] == "application/json;verbose"
    assert verbose.json()["labels"] == names
    assert np.allclose(verbose.json()["probabilities"], expected[0], atol=1e-6)
    assert verbose.json()["predicted_label"] == names[expected[0].argmax()]
    many = json.dumps([b64(photograph) for photograph in two]).encode()
    both = server.ask(many, {**JSON, "Accept": "Application/JSON; Verbose"}).json()
    assert [item["predicted_label"] for item in both] == [names[row.argmax()] for row in expected]
    table = server.ask(many, {**JSON, "Accept": "text/csv"})
    assert table.headers["Content-Type"].startswith("text/csv")
    assert np.allclose(np.array(list(csv.reader(io.StringIO(table.text))), dtype=float), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "application/json"), ("", "application/json"), ("application/*", "application/json"),
        ("text/*", "text/csv"), ("image/png, text/csv;q=0.5, application/jsonlines;q=0.9", "application/jsonlines"),
        ("text/html, */*;q=0.1", "application/json"),
    ],
)  # fmt: skip
def test_accept_is_negotiated(accept: str, content_type: str, server: Server, two: list[bytes]) -> None:
    response = server.ask(two[0], {**JPEG, "Accept": accept})
    assert response.status_code == 200
    assert response.headers["Content-Type"].partition(";")[0] == content_type


def test_wrong_types_are_told_the_right_ones(server: Server, two: list[bytes]) -> None:
    refused = server.ask(two[0], {**JPEG, "Accept": "image/png"})
    assert refused.status_code == 406
    assert "application/json;verbose" in refused.json()["error"]["message"]
    refused = server.ask(two[0], {"Content-Type": "text/csv"})
    assert refused.status_code == 415
    assert "application/x-npy" in refused.json()["error"]["message"]


def test_threshold_and_attributes(server: Server, two: list[bytes]) -> None:
    attributes = "trace=7,threshold=0.3"
    headers = {**JPEG, "X-Amzn-SageMaker-Custom-Attributes": attributes, "X-Amzn-SageMaker-Inference-Id": "id-1"}
    response = server.ask(two[0], headers)
    assert response.headers["X-Amzn-SageMaker-Custom-Attributes"] == attributes
    assert all(item["probability"] >= 0.3 for item in response.json()["predictions"])
    refused = server.ask(two[0], {**headers, "X-Amzn-SageMaker-Custom-Attributes": "threshold=2"})
    assert refused.status_code == 400
    assert refused.json()["error"]["request_id"] == "id-1"
    assert refused.headers["X-Amzn-SageMaker-Custom-Attributes"] == "threshold=2"
    assert server.ask(two[0], query="?threshold=nan").status_code == 400


HEADER = npy(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("data", "headers", "status", "word"),
    [
        (b"{", JSON, 400, "JSON"), (b"\xff\xfe", JSON, 400, "JSON"), (b"[" * 100_000, JSON, 400, "JSON"),
        (b"{}", JSON, 400, "instances"), (b"null", JSON, 400, "NoneType"), (b"[]", JSON, 400, "no image"),
        (b'{"b64": "/etc/passwd"}', JSON, 400, "image"), (b'"http://127.0.0.1/a.jpg"', JSON, 400, "base64"),
        (b'[[1, 2], [3]]', JSON, 400, "ragged"), (b'[[1, "a"]]', JSON, 400, "numbers"), (b"[[300]]", JSON, 422, "255"),
        (b"[[NaN]]", JSON, 422, "nan"), (b"[1, 2]", JSON, 422, "shape"),
        (b"[" + b"0," * 4_000_001, JSON, 413, "values"),
        (json.dumps(["aa"] * 9).encode(), JSON, 413, "9 images"), (b'\n{\n"aa"', LINES, 400, "line 2"),
        (b"no npy", NPY, 400, "npy"), (HEADER[:-1], NPY, 400, "bytes"), (HEADER + b"1", NPY, 400, "bytes"),
        (npy(np.zeros((4, 4, 2), np.uint8)), NPY, 422, "shape"),
        (npy(np.zeros((0, 4, 3), np.uint8)), NPY, 422, "shape"),
        (npy(np.zeros((1,) * 9, np.uint8)), NPY, 422, "shape"), (npy(np.full((4, 4, 3), -1.5)), NPY, 422, "normalised"),
        (npy(np.array([{"a": 1}], dtype=object)), NPY, 422, "pickle"), (npy(np.zeros(3, "U5")), NPY, 422, "npy"),
        (HEADER.replace(b"(4, 4, 3)", b"(4e9, 4)."), NPY, 400, "npy"),
        (HEADER.replace(b"(4, 4, 3), ", b"(1<<60,3), "), NPY, 400, "npy"),
        (HEADER.replace(b"(4, 4, 3), }  ", b"(4, 99999999),"), NPY, 400, "npy"),
        (b"--x\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "no file"),
        (b"--x\r\n", {"Content-Type": "multipart/form-data"}, 400, "no file"),
    ],
)  # fmt: skip
def test_a_body_that_holds_no_image_is_told_why(
    data: bytes, headers: dict[str, str], status: int, word: str, server: Server
) -> None:
    response = server.ask(data, headers)
    assert (response.status_code, response.json()["error"]["message"]) == (status, response.json()["error"]["message"])
    assert word in response.json()["error"]["message"]


def test_a_bad_image_among_good_ones_is_named(server: Server, two: list[bytes]) -> None:
    response = server.ask(json.dumps([b64(two[0]), b64(b"no image")]).encode(), JSON)
    assert response.status_code == 400
    assert "image 2 of 2" in response.json()["error"]["message"]


def test_a_batch_job_gets_an_error_record_for_a_bad_image(batch_server: Server, two: list[bytes]) -> None:
    single = batch_server.ask(b"no image")
    assert (single.status_code, single.json()["error"]["code"]) == (200, "bad_request")
    assert batch_server.ask(b"{", JSON).json()["error"]["code"] == "bad_request"
    lines = "\n".join([json.dumps(b64(two[0])), "{", json.dumps(b64(b"x")), json.dumps(b64(two[1]))]).encode()
    answer = batch_server.ask(lines, {**LINES, "Accept": "application/jsonlines"}).text.splitlines()
    assert [next(iter(json.loads(line))) for line in answer] == ["prediction", "error", "error", "prediction"]
    listed = batch_server.ask(lines, LINES).json()["predictions"]
    assert [type(item) for item in listed] == [list, dict, dict, list]
    table = list(csv.reader(io.StringIO(batch_server.ask(lines, {**LINES, "Accept": "text/csv"}).text)))
    assert [row[0] == "error" for row in table] == [False, True, True, False]
    assert batch_server.ask(two[0], {"Content-Type": "text/plain"}).status_code == 415


def test_batch_transform_is_told_how_to_ask(server: Server) -> None:
    given = requests.get(f"{server.url}/execution-parameters", timeout=5).json()
    assert given["BatchStrategy"] == "SINGLE_RECORD"
    assert given["MaxConcurrentTransforms"] * given["MaxPayloadInMB"] <= 100


@pytest.mark.parametrize("is_on", [True, False])
def test_the_log_has_a_line_for_each_request(
    is_on: bool, trained: Path, two: list[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(trained, KENNEL_ACCESS_LOG=str(is_on)) as running:
        wait_until_ready(running.url)
        running.ask(two[0], {**JPEG, "X-Amzn-SageMaker-Inference-Id": "id-2"})
        running.ask(b"no image")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert [line["status"] for line in lines] == ([200, 400] if is_on else [])
    if is_on:
        assert (lines[0]["request_id"], lines[0]["path"], lines[0]["bytes"]) == ("id-2", "/invocations", len(two[0]))
