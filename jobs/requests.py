"""boto3's requests, made of plain values; every target takes the same ones."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from container.errors import UserError
from container.metrics import METRICS
from container.reference import parameter_ranges
from container.settings import from_strings
from jobs.config import KennelConfig
from jobs.uris import file_uri
from train.config import TrainingConfig

Request = dict[str, Any]
Ranges = dict[str, list[dict[str, Any]]]
Strategy = Literal["bayesian", "random", "grid", "hyperband"]

LOCAL_ROLE = "arn:aws:iam::000000000000:role/kennel"
HOUR_SECONDS = 3600
MAX_RUNTIME_SECONDS = 24 * HOUR_SECONDS
MAX_TUNING_NAME = 32
"""Characters of a tuning job's name (HyperParameterTuningJobName in the SageMaker API)."""

HEAD_SETTINGS = ("lr", "weight_decay", "batch_size", "label_smoothing")
"""What a training job searches by itself where it is not given."""

GRID_POINTS = 3
"""Values of a number in a grid that was not spelled out."""

SERVERLESS = {"MemorySizeInMB": 3072, "MaxConcurrency": 10}


@dataclass(frozen=True)
class Terms:
    """What requests of a target have in common."""

    image: str
    role: str
    output: str
    """URI of the folder into which jobs put what they make."""
    instance_type: str
    serving_instance_type: str


def terms_of(config: KennelConfig) -> Terms:
    """Derive the terms of a target. Raises UserError for what aws needs and the settings lack."""
    if config.on != "aws":
        output = config.output or str(config.home_folder / "output")
        if "://" not in output:
            output = file_uri(Path(output).expanduser())
        return Terms(config.image, LOCAL_ROLE, output, "local", "local")
    missing = [name for name in ("role", "output") if not getattr(config, name)]
    if missing or not config.output.startswith("s3://"):
        raise UserError(
            f"--on aws needs role (an ARN) and output (s3://bucket/prefix); "
            f"not usable: {', '.join(missing) or f'output={config.output}'}. Set them in the settings file, or as "
            f"KENNEL_ROLE and KENNEL_OUTPUT"
        )
    return Terms(config.image, config.role, config.output, config.instance_type, config.serving_instance_type)


def new_name(stem: str, moment: datetime | None = None) -> str:
    """Make a name that is free, such as `cats-dogs-1124-140501-9f3a`, of at most 32 characters."""
    word = re.sub(r"[^a-zA-Z0-9]+", "-", stem).strip("-")[:15].rstrip("-") or "job"
    return f"{word}-{moment or datetime.now():%m%d-%H%M%S}-{secrets.token_hex(2)}"


def training_job(
    name: str,
    channels: Mapping[str, str],
    hyperparameters: Mapping[str, str],
    terms: Terms,
    *,
    spot: bool = False,
    max_runtime_seconds: int = MAX_RUNTIME_SECONDS,
    input_mode: str = "File",
) -> Request:
    """Build CreateTrainingJob. Channels are URIs by name. Raises UserError for hyperparameters that no job takes."""
    check_hyperparameters(hyperparameters)
    return {
        "TrainingJobName": name,
        "HyperParameters": dict(hyperparameters),
        **job_members(channels, terms, spot, max_runtime_seconds, input_mode, checkpoints=f"checkpoints/{name}"),
    }


def job_members(
    channels: Mapping[str, str], terms: Terms, spot: bool, max_runtime_seconds: int, input_mode: str, checkpoints: str
) -> Request:
    """Build what a training job and the definition of those of a tuning job have in common."""
    members: Request = {
        "AlgorithmSpecification": {
            "TrainingImage": terms.image,
            "TrainingInputMode": input_mode,
            "MetricDefinitions": [definition.request() for definition in METRICS],
        },
        "RoleArn": terms.role,
        "InputDataConfig": [channel(channel_name, uri) for channel_name, uri in channels.items()],
        "OutputDataConfig": {"S3OutputPath": terms.output},
        "ResourceConfig": {"InstanceType": terms.instance_type, "InstanceCount": 1, "VolumeSizeInGB": 50},
        "StoppingCondition": {"MaxRuntimeInSeconds": max_runtime_seconds},
    }
    if spot:
        members["EnableManagedSpotTraining"] = True
        members["StoppingCondition"]["MaxWaitTimeInSeconds"] = 2 * max_runtime_seconds
        members["CheckpointConfig"] = {
            "S3Uri": f"{terms.output.rstrip('/')}/{checkpoints}",
            "LocalPath": "/opt/ml/checkpoints",
        }
    return members


def channel(name: str, uri: str) -> Request:
    """Build a channel."""
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


@dataclass(frozen=True)
class Search:
    """How a tuning job searches."""

    objective: str = "validation:loss"
    strategy: Strategy = "bayesian"
    num_jobs: int = 20
    num_parallel: int = 2
    early_stopping: bool = False
    seed: int | None = None
    ranges: Ranges | None = None
    """None for the ranges that the hyperparameters declare."""


def tuning_job(
    name: str,
    channels: Mapping[str, str],
    static: Mapping[str, str],
    search: Search,
    terms: Terms,
    *,
    spot: bool = False,
    max_runtime_seconds: int = MAX_RUNTIME_SECONDS,
    input_mode: str = "File",
) -> Request:
    """Build CreateHyperParameterTuningJob. Raises UserError for what cannot be searched."""
    if len(name) > MAX_TUNING_NAME:
        raise UserError(f"{name}: a tuning job's name has at most {MAX_TUNING_NAME} characters")
    metric = next((item for item in METRICS if item.name == search.objective), None)
    if metric is None:
        known = ", ".join(item.name for item in METRICS)
        raise UserError(f"--objective {search.objective}: no such metric; known: {known}")
    ranges = searched_ranges(search, static)
    fixed = {**static, **only_given(static, ranges)}
    check_hyperparameters(fixed)
    limits = {"MaxNumberOfTrainingJobs": search.num_jobs, "MaxParallelTrainingJobs": search.num_parallel}
    config: Request = {
        "Strategy": search.strategy.capitalize(),
        "HyperParameterTuningJobObjective": {"Type": metric.direction, "MetricName": metric.name},
        "ResourceLimits": limits,
        "ParameterRanges": ranges,
        "TrainingJobEarlyStoppingType": "Auto" if search.early_stopping else "Off",
    }
    if search.strategy == "hyperband":
        config["StrategyConfig"] = hyperband(search, fixed)
    if search.strategy == "grid":
        limits["MaxNumberOfTrainingJobs"] = num_points(ranges)
    if search.seed is not None:
        config["RandomSeed"] = search.seed
    definition = {
        "StaticHyperParameters": fixed,
        **job_members(channels, terms, spot, max_runtime_seconds, input_mode, checkpoints=f"checkpoints/{name}"),
    }
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": config,
        "TrainingJobDefinition": definition,
    }


def hyperband(search: Search, static: Mapping[str, str]) -> Request:
    """Build StrategyConfig: epochs are what is divided. Raises UserError when it cannot work."""
    if "epochs" not in static:
        raise UserError("--strategy hyperband divides epochs: say how many, such as --set epochs=27")
    if search.objective.startswith("test:"):
        raise UserError(
            f"--strategy hyperband compares epochs; {search.objective} has one value a job: take validation:*"
        )
    return {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": int(static["epochs"])}}


def searched_ranges(search: Search, static: Mapping[str, str]) -> Ranges:
    """Choose the ranges: those given, or those declared, without what is fixed; as points for a grid."""
    ranges = search.ranges or parameter_ranges(TrainingConfig)
    given = {name.replace("-", "_") for name in static}
    kept = {kind: [item for item in items if item["Name"] not in given] for kind, items in ranges.items()}
    if not any(kept.values()):
        raise UserError(
            "nothing is left to search: everything with a range is fixed by --set; add --range NAME=LOW:HIGH"
        )
    if search.strategy != "grid":
        return kept
    points = [grid_points(item, whole=False) for item in kept["ContinuousParameterRanges"]]
    points += [grid_points(item, whole=True) for item in kept["IntegerParameterRanges"]]
    return {"CategoricalParameterRanges": kept["CategoricalParameterRanges"] + points}


def grid_points(item: Mapping[str, Any], *, whole: bool) -> dict[str, Any]:
    """Spread points over a range, evenly on its scale."""
    low, high = float(item["MinValue"]), float(item["MaxValue"])
    shares = [number / (GRID_POINTS - 1) for number in range(GRID_POINTS)]
    if item.get("ScalingType") == "Logarithmic":
        values = [low * (high / low) ** share for share in shares]
    else:
        values = [low + (high - low) * share for share in shares]
    return {"Name": item["Name"], "Values": [str(round(value)) if whole else f"{value:.6g}" for value in values]}


def num_points(ranges: Ranges) -> int:
    """Count the points of a grid."""
    number = 1
    for item in ranges["CategoricalParameterRanges"]:
        number *= len(item["Values"])
    return number


def only_given(static: Mapping[str, str], ranges: Ranges) -> dict[str, str]:
    """Turn the search inside a job off when the tuning job decides all that it would search."""
    decided = {item["Name"] for items in ranges.values() for item in items} | set(static)
    is_decided = "search_trials" not in static and all(name in decided for name in HEAD_SETTINGS)
    return {"search_trials": "1"} if is_decided else {}


def parse_ranges(texts: Sequence[str]) -> Ranges | None:
    """Read `lr=0.0001:0.1:log`, `num_views=1:4` and `optimizer=adamw,sgd`. Raises UserError."""
    if not texts:
        return None
    ranges: Ranges = {kind: [] for kind in parameter_ranges(TrainingConfig)}
    for text in texts:
        name, separator, value = text.partition("=")
        name = name.strip().replace("-", "_")
        parts = [part.strip() for part in value.split(":")]
        if separator and len(parts) in (2, 3) and (len(parts) == 2 or parts[2] in ("log", "linear")):
            check_hyperparameters({name: parts[0]})
            check_hyperparameters({name: parts[1]})
            scale = {"log": "Logarithmic", "linear": "Linear"}[parts[2] if len(parts) == 3 else "linear"]
            item = {"Name": name, "MinValue": parts[0], "MaxValue": parts[1], "ScalingType": scale}
            is_whole = TrainingConfig.__annotations__[name] in (int, int | None)
            ranges["IntegerParameterRanges" if is_whole else "ContinuousParameterRanges"].append(item)
        elif separator and value and len(parts) == 1:
            values = [choice.strip() for choice in value.split(",")]
            for choice in values:
                check_hyperparameters({name: choice})
            ranges["CategoricalParameterRanges"].append({"Name": name, "Values": values})
        else:
            raise UserError(f"--range {text}: write NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=VALUE,VALUE")
    return ranges


def check_hyperparameters(values: Mapping[str, str]) -> None:
    """Check hyperparameters as `train` will. Raises UserError that lists every problem."""
    from_strings(TrainingConfig, values)


def model(name: str, model_data: str, terms: Terms, environment: Mapping[str, str], *, multi: bool = False) -> Request:
    """Build CreateModel: of one model.tar.gz, or with `multi` of all those below a prefix."""
    container: Request = {"Image": terms.image, "ModelDataUrl": model_data, "Environment": dict(environment)}
    if multi:
        container["Mode"] = "MultiModel"
    return {"ModelName": name, "PrimaryContainer": container, "ExecutionRoleArn": terms.role}


def endpoint_config(
    name: str,
    model_name: str,
    terms: Terms,
    *,
    num_instances: int = 1,
    serverless: bool = False,
    asynchronous: bool = False,
) -> Request:
    """Build CreateEndpointConfig."""
    variant: Request = {"VariantName": "AllTraffic", "ModelName": model_name}
    if serverless:
        variant["ServerlessConfig"] = dict(SERVERLESS)
    else:
        variant |= {"InstanceType": terms.serving_instance_type, "InitialInstanceCount": num_instances}
    request: Request = {"EndpointConfigName": name, "ProductionVariants": [variant]}
    if asynchronous:
        output = f"{terms.output.rstrip('/')}/async/{name}"
        request["AsyncInferenceConfig"] = {"OutputConfig": {"S3OutputPath": output}}
    return request


def endpoint(name: str, config_name: str) -> Request:
    """Build CreateEndpoint."""
    return {"EndpointName": name, "EndpointConfigName": config_name}


def scaling(endpoint_name: str, low: int, high: int) -> tuple[Request, Request]:
    """Build RegisterScalableTarget and PutScalingPolicy of Application Auto Scaling: 100 invocations a minute each."""
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint_name}/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    policy = {
        "PolicyName": f"{endpoint_name}-invocations",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 100.0, "PredefinedMetricSpecification": metric},
    }
    return {**target, "MinCapacity": low, "MaxCapacity": high}, {**target, **policy}


def transform_job(name: str, model_name: str, source: str, output: str, terms: Terms) -> Request:
    """Build CreateTransformJob: every file below the source is one image and gets one answer."""
    return {
        "TransformJobName": name,
        "ModelName": model_name,
        "BatchStrategy": "SingleRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": source}},
            "ContentType": "application/x-image",
            "SplitType": "None",
        },
        "TransformOutput": {"S3OutputPath": output, "Accept": "application/json", "AssembleWith": "None"},
        "TransformResources": {"InstanceType": terms.serving_instance_type, "InstanceCount": 1},
    }
