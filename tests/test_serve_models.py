"""A multi-model endpoint over HTTP."""

import shutil
from pathlib import Path

import pytest
import requests
from test_serve import JPEG, serving, status_of_ping, wait_until_ready


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    """An /opt/ml tree with four models, of which one is spoilt."""
    for name in ("one", "two", "three", "spoilt"):
        shutil.copytree(trained / "model", tmp_path / "models" / name / "model")
    (tmp_path / "models" / "spoilt" / "model" / "probe.png").unlink()
    return tmp_path


def test_models_are_loaded_listed_asked_and_unloaded(root: Path, many_photographs: list[Path]) -> None:
    photograph = many_photographs[0].read_bytes()
    with serving(root, SAGEMAKER_MULTI_MODEL="true", SAGEMAKER_MODEL_SERVER_WORKERS="2") as running:
        wait_until_ready(running.url)
        models = f"{running.url}/models"
        assert requests.get(models, timeout=5).json() == {"models": []}

        def load(name: str, url: str | None = None) -> int:
            body = {"model_name": name, "url": url or str(root / "models" / name / "model")}
            return requests.post(models, json=body, timeout=30).status_code

        def invoke(name: str) -> requests.Response:
            return requests.post(f"{models}/{name}/invoke", data=photograph, headers=JPEG, timeout=30)

        assert [load("one"), load("two"), load("one"), load("spoilt")] == [200, 200, 409, 422]
        assert [load("away", "/etc"), load("away", str(root / "models" / ".." / ".."))] == [400, 400]
        assert requests.post(models, data=b"[]", timeout=5).status_code == 400
        described = {"modelName": "one", "modelUrl": str(root / "models" / "one" / "model")}
        assert requests.get(f"{models}/one", timeout=5).json() == described
        listed = requests.get(models, timeout=5).json()["models"]
        assert [item["modelName"] for item in listed] == ["one", "two"]
        after = requests.get(models, params={"next_page_token": "one"}, timeout=5).json()["models"]
        assert [item["modelName"] for item in after] == ["two"]
        assert len(invoke("one").json()["predictions"]) == 5
        assert requests.delete(f"{models}/one", timeout=30).status_code == 200
        assert (invoke("one").status_code, invoke("one").json()["error"]["code"]) == (404, "not_found")
        assert requests.delete(f"{models}/one", timeout=5).status_code == 404
        assert requests.get(f"{models}/one", timeout=5).status_code == 404
        assert invoke("two").status_code == 200
        assert load("one") == 200
        assert status_of_ping(running.url) == 200


def test_the_least_recently_used_model_makes_room(root: Path, many_photographs: list[Path]) -> None:
    megabytes = 2 * ((root / "models" / "one" / "model" / "model.bin").stat().st_size // 2**20 + 1)
    environment = {"SAGEMAKER_MULTI_MODEL": "true", "KENNEL_MODEL_MEMORY_MB": str(2 * megabytes)}
    with serving(root, **environment) as running:
        wait_until_ready(running.url)
        models = f"{running.url}/models"
        for name in ("one", "two", "three"):
            body = {"model_name": name, "url": str(root / "models" / name / "model")}
            assert requests.post(models, json=body, timeout=30).status_code == 200
            data = many_photographs[0].read_bytes()
            assert requests.post(f"{models}/one/invoke", data=data, headers=JPEG, timeout=30).status_code == 200
        listed = requests.get(models, timeout=5).json()["models"]
        assert [item["modelName"] for item in listed] == ["one", "three"]


def test_a_model_beyond_the_budget_is_507(root: Path) -> None:
    with serving(root, SAGEMAKER_MULTI_MODEL="true", KENNEL_MODEL_MEMORY_MB="1") as running:
        wait_until_ready(running.url)
        body = {"model_name": "one", "url": str(root / "models" / "one" / "model")}
        refused = requests.post(f"{running.url}/models", json=body, timeout=30)
        assert (refused.status_code, refused.json()["error"]["code"]) == (507, "insufficient_storage")
