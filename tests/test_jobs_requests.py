"""Requests: botocore and the service's own constraints accept each of them."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError
from jobs_support import QUICK

from container.errors import UserError
from jobs.config import KennelConfig
from jobs.requests import (
    MAX_TUNING_NAME,
    Search,
    endpoint,
    endpoint_config,
    model,
    new_name,
    parse_ranges,
    scaling,
    terms_of,
    training_job,
    transform_job,
    tuning_job,
)
from jobs.shapes import check_constraints, check_request

AWS = KennelConfig(on="aws", role="arn:aws:iam::123456789012:role/kennel", output="s3://bucket/kennel",
                   image="123456789012.dkr.ecr.eu-west-1.amazonaws.com/kennel@sha256:0123")  # fmt: skip
S3 = {"training": "s3://bucket/dogs", "model": "s3://bucket/weights"}
CONFIGS = (AWS, KennelConfig(), KennelConfig(on="docker"))


def requests(config: KennelConfig) -> list[tuple[str, dict[str, Any]]]:
    terms = terms_of(config)
    searches = [
        Search(strategy="bayesian", early_stopping=True, seed=1),
        Search(strategy="random", objective="test:accuracy"),
        Search(strategy="grid"),
        Search(strategy="hyperband"),
        Search(ranges=parse_ranges(["lr=0.0001:0.1:log", "num_views=1:4", "optimizer=adamw,sgd"])),
    ]
    tuning = [tuning_job("tune", S3, {"epochs": "9"}, search, terms, spot=True) for search in searches]
    return [
        ("CreateTrainingJob", training_job("train", S3, QUICK, terms)),
        ("CreateTrainingJob", training_job("train", S3, QUICK, terms, spot=True, input_mode="FastFile")),
        *(("CreateHyperParameterTuningJob", request) for request in tuning),
        ("CreateModel", model("m", "s3://bucket/model.tar.gz", terms, {"KENNEL_TOP_K": "3"})),
        ("CreateModel", model("m", "s3://bucket/models/", terms, {}, multi=True)),
        ("CreateEndpointConfig", endpoint_config("e", "m", terms, num_instances=2)),
        ("CreateEndpointConfig", endpoint_config("e", "m", terms, serverless=True)),
        ("CreateEndpointConfig", endpoint_config("e", "m", terms, asynchronous=True)),
        ("CreateEndpoint", endpoint("e", "e")),
        ("CreateTransformJob", transform_job("t", "m", "s3://bucket/in", "s3://bucket/out", terms)),
    ]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.on)
def test_botocore_and_the_service_accept_every_request(config: KennelConfig) -> None:
    for operation, request in requests(config):
        check_request(operation, request)
        check_constraints(operation, request)


def test_scaling_requests_are_accepted_by_application_auto_scaling() -> None:
    target, policy = scaling("e", 1, 4)
    check_request("RegisterScalableTarget", target, "application-autoscaling")
    check_request("PutScalingPolicy", policy, "application-autoscaling")


def test_a_wrong_request_is_told_in_the_services_words() -> None:
    with pytest.raises(ParamValidationError, match="Missing required parameter"):
        check_request("CreateTrainingJob", {})
    request = training_job("no_underscore", S3, QUICK, terms_of(AWS))
    with pytest.raises(ClientError, match=r"'TrainingJobName' failed to satisfy constraint.*regular expression"):
        check_constraints("CreateTrainingJob", request)


def test_hyperparameters_are_checked_before_a_job_is_sent() -> None:
    with pytest.raises(UserError, match=r"lr=-1.*epoch: unknown hyperparameter; did you mean epochs"):
        training_job("j", S3, {"lr": "-1", "epoch": "3"}, terms_of(AWS))


def test_a_tuning_job_that_decides_all_settings_of_the_head_turns_the_search_inside_jobs_off() -> None:
    request = tuning_job("t", S3, {}, Search(), terms_of(AWS))
    assert request["TrainingJobDefinition"]["StaticHyperParameters"] == {"search_trials": "1"}
    some = tuning_job("t", S3, {}, Search(ranges=parse_ranges(["lr=0.001:0.1"])), terms_of(AWS))
    assert some["TrainingJobDefinition"]["StaticHyperParameters"] == {}


def test_what_is_set_is_not_searched() -> None:
    config = tuning_job("t", S3, {"lr": "0.01"}, Search(), terms_of(AWS))["HyperParameterTuningJobConfig"]
    ranges = [item["Name"] for items in config["ParameterRanges"].values() for item in items]
    assert sorted(ranges) == ["batch_size", "label_smoothing", "weight_decay"]


def test_the_objective_knows_its_direction() -> None:
    directions = {}
    for metric in ("validation:loss", "test:accuracy"):
        config = tuning_job("t", S3, {}, Search(metric), terms_of(AWS))["HyperParameterTuningJobConfig"]
        directions[metric] = config["HyperParameterTuningJobObjective"]["Type"]
    assert directions == {"validation:loss": "Minimize", "test:accuracy": "Maximize"}


def test_a_grid_has_three_points_a_number_and_as_many_jobs_as_points() -> None:
    search = Search(strategy="grid", ranges=parse_ranges(["lr=0.001:0.1:log", "num_views=1:5", "optimizer=adam,sgd"]))
    config = tuning_job("t", S3, {}, search, terms_of(AWS))["HyperParameterTuningJobConfig"]
    values = {item["Name"]: item["Values"] for item in config["ParameterRanges"]["CategoricalParameterRanges"]}
    assert values == {"lr": ["0.001", "0.01", "0.1"], "num_views": ["1", "3", "5"], "optimizer": ["adam", "sgd"]}
    assert config["ResourceLimits"]["MaxNumberOfTrainingJobs"] == 18


@pytest.mark.parametrize(
    ("search", "static", "message"),
    [
        (Search("validation:los"), {}, "no such metric; known: train:loss"),
        (Search(strategy="hyperband"), {}, "--set epochs=27"),
        (Search("test:loss", "hyperband"), {"epochs": "9"}, "take validation"),
        (
            Search(),
            {"lr": "0.1", "weight_decay": "0.1", "batch_size": "32", "label_smoothing": "0"},
            "nothing is left to search",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused(search: Search, static: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tuning_job("t", S3, static, search, terms_of(AWS))


@pytest.mark.parametrize("text", ["lr", "lr=", "lr=1:2:3", "lr=0.1:5", "lr=0.1:0.2:cubic", "learning=1:2"])
def test_a_wrong_range_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse_ranges([text])


def test_aws_needs_a_role_and_a_bucket() -> None:
    with pytest.raises(UserError, match=r"role \(an ARN\) and output \(s3://bucket/prefix\)"):
        terms_of(KennelConfig(on="aws"))


def test_names_fit_every_kind_and_differ() -> None:
    names = {new_name("cats & dogs of the neighbourhood") for _ in range(20)}
    assert len(names) == 20
    assert all(len(name) <= MAX_TUNING_NAME for name in names)
    check_constraints("CreateTrainingJob", {"TrainingJobName": names.pop()})
    assert new_name("!").startswith("job-")
