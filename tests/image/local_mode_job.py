"""Carry out requests of jobs.requests with SageMaker's own local mode; runs in .venv-local-mode, without jobs.

`local_mode_job.py REQUEST.json ANSWER.json`: the one holds the requests, a photograph, a folder and a port.
"""

import json
import sys
from pathlib import Path
from typing import Any

from sagemaker.core.local import LocalSession

NO_TELEMETRY = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}


def main(request_file: Path, answer_file: Path) -> None:
    """Run the jobs one after the other and write what they answered."""
    request = json.loads(request_file.read_text())
    session = LocalSession(sagemaker_config=NO_TELEMETRY)
    local = {"local_code": False, "serving_port": request["port"], "container_root": request["folder"]}
    session.config = {"local": local}
    client = session.sagemaker_client
    model_data = train(client, request["training"])
    model = request["model"]
    model["PrimaryContainer"]["ModelDataUrl"] = model_data
    client.create_model(**model)
    answer = {"model_data": model_data, "invoked": deploy_and_invoke(session, request)}
    answer["transformed"] = transform(client, request["transform"])
    answer_file.write_text(json.dumps(answer))


def train(client: Any, training: dict[str, Any]) -> str:
    """Run a training job and return where its model.tar.gz is."""
    client.create_training_job(**training)
    job = client.describe_training_job(TrainingJobName=training["TrainingJobName"])
    return str(job["ModelArtifacts"]["S3ModelArtifacts"])


def deploy_and_invoke(session: Any, request: dict[str, Any]) -> Any:
    """Serve the model, ask about the photograph, and stop."""
    client, name = session.sagemaker_client, request["endpoint"]["EndpointName"]
    client.create_endpoint_config(**request["endpoint_config"])
    client.create_endpoint(**request["endpoint"])
    try:
        response = session.sagemaker_runtime_client.invoke_endpoint(
            EndpointName=name, Body=Path(request["photograph"]).read_bytes(), ContentType="image/png"
        )
        return json.loads(response["Body"].read())
    finally:
        client.delete_endpoint(EndpointName=name)


def transform(client: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Run a batch transform over a class folder and return the answer to each photograph."""
    client.create_transform_job(**request)
    output = Path(request["TransformOutput"]["S3OutputPath"].removeprefix("file://"))
    return {file.name: json.loads(file.read_text()) for file in sorted(output.rglob("*.out"))}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
