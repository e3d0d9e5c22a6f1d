"""Looks at folders of photographs before they train, and splits them. No torch."""

import hashlib
import os
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from container.errors import UserError
from container.photographs import SPLIT_NAMES, SUFFIXES
from jobs.uris import walk_files

IMBALANCE = 5.0
"""Photographs of the largest class over those of the smallest, from which on classes count as unbalanced."""

FEW_PHOTOGRAPHS = 10
SMALL_SIDE = 64
"""Pixels; training crops have 224."""

SHEET_COLUMNS = 8
THUMBNAIL = 128
MAX_SHEET_CLASSES = 40


@dataclass(frozen=True)
class Photograph:
    """A file, and what was found in it."""

    file: Path
    split: str
    class_name: str
    digest: str
    size: tuple[int, int] = (0, 0)
    """Width and height in pixels; zeros when it cannot be read."""
    problem: str = ""


@dataclass(frozen=True)
class DataReport:
    """What a look at the photographs found."""

    counts: dict[str, dict[str, int]]
    """Photographs by split and class name."""
    unreadable: dict[str, str]
    """Reason by file."""
    duplicates: list[list[str]]
    """Files with the same contents in one class of one split."""
    leaks: list[list[str]]
    """Files with the same contents in several splits."""
    conflicts: list[list[str]]
    """Files with the same contents in several classes."""
    sizes: dict[str, float]
    """Smallest, median and largest of the shorter side, in pixels."""
    warnings: list[str] = field(default_factory=list)

    @property
    def is_usable(self) -> bool:
        """Tell whether training can be expected to give a true result."""
        return not (self.leaks or self.conflicts) and all(len(classes) > 1 for classes in self.counts.values())


def find_splits(folder: Path) -> dict[str, Path]:
    """Find the folders of splits; a folder without them is one split, named all. Raises UserError."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    named = {
        split: entry
        for split, names in SPLIT_NAMES.items()
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and entry.name.lower() in names
    }
    return named if "train" in named else {"all": folder}


def list_files(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """List split, class name and file of every photograph. Raises UserError when there is none."""
    found = False
    for split, root in find_splits(folder).items():
        for entry in sorted(root.iterdir()):
            if not entry.is_dir() or entry.name[0] == ".":
                continue
            for file in walk_files(entry):
                if file.name[0] != "." and file.suffix.lower() in SUFFIXES:
                    found = True
                    yield split, entry.name, file
    if not found:
        raise UserError(
            f"{folder}: no photographs; expected a folder for each class, with {', '.join(sorted(SUFFIXES))}"
        )


def inspect(split: str, class_name: str, file: Path) -> Photograph:
    """Read a photograph to its end."""
    from PIL import Image

    try:
        content = file.read_bytes()
    except OSError as error:
        return Photograph(file, split, class_name, "", problem=error.strerror or str(error))
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    try:
        with Image.open(file) as image:
            size = image.size
            # An eighth of the size suffices to find a file that is cut off.
            image.draft("RGB", (size[0] // 8, size[1] // 8))
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return Photograph(file, split, class_name, digest, problem=str(error))
    return Photograph(file, split, class_name, digest, size)


def check(folder: Path) -> tuple[DataReport, list[Photograph]]:
    """Look at every photograph. Raises UserError when there is none."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        photographs = list(pool.map(lambda item: inspect(*item), list_files(folder)))
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    by_digest: dict[str, list[Photograph]] = defaultdict(list)
    for photograph in photographs:
        counts[photograph.split][photograph.class_name] += 1
        by_digest[photograph.digest].append(photograph)
    same = [group for digest, group in by_digest.items() if digest and len(group) > 1]
    sides = sorted(min(item.size) for item in photographs if not item.problem)
    report = DataReport(
        counts={split: dict(sorted(classes.items())) for split, classes in counts.items()},
        unreadable={str(item.file): item.problem for item in photographs if item.problem},
        duplicates=named(group for group in same if len({(item.split, item.class_name) for item in group}) == 1),
        leaks=named(group for group in same if len({item.split for item in group}) > 1),
        conflicts=named(group for group in same if len({item.class_name for item in group}) > 1),
        sizes={"min": sides[0], "median": sides[len(sides) // 2], "max": sides[-1]} if sides else {},
    )
    report.warnings.extend(warn(report, sides))
    return report, photographs


def named(groups: Iterable[list[Photograph]]) -> list[list[str]]:
    """Name the files of groups."""
    return [[str(item.file) for item in group] for group in groups]


def warn(report: DataReport, sides: Sequence[int]) -> Iterator[str]:
    """Say what is worth a look, with what to do."""
    splits = report.counts
    first = "train" if "train" in splits else next(iter(splits))
    classes = splits[first]
    if len(classes) < 2:
        yield f"{first}: {len(classes)} class; training needs at least two"
    if max(classes.values()) >= IMBALANCE * min(classes.values()):
        few, many = min(classes, key=lambda name: classes[name]), max(classes, key=lambda name: classes[name])
        yield f"unbalanced: {classes[many]} of {many}, {classes[few]} of {few}; try --set class_balance=loss"
    scarce = [name for name, number in classes.items() if number < FEW_PHOTOGRAPHS]
    if scarce:
        yield f"fewer than {FEW_PHOTOGRAPHS} photographs: {some(scarce)}; more of them help most"
    for split, others in splits.items():
        if unknown := sorted(others.keys() - classes.keys()):
            yield f"{split} has classes that {first} lacks: {some(unknown)}; training refuses them"
        if missing := sorted(classes.keys() - others.keys()):
            yield f"{split} lacks {some(missing)}"
    if report.unreadable:
        yield f"{len(report.unreadable)} unreadable; training skips them, up to max_unreadable"
    if report.leaks:
        yield f"{len(report.leaks)} photographs lie in several splits: the test result would be too good; remove them"
    if report.conflicts:
        yield f"{len(report.conflicts)} photographs lie in several classes; remove them from the wrong ones"
    if report.duplicates:
        yield f"{len(report.duplicates)} photographs are there more than once"
    if small := sum(side < SMALL_SIDE for side in sides):
        yield f"{small} photographs have a side under {SMALL_SIDE} pixels"


def some(names: Sequence[str]) -> str:
    """List the first names."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def contact_sheet(photographs: Sequence[Photograph], file: Path) -> None:
    """Draw some photographs of each class, a row a class, with its name."""
    from PIL import Image, ImageDraw, ImageOps

    by_class: dict[str, list[Photograph]] = defaultdict(list)
    for photograph in photographs:
        if not photograph.problem:
            by_class[photograph.class_name].append(photograph)
    names = sorted(by_class)[:MAX_SHEET_CLASSES]
    row, margin = THUMBNAIL + 18, 6
    sheet = Image.new(
        "RGB", (SHEET_COLUMNS * (THUMBNAIL + margin) + margin, len(names) * (row + margin) + margin), "white"
    )
    draw = ImageDraw.Draw(sheet)
    for line, name in enumerate(names):
        top = margin + line * (row + margin)
        draw.text((margin, top), f"{name}  ({len(by_class[name])})", fill="black")
        # The same ones each time, spread over the class.
        chosen = by_class[name][:: max(1, len(by_class[name]) // SHEET_COLUMNS)][:SHEET_COLUMNS]
        for column, photograph in enumerate(chosen):
            with Image.open(photograph.file) as image:
                image.draft("RGB", (2 * THUMBNAIL, 2 * THUMBNAIL))
                picture = ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), (THUMBNAIL, THUMBNAIL))
            sheet.paste(picture, (margin + column * (THUMBNAIL + margin), top + 16))
    sheet.save(file)


def split(folder: Path, target: Path, *, validation: float, test: float, seed: int = 0) -> dict[str, dict[str, int]]:
    """Split class folders into train, validation and test; return the counts by split and class.

    Each class is split by itself. Files with the same contents go together, so that none leaks. Files are hard links
    where that can be, else copies. Raises UserError.
    """
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target}: is there and not empty; name a new folder")
    if "all" not in find_splits(folder):
        raise UserError(f"{folder}: has been split already; give a folder with class folders alone")
    if not 0 <= validation + test < 1:
        raise UserError(f"--validation {validation} --test {test}: together they must be under 1")
    groups: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for _, class_name, file in list_files(folder):
        groups[class_name][hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()].append(file)
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for class_name, by_digest in groups.items():
        shuffled = [by_digest[digest] for digest in sorted(by_digest)]
        random.Random(f"{seed} {class_name}").shuffle(shuffled)  # noqa: S311 - not for secrets
        num_validation, num_test = (round(share * len(shuffled)) for share in (validation, test))
        ends = {"validation": num_validation, "test": num_validation + num_test, "train": len(shuffled)}
        start = 0
        for name, end in ends.items():
            files = [file for group in shuffled[start:end] for file in group]
            start = end
            counts[name][class_name] = len(files)
            for file in files:
                place(file, target / name / class_name / file.relative_to(folder / class_name))
    return {name: classes for name, classes in counts.items() if any(classes.values())}


def place(file: Path, target: Path) -> None:
    """Put a file into a folder, as a hard link where the file system has one to give."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, target)
    except OSError:
        shutil.copy2(file, target)
