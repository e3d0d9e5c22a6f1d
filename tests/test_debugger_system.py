"""Samples of the machine."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from container.paths import ContainerPaths
from train.config import TrainingConfig
from train.debugger.create import create_recorder
from train.debugger.record import read_record


def test_the_machine_is_sampled(tmp_path: Path) -> None:
    paths = ContainerPaths(tmp_path)
    with create_recorder(TrainingConfig(), paths):
        be_busy(3.0)
    system = read_record(paths.output_data / "record.jsonl").system
    assert len(system) >= 3
    # a busy machine delays single samples
    assert np.median(np.abs(np.diff(system.time) - system.interval[1:])) < 0.5
    assert system.cpu.shape[1] == len(os.sched_getaffinity(0)) and system.cpu[1:].max() > 30
    assert (system.process_bytes > 50e6).all() and (system.memory_bytes > system.process_bytes / 4).all()
    assert (system.num_processes >= 1).all()


def be_busy(seconds: float) -> None:
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        sum(range(10_000))


def test_samples_get_rarer_in_a_long_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.debugger.system.INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr("train.debugger.system.MAX_SAMPLES", 5)
    with create_recorder(TrainingConfig(), ContainerPaths(tmp_path)):
        time.sleep(1.5)
    intervals = read_record(tmp_path / "output" / "data" / "record.jsonl").system.interval
    assert intervals[-2] > 4 * intervals[2]
