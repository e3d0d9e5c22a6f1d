"""What the recorder measures in fine-tuning, and that it never changes or ends it."""

import contextlib
import errno
import gzip
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from colours import PREPROCESSING, RECIPE, equal, network, train

from classifier.preprocessing import load_pixels
from container.errors import UserError
from container.paths import ContainerPaths
from train.config import TrainingConfig
from train.data import Photographs
from train.debugger import record, step_times, tensors
from train.debugger.create import create_recorder
from train.debugger.leaks import find_leaks
from train.debugger.record import Record, read_record
from train.debugger.recorder import Recorder, RecordFile
from train.debugger.step_times import StepTimes
from train.debugger.system import SystemSampler
from train.debugger.tensors import TensorWatcher, choose_interval
from train.debugger.watcher import PARTS, Outcome, Stage, Watcher
from train.path_list import PathList
from train.split import Split

pytestmark = pytest.mark.usefixtures("one_thread")

EVENTS = (
    "begin", "begin_stage", "begin_epoch", "begin_step", "end_part", "end_step", "end_steps", "end_epoch",
    "end_stage", "wrote", "close",
)  # fmt: skip


def recorded(photographs: Photographs, root: Path, recipe: Any = RECIPE, **config: Any) -> tuple[Any, Record]:
    """Fine-tune with a recorder; return the weights and the record."""
    with create_recorder(TrainingConfig(**config), ContainerPaths(root)) as recorder:
        state, _ = train(photographs, recipe, recorder=recorder)
        recorder.end("completed")
    return state, read_record(root / "output" / "data" / "record.jsonl")


def test_weights_are_the_same_bit_for_bit_with_the_recorder_and_without(
    photographs: Photographs, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, epochs=8, mixup_alpha=0.2, precision="bf16", gradient_accumulation_steps=2, ema_decay=0.9)
    expected, _ = train(photographs, recipe)
    state, written = recorded(photographs, tmp_path, recipe, trace_steps=2, tensorboard=True, record_interval=1)
    assert equal(state, expected)
    assert {row.collection for row in written.tensors} >= {"weights", "gradients", "updates", "relu_output"}
    assert len(written.operators) == 1


def test_the_parts_of_steps_add_up_and_the_steps_to_the_wall_time(photographs: Photographs, tmp_path: Path) -> None:
    started = time.perf_counter()
    _, written = recorded(photographs, tmp_path)
    wall = time.perf_counter() - started
    steps = written.steps
    assert steps.number.tolist() == list(range(12)) and steps.epoch.tolist() == [1] * 4 + [2] * 4 + [3] * 4
    np.testing.assert_allclose(sum(getattr(steps, part) for part in PARTS), steps.total, atol=1e-5)
    assert (np.diff(steps.end_time) >= steps.total[1:] - 1e-3).all()
    pauses = sum(row["seconds"] for row in written.pauses)
    assert steps.total.sum() + pauses <= sum(row["seconds"] for row in written.epochs) <= wall
    stage = written.stages[0]
    assert (stage["steps_per_epoch"], stage["batch_size"], stage["num_workers"], stage["log_interval"]) == (4, 8, 0, 1)
    assert steps.num_images.tolist() == [8.0] * 12
    assert steps.lr[0] == steps.lr.max() == 0.02 and steps.lr[-1] < 0.001


def test_a_slow_part_is_the_one_that_is_long(
    photographs: Photographs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backward: Callable[[torch.Tensor], None] = torch.Tensor.backward

    def slow(loss: torch.Tensor) -> None:
        time.sleep(0.05)
        backward(loss)

    monkeypatch.setattr(torch.Tensor, "backward", slow)
    _, written = recorded(photographs, tmp_path, replace(RECIPE, epochs=1))
    steps = written.steps
    assert (steps.backward > 0.05).all()
    assert max(np.median(getattr(steps, part)) for part in PARTS if part != "backward") < 0.05


def test_losses_that_are_no_numbers_are_recorded(photographs: Photographs, tmp_path: Path) -> None:
    recipe = replace(RECIPE, lr=1e30, optimizer_name="sgd", epochs=1, lr_warmup_epochs=0.0)
    with pytest.raises(UserError, match="training diverged in epoch 1"):
        recorded(photographs, tmp_path, recipe, record_interval=1)
    written = read_record(tmp_path / "output" / "data" / "record.jsonl")
    assert written.end is not None and written.end["status"] == "failed"
    assert np.isnan(written.epochs[0]["validation_loss"])
    assert not np.isfinite(written.steps.loss).all()
    exploded = [row for row in written.tensors if row.nan or row.inf]
    assert exploded
    for row in exploded:
        has_numbers = row.nan + row.inf < row.size
        assert (np.isfinite((row.mean, row.mean_abs, row.std, row.p5, row.p95)) == has_numbers).all()


def test_statistics_are_those_of_the_tensors(photographs: Photographs, tmp_path: Path) -> None:
    _, written = recorded(photographs, tmp_path, replace(RECIPE, epochs=1), record_interval=1)
    before = dict(network().named_parameters())
    for row in written.tensors:
        if row.step == 0 and row.collection == "weights":
            weight = before[row.name.removeprefix("Network_")].detach().double()
            assert row.size == weight.numel()
            found = [row.mean, row.mean_abs, row.std, row.min, row.max]
            expected = [weight.mean(), weight.abs().mean(), weight.std(correction=0), weight.min(), weight.max()]
            assert found == pytest.approx([float(number) for number in expected], rel=1e-4, abs=1e-9)
            assert row.zeros == float((weight == 0).double().mean())
    names = {row.name for row in written.tensors if row.step == 1}
    assert {"Network_head.weight", "gradient/Network_head.weight", "backbone.2.relu_output_0"} <= names
    updates = [row for row in written.tensors if row.collection == "updates"]
    assert {row.step for row in updates} == {1, 2, 3}
    assert all(row.ratio is not None and row.max_abs_change is not None for row in updates)
    # Adam's first step changes every weight by the learning rate.
    first = next(row for row in updates if row.step == 1 and row.name == "Network_head.weight")
    assert first.max_abs_change == pytest.approx(0.02, rel=0.05)
    relu = next(row for row in written.tensors if row.collection == "relu_output")
    assert (
        relu.activity is not None and len(relu.activity) == 21 and 0 <= min(relu.activity) <= max(relu.activity) <= 100
    )
    assert relu.min == 0 and relu.size == 8 * 8 * 8 * 8


def test_images_are_recorded_as_the_network_sees_them(photographs: Photographs, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=1, batch_size=36, augmentation="none")
    _, written = recorded(photographs, tmp_path, recipe)
    pixels = np.stack([load_pixels(file, PREPROCESSING) for file in photographs.train.photographs])
    row = next(row for row in written.tensors if row.collection == "inputs")
    assert row.mean == pytest.approx((pixels.mean() / 255 - 0.5) / 0.25, abs=0.1)


def test_dead_and_saturated_nodes_are_seen(tmp_path: Path) -> None:
    first, second = torch.nn.Linear(4, 10), torch.nn.Linear(10, 10)
    trained = torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.Sigmoid())
    with torch.no_grad():
        first.bias[:6] = -1e6
        second.bias[:3] = 1e6
    optimizer = torch.optim.SGD(trained.parameters(), 0.1)
    with create_recorder(TrainingConfig(record_interval=1), ContainerPaths(tmp_path)) as recorder:
        steps = recorder.begin_stage(stage(trained, optimizer))
        steps.begin_epoch(1)
        for images in steps.batches([torch.randn(64, 4)] * 2):
            steps.end_part("copy")
            logits = trained(images)
            loss = logits.sum()
            steps.end_forward(Outcome(images, logits, loss))
            loss.backward()
            steps.end_part("backward")
            optimizer.step()
            steps.end_step()
        steps.end_steps()
    rows = {row.collection: row for row in read_record(tmp_path / "output" / "data" / "record.jsonl").tensors}
    activity, saturated = rows["relu_output"].activity, rows["sigmoid_input"].saturated
    assert activity is not None and sum(share == 0 for share in activity) >= 12
    assert saturated is not None and sum(share == 100 for share in saturated) in (6, 7)


def stage(trained: torch.nn.Module, optimizer: torch.optim.Optimizer, **changes: Any) -> Stage:
    made = Stage("finetune", 1, 2, 64, 0, 1, trained, torch.nn.CrossEntropyLoss(), optimizer, torch.device("cpu"))
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("asked", "epochs", "steps_per_epoch", "accumulation", "num_rows", "expected"),
    [
        (None, 5, 100, 1, 500, 25),
        (None, 1, 3, 1, 500, 1),
        (None, 1, 2, 1, 500, 1),
        (None, 100, 100, 1, 500, 100),
        (7, 5, 100, 1, 500, 7),
        (7, 5, 100, 4, 500, 8),
        (1, 10, 1000, 1, 500, 100),
    ],
)
def test_the_interval_of_statistics_fits_the_job(
    asked: int | None, epochs: int, steps_per_epoch: int, accumulation: int, num_rows: int, expected: int
) -> None:
    trained = network()
    optimizer = torch.optim.SGD(trained.parameters(), 0.1)
    job = stage(trained, optimizer, epochs=epochs, steps_per_epoch=steps_per_epoch, accumulation=accumulation)
    assert choose_interval(asked, job, num_rows) == expected


def test_lines_of_statistics_are_bounded(
    photographs: Photographs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "MAX_ROWS", 60)
    _, written = recorded(photographs, tmp_path, record_interval=1)
    assert 40 <= len(written.tensors) <= 80


def test_many_steps_are_merged(photographs: Photographs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_times, "MAX_ROWS", 4)
    _, written = recorded(photographs, tmp_path)
    assert written.steps.merged.tolist() == [3, 1] * 3
    assert written.steps.number.tolist() == [0, 3, 4, 7, 8, 11]
    assert (written.steps.num_images == 8).all()


@pytest.mark.parametrize("event", EVENTS)
def test_an_error_of_a_watcher_is_logged_once_and_training_goes_on(
    event: str, photographs: Photographs, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Watcher):
        """Fails in one event."""

    calls: list[str] = []

    def fail(*_arguments: object) -> None:
        calls.append(event)
        raise RuntimeError("broken on purpose")

    setattr(Broken, event, fail)
    expected, _ = train(photographs, RECIPE)
    with Recorder([Broken()]) as recorder:
        state, _ = train(photographs, RECIPE, recorder=recorder)
    assert equal(state, expected)
    assert calls == [event]
    assert caplog.text.count("recorder: broken on purpose (RuntimeError); training goes on without it") == 1


@pytest.mark.parametrize("function", ["_before_activation", "_after_activation", "_before_update"])
def test_an_error_within_the_network_or_the_optimizer_leaves_no_hooks(
    function: str, photographs: Photographs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def fail(*_arguments: object) -> None:
        raise RuntimeError("broken on purpose")

    expected, _ = train(photographs, RECIPE)
    monkeypatch.setattr(TensorWatcher, function, fail)
    state, written = recorded(photographs, tmp_path)
    assert equal(state, expected)
    assert caplog.text.count("broken on purpose (RuntimeError)") == 1
    assert len(written.steps) == 12 and written.end is not None


def test_a_full_disk_ends_recording_and_not_training(
    photographs: Photographs, caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = train(photographs, RECIPE)
    recorder = Recorder()
    measuring = [StepTimes(recorder), TensorWatcher(recorder, 1), SystemSampler(recorder)]
    recorder.watchers += [*measuring, RecordFile(Path("/dev/full"), measuring)]
    with recorder:
        state, _ = train(photographs, RECIPE, recorder=recorder)
    assert equal(state, expected)
    assert all(watcher.is_off for watcher in measuring)
    assert caplog.text.count(os.strerror(errno.ENOSPC)) == 1


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_recorded(
    photographs: Photographs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "output").write_text("in the way")
    with create_recorder(TrainingConfig(), ContainerPaths(tmp_path)) as recorder:
        _, history = train(photographs, RECIPE, recorder=recorder)
    assert len(history.rows) == 3
    assert "recorder: no record in" in caplog.text


def test_the_trace_opens_and_names_operators_and_parts(photographs: Photographs, tmp_path: Path) -> None:
    _, written = recorded(photographs, tmp_path, replace(RECIPE, epochs=4), trace_steps=2, record_interval=4)
    with gzip.open(tmp_path / "output" / "data" / "trace.json.gz") as stream:
        events = json.load(stream)["traceEvents"]
    names = {event.get("name") for event in events}
    assert {"aten::convolution", *PARTS} <= names
    (row,) = written.operators
    # Steps 0, 4, 8 and 12 have statistics.
    assert (row["first_step"], row["last_step"]) == (10, 11)
    shares = [operator["share"] for operator in row["rows"]]
    assert shares == sorted(shares, reverse=True) and 0.5 < sum(shares) <= 1.001
    assert not {operator["name"] for operator in row["rows"]} & set(PARTS)
    assert [pause["name"] for pause in written.pauses].count("trace") == 1


def test_a_short_training_is_not_traced(photographs: Photographs, tmp_path: Path) -> None:
    _, written = recorded(photographs, tmp_path, replace(RECIPE, epochs=4))
    assert written.operators == []
    assert not (tmp_path / "output" / "data" / "trace.json.gz").exists()


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


def test_photographs_in_two_splits_are_found_by_their_contents(photographs: Photographs, tmp_path: Path) -> None:
    copy, other = tmp_path / "copy.png", tmp_path / "other.png"
    data = photographs.train.photographs[3].read_bytes()
    copy.write_bytes(data)
    other.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    test = Split(PathList([copy, other, tmp_path / "missing.png"]), np.zeros(3, dtype=np.int64))
    assert find_leaks(photographs) == []
    assert find_leaks(replace(photographs, test=test)) == [
        (("test", copy), ("train", photographs.train.photographs[3]))
    ]


def test_every_line_reaches_the_disk_at_once(tmp_path: Path) -> None:
    writer: Callable[..., None] = record.RecordWriter(tmp_path / "record.jsonl").write
    writer([{"kind": "job", "time": 1.0}])
    assert (tmp_path / "record.jsonl").read_text() == '{"kind":"job","time":1.0}\n'
