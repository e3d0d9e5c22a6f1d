"""Many paths in little memory."""

import multiprocessing
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from train.class_folders import read_class_folders
from train.path_list import PathList
from train.source import Source

PATHS = [Path("/data/a/1.jpg"), Path("/data/a/ö ü.png"), Path(os.fsdecode(b"/data/b/\xff.jpg")), Path("/data/b/2.jpg")]


def test_paths_come_out_as_they_went_in() -> None:
    paths = PathList(PATHS)
    assert list(paths) == PATHS
    assert [paths[-1], *paths[1:3]] == [PATHS[-1], *PATHS[1:3]]
    assert len(PathList()) == 0 and list(PathList()) == []
    with pytest.raises(IndexError):
        paths[4]


def test_a_selection_of_a_selection_shares_the_bytes() -> None:
    paths = PathList(PATHS)
    chosen = paths.select(np.array([3, 0, 2])).select(np.array([2, 0]))
    assert list(chosen) == [PATHS[2], PATHS[3]]
    assert chosen._buffer is paths._buffer
    assert chosen == PathList([PATHS[2], PATHS[3]]) != PathList([PATHS[3], PATHS[2]])


def test_the_digest_depends_on_the_paths_and_their_order_alone() -> None:
    assert PathList(PATHS).select(np.array([1, 2])).digest() == PathList(PATHS[1:3]).digest()
    assert PathList(["ab", "c"]).digest() != PathList(["a", "bc"]).digest()


def test_other_processes_read_the_same_paths() -> None:
    paths = PathList(PATHS).select(np.array([2, 1]))
    assert list(pickle.loads(pickle.dumps(paths))) == [PATHS[2], PATHS[1]]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(paths.digest) == paths.digest()


def test_a_folder_of_many_photographs_takes_little_more_memory_than_their_names(tmp_path: Path) -> None:
    number = 20_000
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    for i in range(number):
        os.close(os.open(tmp_path / "ab"[i % 2] / f"photograph-{i:07d}.jpg", os.O_CREAT))
    tracemalloc.start()
    listing = read_class_folders(Source(tmp_path, tmp_path))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(listing.split) == number
    assert listing.split.photographs[0] == tmp_path / "a" / "photograph-0000000.jpg"
    # The path, an offset and a label; while listing also the names in one folder as objects.
    length = len(os.fsencode(listing.split.photographs[0]))
    assert kept < number * (1.2 * length + 20)
    assert peak < kept + number * 100
