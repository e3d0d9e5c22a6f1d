"""Pixels that arrive as numbers: npy files and nested lists."""

import io
import math
import tokenize
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy
from PIL import Image
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnprocessableEntity

from classifier.preprocessing import MAX_IMAGE_PIXELS

Numbers = npt.NDArray[np.generic]

CHANNELS = (1, 3)
MAX_DIMENSIONS = 4

# What numpy raises on altered headers, which it evaluates as a Python literal of at most 10,000 characters.
HEADER_ERRORS = (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError, OverflowError,
                 tokenize.TokenError)  # fmt: skip

SHAPES = (
    "(height, width), (height, width, 3), (3, height, width), or one of the last two with the number of images first"
)


def read_npy(data: bytes) -> Numbers:
    """Read an npy file; its type, shape and length are checked before anything of its size is made. No pickle."""
    file = io.BytesIO(data)
    try:
        version = npy.read_magic(file)  # type: ignore[no-untyped-call]
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} is not read, 1.0 and 2.0 are")
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = read_header(file)  # type: ignore[no-untyped-call]
    except HEADER_ERRORS as error:
        raise BadRequest(f"the body is no npy file ({error}); send what numpy.save wrote") from error
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise UnprocessableEntity(f"npy of {dtype}; send integers or floats of at most 64 bits, without pickle")
    if not 2 <= len(shape) <= MAX_DIMENSIONS or min(shape) < 1:
        raise UnprocessableEntity(f"npy of shape {shape}; send {SHAPES}")
    expected, given = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if expected != given:
        raise BadRequest(f"npy of shape {shape} and {dtype} has {expected} bytes, {given} were sent; send it whole")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran_order else "C")


def from_lists(values: Sequence[object]) -> Numbers:
    """Make an array of nested lists of numbers. Raises BadRequest for ragged lists and for anything but numbers."""
    try:
        # With the type left to numpy, one long string among numbers would make each as long.
        return np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise BadRequest(f"an array in JSON is ragged or holds more than numbers; send the shape {SHAPES}") from error


def split_images(array: Numbers) -> list[Numbers]:
    """Split an array into images (height, width, 1 or 3), without a copy. Raises UnprocessableEntity for its shape."""
    if array.ndim == 2:
        array = array[:, :, None]
    images = list(array) if array.ndim == 4 else [array]
    if not images:
        raise UnprocessableEntity("the array holds no image; send at least one")
    if images[0].ndim == 3 and images[0].shape[-1] not in CHANNELS and images[0].shape[0] in CHANNELS:
        images = [image.transpose(1, 2, 0) for image in images]
    if images[0].ndim != 3 or images[0].shape[-1] not in CHANNELS or not images[0].size:
        raise UnprocessableEntity(f"array of shape {array.shape}; send {SHAPES}")
    return images


def to_image(array: Numbers) -> Image.Image:
    """Turn numbers (height, width, 1 or 3) into an RGB image: values in [0, 255], or floats in [0, 1].

    Floats are taken to lie in [0, 1] where none is greater. Raises UnprocessableEntity for other values,
    RequestEntityTooLarge for too many pixels.
    """
    if array.shape[0] * array.shape[1] > MAX_IMAGE_PIXELS:
        raise RequestEntityTooLarge(f"{array.shape[1]}x{array.shape[0]} pixels, at most {MAX_IMAGE_PIXELS:,} are read")
    low, high = float(array.min()), float(array.max())
    is_fraction = array.dtype.kind == "f" and high <= 1
    if not (low >= 0 and high <= 255):
        raise UnprocessableEntity(
            f"array with values in [{low:g}, {high:g}]; send integers in [0, 255] or floats in [0, 1], not normalised "
            "by mean and deviation, which the server does"
        )
    scaled = np.rint(array.astype(np.float32) * 255) if is_fraction else array
    pixels = np.ascontiguousarray(scaled.astype(np.uint8))
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels).convert("RGB")
