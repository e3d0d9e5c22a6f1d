"""What a client can tell of jobs on this machine: Describe, List with pages, waiters, paginators, exceptions."""

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jobs.kinds import Kind
from jobs.shapes import check_request, client_error, client_exceptions, load, refuse, service_model
from jobs.store import Description, NotFoundError, Record, Store

Answer = dict[str, Any]

PAGE_SIZE, MAX_PAGE_SIZE = 10, 100
"""Entries of a List answer, by default and at most, as on the service."""

FILTERS: dict[str, Callable[[Description, Any], bool]] = {
    "CreationTimeAfter": lambda item, bound: item["CreationTime"] >= bound,
    "CreationTimeBefore": lambda item, bound: item["CreationTime"] <= bound,
    "LastModifiedTimeAfter": lambda item, bound: item["LastModifiedTime"] >= bound,
    "LastModifiedTimeBefore": lambda item, bound: item["LastModifiedTime"] <= bound,
}
LIST_PARAMETERS = {"NextToken", "MaxResults", "SortBy", "SortOrder", "NameContains", "StatusEquals"}


def answered(members: Answer | None = None) -> Answer:
    """Complete an answer as boto3 does."""
    metadata = {"RequestId": "local", "HTTPStatusCode": 200, "HTTPHeaders": {}, "RetryAttempts": 0}
    return {**(members or {}), "ResponseMetadata": metadata}


class Meta:
    """What botocore's waiters ask a client about itself."""

    events: Any = None

    @property
    def service_model(self) -> Any:
        """The model of the SageMaker service."""
        return service_model()


class Catalogue:
    """Reads what the store holds, in boto3's shapes."""

    meta = Meta()

    def __init__(self, home: Path, target: str) -> None:
        self.home = home
        self.target = target
        self.store = Store(home / target)

    @property
    def exceptions(self) -> Any:
        """The exception classes of a boto3 client."""
        return client_exceptions()

    def current(self, kind: Kind, name: str) -> Record:
        """Read a record that is true now. Raises NotFoundError."""
        return self.store.read(kind, name)

    def find(self, operation: str, kind: Kind, parameters: Answer) -> tuple[str, Record]:
        """Find what a request names. Raises the service's error when it is not there."""
        name = only_name(operation, kind, parameters)
        try:
            return name, self.current(kind, name)
        except NotFoundError:
            raise self.not_found(operation, kind, name) from None

    @staticmethod
    def not_found(operation: str, kind: Kind, name: str) -> Exception:
        """Make the service's error for a name that is not there."""
        code, message = kind.not_found
        return client_error(operation, code, message.format(name=name, words=kind.words, arn=kind.arn(name)))

    def describe(self, kind: Kind, parameters: Answer) -> Answer:
        """Answer a Describe request."""
        _, record = self.find(f"Describe{kind.noun}", kind, parameters)
        return answered(record.description)

    def list(self, kind: Kind, parameters: Answer) -> Answer:
        """Answer a List request."""
        operation = f"List{kind.plural}"
        check_list_parameters(operation, parameters)
        contains = parameters.get("NameContains", "")
        found = []
        for name in self.store.names(kind):
            if contains in name:
                try:
                    found.append(self.current(kind, name).description)
                except NotFoundError:
                    continue
        status = parameters.get("StatusEquals")
        found = [item for item in found if status in (None, item.get(kind.status))]
        for key, matches in FILTERS.items():
            if key in parameters:
                found = [item for item in found if matches(item, parameters[key])]
        keys = {"Name": kind.name_key, "CreationTime": "CreationTime", "Status": kind.status}
        sort_key = keys[parameters.get("SortBy", "CreationTime")]
        page, token = cut_page(
            operation, found, parameters, lambda item: (str_key(item[sort_key]), item[kind.name_key]), kind.sort_order
        )
        members = (kind.name_key, kind.arn_key, "CreationTime", *([kind.status] if kind.status else []), *kind.summary)
        shown = [summarise(item, members) for item in page]
        return answered({kind.listed: shown, **({"NextToken": token} if token else {})})

    # What boto3 makes out of botocore's data files.

    @property
    def waiter_names(self) -> Sequence[str]:
        """The names that get_waiter takes, of operations that this client has."""
        from botocore import xform_name

        waiters = load("sagemaker", "waiters-2")["waiters"]
        return [xform_name(name) for name, item in waiters.items() if hasattr(self, xform_name(item["operation"]))]

    def get_waiter(self, name: str) -> Any:
        """Make one of botocore's waiters. Raises ValueError for a name that is none."""
        from botocore import xform_name
        from botocore.waiter import WaiterModel, create_waiter_with_client

        model = WaiterModel(load("sagemaker", "waiters-2"))
        names = {xform_name(item): item for item in model.waiter_names}
        if name not in self.waiter_names:
            raise ValueError(f"Waiter does not exist: {name}")
        return create_waiter_with_client(names[name], model, self)

    def can_paginate(self, method: str) -> bool:
        """Tell whether get_paginator takes the name of a method."""
        return hasattr(self, method) and method.startswith("list_")

    def get_paginator(self, method: str) -> Any:
        """Make one of botocore's paginators. Raises OperationNotPageableError."""
        from botocore.exceptions import OperationNotPageableError
        from botocore.paginate import Paginator

        if not self.can_paginate(method):
            raise OperationNotPageableError(operation_name=method)
        operation = next(name for name in service_model().operation_names if as_method(name) == method)
        config = load("sagemaker", "paginators-1")["pagination"][operation]
        return Paginator(getattr(self, method), config, service_model().operation_model(operation))


def as_method(operation: str) -> str:
    """Give boto3's method of an operation."""
    from botocore import xform_name

    return str(xform_name(operation))


def only_name(operation: str, kind: Kind, parameters: Answer) -> str:
    """Read a request that holds a name alone. Raises botocore's ParamValidationError."""
    name = parameters.get(kind.name_key)
    if len(parameters) != 1 or not isinstance(name, str):
        check_request(operation, parameters)
    return str(name)


def check_list_parameters(operation: str, parameters: Answer) -> None:
    """Check a List request; botocore's model is not loaded for what is plainly right."""
    size = parameters.get("MaxResults", PAGE_SIZE)
    strings = [value for key, value in parameters.items() if key not in ("MaxResults", *FILTERS)]
    plain = isinstance(size, int) and size >= 1 and all(isinstance(value, str) for value in strings)
    if not plain or not parameters.keys() <= LIST_PARAMETERS:
        check_request(operation, parameters)
    if unknown := parameters.keys() - LIST_PARAMETERS - FILTERS.keys() - {"HyperParameterTuningJobName"}:
        refuse(operation, f"{', '.join(sorted(unknown))}: only the service can list by this")
    if size > MAX_PAGE_SIZE:
        refuse(operation, f"MaxResults={size}: at most {MAX_PAGE_SIZE}; ask for the next page by NextToken")
    if parameters.get("SortOrder", "Ascending") not in ("Ascending", "Descending"):
        refuse(operation, f"SortOrder={parameters['SortOrder']}: Ascending or Descending")
    if parameters.get("SortBy", "Name") not in ("Name", "CreationTime", "Status", "FinalObjectiveMetricValue"):
        refuse(operation, f"SortBy={parameters['SortBy']}: Name, CreationTime or Status")


def cut_page(
    operation: str,
    items: Sequence[Description],
    parameters: Answer,
    key: Callable[[Description], Any],
    sort_order: str,
) -> tuple[Sequence[Description], str]:
    """Sort, and cut out the page that the token asks for; return it with the next page's token.

    The token is the key of the last entry, so that entries that come or go meanwhile move nothing.
    """
    descending = parameters.get("SortOrder", sort_order) == "Descending"
    ordered = sorted(items, key=key, reverse=descending)
    if token := parameters.get("NextToken"):
        try:
            last = tuple(json.loads(base64.urlsafe_b64decode(token)))
            ordered = [item for item in ordered if (key(item) < last if descending else key(item) > last)]
        except (ValueError, TypeError):
            refuse(operation, "The token is invalid; ask for the first page without one")
    size = parameters.get("MaxResults", PAGE_SIZE)
    page = ordered[:size]
    more = len(ordered) > size
    return page, base64.urlsafe_b64encode(json.dumps(key(page[-1])).encode()).decode() if more else ""


def str_key(value: Any) -> str | float:
    """Make a sort key that a token can hold."""
    return value.timestamp() if hasattr(value, "timestamp") else str(value)


def summarise(description: Description, members: Sequence[str]) -> Answer:
    """Cut a description down to what a list shows."""
    summary = {key: description[key] for key in members if key in description}
    config = description.get("HyperParameterTuningJobConfig")
    if config:
        summary |= {"Strategy": config["Strategy"], "ResourceLimits": config["ResourceLimits"]}
    return summary
