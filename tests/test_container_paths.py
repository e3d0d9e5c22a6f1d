"""Paths, hyperparameters.json and resourceconfig.json."""

import json
from pathlib import Path

import pytest

from container.errors import UserError
from container.paths import ContainerPaths
from container.resources import ResourceConfig, cgroup_cpu_quota, num_cpus


def test_paths_lie_below_opt_ml_unless_the_environment_moves_them(tmp_path: Path) -> None:
    assert ContainerPaths.from_environment({}).model == Path("/opt/ml/model")
    moved = ContainerPaths.from_environment({"SAGEMAKER_BASE_DIR": str(tmp_path)})
    assert moved.failure == tmp_path / "output" / "failure"


def write_config(root: Path, name: str, content: object) -> ContainerPaths:
    folder = root / "input" / "config"
    folder.mkdir(parents=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return ContainerPaths(root)


def test_hyperparameters_that_are_no_strings_are_taken_as_json_writes_them(tmp_path: Path) -> None:
    paths = write_config(tmp_path, "hyperparameters.json", {"epochs": 3, "pretrained": True, "arch": "resnet18"})
    assert paths.hyperparameters() == {"epochs": "3", "pretrained": "true", "arch": "resnet18"}


@pytest.mark.parametrize("content", ["[1]", "{", "3"])
def test_a_hyperparameters_file_that_is_no_object_is_an_error_that_names_it(content: str, tmp_path: Path) -> None:
    paths = write_config(tmp_path, "hyperparameters.json", content)
    with pytest.raises(UserError, match=r"hyperparameters\.json"):
        paths.hyperparameters()


def test_no_configuration_at_all_is_one_host(tmp_path: Path) -> None:
    resources = ResourceConfig.from_paths(ContainerPaths(tmp_path))
    assert resources.hosts == ("localhost",)
    assert resources.is_first_host
    assert resources.num_cpus >= 1


def test_hosts_are_sorted_and_the_first_one_writes(tmp_path: Path) -> None:
    content = {"current_host": "algo-2", "hosts": ["algo-2", "algo-1"], "network_interface_name": "ethwe"}
    resources = ResourceConfig.from_paths(write_config(tmp_path, "resourceconfig.json", content))
    assert resources.hosts == ("algo-1", "algo-2")
    assert not resources.is_first_host
    assert resources.network_interface == "ethwe"


@pytest.mark.parametrize("content", [{"hosts": ["algo-1"]}, {"hosts": ["a"], "current_host": "b"}, "["])
def test_a_broken_resource_configuration_is_an_error_that_names_the_file(content: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"resourceconfig\.json"):
        ResourceConfig.from_paths(write_config(tmp_path, "resourceconfig.json", content))


@pytest.mark.parametrize(("text", "expected"), [("150000 100000", 1.5), ("max 100000", None)])
def test_the_processor_quota_of_a_cgroup_is_read(text: str, expected: float | None, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert cgroup_cpu_quota(tmp_path) == expected
    assert num_cpus() >= 1
