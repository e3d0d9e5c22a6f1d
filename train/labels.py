"""From what label files say of photographs to labels: names or numbers of classes, one or several a photograph."""

import json
import re
from array import array

import numpy as np

from train.source import Listing
from train.split import Labels

EXPECTED = "expected a class name, a class number, or a list of them"

NUMBER = re.compile(r"0|[1-9][0-9]*")


class LabelTable:
    """Collects labels, photograph by photograph.

    Lists of class numbers and lists of one 0 or 1 for each class look alike. They are the latter when all have the same
    length and some number is there twice.
    """

    def __init__(self, multi_label: bool | None, training: Listing | None) -> None:
        self.names_by_number = dict(training.names_by_number) if training else {}
        self._multi_label = multi_label
        self._has_lists = False
        self._places: dict[int | str, int] = {}
        """Places of numbers and names in the order of their appearance."""
        self._labels = array("i")
        self._ends = array("q", [0])
        self._width = training.multi_hot_width if training else 0
        """Length of every label so far, when all are lists of 0 and 1."""
        self._is_multi_hot = self._width > 0

    def name(self, number: int, name: str) -> None:
        """Note the name of a class number. Raises ValueError when it has another one."""
        known = self.names_by_number.setdefault(number, name)
        if known != name:
            raise ValueError(f"class {number} is named {name!r}, and {known!r} before; expected one name")

    def add(self, value: object) -> None:
        """Take the label of the next photograph: a name, a number, or a list. Raises ValueError."""
        value = parse_list(value)
        given = value if isinstance(value, list) else [value]
        classes = [parse_class(item) for item in given]
        if self._multi_label is False and len(classes) != 1:
            raise ValueError(f"{len(classes)} labels ({brief(value)}); expected one, as multi_label is false")
        self._check_form(classes, is_list=isinstance(value, list))
        self._labels.extend(self._places.setdefault(item, len(self._places)) for item in classes)
        self._ends.append(len(self._labels))

    def _check_form(self, classes: list[int | str], *, is_list: bool) -> None:
        is_first = len(self._ends) == 1 and not self._is_multi_hot
        width = len(classes) if is_list and all(item in (0, 1) for item in classes) else 0
        if not is_first and width != self._width:
            if self._is_multi_hot:
                raise ValueError(f"label {brief(classes)}; expected {self._width} numbers 0 or 1, as before")
            width = 0
        if len(set(classes)) < len(classes):
            if width == 0:
                raise ValueError(f"label {brief(classes)}: a class is there twice; expected each once")
            self._is_multi_hot = True
        self._width = width
        self._has_lists |= is_list

    def finish(self) -> tuple[Labels, tuple[str, ...], int]:
        """Give labels, class names in order, and the classes in each label where those are one 0 or 1 a class.

        Labels are class indices (num_photographs,), or 0 and 1 (num_photographs, num_classes) where photographs have
        several. Classes are those that occur: in the order of their numbers, or by name where some have none.
        """
        labels = np.array(self._labels, dtype=np.int64)
        if self._is_multi_hot:
            by_place = np.array(list(self._places), dtype=np.uint8)
            matrix = by_place[labels].reshape(-1, self._width)
            occurring = np.flatnonzero(matrix.any(axis=0))
            return matrix[:, occurring], tuple(self._name(int(number)) for number in occurring), self._width
        numbers = [item for item in self._places if isinstance(item, int)]
        names = [self._name(item) for item in self._places]
        ordered = map(self._name, sorted(numbers)) if len(numbers) == len(names) else sorted(names)
        # Two numbers may have the same name.
        class_names = tuple(dict.fromkeys(ordered))
        order = {name: place for place, name in enumerate(class_names)}
        labels = np.array([order[name] for name in names], dtype=np.int64)[labels]
        if not (self._has_lists if self._multi_label is None else self._multi_label):
            return labels, class_names, 0
        matrix = np.zeros((len(self._ends) - 1, len(class_names)), dtype=np.uint8)
        matrix[np.repeat(np.arange(len(matrix)), np.diff(self._ends)), labels] = 1
        return matrix, class_names, 0

    def _name(self, item: int | str) -> str:
        return self.names_by_number.get(item, str(item)) if isinstance(item, int) else item


def parse_list(value: object) -> object:
    """Read a list that is written as text, as augmented manifests have it. Raises ValueError."""
    if not isinstance(value, str) or not value.startswith("["):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"label {brief(value)} is no list ({error}); {EXPECTED}") from error


def parse_class(item: object) -> int | str:
    """Read a class name or number; a text of digits is a number. Raises ValueError."""
    if isinstance(item, str) and item:
        return int(item) if NUMBER.fullmatch(item) else item
    if isinstance(item, float) and item.is_integer():
        item = int(item)
    if isinstance(item, int) and not isinstance(item, bool) and item >= 0:
        return item
    raise ValueError(f"label {brief(item)}; {EXPECTED}")


def brief(value: object) -> str:
    """Show a value in an error message."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
