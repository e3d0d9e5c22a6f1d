"""The client of the process target, as boto3's: names, shapes, errors, pages, waiters. Nothing is trained."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, OperationNotPageableError, ParamValidationError, WaiterError
from jobs_support import BROKEN, assert_shape, channels, ended, environment, kennel, terms, until
from support import ROOT

from jobs.kinds import TRAINING
from jobs.requests import endpoint, endpoint_config, model, training_job, transform_job
from jobs.shapes import service_model
from jobs.store import Record, now
from jobs.targets.catalogue import as_method
from jobs.targets.process import ProcessClient
from jobs.training import enter


@pytest.fixture
def client(tmp_path: Path) -> ProcessClient:
    return ProcessClient(tmp_path / "home", "process")


def request(client: ProcessClient, folder: Path, name: str = "job", **hyperparameters: str) -> dict[str, Any]:
    made = training_job(name, channels(folder), {}, terms(client.home))
    return {**made, "HyperParameters": hyperparameters}


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def fill(client: ProcessClient, number: int) -> None:
    """Put ended jobs into the store, whose folders are what a supervisor leaves."""
    base = training_job("job", {"training": "file:///photographs"}, {}, terms(client.home))
    for index in range(number):
        name = f"job-{index:03d}"
        made = copy.deepcopy({**base, "TrainingJobName": name})
        description = {
            **made,
            "TrainingJobArn": TRAINING.arn(name),
            "CreationTime": now(),
            "ModelArtifacts": {"S3ModelArtifacts": "file:///model.tar.gz"},
        }
        enter(description, "Starting")
        enter(description, "Failed" if index % 4 == 0 else "Completed")
        os.close(client.store.create(TRAINING, name, Record(description, {"Request": made, "Target": "process"})))


def test_a_training_job_that_fails_says_why_as_the_service_does(client: ProcessClient, faces: Path) -> None:
    answer = client.create_training_job(**request(client, faces, **BROKEN))
    assert_shape("CreateTrainingJob", answer)
    description = ended(client, "job")
    assert description["TrainingJobStatus"] == "Failed"
    reason = description["FailureReason"]
    assert reason.startswith("AlgorithmError: UserError: lr=-1: must be in (0, 1]")
    assert reason.endswith(", exit code: 1")
    states = [item["Status"] for item in description["SecondaryStatusTransitions"]]
    assert states == ["Starting", "Downloading", "Training", "Failed"]
    assert_shape("DescribeTrainingJob", description)
    client.delete_training_job(TrainingJobName="job")
    with pytest.raises(ClientError, match="Requested resource not found"):
        client.describe_training_job(TrainingJobName="job")


def test_a_channel_without_files_fails_the_job(client: ProcessClient, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    client.create_training_job(**request(client, tmp_path / "empty"))
    reason = ended(client, "job")["FailureReason"]
    assert reason.startswith("ClientError: Data download failed: no files found under file:///")


def test_a_name_that_exists_is_refused_and_harms_nothing(client: ProcessClient, faces: Path) -> None:
    client.create_training_job(**request(client, faces, **BROKEN))
    with pytest.raises(client.exceptions.ResourceInUse, match="Job name must be unique") as error:
        client.create_training_job(**request(client, faces))
    assert code_of(error) == "ResourceInUse"
    assert ended(client, "job")["HyperParameters"] == BROKEN


@pytest.mark.parametrize(
    ("method", "parameters", "code"),
    [
        ("describe_training_job", {"TrainingJobName": "no"}, "ValidationException"),
        ("stop_training_job", {"TrainingJobName": "no"}, "ValidationException"),
        ("delete_training_job", {"TrainingJobName": "no"}, "ValidationException"),
        ("describe_hyper_parameter_tuning_job", {"HyperParameterTuningJobName": "no"}, "ResourceNotFound"),
        ("stop_hyper_parameter_tuning_job", {"HyperParameterTuningJobName": "no"}, "ResourceNotFound"),
        (
            "list_training_jobs_for_hyper_parameter_tuning_job",
            {"HyperParameterTuningJobName": "no"},
            "ResourceNotFound",
        ),
        ("describe_transform_job", {"TransformJobName": "no"}, "ValidationException"),
        ("describe_model", {"ModelName": "no"}, "ValidationException"),
        ("delete_model", {"ModelName": "no"}, "ValidationException"),
        ("describe_endpoint_config", {"EndpointConfigName": "no"}, "ValidationException"),
        ("describe_endpoint", {"EndpointName": "no"}, "ValidationException"),
        ("delete_endpoint", {"EndpointName": "no"}, "ValidationException"),
        ("describe_endpoint", {"EndpointName": "../../etc"}, "ValidationException"),
    ],
)
def test_what_is_not_there_is_told_with_the_services_code(
    client: ProcessClient, method: str, parameters: dict[str, str], code: str
) -> None:
    with pytest.raises(ClientError) as error:
        getattr(client, method)(**parameters)
    assert code_of(error) == code
    operation = next(name for name in service_model().operation_names if as_method(name) == method)
    assert error.value.operation_name == operation


@pytest.mark.parametrize("method", ["describe_training_job", "list_training_jobs", "create_model", "delete_endpoint"])
def test_parameters_that_boto3_refuses_are_refused(client: ProcessClient, method: str) -> None:
    with pytest.raises(ParamValidationError):
        getattr(client, method)(Nonsense=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ResourceConfig": {"InstanceType": "local", "InstanceCount": 2}}, "this machine is one instance"),
        ({"OutputDataConfig": {"S3OutputPath": "s3://bucket/x"}}, "reads and writes file:// URIs"),
        ({"AlgorithmSpecification": {"TrainingImage": "i", "TrainingInputMode": "Pipe"}}, "Pipe mode is the service's"),
        ({"AlgorithmSpecification": {"AlgorithmName": "i", "TrainingInputMode": "File"}}, "TrainingImage: give"),
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds"),
        ({"RoleArn": "a-role-that-is-no-arn-at-all"}, "failed to satisfy constraint"),
        ({"ResourceConfig": {"InstanceType": "ml.none", "InstanceCount": 1}}, "Member must satisfy enum value set"),
    ],
)
def test_what_the_target_cannot_do_is_refused_when_the_job_is_created(
    client: ProcessClient, faces: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError, match=message) as error:
        client.create_training_job(**{**request(client, faces), **change})
    assert code_of(error) == "ValidationException"
    assert client.list_training_jobs()["TrainingJobSummaries"] == []


def test_models_and_endpoint_configurations_are_kept_told_listed_and_forgotten(client: ProcessClient) -> None:
    common = terms(client.home)
    created = client.create_model(**model("m", "file:///model.tar.gz", common, {"KENNEL_TOP_K": "3"}))
    assert_shape("CreateModel", created)
    told = client.describe_model(ModelName="m")
    assert_shape("DescribeModel", told)
    assert told["PrimaryContainer"]["Environment"] == {"KENNEL_TOP_K": "3"}
    assert_shape("CreateEndpointConfig", client.create_endpoint_config(**endpoint_config("c", "m", common)))
    assert_shape("DescribeEndpointConfig", client.describe_endpoint_config(EndpointConfigName="c"))
    for operation, listed in (("ListModels", "Models"), ("ListEndpointConfigs", "EndpointConfigs")):
        answer = getattr(client, as_method(operation))()
        assert_shape(operation, answer)
        assert len(answer[listed]) == 1
    with pytest.raises(ClientError, match='Cannot create already existing model "arn:aws:sagemaker:'):
        client.create_model(**model("m", "file:///other.tar.gz", common, {}))
    with pytest.raises(ClientError, match='Could not find model "arn:aws:sagemaker:'):
        client.create_endpoint_config(**endpoint_config("d", "none", common))
    with pytest.raises(ClientError, match="Could not find endpoint configuration"):
        client.create_endpoint(**endpoint("e", "none"))
    with pytest.raises(ClientError, match='Could not find model "arn'):
        client.create_transform_job(**transform_job("t", "none", "file:///in", "file:///out", common))
    client.delete_endpoint_config(EndpointConfigName="c")
    client.delete_model(ModelName="m")
    assert client.list_models()["Models"] == []


def test_lists_have_pages_filters_and_orders(client: ProcessClient) -> None:
    fill(client, 25)
    first = client.list_training_jobs()
    assert_shape("ListTrainingJobs", first)
    assert [item["TrainingJobName"] for item in first["TrainingJobSummaries"]] == [f"job-{i:03d}" for i in range(10)]
    pages = client.get_paginator("list_training_jobs").paginate(
        StatusEquals="Failed", SortBy="Name", SortOrder="Descending", PaginationConfig={"PageSize": 3}
    )
    pages = list(pages)
    assert [len(page["TrainingJobSummaries"]) for page in pages] == [3, 3, 1]
    names = [item["TrainingJobName"] for page in pages for item in page["TrainingJobSummaries"]]
    assert names == [f"job-{i:03d}" for i in range(24, -1, -4)]
    found = client.list_training_jobs(NameContains="02", MaxResults=100)["TrainingJobSummaries"]
    assert {item["TrainingJobName"] for item in found} == {"job-002", *(f"job-{i:03d}" for i in range(20, 25))}
    assert client.list_training_jobs(CreationTimeAfter=now())["TrainingJobSummaries"] == []
    by_status = client.list_training_jobs(SortBy="Status", MaxResults=100)["TrainingJobSummaries"]
    assert [item["TrainingJobStatus"] for item in by_status] == ["Completed"] * 18 + ["Failed"] * 7


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"MaxResults": 101}, "at most 100"),
        ({"NextToken": "rubbish"}, "The token is invalid"),
        ({"SortBy": "Colour"}, "Name, CreationTime or Status"),
        ({"SortOrder": "Up"}, "Ascending or Descending"),
        ({"WarmPoolStatusEquals": "Available"}, "only the service can list by this"),
    ],
)
def test_a_list_that_cannot_be_made_is_refused(client: ProcessClient, parameters: dict[str, Any], message: str) -> None:
    fill(client, 1)
    with pytest.raises(ClientError, match=message):
        client.list_training_jobs(**parameters)


def test_an_entry_that_comes_between_two_pages_moves_nothing(client: ProcessClient) -> None:
    fill(client, 5)
    first = client.list_training_jobs(SortBy="Name", MaxResults=2)
    client.delete_training_job(TrainingJobName="job-000")
    second = client.list_training_jobs(SortBy="Name", MaxResults=2, NextToken=first["NextToken"])
    assert [item["TrainingJobName"] for item in second["TrainingJobSummaries"]] == ["job-002", "job-003"]


def test_200_jobs_are_listed_without_botocore(client: ProcessClient) -> None:
    """botocore's import alone would take half of the 0.3 s that `kennel list` may take."""
    fill(client, 200)
    code = (
        "import sys; from pathlib import Path; from jobs.targets.process import ProcessClient;"
        f"client = ProcessClient(Path({str(client.home)!r}), 'process');"
        "first = client.list_training_jobs(MaxResults=100);"
        "second = client.list_training_jobs(MaxResults=100, NextToken=first['NextToken']);"
        "assert len(second['TrainingJobSummaries']) == 100 and 'NextToken' not in second;"
        "sys.exit('botocore' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(client.home), timeout=30)
    assert result.returncode == 0
    listed = kennel(client.home, "list")
    assert listed.stdout.count("Completed") == 75, listed.stderr
    assert "job-199" in listed.stdout


def test_botocores_waiters_work(client: ProcessClient, faces: Path) -> None:
    client.create_training_job(**request(client, faces, **BROKEN))
    waiter = client.get_waiter("training_job_completed_or_stopped")
    with pytest.raises(WaiterError, match="terminal failure state"):
        waiter.wait(TrainingJobName="job", WaiterConfig={"Delay": 0.1, "MaxAttempts": 300})
    with pytest.raises(WaiterError, match="ValidationException"):
        waiter.wait(TrainingJobName="none", WaiterConfig={"Delay": 0.1, "MaxAttempts": 3})
    client.get_waiter("endpoint_deleted").wait(EndpointName="none", WaiterConfig={"Delay": 0.1, "MaxAttempts": 3})
    assert "notebook_instance_deleted" not in client.waiter_names
    with pytest.raises(ValueError, match="Waiter does not exist"):
        client.get_waiter("notebook_instance_deleted")


def test_every_list_can_be_paged_and_nothing_else(client: ProcessClient) -> None:
    methods = [name for name in dir(client) if name.startswith("list_")]
    assert len(methods) == 7
    for method in methods:
        client.get_paginator(method)
    with pytest.raises(OperationNotPageableError):
        client.get_paginator("describe_model")


def test_every_method_is_one_of_boto3s(client: ProcessClient) -> None:
    verbs = ("create_", "describe_", "list_", "stop_", "delete_")
    methods = {name for name in dir(client) if name.startswith(verbs)} - {"delete_ended"}
    known = {as_method(name) for name in service_model().operation_names}
    assert methods <= known
    assert len(methods) == 27


def test_metrics_that_are_no_pattern_are_refused(client: ProcessClient, faces: Path) -> None:
    made = request(client, faces)
    made["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "x", "Regex": "("}]
    with pytest.raises(ClientError, match="is no pattern"):
        client.create_training_job(**made)


def test_a_model_of_s3_is_refused(client: ProcessClient) -> None:
    with pytest.raises(ClientError, match="file:// URIs"):
        client.create_model(**model("m", "s3://bucket/model.tar.gz", terms(client.home), {}))


def test_a_job_that_ended_cannot_be_stopped_and_one_that_runs_cannot_be_deleted(
    client: ProcessClient, faces: Path
) -> None:
    client.create_training_job(**request(client, faces, **BROKEN))
    try:
        client.delete_training_job(TrainingJobName="job")
    except client.exceptions.ResourceInUse as error:
        assert "stop it first" in str(error)
    else:
        pytest.fail("a running job was deleted")
    ended(client, "job")
    with pytest.raises(ClientError, match="is in status Failed"):
        client.stop_training_job(TrainingJobName="job")


def test_a_lost_job_is_told_as_failed(client: ProcessClient, faces: Path) -> None:
    """A launcher that is killed between taking the name and starting the supervisor leaves such a folder."""
    made = request(client, faces)
    description = {
        **made,
        "TrainingJobArn": TRAINING.arn("job"),
        "CreationTime": now(),
        "TrainingJobStatus": "InProgress",
    }
    enter(description, "Starting")
    os.close(client.store.create(TRAINING, "job", Record(description, {"Request": made, "Target": "process"})))
    told = client.describe_training_job(TrainingJobName="job")
    assert told["TrainingJobStatus"] == "Failed"
    assert told["FailureReason"].startswith("InternalServerError: ")
    until(lambda: client.list_training_jobs(StatusEquals="Failed")["TrainingJobSummaries"])
