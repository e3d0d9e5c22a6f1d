"""botocore's model of the service, loaded when it is first needed: it takes a third of a second."""

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from botocore.model import ServiceModel

ERROR_STATUS = {"ModelError": 424, "InternalFailure": 500}
"""HTTP status of error codes that do not answer 400."""


def service_model(service: str = "sagemaker") -> "ServiceModel":
    """Give the model of a service of AWS."""
    return cached_model(service)


@cache
def cached_model(service: str) -> "ServiceModel":
    """Load the model of a service of AWS."""
    from botocore.model import ServiceModel

    return ServiceModel(load(service, "service-2"), service)


@cache
def load(service: str, kind: str) -> dict[str, Any]:
    """Load one of botocore's data files, such as `waiters-2`."""
    from botocore.loaders import create_loader

    return dict(create_loader().load_service_model(service, kind))


def check_request(operation: str, parameters: Mapping[str, Any], service: str = "sagemaker") -> None:
    """Check a request as boto3 does before it sends one. Raises botocore's ParamValidationError."""
    from botocore.exceptions import ParamValidationError
    from botocore.validate import ParamValidator

    shape = service_model(service).operation_model(operation).input_shape
    report = ParamValidator().validate(dict(parameters), shape)
    if report.has_errors():
        raise ParamValidationError(report=report.generate_report())


def client_exceptions(service: str = "sagemaker") -> Any:
    """Give the exception classes that a boto3 client has in `client.exceptions`, always the same ones."""
    return cached_exceptions(service)


@cache
def cached_exceptions(service: str) -> Any:
    """Make the exception classes of a service."""
    from botocore.errorfactory import ClientExceptionsFactory

    return ClientExceptionsFactory().create_client_exceptions(service_model(service))


def client_error(operation: str, code: str, message: str, service: str = "sagemaker", **members: object) -> Exception:
    """Make the exception that boto3 raises when the service answers with an error."""
    response: dict[str, Any] = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": ERROR_STATUS.get(code, 400), "HTTPHeaders": {}, "RetryAttempts": 0},
        **members,
    }
    error: Exception = client_exceptions(service).from_code(code)(response, operation)
    return error


def refuse(operation: str, message: str) -> NoReturn:
    """Raise the service's ValidationException."""
    raise client_error(operation, "ValidationException", message)


LOCAL_INSTANCE_TYPES = ("local", "local_gpu")
"""Instance types of the SageMaker SDK's local mode; the service knows none of them."""


def constraint_problems(shape: Any, value: Any, path: str = "") -> list[str]:
    """List what the service would refuse and botocore lets pass: patterns, lengths and choices of strings.

    `file://` URIs and local instance types are let pass: the targets of this machine take them for S3's and AWS's.
    """
    if shape.type_name == "structure":
        members = shape.members
        pairs = [(members[name], item, f"{path}.{name}") for name, item in value.items() if name in members]
    elif shape.type_name == "list":
        pairs = [(shape.member, item, f"{path}.{number}") for number, item in enumerate(value, 1)]
    elif shape.type_name == "map":
        pairs = [(part, item, f"{path}.{key}") for key, text in value.items() for part, item in
                 ((shape.key, key), (shape.value, text))]  # fmt: skip
    else:
        return string_problems(shape, value, path.lstrip(".")) if isinstance(value, str) else []
    return [problem for part, item, where in pairs for problem in constraint_problems(part, item, where)]


def string_problems(shape: Any, text: str, path: str) -> list[str]:
    """List what is wrong with a string, in the service's words."""
    constraint = ""
    if text.startswith("file://") or text in LOCAL_INSTANCE_TYPES:
        return []
    if shape.enum and text not in shape.enum:
        constraint = f"enum value set: [{', '.join(shape.enum)}]"
    elif not matches(pattern := shape.metadata.get("pattern", ""), text):
        constraint = f"regular expression pattern: {pattern}"
    elif len(text) > shape.metadata.get("max", len(text)):
        constraint = f"length less than or equal to {shape.metadata['max']}"
    return [f"Value '{text}' at '{path}' failed to satisfy constraint: Member must satisfy {constraint}"] * bool(
        constraint
    )


def matches(pattern: str, text: str) -> bool:
    """Tell whether a string follows a pattern; those with Java's classes, which only Tags have, are not checked."""
    return not pattern or "\\p{" in pattern or re.fullmatch(pattern, text) is not None


def check_constraints(operation: str, parameters: Mapping[str, Any]) -> None:
    """Check a request as the service does. Raises its ValidationException."""
    problems = constraint_problems(service_model().operation_model(operation).input_shape, parameters)
    if problems:
        refuse(
            operation, f"{len(problems)} validation error{'s' * (len(problems) > 1)} detected: {'; '.join(problems)}"
        )
