"""Errors as clients see them: one JSON shape."""

from flask import Response, g, jsonify
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    InternalServerError,
    RequestEntityTooLarge,
    ServiceUnavailable,
)

from classifier.errors import ImageError, ImageTooLargeError

RETRY_AFTER_SECONDS = 1
MAX_MESSAGE_LENGTH = 500


class InsufficientStorage(HTTPException):
    """No memory is left for one more model."""

    code = 507
    name = "Insufficient Storage"


def as_http_error(error: ImageError) -> HTTPException:
    """Give the status that says why an image cannot be read: 413 for too many pixels, else 400."""
    return (RequestEntityTooLarge if isinstance(error, ImageTooLargeError) else BadRequest)(str(error))


def describe(error: HTTPException) -> dict[str, dict[str, str]]:
    """Describe an error: a code to switch on and a message for a person."""
    code = error.name.lower().replace(" ", "_")
    return {"error": {"code": code, "message": (error.description or "")[:MAX_MESSAGE_LENGTH]}}


def error_response(error: HTTPException) -> Response:
    """Write an error as JSON, with the id of the request."""
    content = describe(error)
    content["error"]["request_id"] = g.get("request_id", "")
    response = jsonify(content)
    response.status_code = error.code or InternalServerError.code
    if isinstance(error, ServiceUnavailable):
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response
