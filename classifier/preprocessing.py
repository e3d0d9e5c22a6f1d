"""From the bytes of a photograph to the pixels that a network sees. Pillow and numpy; no torch."""

import io
import struct
import warnings
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from classifier.errors import ImageError, ImageTooLargeError

Pixels = npt.NDArray[np.uint8]

MAX_IMAGE_PIXELS = 89_478_485
"""Pixels that an image may declare: Pillow's own limit, a quarter of a GiB at 3 bytes a pixel."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Formats that are decoded. Others in Pillow run foreign programs (EPS) or are no photographs."""

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# What Pillow's decoders raise on broken files; pinned by tests that feed them truncated and altered ones.
DECODER_ERRORS = (OSError, SyntaxError, ValueError, TypeError, EOFError, KeyError, IndexError, OverflowError,
                  AttributeError, AssertionError, struct.error, zlib.error, NotImplementedError)  # fmt: skip


@dataclass(frozen=True)
class Preprocessing:
    """How a photograph becomes the input of a network; it belongs to the weights and travels with them.

    The shorter side is resized to `resize_size` pixels, the central `crop_size` square is kept, and each channel
    is normalised as (value / 255 - mean) / std. Same terms and meaning as torchvision's `ImageClassification`.
    """

    resize_size: int
    crop_size: int
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not 0 < self.crop_size <= self.resize_size:
            raise ValueError(f"crop_size={self.crop_size}: must be in [1, resize_size={self.resize_size}]")

    def to_json(self) -> dict[str, Any]:
        """Write the value as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Preprocessing":
        """Read what `to_json` wrote. Raises TypeError for other keys."""
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


def decode_image(data: bytes, *, min_side: int | None = None, max_pixels: int = MAX_IMAGE_PIXELS) -> Image.Image:
    """Decode the first frame of an image to RGB, upright.

    The EXIF turn is applied; transparent pixels lie on white; palette, grey, CMYK and 16-bit images are converted.
    With `min_side` (pixels), a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side keeps
    at least that length. Raises ImageTooLargeError for more than `max_pixels`, ImageError for anything unreadable.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damaged metadata, which does not matter here
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise ImageTooLargeError(
                        f"{width}x{height} pixels. At most {max_pixels:,} are decoded; send a smaller image"
                    )
                if min_side is not None:
                    image.draft(None, (min_side, min_side))
                image.load()
                return to_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f"{error} At most {max_pixels:,} are decoded; send a smaller image") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{len(data)} bytes are no image; expected one of {', '.join(FORMATS)}") from error
    except DECODER_ERRORS as error:
        raise ImageError(f"image cannot be read ({error}); send a complete file") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any of Pillow's modes to RGB."""
    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise ImageError("image has floating-point samples; send 8 or 16 bits a sample")
    if image.mode.startswith("I"):
        # Pillow clips 16-bit samples instead of scaling them: 65535 / 257 = 255
        samples = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray((samples / 257 + 0.5).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def eval_transform(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """Resize and crop an RGB image to pixels of shape (crop_size, crop_size, 3), in one resampling.

    The grid is that of torchvision's Resize(resize_size) and CenterCrop(crop_size), whose rounding is kept; only the
    outermost pixels may differ, as what lies outside the crop is not read.
    """
    crop_size, shorter = preprocessing.crop_size, min(image.size)
    box = [0.0] * 4
    for axis, length in enumerate(image.size):
        resized = preprocessing.resize_size * length // shorter
        start = round((resized - crop_size) / 2)
        box[axis], box[axis + 2] = start * length / resized, (start + crop_size) * length / resized
    resampling = RESAMPLING[preprocessing.interpolation]
    return np.array(image.resize((crop_size, crop_size), resampling, box=tuple(box)))  # type: ignore[arg-type]


def load_pixels(source: bytes | Path, preprocessing: Preprocessing) -> Pixels:
    """Decode and transform one photograph to pixels (crop_size, crop_size, 3); what training and serving both call.

    Raises ImageError as `decode_image` does; a file that cannot be opened is one too.
    """
    return eval_transform(decode_image(read_bytes(source), min_side=preprocessing.resize_size), preprocessing)


def read_bytes(source: bytes | Path) -> bytes:
    """Take bytes as they are and read a file. Raises ImageError for a file that cannot be opened."""
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except OSError as error:
        raise ImageError(f"{source}: {error.strerror}") from error
