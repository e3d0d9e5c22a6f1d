"""Reference pages and tuning ranges from declarations."""

from dataclasses import dataclass
from typing import Literal

from container.reference import parameter_ranges, reference
from container.settings import from_strings, setting


@dataclass(frozen=True)
class Config:
    lr: float | None = setting(
        None, "Learning rate.", interval="(0, 1]", aliases=("learning_rate",), tuning="[0.001, 0.1] Logarithmic"
    )
    batch_size: int = setting(32, "Images.", unit="images", tuning="[8, 128] Logarithmic", environment="BATCH")
    optimizer: Literal["adam", "sgd"] = setting("adam", "Optimizer.", tuning="all")
    pretrained: bool = setting(True, "Weights.", tuning="all")
    seed: int = setting(0, "Seed.")


def test_an_alias_sets_the_field_it_stands_for() -> None:
    assert from_strings(Config, {"learning-rate": "0.5"}).lr == 0.5


def test_ranges_have_the_shape_of_the_api() -> None:
    assert parameter_ranges(Config) == {
        "ContinuousParameterRanges": [
            {"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
        ],
        "IntegerParameterRanges": [
            {"Name": "batch_size", "MinValue": "8", "MaxValue": "128", "ScalingType": "Logarithmic"}
        ],
        "CategoricalParameterRanges": [
            {"Name": "optimizer", "Values": ["adam", "sgd"]},
            {"Name": "pretrained", "Values": ["true", "false"]},
        ],
    }


def test_a_reference_page_has_a_row_for_each_setting() -> None:
    page = reference(Config, "Title", "Introduction.")
    row = "| `lr` | number (0, 1] | auto | [0.001, 0.1] Logarithmic | Learning rate. Also `learning_rate`. |"
    assert row in page.splitlines()
    assert page.count("\n| `") == 5


def test_a_reference_page_by_environment_names_the_variables() -> None:
    assert "| `BATCH` | integer images | 32 | Images. |" in reference(Config, "T", "I.", by_environment=True)
