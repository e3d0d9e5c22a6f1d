"""Features of real photographs: made once, of several views, without the unreadable ones."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifier.engines import Array
from classifier.preprocessing import Pixels, Preprocessing
from container.errors import UserError
from container.lifecycle import StopSignal
from train.class_folders import read_class_folders
from train.feature_cache import FeatureCache
from train.features import FeatureExtractor, UnreadablePhotographs, random_crop
from train.source import Source
from train.split import Split

PREPROCESSING = Preprocessing(32, 28, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class MeanColours:
    """An engine whose features are the mean colours of the left and right halves, and which counts its images."""

    name = "mean colours"
    tolerance = 0.0
    num_images = 0

    def run(self, pixels: Pixels) -> Array:
        self.num_images += len(pixels)
        halves = np.split(pixels.astype(np.float32), 2, axis=2)
        return np.concatenate([half.mean(axis=(1, 2)) for half in halves], axis=1)


@pytest.fixture
def engine() -> MeanColours:
    return MeanColours()


@pytest.fixture
def extractor(engine: MeanColours, tmp_path: Path) -> Iterator[tuple[FeatureExtractor, FeatureCache]]:
    cache = FeatureCache(tmp_path / "cache", "key", 6)
    yield FeatureExtractor(engine, PREPROCESSING, cache, num_threads=2), cache
    cache.close()


def split_of(folder: Path) -> Split:
    return read_class_folders(Source(folder, folder)).split


def extract(
    extractor: FeatureExtractor, split: Split, num_views: int = 1, max_unreadable: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    collector = UnreadablePhotographs(max_unreadable)
    return extractor.rows(split, collector, name="test", stop=StopSignal(), num_views=num_views)


def test_a_photograph_passes_the_engine_once(
    engine: MeanColours, extractor: tuple[FeatureExtractor, FeatureCache], faces: Path
) -> None:
    split = split_of(faces / "train")
    first, labels = extract(extractor[0], split)
    assert engine.num_images == len(split) == len(first)
    assert labels.tolist() == split.labels.tolist()
    second, _ = extract(extractor[0], split)
    assert engine.num_images == len(split)
    assert first.tolist() == second.tolist()


def test_the_mirrored_view_swaps_the_halves(extractor: tuple[FeatureExtractor, FeatureCache], faces: Path) -> None:
    split = split_of(faces / "train")
    rows, labels = extract(extractor[0], split, num_views=4)
    assert labels.tolist() == np.repeat(split.labels, 4).tolist()
    features = extractor[1].array()[rows].reshape(len(split), 4, 2, 3)
    assert np.allclose(features[:, 0, 0], features[:, 1, 1])
    assert np.allclose(features[:, 0, 1], features[:, 1, 0])
    assert not np.allclose(features[:, 0], features[:, 2])


def test_an_unreadable_photograph_is_left_out_with_its_views_and_label(
    extractor: tuple[FeatureExtractor, FeatureCache], faces: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(faces / "train", tmp_path / "train"))
    (folder / "person_02" / "0.png").write_bytes(b"broken")
    split = split_of(folder)
    rows, labels = extract(extractor[0], split, num_views=2, max_unreadable=0.1)
    assert len(rows) == 2 * (len(split) - 1)
    assert np.bincount(labels).tolist() == [12] * 5
    with pytest.raises(UserError, match="1 of 31 photographs are unreadable"):
        extract(extractor[0], split)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (64, 64)])
def test_a_random_crop_fits_any_photograph(size: tuple[int, int]) -> None:
    for seed in range(20):
        crop = random_crop(Image.new("RGB", size), np.random.default_rng(seed))
        assert 1 <= crop.width <= size[0]
        assert 1 <= crop.height <= size[1]
