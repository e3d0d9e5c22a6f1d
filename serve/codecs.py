"""What a request may hold, and how an answer is written."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from classifier.inference import Prediction

IMAGE_TYPES = frozenset(
    {
        "image/jpeg",
        "image/jpg",
        "image/png",
        "image/webp",
        "image/bmp",
        "application/x-image",
        "application/octet-stream",
    }
)
"""Content types whose body is one encoded image. The format is read from the bytes, whatever the type says."""

DEFAULT_TYPE = "application/octet-stream"


def media_type(header: str | None) -> str:
    """Reduce a Content-Type header to its type, in lower case; a missing one means bytes."""
    return (header or DEFAULT_TYPE).partition(";")[0].strip().lower() or DEFAULT_TYPE


def custom_attributes(header: str | None) -> Mapping[str, str]:
    """Read `name=value` pairs, separated by `,` or `;`, from X-Amzn-SageMaker-Custom-Attributes."""
    parts = (part.partition("=") for part in (header or "").replace(";", ",").split(","))
    return {name.strip(): value.strip() for name, separator, value in parts if separator}


def encode_predictions(predictions: Sequence[Prediction]) -> dict[str, object]:
    """Write predictions as the JSON object of an answer."""
    given = [asdict(prediction) for prediction in predictions]
    # One label an image has nothing to select.
    return {"predictions": [{key: value for key, value in item.items() if value is not None} for item in given]}
