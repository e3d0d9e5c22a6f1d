"""Which package may import which, and what never loads torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("container", "classifier", "train", "serve", "jobs")
ALLOWED = {
    "container": {"container"},
    "classifier": {"classifier"},
    "train": {"train", "container", "classifier"},
    "serve": {"serve", "container", "classifier"},
    "jobs": {"jobs", "container", "train"},
}
TORCH_FREE = (
    "classifier.artifact",
    "classifier.evaluation",
    "classifier.inference",
    "classifier.preprocessing",
    "container.lifecycle",
    "jobs.__main__",
    "jobs.commands.manage",
    "jobs.commands.serve",
    "jobs.commands.train",
    "jobs.runner",
    "jobs.targets.process",
    "serve.app",
    "train.__main__",
    "train.config",
    "train.debugger.monitor",
    "train.debugger.record",
    "train.debugger.rules",
    "train.debugger.smdebug_record",
)


def imported(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported_modules(file)}


def imported_modules(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_the_packages_below_it(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        assert imported(file) & {*PACKAGES} <= ALLOWED[package], file


def test_jobs_know_of_training_its_hyperparameters_only() -> None:
    for file in (ROOT / "jobs").rglob("*.py"):
        of_train = {name for name in imported_modules(file) if name.partition(".")[0] == "train"}
        assert of_train <= {"train.config"}, file


def test_container_imports_the_standard_library_only() -> None:
    for file in (ROOT / "container").rglob("*.py"):
        assert imported(file) - {"container"} <= sys.stdlib_module_names, file


@pytest.mark.parametrize("module", TORCH_FREE)
def test_a_module_of_the_cpu_path_loads_no_torch(module: str) -> None:
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_hyperparameters_need_the_standard_library_only() -> None:
    code = "import train.config, sys; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
