"""Media types: what a request holds and what its answer shall be."""

from collections.abc import Mapping

from werkzeug.exceptions import NotAcceptable

IMAGE_TYPES = (
    "image/jpeg",
    "image/jpg",
    "image/png",
    "image/webp",
    "image/bmp",
    "image/gif",
    "image/tiff",
    "application/x-image",
    "application/octet-stream",
)
"""Content types whose body is one encoded image. The format is read from the bytes, whatever the type says."""

JSON, VERBOSE, JSON_LINES, CSV = "application/json", "application/json;verbose", "application/jsonlines", "text/csv"
NPY, MULTIPART = "application/x-npy", "multipart/form-data"

REQUEST_TYPES = (*IMAGE_TYPES, JSON, JSON_LINES, NPY, MULTIPART)
ANSWER_TYPES = (JSON, VERBOSE, JSON_LINES, CSV)

ALIASES = {"application/jsonl": JSON_LINES, "application/x-jsonlines": JSON_LINES, "application/x-ndjson": JSON_LINES}
DEFAULT_TYPE = "application/octet-stream"


def media_type(header: str | None) -> str:
    """Reduce a Content-Type header to its type, in lower case; a missing one means bytes."""
    given = (header or "").partition(";")[0].strip().lower() or DEFAULT_TYPE
    return ALIASES.get(given, given)


def answer_type(header: str | None, default: str) -> str:
    """Choose the type of an answer by an Accept header; the default where it is absent or takes anything.

    Raises NotAcceptable, with the list of types, where none of those asked for is written.
    """
    ranges = [media_range(part) for part in (header or "").split(",") if part.strip()]
    for name, quality in sorted(ranges or [("*/*", 1.0)], key=lambda item: -item[1]):
        if quality > 0 and (chosen := matching(name, default)):
            return chosen
    raise NotAcceptable(f"Accept {header!r} is not written; accept one of {', '.join(ANSWER_TYPES)}")


def media_range(text: str) -> tuple[str, float]:
    """Split a media range into its type, with `;verbose` where that is asked for, and its quality in [0, 1]."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = float(parameter[2:])
            except ValueError:
                quality = 0.0
    name = ALIASES.get(name, name)
    return (VERBOSE if name == JSON and "verbose" in parameters else name), quality


def matching(name: str, default: str) -> str | None:
    """Find the type that a media range means, the default first; None where there is none."""
    for candidate in (default, *ANSWER_TYPES):
        group = candidate.partition("/")[0]
        if name in (candidate, "*/*", f"{group}/*"):
            return candidate
    return None


def custom_attributes(header: str | None) -> Mapping[str, str]:
    """Read `name=value` pairs, separated by `,` or `;`, from X-Amzn-SageMaker-Custom-Attributes."""
    parts = (part.partition("=") for part in (header or "").replace(";", ",").split(","))
    return {name.strip(): value.strip() for name, separator, value in parts if separator}
