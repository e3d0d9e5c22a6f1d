"""Features on disk: found again, rebuilt when damaged."""

from pathlib import Path

import numpy as np
import pytest

from train.feature_cache import ENTRY_BYTES, FeatureCache, Half, check_room, content_digest

NUM_FEATURES = 8
DIGESTS = [content_digest(bytes([i])) for i in range(5)]
VALUES = np.arange(5 * NUM_FEATURES, dtype=np.float32).reshape(5, NUM_FEATURES)


def reopen(folder: Path, key: str = "k") -> FeatureCache:
    return FeatureCache(folder, key, NUM_FEATURES)


def stored(cache: FeatureCache) -> Half:
    rows = [row for digest in DIGESTS if (row := cache.find(digest)) is not None]
    return cache.array()[rows]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cache = reopen(tmp_path)
    cache.append(DIGESTS[:2], VALUES[:2])
    cache.append(DIGESTS[2:], VALUES[2:])
    cache.close()
    return tmp_path


def test_features_are_found_again_by_content(folder: Path) -> None:
    cache = reopen(folder)
    assert (stored(cache) == VALUES).all()
    assert cache.find(content_digest(b"another photograph")) is None


def test_another_key_begins_empty(folder: Path) -> None:
    assert len(reopen(folder, "other network")) == 0


@pytest.mark.parametrize("ending", [".f16", ".index"])
@pytest.mark.parametrize("num_bytes", [1, ENTRY_BYTES + 1])
def test_what_a_killed_job_half_wrote_is_left_out_and_can_be_written_again(
    ending: str, num_bytes: int, folder: Path
) -> None:
    (file,) = folder.glob(f"*{ending}")
    file.write_bytes(file.read_bytes()[:-num_bytes])
    cache = reopen(folder)
    missing = [digest for digest in DIGESTS if cache.find(digest) is None]
    assert missing == DIGESTS[-len(missing) :]
    assert 1 <= len(missing) <= 2
    cache.append(missing, VALUES[-len(missing) :])
    cache.close()
    cache = reopen(folder)
    assert (stored(cache) == VALUES).all()


def test_a_damaged_row_is_noticed(folder: Path) -> None:
    (file,) = folder.glob("*.f16")
    data = bytearray(file.read_bytes())
    data[2 * NUM_FEATURES] ^= 1
    file.write_bytes(bytes(data))
    cache = reopen(folder)
    assert cache.find(DIGESTS[1]) is None
    assert cache.find(DIGESTS[0]) == 0


def test_features_beyond_the_range_of_float16_stay_finite(tmp_path: Path) -> None:
    cache = reopen(tmp_path)
    cache.append(DIGESTS[:1], np.full((1, NUM_FEATURES), 1e9, np.float32))
    assert np.isfinite(cache.array()).all()


def test_two_jobs_do_not_write_the_same_cache(folder: Path) -> None:
    first = reopen(folder)
    with pytest.raises(OSError, match="another job is writing it"):
        reopen(folder)
    first.close()
    reopen(folder).close()


def test_more_than_half_of_the_free_disk_is_refused(tmp_path: Path) -> None:
    check_room(tmp_path, 1000, 2048)
    with pytest.raises(OSError, match="over half of its free space"):
        check_room(tmp_path, 10**9, 2048)
