"""From photographs to training crops: decode, seeds, workers, the cache, augmentation."""

import io
import os
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from classifier.errors import ImageError
from classifier.preprocessing import Pixels, Preprocessing, decode_image, load_pixels
from train import pipeline
from train.augment import BatchMixer, class_weights, dominant
from train.config import Augmentation, ClassBalance
from train.decode import decode_pixels, read_header, shrink
from train.path_list import PathList
from train.photograph_cache import INDEX, PIXELS, PhotographCache, num_that_fit
from train.pipeline import (
    Box,
    EpochSampler,
    Item,
    TrainingCrops,
    Unreadable,
    choose_num_workers,
    create_loader,
    open_cache,
    resize,
)
from train.split import Split

PREPROCESSING = Preprocessing(64, 56, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Make a smooth picture, as photographs are."""
    noise = np.random.default_rng(seed).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    large = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    return large.filter(ImageFilter.GaussianBlur(2))


def jpeg(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Twelve pictures of several sizes and kinds, in two classes, four to eight."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    sizes = [(120, 90), (90, 120), (300, 200), (200, 300), (70, 70), (640, 400)] * 2
    for i, size in enumerate(sizes):
        image = picture(*size, seed=i)
        image.save(folder / (f"{i:02d}.png" if i % 4 == 3 else f"{i:02d}.jpg"))
    return Split(PathList(sorted(folder.iterdir())), np.array([0] * 4 + [1] * 8))


def crop(crops: TrainingCrops, epoch: int, index: int) -> torch.Tensor:
    item = crops[epoch, index]
    assert not isinstance(item, Unreadable)
    return item[0]


def batches(crops: TrainingCrops, num_workers: int, epochs: int = 2, balance: ClassBalance = "none") -> list[Any]:
    sampler = EpochSampler(Split(crops._split.photographs, crops._split.labels), 7, balance)
    loader = create_loader(crops, sampler, 4, num_workers, pin_memory=False)
    collected = []
    for epoch in range(epochs):
        sampler.epoch = epoch
        collected += [(pixels.clone(), labels.clone()) for pixels, labels, _ in loader]
    return collected


def test_the_same_seed_gives_the_same_batches_whatever_the_number_of_workers(split: Split) -> None:
    augmented: list[Augmentation] = ["crop_flip", "trivial_augment"]
    for augmentation in augmented:
        crops = TrainingCrops(split, PREPROCESSING, seed=3, augmentation=augmentation)
        alone = batches(crops, 0)
        for num_workers in (1, 3):
            for (pixels, labels), (expected, expected_labels) in zip(batches(crops, num_workers), alone, strict=True):
                assert torch.equal(pixels, expected) and torch.equal(labels, expected_labels)


def test_crops_differ_between_epochs_photographs_and_seeds(split: Split) -> None:
    crops = TrainingCrops(split, PREPROCESSING, seed=3)
    first = crop(crops, 0, 0)
    assert torch.equal(first, crop(crops, 0, 0))
    assert not torch.equal(first, crop(crops, 1, 0))
    assert not torch.equal(first, crop(TrainingCrops(split, PREPROCESSING, seed=4), 0, 0))


def test_drawing_a_crop_leaves_torchs_generator_where_it_was(split: Split) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    crop(TrainingCrops(split, PREPROCESSING, augmentation="rand_augment"), 0, 0)
    batches(TrainingCrops(split, PREPROCESSING), 1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("augmentation", get_args(Augmentation))
def test_every_augmentation_gives_uint8_crops_of_the_networks_size(split: Split, augmentation: Augmentation) -> None:
    crops = TrainingCrops(split, PREPROCESSING, augmentation=augmentation)
    for index in range(len(split)):
        pixels = crop(crops, 0, index)
        assert pixels.shape == (56, 56, 3) and pixels.dtype == torch.uint8 and pixels.is_contiguous()


def test_without_augmentation_training_sees_what_serving_sees(split: Split) -> None:
    crops = TrainingCrops(split, PREPROCESSING, augmentation="none")
    for index, photograph in enumerate(split.photographs):
        assert np.array_equal(crop(crops, 3, index).numpy(), load_pixels(photograph, PREPROCESSING))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_a_crop_is_what_pillow_makes_of_the_same_box(interpolation: str) -> None:
    pixels = np.asarray(picture(300, 200))
    image = Image.fromarray(pixels).crop((40, 20, 240, 180))
    resampling = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}[interpolation]
    expected = np.asarray(image.resize((56, 56), resampling)).astype(int)
    assert np.abs(resize(pixels, Box(20, 40, 160, 200), 56, interpolation) - expected).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("min_side", [30, 300])
def test_a_turned_jpeg_is_upright_at_every_scale(orientation: int, min_side: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(picture(400, 240), exif=exif)
    header = read_header(data)
    upright = decode_image(data)
    assert header is not None and (header.width, header.height) == upright.size
    pixels = decode_pixels(data, header, min_side=min_side)
    height, width, _ = pixels.shape
    assert min(height, width) == (240 if min_side == 300 else 30)
    expected = np.asarray(upright.resize((width, height), Image.Resampling.BOX)).astype(int)
    assert np.abs(pixels - expected).mean() < 4


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpegs_decode_to_the_pixels_that_serving_sees(mode: str, options: dict[str, Any]) -> None:
    data = jpeg(picture(203, 151).convert(mode), **options)
    pixels = decode_pixels(data, read_header(data), min_side=151)
    assert np.abs(pixels.astype(int) - np.asarray(decode_image(data))).max() <= 1


def test_a_large_jpeg_is_decoded_no_larger_than_its_crop_needs() -> None:
    data = jpeg(picture(1600, 1200))
    box = Box(96, 96, 896, 1000)
    header = read_header(data)
    assert header is not None
    side = box.side_for(56, header.height, header.width)
    pixels = decode_pixels(data, header, min_side=side)
    assert pixels.shape == (150, 200, 3)
    small = box.scaled(150 / 1200, 200 / 1600)
    assert min(small.height, small.width) >= 56
    whole = np.asarray(decode_image(data))
    difference = resize(pixels, small, 56, "bicubic").astype(int) - resize(whole, box, 56, "bicubic")
    assert np.abs(difference).mean() < 3


def broken(split: Split, data: bytes) -> Item:
    split.photographs[0].write_bytes(data)
    return TrainingCrops(split, PREPROCESSING)[0, 0]


def test_broken_photographs_are_set_apart_with_the_reason_that_serving_gives(split: Split) -> None:
    whole = jpeg(picture(300, 200))
    for data in (b"", b"\xff\xd8\xff not a jpeg", whole[: len(whole) // 2], whole[:30]):
        item = broken(split, data)
        assert isinstance(item, Unreadable) and item.index == 0
        with pytest.raises(ImageError) as error:
            decode_image(data)
        assert str(item.error) == str(error.value)


def test_a_batch_goes_on_without_its_unreadable_photographs(split: Split) -> None:
    broken(split, b"no image")
    loader = create_loader(TrainingCrops(split, PREPROCESSING), EpochSampler(split, 0, "none"), 12, 0, pin_memory=False)
    ((pixels, labels, unreadable),) = list(loader)
    assert len(pixels) == len(labels) == 11 and set(unreadable) == {0}


def test_balanced_sampling_draws_classes_alike(split: Split) -> None:
    sampler = EpochSampler(split, 0, "sampling")
    drawn: list[int] = []
    for epoch in range(100):
        sampler.epoch = epoch
        drawn += [int(split.labels[index]) for _, index in sampler]
    assert len(drawn) == 1200
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.05)


def test_an_epoch_holds_every_photograph_once_in_another_order(split: Split) -> None:
    sampler = EpochSampler(split, 0, "none")
    orders = []
    for epoch in range(2):
        sampler.epoch = epoch
        orders.append([index for _, index in sampler])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(12)) and orders[0] != orders[1]


def test_class_weights_balance_the_classes_and_keep_the_mean() -> None:
    weights = class_weights(np.array([0, 0, 0, 2]), 3)
    assert weights.tolist() == pytest.approx([2 / 3, 0.0, 2.0])


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
def test_mixing_gives_shares_that_sum_to_one_and_keeps_what_was_mixed(mixup: float, cutmix: float) -> None:
    torch.manual_seed(0)
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    labels = torch.tensor([0, 1, 2, 3])
    for _ in range(10):
        mixed, shares = BatchMixer(mixup, cutmix, 4)(images, labels)
        assert mixed.is_contiguous(memory_format=torch.channels_last)
        assert shares.sum(1).tolist() == pytest.approx([1.0] * 4)
        means = (shares * labels).sum(1)
        assert mixed.mean((1, 2, 3)).tolist() == pytest.approx(means.tolist(), abs=1e-5)
        assert dominant(shares).shape == (4,)


def test_without_alphas_nothing_is_mixed() -> None:
    images, labels = torch.rand(4, 3, 8, 8), torch.arange(4)
    mixed, same = BatchMixer(0.0, 0.0, 4)(images, labels)
    assert mixed is images and same is labels and dominant(same) is labels


def keep_all(directory: Path, split: Split, augmentation: Augmentation = "crop_flip") -> PhotographCache:
    cache = open_cache(directory, split, PREPROCESSING, augmentation, wanted=True)
    assert cache is not None
    return cache


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Pixels:
        raise AssertionError("decoded")

    monkeypatch.setattr(pipeline, "keepable", fail)


@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_later_epochs_take_photographs_from_the_cache_and_give_the_same_crops(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, augmentation: Augmentation
) -> None:
    crops = TrainingCrops(
        split, PREPROCESSING, augmentation=augmentation, cache=keep_all(tmp_path / "c", split, augmentation)
    )
    first = [crop(crops, 0, index) for index in range(12)]
    no_decoding(monkeypatch)
    for index in range(12):
        assert torch.equal(crop(crops, 0, index), first[index])


def test_workers_share_what_they_keep(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = batches(TrainingCrops(split, PREPROCESSING, cache=keep_all(tmp_path / "a", split)), 0)
    crops = TrainingCrops(split, PREPROCESSING, cache=keep_all(tmp_path / "b", split))
    for (pixels, _), (alone, _) in zip(batches(crops, 2), expected, strict=True):
        assert torch.equal(pixels, alone)
    no_decoding(monkeypatch)
    assert [crop(crops, 5, index).shape for index in range(12)] == [(56, 56, 3)] * 12


def test_a_restarted_job_finds_what_was_kept(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = TrainingCrops(split, PREPROCESSING, cache=keep_all(tmp_path, split))
    expected = [crop(first, 0, index) for index in range(12)]
    again = TrainingCrops(split, PREPROCESSING, cache=keep_all(tmp_path, split))
    no_decoding(monkeypatch)
    assert all(torch.equal(crop(again, 0, index), expected[index]) for index in range(12))


def test_a_replaced_photograph_is_decoded_anew(split: Split, tmp_path: Path) -> None:
    cache = keep_all(tmp_path, split)
    cache.put(0, np.zeros((64, 64, 3), np.uint8))
    split.photographs[0].write_bytes(jpeg(picture(100, 80, seed=9)))
    assert keep_all(tmp_path, split).get(0) is None


def test_half_written_entries_are_noticed(split: Split, tmp_path: Path) -> None:
    pixels = np.full((64, 64, 3), 200, np.uint8)
    keep_all(tmp_path, split).put(0, pixels)
    (folder,) = tmp_path.glob("*/form")
    content = bytearray((folder.parent / PIXELS).read_bytes())
    assert bytes(content[: pixels.nbytes]) == pixels.tobytes()
    content[pixels.nbytes - 100 : pixels.nbytes] = bytes(100)
    (folder.parent / PIXELS).write_bytes(content)
    assert keep_all(tmp_path, split).get(0) is None
    keep_all(tmp_path, split).put(0, pixels)
    record = (folder.parent / INDEX).read_bytes()
    (folder.parent / INDEX).write_bytes(record[:8] + b"\1\0\0\0" + record[12:])
    assert keep_all(tmp_path, split).get(0) is None


def test_a_cache_from_before_the_machine_started_is_discarded(split: Split, tmp_path: Path) -> None:
    keep_all(tmp_path, split).put(0, np.zeros((64, 64, 3), np.uint8))
    (form,) = tmp_path.glob("*/form")
    form.write_text("of another boot")
    assert keep_all(tmp_path, split).get(0) is None


def test_a_full_disk_ends_keeping_but_not_training(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    crops = TrainingCrops(split, PREPROCESSING, cache=keep_all(tmp_path, split))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert crop(crops, 0, 0).shape == crop(crops, 0, 1).shape == (56, 56, 3)
    assert caplog.text.count("No space left on device") == 1


def test_auto_keeps_no_photographs_that_do_not_fit(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pipeline, "num_that_fit", lambda *_: 5)
    caplog.set_level("INFO")
    assert open_cache(tmp_path, split, PREPROCESSING, "crop_flip", wanted=None) is None
    assert "room for 5 of 12" in caplog.text
    cache = open_cache(tmp_path, split, PREPROCESSING, "crop_flip", wanted=True)
    assert cache is not None
    for index in (4, 5):
        cache.put(index, np.zeros((64, 64, 3), np.uint8))
    assert cache.get(4) is not None and cache.get(5) is None
    assert open_cache(tmp_path, split, PREPROCESSING, "crop_flip", wanted=False) is None


def test_the_cache_is_bounded_by_the_free_disk(tmp_path: Path) -> None:
    assert num_that_fit(tmp_path / "not" / "there", 1.0, 10) == 10
    assert num_that_fit(tmp_path, 1e18, 10) == 0


def test_a_cache_takes_only_the_disk_that_it_uses_and_goes_away(split: Split, tmp_path: Path) -> None:
    cache = keep_all(tmp_path, split)
    cache.put(11, np.zeros((64, 64, 3), np.uint8))
    (file,) = tmp_path.glob(f"*/{PIXELS}")
    assert file.stat().st_blocks * 512 < 64 * 1024 < file.stat().st_size
    cache.remove()
    assert not file.parent.exists()


def test_much_larger_photographs_are_kept_smaller() -> None:
    assert shrink(np.zeros((400, 800, 3), np.uint8), 100).shape == (100, 200, 3)
    assert shrink(np.zeros((130, 260, 3), np.uint8), 100).shape == (130, 260, 3)


def test_fewer_workers_start_where_shared_memory_is_small(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Usage:
        free = 64 * 2**20  # what docker gives by default

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)
    assert choose_num_workers(None, 8, 10_000, 32, 224) == 4
    assert "--shm-size" in caplog.text
    assert choose_num_workers(8, 2, 10_000, 512, 224) == 0
    assert choose_num_workers(None, 8, 20, 32, 224) == 1
    assert choose_num_workers(0, 8, 10_000, 32, 224) == 0
