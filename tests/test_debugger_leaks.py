"""Photographs in two splits."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from train.data import Photographs
from train.debugger.leaks import find_leaks
from train.path_list import PathList
from train.split import Split


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
