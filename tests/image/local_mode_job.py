"""Train, deploy, invoke and batch-transform with SageMaker's own local mode; runs in .venv-local-mode.

`local_mode_job.py REQUEST.json ANSWER.json`: the one names image, photographs, photograph, folder and port.
"""

import json
import sys
from pathlib import Path
from typing import Any

from sagemaker.core.local import LocalSession

ROLE = "arn:aws:iam::123456789012:role/local"
NO_TELEMETRY = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}


def main(request_file: Path, answer_file: Path) -> None:
    """Run the jobs one after the other and write what they answered."""
    request = json.loads(request_file.read_text())
    session = LocalSession(sagemaker_config=NO_TELEMETRY)
    local = {"local_code": False, "serving_port": request["port"], "container_root": request["folder"]}
    session.config = {"local": local}
    client = session.sagemaker_client
    model_data = train(client, request)
    container = {"Image": request["image"], "ModelDataUrl": model_data, "Environment": {}}
    client.create_model(ModelName="kennel", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    answer = {"model_data": model_data, "invoked": deploy_and_invoke(session, request)}
    answer["transformed"] = transform(client, request)
    answer_file.write_text(json.dumps(answer))


def train(client: Any, request: dict[str, Any]) -> str:
    """Run a training job and return where its model.tar.gz is."""
    source = {"FileDataSource": {"FileDataDistributionType": "FullyReplicated", "FileUri": request["photographs"]}}
    client.create_training_job(
        TrainingJobName="kennel-train",
        AlgorithmSpecification={"TrainingImage": request["image"], "TrainingInputMode": "File"},
        RoleArn=ROLE,
        HyperParameters={"strategy": '"linear_probe"', "epochs": "20"},
        InputDataConfig=[{"ChannelName": "training", "DataSource": source}],
        OutputDataConfig={"S3OutputPath": f"file://{request['folder']}/output"},
        ResourceConfig={"InstanceType": "local", "InstanceCount": 1, "VolumeSizeInGB": 10},
        StoppingCondition={"MaxRuntimeInSeconds": 600},
    )
    job = client.describe_training_job(TrainingJobName="kennel-train")
    return str(job["ModelArtifacts"]["S3ModelArtifacts"])


def deploy_and_invoke(session: Any, request: dict[str, Any]) -> Any:
    """Serve the model, ask about the photograph, and stop."""
    client = session.sagemaker_client
    variant = {"VariantName": "all", "ModelName": "kennel", "InstanceType": "local", "InitialInstanceCount": 1}
    client.create_endpoint_config(EndpointConfigName="kennel", ProductionVariants=[variant])
    client.create_endpoint(EndpointName="kennel", EndpointConfigName="kennel")
    try:
        response = session.sagemaker_runtime_client.invoke_endpoint(
            EndpointName="kennel", Body=Path(request["photograph"]).read_bytes(), ContentType="image/png"
        )
        return json.loads(response["Body"].read())
    finally:
        client.delete_endpoint(EndpointName="kennel")


def transform(client: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Run a batch transform over a class folder and return the answer to each photograph."""
    folder = Path(request["photograph"]).parent
    output = Path(request["folder"], "transformed")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"file://{folder}"}}
    client.create_transform_job(
        TransformJobName="kennel-transform",
        ModelName="kennel",
        BatchStrategy="SingleRecord",
        MaxPayloadInMB=6,
        TransformInput={"DataSource": source, "ContentType": "application/x-image", "SplitType": "None"},
        TransformOutput={"S3OutputPath": f"file://{output}"},
        TransformResources={"InstanceType": "local", "InstanceCount": 1},
    )
    return {file.name: json.loads(file.read_text()) for file in sorted(output.rglob("*.out"))}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
