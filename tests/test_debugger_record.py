"""The record: written as JSON Lines, read as columns."""

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest

from train.debugger.record import STEP_COLUMNS, RecordWriter, TensorRow, read_record

STATISTICS = {"mean": 0.5, "mean_abs": 0.5, "std": 0.1, "min": -1.0, "max": 1.0, "p5": 0.1, "p95": 0.9, "zeros": 0.25}
NAMED = {"stage": "finetune", "step": 4, "epoch": 1, "mode": "TRAIN", "collection": "relu_output", "name": "relu"}


def block(first: int, num_steps: int, **fields: object) -> dict[str, object]:
    columns = {name: [0.001 * (first + i) for i in range(num_steps)] for name in STEP_COLUMNS}
    return {"kind": "steps", "time": 1.0 + first, "stage": "finetune", "epoch": 1, "first": first, **columns, **fields}


def sample(time: float, **fields: object) -> dict[str, object]:
    return {"kind": "system", "time": time, "interval": 0.5, "cpu": [10.0, 20.0], "memory_bytes": 7, **fields}


def write(file: Path, *rows: dict[str, object]) -> None:
    writer = RecordWriter(file)
    writer.write(rows)
    writer.close()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    gpu = [{"utilization": 50, "memory": 20.5, "memory_bytes": 9, "power_watts": 70.0, "temperature": 40}]
    write(
        tmp_path / "folder" / "record.jsonl",
        {"kind": "job", "time": 0.1, "architecture": "resnet18"},
        {"kind": "data", "time": 0.2, "unreadable": 0},
        {"kind": "phase", "time": 0.3, "name": "imports", "start": 0.0, "seconds": 0.3},
        block(0, 3),
        block(3, 2, stage="linear_probe", merged=10),
        sample(2.0),
        sample(2.5, gpu=gpu),
        {"kind": "tensor", "time": 3.0, **NAMED, **STATISTICS, "size": 9, "nan": 1, "inf": 0, "activity": [1, 2.5]},
        {"kind": "predictions", "time": 4.0, "split": "test", "metrics": {}},
        {"kind": "data", "time": 5.0, "unreadable": 2},
        {"kind": "end", "time": 6.0, "status": "completed", "reason": ""},
    )
    record = read_record(tmp_path / "folder" / "record.jsonl")
    assert record.job["architecture"] == "resnet18"
    assert record.data == {"time": 5.0, "unreadable": 2}
    assert record.phases == [{"time": 0.3, "name": "imports", "start": 0.0, "seconds": 0.3}]
    assert record.steps.number.tolist() == [0, 1, 2, 3, 13]
    assert record.steps.merged.tolist() == [1, 1, 1, 10, 10]
    assert record.steps.of("finetune").total.tolist() == [0.0, 0.001, 0.002]
    assert len(record.steps.of("linear_probe")) == 2
    assert record.system.cpu.tolist() == [[10.0, 20.0], [10.0, 20.0]]
    assert np.isnan(record.system.gpu_utilization[0, 0]) and record.system.gpu_utilization[1, 0] == 50
    assert np.isnan(record.system.io_wait).all()
    assert record.tensors == [TensorRow(**NAMED, **STATISTICS, size=9, nan=1, inf=0, activity=(1.0, 2.5))]  # type: ignore[arg-type]
    assert record.predictions["test"]["metrics"] == {}
    assert record.end is not None and record.end["status"] == "completed"
    assert record.duration == 6.0


def test_numbers_that_json_lacks_come_back(tmp_path: Path) -> None:
    file = tmp_path / "record.jsonl"
    losses = [math.nan, math.inf, -math.inf]
    epoch = {"kind": "epoch", "time": 2.0, "stage": "finetune", "train_loss": math.nan}
    write(file, block(0, 3, loss=losses), epoch)
    for line in file.read_text().splitlines():
        assert "NaN" not in line and "Infinity" not in line
        json.loads(line)
    record = read_record(file)
    np.testing.assert_array_equal(record.steps.loss, losses)
    assert math.isnan(record.epochs[0]["train_loss"])


def test_a_half_last_line_and_what_is_not_known_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "record.jsonl"
    write(file, {"kind": "of the future", "time": 1.0}, block(0, 2, new_column=[1, 2]), sample(9.0))
    with file.open("ab") as stream:
        stream.write(json.dumps(block(2, 2)).encode()[:80])
    record = read_record(file)
    assert len(record.steps) == 2
    assert record.end is None and record.job == {} and record.data is None
    assert record.duration == 9.0


def test_an_empty_record_is_read(tmp_path: Path) -> None:
    write(tmp_path / "record.jsonl")
    record = read_record(tmp_path / "record.jsonl")
    assert len(record.steps) == len(record.system) == len(record.tensors) == 0
    assert record.system.cpu.shape == (0, 0)


def test_a_record_of_days_is_read_in_seconds(tmp_path: Path) -> None:
    tensor = {"kind": "tensor", "time": 1.0, **NAMED, **STATISTICS, "size": 9, "nan": 0, "inf": 0}
    write(
        tmp_path / "record.jsonl",
        *(block(first, 100) for first in range(0, 100_000, 100)),
        *(sample(0.5 * number) for number in range(20_000)),
        *({**tensor, "activity": [1.5] * 21} for _ in range(50_000)),
    )
    started = time.process_time()
    record = read_record(tmp_path / "record.jsonl")
    assert time.process_time() - started < 3
    assert (len(record.steps), len(record.system), len(record.tensors)) == (100_000, 20_000, 50_000)


def test_a_missing_record_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "record.jsonl")
