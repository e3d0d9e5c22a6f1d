"""The table of differences between targets in docs/jobs.md: every row is carried out."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from jobs_support import QUICK, channels, terms
from support import ROOT

from container.paths import ContainerPaths
from jobs.config import KennelConfig
from jobs.launch import DockerLauncher, Launch, ProcessLauncher
from jobs.requests import Search, endpoint_config, model, terms_of, training_job, transform_job, tuning_job
from jobs.targets.process import ProcessClient
from jobs.tree import lay_out, mounts

Request = dict[str, Any]


def table() -> dict[str, list[str]]:
    """Read the table: the cells of process, docker and aws by the first cell."""
    text = (ROOT / "docs" / "jobs.md").read_text()
    block = text[text.index("| | process | docker | aws |") :].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


class Bench:
    """A client of each local target and requests that work, to be changed."""

    def __init__(self, home: Path, faces: Path) -> None:
        self.clients = [ProcessClient(home, name) for name in ("process", "docker")]
        common = terms(home)
        self.training = training_job("job", channels(faces), QUICK, common, spot=True)
        self.tuning = tuning_job("tune", channels(faces), QUICK, Search(), common)
        self.model = model("m", "file:///model.tar.gz", common, {})
        self.config = endpoint_config("c", "m", common)
        self.transform = transform_job("t", "m", "file:///in", "file:///out", common)

    def refuses(self, operation: str, request: Request, change: Request) -> None:
        for client in self.clients:
            with pytest.raises(ClientError) as error:
                client.check(operation, {**request, **change})
            assert error.value.response["Error"]["Code"] == "ValidationException"

    def takes(self, operation: str, request: Request, change: Request) -> None:
        for client in self.clients:
            client.check(operation, {**request, **change})


def uris(bench: Bench) -> None:
    bench.takes("CreateTrainingJob", bench.training, {})
    bench.refuses("CreateTrainingJob", bench.training, {"OutputDataConfig": {"S3OutputPath": "s3://bucket"}})


def instance_type(bench: Bench) -> None:
    assert bench.training["ResourceConfig"]["InstanceType"] == "local"
    aws = KennelConfig(on="aws", role="arn:aws:iam::123456789012:role/kennel", output="s3://bucket")
    assert terms_of(aws).instance_type.startswith("ml.")


def one_instance(bench: Bench) -> None:
    resources = {"ResourceConfig": {"InstanceType": "local", "InstanceCount": 2}}
    bench.refuses("CreateTrainingJob", bench.training, resources)


def workers(bench: Bench) -> None:
    variant = {**bench.config["ProductionVariants"][0], "InitialInstanceCount": 3}
    bench.takes("CreateEndpointConfig", bench.config, {"ProductionVariants": [variant]})


def input_modes(bench: Bench) -> None:
    algorithm = bench.training["AlgorithmSpecification"]
    for mode in ("File", "FastFile"):
        change = {"AlgorithmSpecification": {**algorithm, "TrainingInputMode": mode}}
        bench.takes("CreateTrainingJob", bench.training, change)
    pipe = {"AlgorithmSpecification": {**algorithm, "TrainingInputMode": "Pipe"}}
    bench.refuses("CreateTrainingJob", bench.training, pipe)


def tree(bench: Bench) -> ContainerPaths:
    root = bench.clients[0].home / "ml"
    lay_out(root, bench.training, "lo", link=True)
    return ContainerPaths(root)


def linked_channels(bench: Bench) -> None:
    assert all(path.is_symlink() for path in tree(bench).channels().values())
    assert [mount.read_only for mount in mounts(bench.training) if "data/" in mount.target] == [True]


def linked_checkpoints(bench: Bench) -> None:
    assert tree(bench).checkpoints.is_symlink()
    assert "/opt/ml/checkpoints" in [mount.target for mount in mounts(bench.training)]


def shared_features(bench: Bench) -> None:
    launch = Launch("train", "job", Path("/ml"), image="i", features=bench.clients[0].home / "features")
    assert ProcessLauncher().environment(launch)["KENNEL_FEATURES_DIR"] == str(launch.features)
    assert any(f"source={launch.features}," in part for part in DockerLauncher().command(launch))


def own_tuner(bench: Bench) -> None:
    for strategy in ("Bayesian", "Random", "Hyperband"):
        config = {**bench.tuning["HyperParameterTuningJobConfig"], "Strategy": strategy}
        bench.takes("CreateHyperParameterTuningJob", bench.tuning, {"HyperParameterTuningJobConfig": config})


def services_tuning(bench: Bench) -> None:
    parent = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "t"}],
        "WarmStartType": "TransferLearning",
    }
    for change in (
        {"Autotune": {"Mode": "Enabled"}},
        {"WarmStartConfig": parent},
        {"TrainingJobDefinitions": [bench.tuning["TrainingJobDefinition"]]},
        {
            "HyperParameterTuningJobConfig": {
                **bench.tuning["HyperParameterTuningJobConfig"],
                "TuningJobCompletionCriteria": {"ConvergenceDetected": {}},
            }
        },
    ):
        bench.refuses("CreateHyperParameterTuningJob", bench.tuning, change)


def serverless(bench: Bench) -> None:
    bench.takes("CreateEndpointConfig", endpoint_config("c", "m", terms(bench.clients[0].home), serverless=True), {})


def asynchronous(bench: Bench) -> None:
    bench.takes("CreateEndpointConfig", endpoint_config("c", "m", terms(bench.clients[0].home), asynchronous=True), {})


def services_endpoints(bench: Bench) -> None:
    container = {**bench.model["PrimaryContainer"], "Mode": "MultiModel"}
    bench.refuses("CreateModel", bench.model, {"PrimaryContainer": container})
    variants = bench.config["ProductionVariants"]
    bench.refuses("CreateEndpointConfig", bench.config, {"ShadowProductionVariants": variants})
    bench.refuses("CreateEndpointConfig", bench.config, {"ProductionVariants": [*variants, *variants]})
    capture = {
        "InitialSamplingPercentage": 1,
        "DestinationS3Uri": "s3://b/c",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    bench.refuses("CreateEndpointConfig", bench.config, {"DataCaptureConfig": capture})
    deployment: Request = {"DeploymentConfig": {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]}}}
    bench.refuses("CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": "c"}, deployment)
    assert not hasattr(bench.clients[0], "update_endpoint")


def split_type(bench: Bench) -> None:
    bench.refuses(
        "CreateTransformJob",
        bench.transform,
        {"TransformInput": {**bench.transform["TransformInput"], "SplitType": "Line"}},
    )


def without_effect(bench: Bench) -> None:
    network = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
    more = {"VpcConfig": network, "Tags": [{"Key": "team", "Value": "dogs"}]}
    bench.takes("CreateTrainingJob", bench.training, more)


def isolation(bench: Bench) -> None:
    bench.takes("CreateTrainingJob", bench.training, {"EnableNetworkIsolation": True})
    command = DockerLauncher().command(Launch("train", "job", Path("/ml"), image="i", network=False))
    assert command[command.index("--network") + 1] == "none"


def interruption(bench: Bench) -> None:
    assert all(callable(client.interrupt_training_job) for client in bench.clients)


def deletable_transforms(bench: Bench) -> None:
    assert all(callable(client.delete_ended) for client in bench.clients)


ROWS: dict[str, Callable[[Bench], object]] = {
    "inputs and outputs": uris,
    "instance type": instance_type,
    "instances of a training job": one_instance,
    "instances of an endpoint": workers,
    "input modes": input_modes,
    "channels": linked_channels,
    "checkpoints": linked_checkpoints,
    "features of photographs": shared_features,
    "tuning": own_tuner,
    "Autotune, WarmStartConfig, ConvergenceDetected, several TrainingJobDefinitions": services_tuning,
    "ServerlessConfig": serverless,
    "AsyncInferenceConfig": asynchronous,
    "multi-model, shadow variants, data capture, DeploymentConfig, update of an endpoint": services_endpoints,
    "SplitType of a transform": split_type,
    "VpcConfig, KMS keys, Tags, volume sizes, warm pools": without_effect,
    "EnableNetworkIsolation": isolation,
    "spot interruption": interruption,
    "transform jobs": deletable_transforms,
}


def test_every_row_of_the_table_is_tested_and_nothing_else() -> None:
    assert list(table()) == list(ROWS)
    assert all(len(cells) == 3 for cells in table().values())


@pytest.mark.parametrize("row", ROWS)
def test_a_difference_is_what_the_table_says(row: str, faces: Path, tmp_path: Path) -> None:
    ROWS[row](Bench(tmp_path, faces))


def test_every_exit_code_of_the_command_is_in_the_table() -> None:
    from jobs.commands import session

    codes = {session.JOB_FAILED, session.WRONG_USE, session.REFUSED, session.UNAVAILABLE, session.INTERRUPTED, 0}
    text = (ROOT / "docs" / "jobs.md").read_text()
    block = text[text.index("| code | meaning |") :].split("\n\n")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", block, re.MULTILINE)} == codes
