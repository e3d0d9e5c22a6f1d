"""One request: its images, their probabilities, its answer."""

from collections.abc import Sequence

from flask import Response, request
from werkzeug.exceptions import BadRequest, HTTPException, UnprocessableEntity, UnsupportedMediaType

from classifier.errors import ImageError
from classifier.inference import ImageClassifier
from classifier.preprocessing import Pixels, eval_transform
from serve.answers import Options, Result, Writer
from serve.arrays import to_image
from serve.bodies import Body, Item, read_body, read_files
from serve.config import ServeConfig
from serve.errors import as_http_error
from serve.media import MULTIPART, REQUEST_TYPES, answer_type, custom_attributes, media_type
from serve.models import ReadyModel

CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


def invoke(model: ReadyModel, config: ServeConfig, deadline: float) -> Response:
    """Answer the current request. Raises HTTPException for one that cannot be, or not by the deadline."""
    accepted = answer_type(request.headers.get("Accept"), config.default_accept)
    options = requested_options()
    body = requested_images(config)
    results = classify(model, body.items, deadline)
    if not config.is_batch:
        refuse_errors(results, is_many=body.is_many)
    writer = Writer(model.classifier.artifact, options, config.top_k)
    return Response(writer.write(results, accepted, is_many=body.is_many), content_type=accepted)


def requested_options() -> Options:
    """Read top_k and threshold from the query or from the custom attributes. Raises BadRequest for other values."""
    given = {**custom_attributes(request.headers.get(CUSTOM_ATTRIBUTES)), **request.args.to_dict()}
    top_k, threshold = given.get("top_k"), given.get("threshold")
    if top_k is not None and not (top_k.isascii() and top_k.isdigit() and int(top_k[:9]) >= 1):
        raise BadRequest(f"top_k={top_k!r} must be a whole number of at least 1; send one such as 5")
    try:
        number = None if threshold is None else float(threshold)
    except ValueError:
        number = -1
    if number is not None and not 0 <= number <= 1:
        raise BadRequest(f"threshold={threshold!r} must be a number in [0, 1]; send one such as 0.5")
    return Options(None if top_k is None else int(top_k[:9]), number)


def requested_images(config: ServeConfig) -> Body:
    """Take the images out of the request; in a batch transform job, a body that holds none is one bad record."""
    content_type = media_type(request.content_type)
    if content_type not in REQUEST_TYPES:
        raise UnsupportedMediaType(
            f"Content-Type {request.content_type!r} is not read; send one of {', '.join(REQUEST_TYPES)}"
        )
    try:
        if content_type == MULTIPART:
            return read_files((file for _, file in request.files.items(multi=True)), config.max_images)
        return read_body(request.get_data(), content_type, config.max_images)
    except (BadRequest, UnprocessableEntity) as error:
        if not config.is_batch:
            raise
        return Body((error,), is_many=False)


def classify(model: ReadyModel, items: Sequence[Item], deadline: float) -> list[Result]:
    """Compute the probabilities of images, and say of each that cannot be read why."""
    loaded = []
    for item in items:
        # As many photographs as there are cores are in memory at their full size.
        with model.decoding:
            loaded.append(load(model.classifier, item))
    pixels = [item for item in loaded if not isinstance(item, HTTPException)]
    rows = iter(model.batcher.submit(pixels, deadline) if pixels else [])
    return [item if isinstance(item, HTTPException) else next(rows) for item in loaded]


def load(classifier: ImageClassifier, item: Item) -> Pixels | HTTPException:
    """Bring an image to the pixels that the network takes, or say why that cannot be."""
    if isinstance(item, HTTPException):
        return item
    try:
        if isinstance(item, bytes):
            return classifier.read(item)
        return eval_transform(to_image(item), classifier.artifact.preprocessing)
    except ImageError as error:
        return as_http_error(error)
    except HTTPException as error:
        return error


def refuse_errors(results: Sequence[Result], *, is_many: bool) -> None:
    """Raise the first error, with the number of its image where there are many."""
    for number, result in enumerate(results, start=1):
        if isinstance(result, HTTPException):
            if is_many:
                result.description = f"image {number} of {len(results)}: {result.description}"
            raise result
