"""What the targets of this machine cannot do, told when a job is created: docs/jobs.md has the same table."""

from collections.abc import Iterator, Mapping
from typing import Any

from jobs.metrics import MetricReader
from jobs.uris import local_path

Request = Mapping[str, Any]

ONLY_ON_AWS = {
    "CreateTrainingJob": ("ServerlessJobConfig", "SessionChainingConfig", "MlflowConfig", "ModelPackageConfig"),
    "CreateHyperParameterTuningJob": ("TrainingJobDefinitions", "Autotune", "WarmStartConfig"),
    "CreateModel": ("Containers", "InferenceExecutionConfig"),
    "CreateEndpointConfig": ("ShadowProductionVariants", "ExplainerConfig", "DataCaptureConfig"),
    "CreateEndpoint": ("DeploymentConfig",),
    "CreateTransformJob": ("DataProcessing", "DataCaptureConfig"),
}
"""Members that change what a job does, and that these targets have no way to carry out.

Others have nothing to act on here and change nothing: Tags, VpcConfig, KMS keys, volume sizes, warm pools.
"""


def problems(operation: str, request: Request) -> list[str]:
    """List what these targets cannot carry out."""
    found = [f"{name}: only the service has this; take --on aws" for name in ONLY_ON_AWS[operation] if name in request]
    if found:
        return found
    checks = {
        "CreateTrainingJob": training_problems,
        "CreateHyperParameterTuningJob": tuning_problems,
        "CreateModel": model_problems,
        "CreateEndpointConfig": endpoint_problems,
        "CreateTransformJob": transform_problems,
    }
    return list(checks[operation](request)) if operation in checks else []


def training_problems(request: Request) -> Iterator[str]:
    """Look at a training job, or at the definition of those of a tuning job."""
    algorithm, resources = request.get("AlgorithmSpecification", {}), request.get("ResourceConfig", {})
    if "TrainingImage" not in algorithm:
        yield "AlgorithmSpecification.TrainingImage: give the image; these targets know no algorithms by name"
    if "ContainerEntrypoint" in algorithm:
        yield "ContainerEntrypoint: only the service can replace the entry point; give ContainerArguments"
    if resources.get("InstanceCount", 1) != 1:
        yield f"InstanceCount={resources['InstanceCount']}: this machine is one instance; give 1"
    for channel in request.get("InputDataConfig", ()):
        yield from channel_problems(channel, algorithm.get("TrainingInputMode", "File"))
    yield from uri_problems(request["OutputDataConfig"]["S3OutputPath"])
    if checkpoints := request.get("CheckpointConfig"):
        yield from uri_problems(checkpoints["S3Uri"])
    limits = request.get("StoppingCondition", {})
    if request.get("EnableManagedSpotTraining") and limits.get("MaxWaitTimeInSeconds", 0) < limits.get(
        "MaxRuntimeInSeconds", 1
    ):
        yield "MaxWaitTimeInSeconds: with EnableManagedSpotTraining it must be at least MaxRuntimeInSeconds"
    yield from regex_problems(algorithm)


def channel_problems(channel: Request, default_mode: str) -> Iterator[str]:
    """Look at a channel."""
    name, source = channel["ChannelName"], channel["DataSource"].get("S3DataSource")
    if channel.get("InputMode", default_mode) == "Pipe":
        yield f"channel {name}: Pipe mode is the service's; give File"
    if source is None:
        yield f"channel {name}: give S3DataSource with a file:// URI"
    elif source.get("S3DataType", "S3Prefix") != "S3Prefix":
        yield f"channel {name}: S3DataType={source['S3DataType']} is the service's; give S3Prefix"
    else:
        yield from uri_problems(source["S3Uri"])


def uri_problems(uri: str) -> Iterator[str]:
    """Look at a URI that must be one of this machine."""
    try:
        local_path(uri)
    except ValueError as error:
        yield str(error)


def regex_problems(algorithm: Request) -> Iterator[str]:
    """Look at the patterns of metrics."""
    try:
        MetricReader(algorithm.get("MetricDefinitions", ()))
    except ValueError as error:
        yield str(error)


def tuning_problems(request: Request) -> Iterator[str]:
    """Look at a tuning job; what its ranges hold is for jobs.tuner to see."""
    config, definition = request["HyperParameterTuningJobConfig"], request.get("TrainingJobDefinition")
    if definition is None:
        yield "TrainingJobDefinition: give one"
        return
    objective = config.get("HyperParameterTuningJobObjective")
    names = [item["Name"] for item in definition["AlgorithmSpecification"].get("MetricDefinitions", ())]
    if objective is None or objective["MetricName"] not in names:
        yield (
            "A metric is required for this hyperparameter tuning job objective. "
            "Provide a metric in the metric definitions."
        )
    if "ConvergenceDetected" in config.get("TuningJobCompletionCriteria", {}):
        yield "ConvergenceDetected: only the service has this; give BestObjectiveNotImproving"
    yield from training_problems(definition)


def model_problems(request: Request) -> Iterator[str]:
    """Look at a model."""
    container = request.get("PrimaryContainer")
    if container is None:
        yield "PrimaryContainer: give one"
        return
    if container.get("Mode") == "MultiModel":
        yield "Mode=MultiModel: only the service has this; deploy an endpoint for each model"
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    yield from uri_problems(container.get("ModelDataUrl") or source.get("S3Uri", ""))


def endpoint_problems(request: Request) -> Iterator[str]:
    """Look at an endpoint configuration."""
    if len(request["ProductionVariants"]) != 1:
        yield f"ProductionVariants: {len(request['ProductionVariants'])} given; these targets serve one"
    if "AsyncInferenceConfig" in request:
        yield from uri_problems(request["AsyncInferenceConfig"]["OutputConfig"].get("S3OutputPath", "file:///"))


def transform_problems(request: Request) -> Iterator[str]:
    """Look at a transform job."""
    source, given = request["TransformInput"]["DataSource"]["S3DataSource"], request["TransformInput"]
    if source.get("S3DataType", "S3Prefix") != "S3Prefix":
        yield f"S3DataType={source['S3DataType']} is the service's; give S3Prefix"
    if given.get("SplitType", "None") != "None" or given.get("CompressionType", "None") != "None":
        yield "SplitType, CompressionType: here a file is a record; give None"
    yield from uri_problems(source["S3Uri"])
    yield from uri_problems(request["TransformOutput"]["S3OutputPath"])
