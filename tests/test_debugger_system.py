"""Samples of the machine."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from colours import RECIPE, train

from container.paths import ContainerPaths
from train.config import TrainingConfig
from train.data import Photographs
from train.debugger.create import create_recorder
from train.debugger.record import read_record

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_machine_is_sampled_with_its_loaders(photographs: Photographs, tmp_path: Path) -> None:
    paths = ContainerPaths(tmp_path)
    with create_recorder(TrainingConfig(), paths) as recorder:
        train(photographs, replace(RECIPE, epochs=1), recorder=recorder, num_workers=2)
        with busy(1.6):
            pass
    system = read_record(paths.output_data / "record.jsonl").system
    assert len(system) >= 3
    np.testing.assert_allclose(np.diff(system.time), system.interval[1:], atol=0.1)
    assert system.cpu.shape[1] == len(os.sched_getaffinity(0)) and system.cpu[1:].max() > 30
    assert (system.process_bytes > 50e6).all() and (system.memory_bytes > system.process_bytes / 4).all()
    assert (system.num_processes >= 1).all()


@contextlib.contextmanager
def busy(seconds: float) -> Iterator[None]:
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        sum(range(10_000))
    yield


def test_samples_get_rarer_in_a_long_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.debugger.system.INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr("train.debugger.system.MAX_SAMPLES", 5)
    with create_recorder(TrainingConfig(), ContainerPaths(tmp_path)):
        time.sleep(1.5)
    intervals = read_record(tmp_path / "output" / "data" / "record.jsonl").system.interval
    assert intervals[-2] > 4 * intervals[2]
