"""The HTTP application: /ping and /invocations."""

import logging

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    InternalServerError,
    RequestEntityTooLarge,
    ServiceUnavailable,
    UnsupportedMediaType,
)

from classifier.errors import ImageError, ImageTooLargeError
from classifier.inference import ImageClassifier
from container.paths import ContainerPaths
from serve.codecs import IMAGE_TYPES, custom_attributes, encode_predictions, media_type
from serve.config import ServeConfig
from serve.models import ServedModel

logger = logging.getLogger(__name__)

CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
BYTES_PER_MB = 1024 * 1024


def create_app(config: ServeConfig, paths: ContainerPaths) -> Flask:
    """Build the application and begin to load the artifact in /opt/ml/model."""
    app = Flask("serve", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = int(config.max_payload_mb * BYTES_PER_MB)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    model = ServedModel(paths.model)
    model.start_loading()

    @app.get("/ping")
    def ping() -> Response:
        ready(model)
        return Response(status=200)

    @app.post("/invocations")
    def invocations() -> Response:
        classifier = ready(model)
        if media_type(request.content_type) not in IMAGE_TYPES:
            raise UnsupportedMediaType(
                f"Content-Type {request.content_type!r} is not read; send an image as {', '.join(sorted(IMAGE_TYPES))}"
            )
        top_k = requested_top_k()
        body = request.get_data()
        if not body:
            raise BadRequest("the body is empty; send the bytes of an image")
        pixels = classifier.read(body)[None]
        # Who asks for no number misses none of the selected labels.
        predictions = classifier.predict(pixels, top_k or config.top_k, keep_selected=top_k is None)[0]
        return jsonify(encode_predictions(predictions))

    app.register_error_handler(HTTPException, error_response)
    app.register_error_handler(ImageTooLargeError, lambda error: error_response(RequestEntityTooLarge(str(error))))
    app.register_error_handler(ImageError, lambda error: error_response(BadRequest(str(error))))
    app.register_error_handler(Exception, defect)
    return app


def ready(model: ServedModel) -> ImageClassifier:
    """Give the classifier. Raises ServiceUnavailable while there is none."""
    if model.classifier is None:
        raise ServiceUnavailable("the model cannot be served; see the log" if model.failure else "the model is loading")
    return model.classifier


def requested_top_k() -> int | None:
    """Read top_k from the query or from the custom attributes. Raises BadRequest for no whole number of at least 1."""
    attributes = custom_attributes(request.headers.get(CUSTOM_ATTRIBUTES))
    text = request.args.get("top_k", attributes.get("top_k"))
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text[:9]) < 1:
        raise BadRequest(f"top_k={text!r} must be a whole number of at least 1; send one such as 5")
    return int(text[:9])


def error_response(error: HTTPException) -> Response:
    """Write an error as JSON: a code to switch on and a message for a person."""
    code = error.name.lower().replace(" ", "_")
    response = jsonify({"error": {"code": code, "message": error.description}})
    response.status_code = error.code or InternalServerError.code
    if isinstance(error, ServiceUnavailable):
        response.headers["Retry-After"] = "1"
    return response


def defect(error: Exception) -> Response:
    """Log a defect, and tell nothing of the inside."""
    logger.error("defect while answering a request", exc_info=error)
    return error_response(InternalServerError("a defect in the server; its log says more"))
