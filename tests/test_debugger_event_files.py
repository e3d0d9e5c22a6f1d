"""Event files, read back by TensorBoard itself."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from colours import RECIPE, train
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from container.paths import ContainerPaths
from train.config import TrainingConfig
from train.data import Photographs
from train.debugger.create import create_recorder
from train.debugger.record import read_record

pytestmark = pytest.mark.usefixtures("one_thread")


def events_in(directory: Path) -> Any:
    accumulator = EventAccumulator(str(directory), {"scalars": 0, "images": 0, "histograms": 0})
    accumulator.Reload()
    return accumulator


@pytest.mark.parametrize("has_record", [True, False])
def test_tensorboard_reads_losses_weights_and_images(
    has_record: bool, photographs: Photographs, tmp_path: Path
) -> None:
    config = TrainingConfig(recorder=has_record, tensorboard=True)
    with create_recorder(config, ContainerPaths(tmp_path)) as recorder:
        _, history = train(photographs, RECIPE, recorder=recorder)
    events = events_in(tmp_path / "output" / "tensorboard")
    losses = events.Scalars("finetune/loss")
    assert [event.step for event in losses] == list(range(12))
    epochs = events.Scalars("finetune/epoch/validation_loss")
    expected = [row["validation:loss"] for row in history.rows]
    assert [event.value for event in epochs] == pytest.approx(expected, rel=1e-5)
    assert epochs[0].wall_time < epochs[-1].wall_time
    assert len(events.Scalars("finetune/lr")) == len(events.Scalars("finetune/seconds")) == 12
    histograms = events.Histograms("finetune/head.weight")
    assert [event.step for event in histograms] == [1, 2, 3] and histograms[0].histogram_value.num == 24
    (image,) = events.Images("finetune/images")
    assert min(Image.open(BytesIO(image.encoded_image_string)).size) > 60
    if has_record:
        recorded = read_record(tmp_path / "output" / "data" / "record.jsonl").steps.loss
        assert [event.value for event in losses] == pytest.approx(recorded.tolist(), rel=1e-5)
    else:
        assert not (tmp_path / "output" / "data").exists()


def test_the_service_chooses_the_folder(photographs: Photographs, tmp_path: Path) -> None:
    file = tmp_path / "input" / "config" / "tensorboardoutputconfig.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"LocalPath": str(tmp_path / "events"), "S3OutputPath": "s3://bucket/events"}))
    with create_recorder(TrainingConfig(recorder=False), ContainerPaths(tmp_path)) as recorder:
        train(photographs, replace(RECIPE, epochs=1), recorder=recorder)
    assert "finetune/loss" in events_in(tmp_path / "events").Tags()["scalars"]


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_wrong_configuration_is_told_and_the_usual_folder_taken(content: str, tmp_path: Path) -> None:
    file = tmp_path / "input" / "config" / "tensorboardoutputconfig.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with create_recorder(TrainingConfig(recorder=False), ContainerPaths(tmp_path)) as recorder:
        assert len(recorder.watchers) == 2
    assert (tmp_path / "output" / "tensorboard").is_dir()


def test_a_folder_that_cannot_be_written_ends_no_job(
    photographs: Photographs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "output").write_text("in the way")
    config = TrainingConfig(recorder=False, tensorboard=True)
    with create_recorder(config, ContainerPaths(tmp_path)) as recorder:
        _, history = train(photographs, RECIPE, recorder=recorder)
    assert len(history.rows) == 3
    assert "tensorboard: no event files in" in caplog.text
