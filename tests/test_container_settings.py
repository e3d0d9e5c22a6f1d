"""Strings to typed settings."""

from dataclasses import dataclass
from typing import Literal

import pytest

from container.errors import UserError
from container.settings import declared, flat, from_environment, from_strings, group, setting


@dataclass(frozen=True)
class Config:
    epochs: int = setting(5, "Epochs.", interval="[1, 100]", example="5")
    lr: float | None = setting(None, "Learning rate.", interval="(0, 1]", example="0.01")
    batch_size: int = setting(32, "Images.", interval="[1, inf)", environment="BATCH_SIZE")
    optimizer: Literal["adam", "sgd"] = setting("adam", "Optimizer.")
    pretrained: bool = setting(True, "Weights.")
    arch: str = setting("resnet50", "Network.")


@pytest.mark.parametrize("text", ["adam", '"adam"', ' "adam" '])
def test_a_string_is_read_in_both_quotings(text: str) -> None:
    assert from_strings(Config, {"optimizer": text}).optimizer == "adam"


@pytest.mark.parametrize("name", ["batch-size", "batch_size"])
def test_a_name_is_read_in_both_spellings(name: str) -> None:
    assert from_strings(Config, {name: "8"}).batch_size == 8


@pytest.mark.parametrize(
    ("text", "expected"), [("true", True), ("True", True), ("1", True), ('"true"', True), ("no", False), ("0", False)]
)
def test_booleans_are_read_in_the_ways_that_sdks_write_them(text: str, expected: bool) -> None:
    assert from_strings(Config, {"pretrained": text}).pretrained is expected


@pytest.mark.parametrize("text", ["null", "auto", "None", ""])
def test_a_setting_that_the_job_may_choose_can_be_left_to_it(text: str) -> None:
    assert from_strings(Config, {"lr": text}).lr is None


def test_a_whole_number_may_be_written_as_a_float() -> None:
    assert from_strings(Config, {"epochs": "7.0"}).epochs == 7


def test_keys_that_sagemaker_adds_are_ignored() -> None:
    values = {"_tuning_objective_metric": "test:loss", "sagemaker_program": "x", "epochs": "2"}
    assert from_strings(Config, values) == Config(epochs=2)


def test_an_unknown_name_is_an_error_with_the_nearest_known_one() -> None:
    with pytest.raises(UserError, match=r"bacth-size: unknown hyperparameter; did you mean batch_size\?"):
        from_strings(Config, {"bacth-size": "8"})


def test_all_errors_are_reported_together() -> None:
    with pytest.raises(UserError) as caught:
        from_strings(Config, {"lr": "-1", "epochs": "2.5", "optimizer": "adm", "pretrained": "maybe", "zzz": "1"})
    message = str(caught.value)
    assert "lr=-1: must be in (0, 1]; set a value such as 0.01" in message
    assert "epochs=2.5: must be a whole number in [1, 100]" in message
    assert "optimizer=adm: must be one of adam, sgd (did you mean adam?)" in message
    assert "pretrained=maybe: must be true or false" in message
    assert "zzz: unknown hyperparameter" in message


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "0", "1.0001", "[1]", "abc", "true"])
def test_numbers_that_are_not_in_the_interval_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"lr=.*in \(0, 1\]"):
        from_strings(Config, {"lr": text})


def test_a_name_given_in_both_spellings_is_refused() -> None:
    with pytest.raises(UserError, match="is given twice, in two spellings"):
        from_strings(Config, {"batch-size": "8", "batch_size": "16"})


def test_the_environment_sets_only_the_fields_that_name_a_variable() -> None:
    assert from_environment(Config, {"BATCH_SIZE": "4", "EPOCHS": "9", "PATH": "/bin"}) == Config(batch_size=4)


def test_a_wrong_environment_variable_is_named() -> None:
    with pytest.raises(UserError, match=r"BATCH_SIZE"):
        from_environment(Config, {"BATCH_SIZE": "many"})


@dataclass(frozen=True)
class Limits:
    low: float = setting(0.0, "Lowest.", interval="[0, 1]")
    high: float | None = setting(None, "Highest.", example="1")


@dataclass(frozen=True)
class Grouped:
    lr: float = setting(0.1, "Learning rate.")
    colours: tuple[Literal["red", "green"], ...] = setting((), "Colours.", example="red,green")
    limits: Limits = group(Limits, "limit_")


def test_settings_of_a_group_are_named_with_its_prefix() -> None:
    given = {"limit-low": "0.5", "limit_high": "2", "lr": "1"}
    assert from_strings(Grouped, given) == Grouped(1.0, (), Limits(0.5, 2.0))
    assert from_strings(Grouped, {}) == Grouped()
    assert list(declared(Grouped)) == ["lr", "colours", "limit_low", "limit_high"]
    assert flat(Grouped(limits=Limits(0.3))) == {"lr": 0.1, "colours": (), "limit_low": 0.3, "limit_high": None}


def test_errors_in_a_group_are_reported_with_the_others() -> None:
    with pytest.raises(UserError) as caught:
        from_strings(Grouped, {"lr": "x", "limit_low": "2", "limit_lwo": "1", "zzz": "1"})
    message = str(caught.value)
    assert "lr=x: must be a number" in message
    assert "limit_low=2: must be in [0, 1]" in message
    assert "limit_lwo: unknown hyperparameter; did you mean limit_low?" in message
    assert "zzz: unknown hyperparameter; known: colours, lr" in message


@pytest.mark.parametrize(("text", "expected"), [
    ("red", ("red",)), ("red, green", ("red", "green")), ('["red", "green"]', ("red", "green")), ("", ()), ("none", ()),
])  # fmt: skip
def test_a_list_is_separated_by_commas_or_is_json(text: str, expected: tuple[str, ...]) -> None:
    assert from_strings(Grouped, {"colours": text}).colours == expected


def test_a_wrong_item_of_a_list_is_named_with_the_nearest_right_one() -> None:
    with pytest.raises(UserError, match=r"colours=red,gren: must be one of red, green \(did you mean green\?\)"):
        from_strings(Grouped, {"colours": "red,gren"})
