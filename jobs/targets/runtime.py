"""boto3's sagemaker-runtime client, for endpoints of this machine."""

import io
import json
import uuid
from pathlib import Path
from typing import Any

from jobs.kinds import ENDPOINT
from jobs.serving import ask
from jobs.shapes import check_request, client_error, client_exceptions
from jobs.store import NotFoundError, Record
from jobs.targets.catalogue import Answer, answered
from jobs.targets.process import ProcessClient
from jobs.uris import file_uri, local_path

SERVICE = "sagemaker-runtime"
TIMEOUT_SECONDS = 60.0
"""In which a container must answer on the service."""

ACCOUNT_WORDS = "Endpoint {name} of account 000000000000 not found."

FORWARDED = {
    "ContentType": "Content_Type",
    "Accept": "Accept",
    "CustomAttributes": "X_Amzn_SageMaker_Custom_Attributes",
    "TargetModel": "X_Amzn_SageMaker_Target_Model",
    "InferenceId": "X_Amzn_SageMaker_Inference_Id",
}
"""Headers that the container gets, by request member."""


class RuntimeClient:
    """Invokes endpoints; a dead endpoint is started again by the way."""

    def __init__(self, client: ProcessClient) -> None:
        self._client = client

    @property
    def exceptions(self) -> Any:
        """The exception classes of a boto3 client."""
        return client_exceptions(SERVICE)

    def invoke_endpoint(self, **parameters: Any) -> Answer:
        """Ask an endpoint. Raises the service's errors: ValidationError, ModelError."""
        from botocore.response import StreamingBody

        operation = "InvokeEndpoint"
        check_request(operation, parameters, SERVICE)
        record = self._endpoint(operation, parameters["EndpointName"])
        answer = self._invoke(operation, record, parameters, parameters.get("Body", b""))
        variant = record.description["ProductionVariants"][0]["VariantName"]
        headers = {name.lower(): text for name, text in answer.headers.items()}
        members = {
            "Body": StreamingBody(io.BytesIO(answer.body), len(answer.body)),
            "ContentType": headers.get("content-type", ""),
            "InvokedProductionVariant": variant,
        }
        if attributes := headers.get("x-amzn-sagemaker-custom-attributes"):
            members["CustomAttributes"] = attributes
        return answered(members)

    def invoke_endpoint_async(self, **parameters: Any) -> Answer:
        """Ask an endpoint about a file, and write the answer to its output folder: done when this returns."""
        operation = "InvokeEndpointAsync"
        check_request(operation, parameters, SERVICE)
        record = self._endpoint(operation, parameters["EndpointName"])
        config = record.description.get("AsyncInferenceConfig")
        if config is None:
            message = f"Endpoint {parameters['EndpointName']} is not asynchronous; deploy it with --async"
            raise client_error(operation, "ValidationError", message, SERVICE)
        try:
            body = local_path(parameters["InputLocation"]).read_bytes()
        except (ValueError, OSError) as error:
            raise client_error(operation, "ValidationError", str(error), SERVICE) from error
        inference = parameters.get("InferenceId", str(uuid.uuid4()))
        output = local_path(config["OutputConfig"].get("S3OutputPath") or file_uri(Path.cwd()))
        answer = self._invoke(operation, record, parameters, body)
        output.mkdir(parents=True, exist_ok=True)
        target = output / f"{inference}.out"
        target.write_bytes(answer.body)
        return answered({"InferenceId": inference, "OutputLocation": file_uri(target)})

    def _endpoint(self, operation: str, name: str) -> Record:
        """Find an endpoint that can be asked."""
        try:
            record = self._client.current(ENDPOINT, name)
        except NotFoundError:
            raise client_error(operation, "ValidationError", ACCOUNT_WORDS.format(name=name), SERVICE) from None
        if "Port" not in record.private or record.description["EndpointStatus"] not in ("InService", "Updating"):
            status = record.description["EndpointStatus"]
            message = f"Endpoint {name} is {status}; wait until it is InService, or see `kennel describe {name}`"
            raise client_error(operation, "ValidationError", message, SERVICE)
        return record

    def _invoke(self, operation: str, record: Record, parameters: Answer, body: Any) -> Any:
        """Send the body on, and turn a container's error into the service's."""
        content = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else body.read()
        headers = {header: parameters[name] for name, header in FORWARDED.items() if name in parameters}
        try:
            answer = ask(record.private["Port"], "POST", "/invocations", TIMEOUT_SECONDS, content, **headers)
        except TimeoutError:
            text = f"Received server error (0) from primary: the invocation took over {TIMEOUT_SECONDS:.0f} s"
            raise self._model_error(operation, record, 0, text) from None
        except OSError as error:
            text = f"Received server error (0) from primary: no connection ({error}); it is started again"
            raise self._model_error(operation, record, 0, text) from error
        if answer.status >= 400:
            raise self._model_error(operation, record, answer.status, answer.body.decode("utf-8", "replace"))
        return answer

    @staticmethod
    def _model_error(operation: str, record: Record, status: int, text: str) -> Exception:
        """Make the ModelError of a container's answer."""
        side = "client" if 400 <= status < 500 else "server"
        name = record.description["EndpointName"]
        message = f'Received {side} error ({status}) from primary with message "{text}". See `kennel logs {name}`.'
        members = {"OriginalStatusCode": status, "OriginalMessage": text, "LogStreamArn": f"kennel logs {name}"}
        return client_error(operation, "ModelError", message, SERVICE, **members)


def decode(answer: Answer) -> Any:
    """Read the JSON of an answer."""
    return json.loads(answer["Body"].read())
