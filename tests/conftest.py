"""Real photographs, and one trained artifact for the tests that serve."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "local_test"))

from colours import make_photographs
from make_test_dir import make_test_dir
from sample_data import copy_classes, sample_photographs
from support import NUM_CLASSES, run_train

from train.data import Photographs


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of five people in train / valid / test folders."""
    return copy_classes(sample_photographs(), tmp_path_factory.mktemp("faces"), NUM_CLASSES)


@pytest.fixture(scope="session")
def many_photographs() -> list[Path]:
    """200 photographs of 20 people, most of whom no job was trained on."""
    return sorted(sample_photographs().rglob("*.png"), key=lambda file: (file.parent.name, file.name))[:200]


@pytest.fixture(scope="session")
def trained(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An /opt/ml tree after a job of the `train` command."""
    hyperparameters = {"strategy": '"linear_probe"', "epochs": "30", "batch-size": "8", "_tuning_objective_metric": "x"}
    root = make_test_dir(tmp_path_factory.mktemp("trained"), faces, hyperparameters)
    result = run_train(root)
    assert result.returncode == 0, result.stderr
    (root / "log.json").write_text(json.dumps({"stdout": result.stdout, "stderr": result.stderr}))
    return root


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Photographs:
    """Reddish, greenish and bluish noise: 36 to train, 12 to validate."""
    return make_photographs(tmp_path_factory.mktemp("colours"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small networks are slower in several threads, above all beside another program."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
