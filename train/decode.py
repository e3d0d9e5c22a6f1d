"""Decoding for training: only as many pixels as a crop needs, with the fastest decoder for the file."""

import contextlib
import io
from dataclasses import dataclass

import numpy as np
import simplejpeg
import torch
from PIL import Image

from classifier.preprocessing import DECODER_ERRORS, MAX_IMAGE_PIXELS, Pixels, decode_image

MIN_SHRINK = 1.35
"""A photograph less than so many times larger is kept as it is: resizing it would take longer than it saves."""

ORIENTATION = 0x0112
UPRIGHT = 1
TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


@dataclass(frozen=True)
class Header:
    """What a JPEG says of its image before it is decoded."""

    height: int
    """Upright, in pixels, as is `width`."""
    width: int
    is_plain: bool
    """Whether it is upright and in grey or colour, so that libjpeg-turbo alone gives what Pillow would."""


def read_header(data: bytes) -> Header | None:
    """Read the header of a JPEG; None for what only its decoder can tell: other formats, and broken files."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            turn = image.getexif().get(ORIENTATION, UPRIGHT) if "exif" in image.info else UPRIGHT
            width, height = image.size
            is_plain = image.format == "JPEG" and image.mode in ("RGB", "L") and turn == UPRIGHT
    except (*DECODER_ERRORS, Image.DecompressionBombError):
        return None
    if width * height > MAX_IMAGE_PIXELS:
        return None
    return Header(width, height, is_plain=False) if turn in TURNED else Header(height, width, is_plain=is_plain)


def decode_pixels(data: bytes, header: Header | None, *, min_side: int) -> Pixels:
    """Decode an image to pixels (height, width, 3), upright and opaque, as `decode_image` does.

    A JPEG may come out smaller, its shorter side at least `min_side` pixels. Raises ImageError.
    """
    # libjpeg halves at least: below twice the length nothing is gained by Pillow, which costs a copy more.
    if header and header.is_plain and min(header.height, header.width) < 2 * min_side:
        # ValueError: a broken file, of which decode_image says what is wrong.
        with contextlib.suppress(ValueError):
            pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB")
            return pixels
    return np.asarray(decode_image(data, min_side=min_side))


def shrink(pixels: Pixels, side: int) -> Pixels:
    """Resize pixels (height, width, 3) so that the shorter side has `side` pixels, where they are much larger."""
    height, width, _ = pixels.shape
    scale = side / min(height, width)
    if 1 / scale < MIN_SHRINK:
        return pixels
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    tensor = torch.from_numpy(np.array(pixels)).unsqueeze(0).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(tensor, size, mode="bilinear", antialias=True)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())
