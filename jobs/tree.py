"""The /opt/ml tree of a training job, as SageMaker lays it out.

Source: "How Amazon SageMaker runs your training image" in the developer guide, and files seen in jobs of the service.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from container.paths import ContainerPaths
from jobs.launch import Mount
from jobs.uris import file_uri, local_path, pack, walk_files

Request = Mapping[str, Any]

CONFIGURATION_FILES = {
    "DebugHookConfig": "debughookconfig.json",
    "ProfilerConfig": "profilerconfig.json",
    "TensorBoardOutputConfig": "tensorboardoutputconfig.json",
    "CheckpointConfig": "checkpointconfig.json",
}
"""Members of the request that the container finds as a file of its own."""

HOST = "algo-1"
GROUP = "homogeneousCluster"


class NoDataError(Exception):
    """A channel has no files."""


def lay_out(root: Path, request: Request, network_interface: str, *, link: bool) -> None:
    """Write the tree of a job; what an earlier attempt left in it is removed, apart from checkpoints.

    Channels are links to their folders; without `link`, empty folders at which they are mounted.
    Raises NoDataError for a channel without files.
    """
    paths = ContainerPaths(root)
    for folder in (root / "input", paths.model, root / "output"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (paths.input_config, paths.input_data, paths.model, paths.output_data):
        folder.mkdir(parents=True)
    write(paths.input_config / "hyperparameters.json", request.get("HyperParameters", {}))
    write(paths.input_config / "resourceconfig.json", resource_configuration(request, network_interface))
    channels = request.get("InputDataConfig", [])
    default_mode = request["AlgorithmSpecification"]["TrainingInputMode"]
    inputs = {channel["ChannelName"]: channel_configuration(channel, default_mode) for channel in channels}
    write(paths.input_config / "inputdataconfig.json", inputs)
    for member, file in CONFIGURATION_FILES.items():
        if member in request:
            write(paths.input_config / file, request[member])
    for channel in channels:
        source = channel_path(channel)
        if next(walk_files(source), None) is None:
            raise NoDataError(f"no files found under {file_uri(source)} given in channel {channel['ChannelName']}")
        put_channel(source, paths.input_data / channel["ChannelName"], link=link)
    if checkpoints := checkpoint_folder(request):
        checkpoints.mkdir(parents=True, exist_ok=True)
        if not link:
            paths.checkpoints.mkdir(exist_ok=True)
        elif not paths.checkpoints.is_symlink():
            paths.checkpoints.symlink_to(checkpoints)


def put_channel(source: Path, target: Path, *, link: bool) -> None:
    """Link a channel to its folder, or make the folder that it is mounted at; a file lies in the channel's folder."""
    if link and source.is_dir():
        target.symlink_to(source.resolve(), target_is_directory=True)
        return
    target.mkdir()
    if link:
        (target / source.name).symlink_to(source.resolve())


def mounts(request: Request) -> tuple[Mount, ...]:
    """List what a container needs beside the tree: the channels, and the folder of checkpoints."""
    found = []
    for channel in request.get("InputDataConfig", []):
        source, target = channel_path(channel).resolve(), f"/opt/ml/input/data/{channel['ChannelName']}"
        found.append(Mount(source, target if source.is_dir() else f"{target}/{source.name}", read_only=True))
    if checkpoints := checkpoint_folder(request):
        found.append(Mount(checkpoints, "/opt/ml/checkpoints"))
    return tuple(found)


def channel_path(channel: Request) -> Path:
    """Give the folder or file of a channel."""
    return local_path(channel["DataSource"]["S3DataSource"]["S3Uri"])


def checkpoint_folder(request: Request) -> Path | None:
    """Give the folder of a job's checkpoints; None when it asks for none."""
    return local_path(request["CheckpointConfig"]["S3Uri"]) if "CheckpointConfig" in request else None


def channel_configuration(channel: Request, default_mode: str) -> dict[str, str]:
    """Write a channel's entry of inputdataconfig.json; FastFile is reported as File, as on the service."""
    mode = channel.get("InputMode", default_mode)
    source = channel["DataSource"]["S3DataSource"]
    entry = {
        "TrainingInputMode": "File" if mode == "FastFile" else mode,
        "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    }
    return {**entry, "ContentType": channel["ContentType"]} if "ContentType" in channel else entry


def resource_configuration(request: Request, network_interface: str) -> dict[str, Any]:
    """Write resourceconfig.json for a job of one host."""
    kind = request["ResourceConfig"].get("InstanceType", "local")
    return {
        "current_group_name": GROUP,
        "current_host": HOST,
        "current_instance_type": kind,
        "hosts": [HOST],
        "instance_groups": [{"hosts": [HOST], "instance_group_name": GROUP, "instance_type": kind}],
        "network_interface_name": network_interface,
        "topology": None,
    }


def output_folder(request: Request) -> Path:
    """Give `<S3OutputPath>/<job>/output`, where the service puts what a job made."""
    return local_path(request["OutputDataConfig"]["S3OutputPath"]) / str(request["TrainingJobName"]) / "output"


def collect(root: Path, request: Request, *, with_model: bool) -> None:
    """Pack /opt/ml/model and /opt/ml/output/data, the second only where it holds something."""
    paths = ContainerPaths(root)
    compressed = request["OutputDataConfig"].get("CompressionType", "GZIP") == "GZIP"
    outputs = [(paths.model, "model")] if with_model else []
    if any(paths.output_data.iterdir()):
        outputs.append((paths.output_data, "output"))
    for folder, name in outputs:
        if compressed:
            pack(folder, output_folder(request) / f"{name}.tar.gz")
        else:
            shutil.copytree(folder, output_folder(request) / name, dirs_exist_ok=True)


def artifact_uri(request: Request) -> str:
    """Say where the model of a job will be."""
    compressed = request["OutputDataConfig"].get("CompressionType", "GZIP") == "GZIP"
    return file_uri(output_folder(request) / ("model.tar.gz" if compressed else "model"))


def write(file: Path, content: object) -> None:
    """Write JSON."""
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
