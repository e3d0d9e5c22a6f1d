"""The HTTP application: what is asked under which address."""

import json
import logging
import time
import uuid
from collections.abc import Callable

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import BadRequest, HTTPException, InternalServerError, ServiceUnavailable

from container.paths import ContainerPaths
from serve.batching import Admission
from serve.config import ServeConfig
from serve.errors import error_response
from serve.invocations import CUSTOM_ATTRIBUTES, invoke
from serve.models import ReadyModel, ServedModel
from serve.repository import Repository
from serve.sizing import Sizes

logger = logging.getLogger(__name__)

Answer = Callable[[ReadyModel], Response]

INFERENCE_ID = "X-Amzn-SageMaker-Inference-Id"
BYTES_PER_MB = 1024 * 1024
MAX_HEADER_LENGTH = 1024
"""SageMaker's own limit for custom attributes."""


def create_app(config: ServeConfig, paths: ContainerPaths, sizes: Sizes) -> Flask:
    """Build the application for the artifact in /opt/ml/model, or for a multi-model endpoint."""
    app = Flask("serve", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = int(config.max_payload_mb * BYTES_PER_MB)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    admission = Admission(config.num_admitted)

    def answer(model: ReadyModel) -> Response:
        deadline = time.monotonic() + config.deadline_seconds
        with admission.place():
            return invoke(model, config, deadline)

    if config.is_multi_model:
        add_models(app, Repository(paths.models, config, sizes), answer)
    else:
        add_model(app, ServedModel(paths.model, config, sizes), answer)

    @app.get("/execution-parameters")
    def execution_parameters() -> Response:
        return jsonify(config.execution_parameters())

    app.before_request(name_request)
    app.after_request(echo_attributes)
    if config.access_log:
        app.after_request(log_request)
    app.register_error_handler(HTTPException, error_response)
    app.register_error_handler(Exception, defect)
    return app


def add_model(app: Flask, served: ServedModel, answer: Answer) -> None:
    """Serve one model, which begins to load."""
    served.start_loading()

    @app.get("/ping")
    def ping() -> Response:
        ready(served)
        return Response(status=200)

    @app.post("/invocations")
    def invocations() -> Response:
        return answer(ready(served))


def add_models(app: Flask, repository: Repository, answer: Answer) -> None:
    """Serve the models of a multi-model endpoint; there may be none."""

    @app.get("/ping")
    def ping() -> Response:
        return Response(status=200)

    @app.post("/models")
    def load() -> Response:
        content = request.get_json(force=True, silent=True)
        given = content if isinstance(content, dict) else {}
        name, url = given.get("model_name"), given.get("url")
        if not (isinstance(name, str) and name and isinstance(url, str)):
            raise BadRequest("the body must be an object with the strings model_name and url")
        repository.load(name, url)
        return jsonify(repository.get(name).describe())

    @app.get("/models")
    def models() -> Response:
        return jsonify(repository.page(request.args.get("next_page_token", "")))

    @app.get("/models/<name>")
    def model(name: str) -> Response:
        return jsonify(repository.get(name).describe())

    @app.delete("/models/<name>")
    def unload(name: str) -> Response:
        repository.unload(name)
        return Response(status=200)

    @app.post("/models/<name>/invoke")
    def invoke_model(name: str) -> Response:
        return answer(repository.get(name).model)


def ready(served: ServedModel) -> ReadyModel:
    """Give the model. Raises ServiceUnavailable while there is none."""
    if served.model is None:
        raise ServiceUnavailable(
            "the model cannot be served; see the log" if served.failure else "the model is loading"
        )
    return served.model


def name_request() -> None:
    """Take the inference id as the request's name, or make one."""
    g.started = time.monotonic()
    g.request_id = request.headers.get(INFERENCE_ID, "")[:64] or uuid.uuid4().hex


def echo_attributes(response: Response) -> Response:
    """Send the custom attributes back, as the built-in algorithms do."""
    attributes = request.headers.get(CUSTOM_ATTRIBUTES, "")
    if 0 < len(attributes) <= MAX_HEADER_LENGTH and attributes.isascii() and attributes.isprintable():
        response.headers[CUSTOM_ATTRIBUTES] = attributes
    return response


def log_request(response: Response) -> Response:
    """Write a line of JSON for each request but `/ping`, which comes every few seconds."""
    if request.path != "/ping":
        milliseconds = round((time.monotonic() - g.started) * 1000, 1)
        entry = {"request_id": g.request_id, "method": request.method, "path": request.path}
        entry |= {"status": response.status_code, "milliseconds": milliseconds, "bytes": request.content_length}
        logger.info("%s", json.dumps(entry))
    return response


def defect(error: Exception) -> Response:
    """Log a defect, and tell nothing of the inside."""
    logger.error("defect while answering a request", exc_info=error)
    return error_response(InternalServerError("a defect in the server; its log says more"))
