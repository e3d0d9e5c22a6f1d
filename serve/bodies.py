"""From the body of a request to the images in it."""

import base64
import binascii
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge

from serve.arrays import Numbers, from_lists, read_npy, split_images
from serve.media import JSON, JSON_LINES, NPY

Item = bytes | Numbers | HTTPException
"""An encoded image, an image as numbers (height, width, 1 or 3), or why there is none."""

IMAGE_KEYS = ("b64", "image_bytes", "image", "data", "images", "inputs", "instances")
MAX_JSON_VALUES = 4_000_000
"""Numbers and lists in a JSON body; each takes up to 60 bytes once it is read."""
DATA_URL = re.compile(r"data:[\w/+.;=-]{0,100},")


@dataclass(frozen=True)
class Body:
    """The images of a request."""

    items: tuple[Item, ...]
    is_many: bool
    """Whether the request has the form of several images, though there may be one."""


def read_body(data: bytes, content_type: str, max_images: int) -> Body:
    """Take the images out of a body of a type in REQUEST_TYPES, multipart excepted; nothing is decoded yet.

    Raises BadRequest, UnprocessableEntity, and RequestEntityTooLarge for more than `max_images`.
    """
    if not data:
        raise BadRequest("the body is empty; send the bytes of an image")
    if content_type == JSON:
        body = from_json(data)
    elif content_type == JSON_LINES:
        body = Body(tuple(from_line(line, number) for number, line in lines(data)), is_many=True)
    elif content_type == NPY:
        array = read_npy(data)
        body = Body(tuple(split_images(array)), is_many=array.ndim == 4)
    else:
        body = Body((data,), is_many=False)
    return limited(body, max_images)


def read_files(files: Iterable[FileStorage], max_images: int) -> Body:
    """Take the images out of the files of a form. Raises as `read_body` does."""
    items = tuple(file.read() for file in files)
    if not items:
        raise BadRequest("the form holds no file; send the image as one, as `curl -F image=@photo.jpg` does")
    return limited(Body(items, is_many=len(items) > 1), max_images)


def limited(body: Body, max_images: int) -> Body:
    """Refuse too many images, and none."""
    if len(body.items) > max_images:
        raise RequestEntityTooLarge(f"{len(body.items)} images, at most {max_images} are taken; send several requests")
    if not body.items:
        raise BadRequest("the body holds no image; send at least one")
    return body


def lines(data: bytes) -> Iterable[tuple[int, bytes]]:
    """Number the lines that are not blank, from 1."""
    return ((number, line) for number, line in enumerate(data.split(b"\n"), start=1) if line.strip())


def from_line(line: bytes, number: int) -> Item:
    """Read a line of JSON Lines, which holds one image."""
    try:
        items = from_json(line).items
        if len(items) != 1:
            raise BadRequest(f"{len(items)} images; send one a line")
    except HTTPException as error:
        error.description = f"line {number}: {error.description}"
        return error
    return items[0]


def from_json(data: bytes) -> Body:
    """Read JSON: base64, an array, an object with one of IMAGE_KEYS, or a list of these."""
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        raise RequestEntityTooLarge(
            f"JSON of more than {MAX_JSON_VALUES:,} values; send JPEG or PNG, in base64 or as it is"
        )
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON ({error}); send an object such as {EXAMPLE}") from error
    return images_of(value)


EXAMPLE = '{"instances": [{"b64": "..."}]}'


def images_of(value: object, depth: int = 0) -> Body:
    """Take the images out of a JSON value."""
    if isinstance(value, str):
        return Body((from_base64(value),), is_many=False)
    if isinstance(value, dict) and depth < 4:
        keys = [key for key in IMAGE_KEYS if key in value]
        if len(keys) == 1:
            return images_of(value[keys[0]], depth + 1)
        raise BadRequest(f"an object has {len(keys)} of the keys {', '.join(IMAGE_KEYS)}; send one, such as {EXAMPLE}")
    if isinstance(value, list) and value and isinstance(value[0], list | int | float):
        array = from_lists(value)
        return Body(tuple(split_images(array)), is_many=array.ndim == 4)
    if isinstance(value, list) and depth < 4:
        return Body(tuple(from_element(element, depth + 1) for element in value), is_many=True)
    raise BadRequest(f"JSON holds {type(value).__name__} where an image is expected; send an object such as {EXAMPLE}")


def from_element(value: object, depth: int) -> Item:
    """Take one image out of an element of a list."""
    try:
        items = images_of(value, depth).items
        if len(items) != 1:
            raise BadRequest(f"{len(items)} images where one is expected; send one an element")
    except HTTPException as error:
        return error
    return items[0]


def from_base64(text: str) -> bytes:
    """Decode base64, with or without a data URL's head. Raises BadRequest, also for paths and addresses."""
    head = DATA_URL.match(text)
    try:
        return base64.b64decode("".join(text[head.end() if head else 0 :].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"a string is no base64 ({error}); send the bytes of an image, not where they are") from error
