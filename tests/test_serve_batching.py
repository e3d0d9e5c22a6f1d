"""Many requests at a time: the queue before the network, and the server under load."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from test_serve import JPEG, serving, status_of_ping, wait_until_ready
from werkzeug.exceptions import ServiceUnavailable

from classifier.inference import BATCH_SIZE, ImageClassifier
from classifier.preprocessing import Pixels
from container.resources import memory_bytes
from serve.batching import Admission, Batcher
from serve.config import ServeConfig
from serve.sizing import choose_sizes

FOREVER = float("inf")


class Network:
    """The mean of each image, once the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.started = threading.Event()
        self.sizes: list[int] = []

    def run(self, pixels: Pixels) -> Sequence[Any]:
        self.sizes.append(len(pixels))
        self.started.set()
        assert self.gate.wait(10)
        if pixels.max() == 255:
            raise ArithmeticError("the network fails")
        return list(pixels.mean(axis=(1, 2)))


def image(value: int) -> Pixels:
    return np.full((4, 4, 3), value, np.uint8)


def wait_for_queue(batcher: Batcher, length: int) -> None:
    ends = time.monotonic() + 10
    while len(batcher._queue) != length:
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_what_waits_passes_the_network_together_and_each_gets_its_own_answer() -> None:
    network = Network()
    batcher = Batcher(network.run, num_streams=1, capacity=100)
    with ThreadPoolExecutor(40) as pool:
        first = pool.submit(batcher.submit, [image(200)], FOREVER)
        assert network.started.wait(10)
        others = [pool.submit(batcher.submit, [image(value), image(value + 100)], FOREVER) for value in range(10)]
        wait_for_queue(batcher, 20)
        network.gate.set()
        assert first.result()[0][0] == 200
        assert [[row[0] for row in other.result()] for other in others] == [[v, v + 100] for v in range(10)]
    assert network.sizes == [1, BATCH_SIZE, 20 - BATCH_SIZE]
    batcher.close()


def test_a_full_queue_refuses_at_once_and_a_close_answers_what_waits() -> None:
    network = Network()
    batcher = Batcher(network.run, num_streams=1, capacity=2)
    with ThreadPoolExecutor(4) as pool:
        running = pool.submit(batcher.submit, [image(1)], FOREVER)
        assert network.started.wait(10)
        waiting = pool.submit(batcher.submit, [image(value) for value in range(5)], FOREVER)
        wait_for_queue(batcher, 5)
        with pytest.raises(ServiceUnavailable):
            batcher.submit([image(2)], FOREVER)
        network.gate.set()
        batcher.close()
        assert len(running.result()) == 1
        assert len(waiting.result()) == 5
    with pytest.raises(ServiceUnavailable):
        batcher.submit([image(2)], FOREVER)


def test_a_request_past_its_deadline_is_not_computed() -> None:
    network = Network()
    network.gate.set()
    batcher = Batcher(network.run, num_streams=2, capacity=10)
    with pytest.raises(ServiceUnavailable, match="deadline"):
        batcher.submit([image(1)], time.monotonic() - 1)
    assert network.sizes == []
    batcher.close()


def test_a_failure_of_the_network_reaches_its_request_and_the_next_is_answered() -> None:
    network = Network()
    network.gate.set()
    batcher = Batcher(network.run, num_streams=1, capacity=10)
    with pytest.raises(ArithmeticError):
        batcher.submit([image(255)], FOREVER)
    assert batcher.submit([image(7)], FOREVER)[0][0] == 7
    batcher.close()


def test_a_place_is_given_back() -> None:
    admission = Admission(1)
    with admission.place(), pytest.raises(ServiceUnavailable), admission.place():
        pass
    with admission.place():
        pass


def test_many_clients_at_a_time_get_their_own_answers(trained: Path, many_photographs: list[Path]) -> None:
    classifier = ImageClassifier.load(trained / "model", device="cpu", num_threads=1)
    photographs = [photograph.read_bytes() for photograph in many_photographs[:60]]
    expected = classifier.probabilities(np.stack([classifier.read(photograph) for photograph in photographs]))
    with serving(trained) as running, ThreadPoolExecutor(16) as pool:
        wait_until_ready(running.url)
        headers = {**JPEG, "Accept": "text/csv"}
        answers = list(pool.map(lambda photograph: running.ask(photograph, headers).text, photographs))
    assert np.allclose([[float(value) for value in answer.split(",")] for answer in answers], expected, atol=1e-6)


def test_a_busy_server_refuses_at_once_and_still_answers_ping(trained: Path, many_photographs: list[Path]) -> None:
    photograph = many_photographs[0].read_bytes()
    half_sent, may_end = threading.Event(), threading.Event()

    def slow_body() -> Iterator[bytes]:
        yield photograph[:100]
        half_sent.set()
        assert may_end.wait(20)
        yield photograph[100:]

    with serving(trained, KENNEL_THREADS="2") as running, ThreadPoolExecutor(1) as pool:
        wait_until_ready(running.url)
        slow = pool.submit(requests.post, f"{running.url}/invocations", data=slow_body(), headers=JPEG, timeout=30)
        assert half_sent.wait(10)
        time.sleep(0.3)
        started = time.monotonic()
        refused = running.ask(photograph)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
        assert refused.headers["Retry-After"] == "1"
        assert status_of_ping(running.url) == 200
        assert time.monotonic() - started < 2
        may_end.set()
        assert slow.result().status_code == 200
        assert running.ask(photograph).status_code == 200


def test_a_request_that_is_too_old_gets_503(trained: Path, many_photographs: list[Path]) -> None:
    with serving(trained, KENNEL_DEADLINE="0.000001") as running:
        wait_until_ready(running.url)
        response = running.ask(many_photographs[0].read_bytes())
        assert response.status_code == 503
        assert "deadline" in response.json()["error"]["message"]


def test_sizes_follow_the_machine_and_what_is_set(trained: Path, tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    sizes = choose_sizes(ServeConfig(num_workers=2), trained / "model")
    assert (sizes.num_workers, sizes.num_streams) == (2, max(1, cores // 2))
    assert "as set" in sizes.arithmetic
    assert choose_sizes(ServeConfig(), tmp_path).num_workers == max(1, cores // 8)
    assert memory_bytes(tmp_path) > 0
    (tmp_path / "memory.max").write_text("123456\n")
    assert memory_bytes(tmp_path) == 123456
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_bytes(tmp_path) > 123456
