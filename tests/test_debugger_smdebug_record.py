"""Rules on tensors that smdebug's own hook saved."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

from container.errors import UserError
from train.debugger.smdebug_record import read_smdebug

pytestmark = pytest.mark.skipif(find_spec("smdebug") is None, reason="smdebug is not installed")

TRAINING = """
import sys
import smdebug.pytorch as smd, torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(3, 8, 3), nn.ReLU()
        self.conv2, self.relu2 = nn.Conv2d(8, 8, 3), nn.ReLU()
        self.fc = nn.Linear(8, 2)

    def forward(self, images):
        return self.fc(self.relu2(self.conv2(self.relu1(self.conv1(images)))).mean((2, 3)))

def train(folder, lr, is_dead=False):
    torch.manual_seed(0)
    net, criterion = Net(), nn.CrossEntropyLoss()
    if is_dead:
        nn.init.constant_(net.conv2.bias, -1e3)
    hook = smd.Hook(
        out_dir=folder,
        save_config=smd.SaveConfig(save_interval=2),
        include_collections=["losses", "weights", "gradients", "biases"],
        include_regex=["relu.*_input_0", "relu.*_output_0", "Net_input_0", "Net_output_0"],
    )
    hook.register_module(net)
    hook.register_loss(criterion)
    optimizer = torch.optim.Adam(net.parameters(), lr)
    labels = torch.arange(64) % 2
    images = torch.randn(64, 3, 12, 12) + 0.1 * labels[:, None, None, None]
    for epoch in range(4):
        hook.set_mode(smd.modes.TRAIN)
        for _ in range(16):
            optimizer.zero_grad()
            criterion(net(images), labels).backward()
            optimizer.step()
        hook.set_mode(smd.modes.EVAL)
        with torch.no_grad():
            for _ in range(4):
                criterion(net(images), labels)
    hook.close()

train(sys.argv[1] + "/healthy", 0.01)
train(sys.argv[1] + "/dead", 0.001, is_dead=True)
train(sys.argv[1] + "/still", 1e-12)
"""


READING = """
import dataclasses, json, sys
from pathlib import Path
from train.debugger.record import encode
from train.debugger.smdebug_record import read_smdebug

record = read_smdebug(Path(sys.argv[1]))
steps = {name: getattr(record.steps, name).tolist() for name in ("number", "epoch", "loss")}
collections = sorted({row.collection for row in record.tensors})
print(encode({"steps": steps, "epochs": record.epochs, "collections": collections}))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tensors of three small networks that were trained under smdebug's hook: healthy, dead and still."""
    folder = tmp_path_factory.mktemp("tensors")
    run("-c", TRAINING, folder)
    return folder


def run(*arguments: object) -> str:
    # In a process of its own, as smdebug changes loggers and signals of the one that imports it.
    command = [sys.executable, "-W", "ignore", *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def judged(folder: Path) -> dict[str, dict[str, Any]]:
    """Judge a folder of tensors with the command; results by rule."""
    return {result["rule"]: result for result in json.loads(run("-m", "train.debugger", folder, "--json"))}


def found(results: dict[str, dict[str, Any]]) -> set[str]:
    return {rule for rule, result in results.items() if result["status"] == "IssuesFound"}


def test_losses_of_both_modes_become_steps_and_epochs(trained: Path) -> None:
    record = json.loads(run("-c", READING, trained / "healthy"))
    assert record["steps"]["number"] == list(range(0, 64, 2))
    assert record["steps"]["epoch"] == [1 + number // 16 for number in range(0, 64, 2)]
    assert record["steps"]["loss"][-1] < record["steps"]["loss"][0]
    assert [row["epoch"] for row in record["epochs"]] == [1, 2, 3, 4]
    assert all(row["validation_loss"] > 0 for row in record["epochs"])
    collections = {"gradients", "weights", "updates", "relu_input", "relu_output", "inputs", "outputs"}
    assert set(record["collections"]) == collections


def test_a_healthy_network_has_no_issue_and_the_rules_on_tensors_apply(trained: Path) -> None:
    results = judged(trained / "healthy")
    assert found(results) == set()
    assert {rule for rule, result in results.items() if result["status"] == "NoIssuesFound"} >= {
        "VanishingGradient", "ExplodingTensor", "DeadRelu", "PoorWeightInitialization", "WeightUpdateRatio",
        "UnchangedTensor", "AllZero", "LossNotDecreasing", "Overfit", "Overtraining",
    }  # fmt: skip


def test_dead_relus_are_found(trained: Path) -> None:
    results = judged(trained / "dead")
    assert {"DeadRelu", "VanishingGradient", "AllZero"} <= found(results)
    assert "relu2_output_0" in results["DeadRelu"]["finding"]


def test_weights_that_hardly_change_are_found(trained: Path) -> None:
    assert {"UnchangedTensor", "WeightUpdateRatio", "LossNotDecreasing"} <= found(judged(trained / "still"))


def test_a_folder_without_tensors_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no tensors of smdebug"):
        read_smdebug(tmp_path)


def test_a_missing_smdebug_is_told(tmp_path: Path) -> None:
    (tmp_path / "collections" / "000000000").mkdir(parents=True)
    (tmp_path / "collections" / "000000000" / "worker_0_collections.json").write_text("{}")
    code = f"""
import sys
sys.modules["smdebug"] = None
from pathlib import Path
from train.debugger.smdebug_record import read_smdebug
read_smdebug(Path({str(tmp_path)!r}))
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "UserError" in result.stderr
    assert "install the extra `debugger`" in result.stderr
