"""Small copies of photographs, inside the page."""

import base64
import io
from pathlib import Path

from PIL import Image

from classifier.errors import ImageError
from classifier.preprocessing import decode_image, read_bytes

SIDE = 160
"""Longest side of a thumbnail, in pixels."""

QUALITY = 60
MAX_BYTES = 64 * 2**20
"""Of a file; a larger one is not read."""


def thumbnail(file: Path) -> str:
    """Make a data URI with a WebP of a photograph. Raises ImageError when it cannot be read."""
    try:
        if not file.is_file():
            raise ImageError("not where the job found it")
        if file.stat().st_size > MAX_BYTES:
            raise ImageError(f"over {MAX_BYTES >> 20} MiB")
    except (OSError, ValueError) as error:
        raise ImageError("cannot be opened") from error
    image = decode_image(read_bytes(file), min_side=SIDE)
    image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    image.save(stream, format="WEBP", quality=QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
