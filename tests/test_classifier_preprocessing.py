"""Decoding and transforming photographs."""

import io
from typing import Any

import numpy as np
import pytest
import torchvision.transforms.v2 as transforms
from PIL import Image, ImageCms
from sample_data import imagenet_photographs

from classifier.errors import ImageError, ImageTooLargeError
from classifier.preprocessing import Preprocessing, decode_image, eval_transform, load_pixels

PREPROCESSING = Preprocessing(256, 224, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
WIDTH, HEIGHT = 40, 30


def encode(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def halves(mode: str = "RGB") -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "red")
    image.paste("blue", (WIDTH // 2, 0, WIDTH, HEIGHT))
    return image.convert(mode)


def pixel(data: bytes, x: int, y: int) -> tuple[int, ...]:
    value = decode_image(data).getpixel((x, y))
    assert isinstance(value, tuple)
    return value


@pytest.mark.parametrize(
    ("form", "mode"), [("PNG", "P"), ("GIF", "P"), ("BMP", "RGB"), ("WEBP", "RGB"), ("TIFF", "RGB")]
)
def test_every_format_keeps_its_colours(form: str, mode: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    data = encode(halves(mode), form, **options)
    assert pixel(data, 2, 2) == (255, 0, 0)
    assert pixel(data, WIDTH - 2, 2) == (0, 0, 255)


def test_cmyk_jpeg_becomes_rgb() -> None:
    red, green, blue = pixel(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"), 8, 8)
    assert red > 200 and green < 60 and blue < 60


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_becomes_rgb(mode: str) -> None:
    assert pixel(encode(Image.new("L", (8, 8), 255).convert(mode)), 3, 3) == (255, 255, 255)


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    samples = np.array([[0, 257 * 100], [257 * 200, 65535]], dtype=np.uint16)
    decoded = np.asarray(decode_image(encode(Image.fromarray(samples))))
    assert decoded[..., 0].tolist() == [[0, 100], [200, 255]]
    assert (decoded[..., 0] == decoded[..., 2]).all()


def test_transparent_pixels_lie_on_white() -> None:
    image = halves("RGBA")
    image.putalpha(0)
    assert pixel(encode(image), 2, 2) == (255, 255, 255)
    palette = halves("P")
    data = encode(palette, transparency=palette.getpixel((2, 2)))
    assert pixel(data, 2, 2) == (255, 255, 255)
    assert pixel(data, WIDTH - 2, 2) == (0, 0, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_turn_is_applied(orientation: int) -> None:
    upright = halves()
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(encode(stored, exif=exif))
    assert decoded.size == (WIDTH, HEIGHT)
    assert np.array_equal(np.asarray(decoded), np.asarray(upright))


def test_an_embedded_colour_profile_does_no_harm() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert pixel(encode(halves(), icc_profile=profile), 2, 2) == (255, 0, 0)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_truncated_file_is_a_typed_error_wherever_it_ends(form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), form)
    for share in (0, 0.01, 0.1, 0.5, 0.9):
        with pytest.raises(ImageError):
            decode_image(data[: int(share * len(data))])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_altered_bytes_never_raise_anything_but_the_typed_error(form: str) -> None:
    generator = np.random.default_rng(1)
    data = encode(Image.fromarray(generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)), form)
    for _ in range(300):
        broken = bytearray(data)
        for position in generator.integers(0, min(len(data), 400), 4):
            broken[position] = generator.integers(0, 256)
        try:
            decode_image(bytes(broken))
        except ImageError:
            continue


@pytest.mark.parametrize(
    "data", [b"", b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg xmlns='x'/>", b"\0" * 1000]
)
def test_what_is_no_photograph_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="no image"):
        decode_image(data)


@pytest.mark.parametrize("side", [9_500, 20_000])
def test_a_pixel_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    bomb = encode(Image.new("1", (side, side)))
    assert len(bomb) < 100_000
    with pytest.raises(ImageTooLargeError, match=r"At most 89,478,485 are decoded; send a smaller image"):
        decode_image(bomb)


def test_a_jpeg_is_decoded_small_but_never_below_the_side_that_is_needed() -> None:
    data = encode(Image.new("RGB", (2000, 1200)), "JPEG")
    assert decode_image(data, min_side=256).size == (500, 300)
    assert decode_image(data, min_side=1200).size == (2000, 1200)


def test_the_transform_agrees_with_torchvisions_resize_and_center_crop() -> None:
    reference = transforms.Compose(
        [transforms.Resize(256, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(224)]
    )
    for photograph in imagenet_photographs():
        image = decode_image(photograph.read_bytes())
        ours = eval_transform(image, PREPROCESSING).astype(int)
        theirs = np.asarray(reference(image)).astype(int)
        assert ours.shape == (224, 224, 3)
        assert np.abs(ours - theirs)[4:-4, 4:-4].max() <= 1


def test_a_photograph_of_one_pixel_is_no_error() -> None:
    pixels = load_pixels(encode(Image.new("RGB", (1, 1), (9, 8, 7))), PREPROCESSING)
    assert pixels.shape == (224, 224, 3)
    assert (pixels == (9, 8, 7)).all()


def test_preprocessing_comes_back_from_json_as_it_was() -> None:
    assert Preprocessing.from_json(PREPROCESSING.to_json()) == PREPROCESSING


def test_a_crop_larger_than_the_resized_image_is_refused() -> None:
    with pytest.raises(ValueError, match="crop_size=300"):
        Preprocessing(256, 300, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
