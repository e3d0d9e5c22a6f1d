"""Checkpoints of fine-tuning in a folder that outlives the process. No pickle: safetensors, and JSON in their header.

A file is complete or not there. The folder holds other things too (features, smdebug's metadata.json, what the service
leaves there), which are neither read nor removed.
"""

import errno
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from safetensors.torch import load_file

from classifier.artifact import check_free_space
from classifier.preprocessing import Preprocessing
from container.errors import UserError
from train.data import Photographs
from train.optim import Recipe
from train.training_state import TrainingState

logger = logging.getLogger(__name__)

VERSION = 1
NAME = re.compile(r"kennel-([0-9]+)-([0-9]+)\.safetensors")
"""Epochs and batches that are done."""
UNFINISHED = re.compile(rf"\.{NAME.pattern}\.writing")
HEADER = "kennel"

NUM_KEPT = 2
"""The service may still read the last one but one."""

AUTO_SECONDS = 60.0
MAX_SHARE = 0.05
"""Share of the time that checkpoints take, when the job chooses when to write them."""

HEADER_BYTES = 1_000_000


class Checkpoints:
    """Writes the last two checkpoints of a training, and finds the last one of an earlier process."""

    def __init__(self, folder: Path | None, identity: Mapping[str, object], interval: int | None) -> None:
        """Look for a checkpoint, which must be of the same training; None for no folder, and so no checkpoints.

        `identity` is what `identify` gave, `interval` the updates from one to the next, None for about a minute.
        Raises UserError that names what differs.
        """
        self._folder = folder if folder is not None and folder.is_dir() else None
        self._identity = identity
        self._interval = interval
        self._num_updates = 0
        self._saved = time.monotonic()
        self._seconds = 0.0
        """What the last one took to write."""
        self._file: Path | None = None
        self._values: dict[str, Any] = {}
        if self._folder is not None:
            self._find(self._folder)

    @property
    def is_there(self) -> bool:
        """Tell whether there is a checkpoint to go on from."""
        return self._file is not None

    def _find(self, folder: Path) -> None:
        for file in folder.iterdir():
            if UNFINISHED.fullmatch(file.name):
                file.unlink()
        for file in reversed(checkpoint_files(folder)):
            try:
                with safe_open(file, framework="np") as opened:
                    header = json.loads(opened.metadata()[HEADER])
                version, identity = header["version"], header["identity"]
            except (SafetensorError, KeyError, TypeError, ValueError) as error:
                logger.warning("%s: not a whole checkpoint, removed (%s)", file, error)
                file.unlink()
                continue
            differences = differing({"version": version, **identity}, {"version": VERSION, **self._identity})
            if differences:
                raise UserError(
                    f"{file}: a checkpoint of another training ({'; '.join(differences)}); set what differs as it was "
                    f"to go on, or remove the kennel-*.safetensors there or give another folder to train anew"
                )
            self._file, self._values = file, header["values"]
            return

    def restore(self, training: TrainingState) -> None:
        """Go on from the checkpoint that was found, if there is one."""
        if self._file is None:
            return
        training.restore(load_file(self._file), self._values)
        progress = training.progress
        logger.info("%s: going on after %d epochs and %d batches", self._file, progress.epoch, progress.batch)

    def save_after_update(self, training: TrainingState) -> bool:
        """Write a checkpoint when it is time for one, between two updates; tell whether it was."""
        self._num_updates += 1
        waited = time.monotonic() - self._saved
        auto = waited >= max(AUTO_SECONDS, self._seconds / MAX_SHARE)
        is_due = auto if self._interval is None else self._num_updates >= self._interval
        return is_due and self.save(training)

    def save_after_epoch(self, training: TrainingState, *, now: bool) -> bool:
        """Write a checkpoint `now`, or unless epochs are so short that it would take much of the time."""
        is_due = now or self._interval is not None or time.monotonic() - self._saved >= self._seconds / MAX_SHARE
        return is_due and self.save(training)

    def save(self, training: TrainingState) -> bool:
        """Write a checkpoint. Raises OSError, for a full disk too; those before stay as they are."""
        if self._folder is None:
            return False
        started = time.monotonic()
        header = {"version": VERSION, "identity": self._identity, "values": training.values()}
        # safetensors writes arrays as they lie in memory
        arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in training.tensors().items()}
        progress = training.progress
        file = self._folder / f"kennel-{progress.epoch:05d}-{progress.batch:08d}.safetensors"
        write_whole(file, arrays, {HEADER: json.dumps(header)})
        for old in checkpoint_files(self._folder)[:-NUM_KEPT]:
            old.unlink()
        self._num_updates, self._saved = 0, time.monotonic()
        self._seconds = self._saved - started
        return True


def checkpoint_files(folder: Path) -> list[Path]:
    """List the checkpoints in a folder, the last one last."""
    found = [
        (tuple(map(int, match.groups())), file) for file in folder.iterdir() if (match := NAME.fullmatch(file.name))
    ]
    return [file for _, file in sorted(found)]


def write_whole(file: Path, arrays: Mapping[str, np.ndarray[Any, Any]], metadata: dict[str, str]) -> None:
    """Write a file of safetensors that is there, on the disk, once it has its name. Raises OSError."""
    needed = sum(array.nbytes for array in arrays.values()) + sum(map(len, metadata.values())) + HEADER_BYTES
    check_free_space(file.parent, needed, "a checkpoint")
    writing = file.with_name(f".{file.name}.writing")
    try:
        save_file(dict(arrays), writing, metadata)
        sync(writing)
        writing.replace(file)
    except (SafetensorError, OSError) as error:
        writing.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise
        code = errno.ENOSPC if f"os error {errno.ENOSPC}" in str(error) else errno.EIO
        raise OSError(code, f"checkpoint not written ({error})", str(file.parent)) from error
    sync(file.parent)


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def identify(arch: str, photographs: Photographs, preprocessing: Preprocessing, recipe: Recipe) -> dict[str, object]:
    """Tell what a checkpoint must have in common with the training that goes on from it.

    Photographs are known by their labels in order, as the folder of the channels may be another one.
    """
    labels = photographs.train.labels
    digest = hashlib.blake2b(np.ascontiguousarray(labels).data, digest_size=8).hexdigest()
    identity = {
        "arch": arch,
        "class_names": list(photographs.class_names),
        "training photographs": f"{len(labels)} with labels {digest}",
        "preprocessing": preprocessing.to_json(),
        **asdict(recipe),
    }
    plain: dict[str, object] = json.loads(json.dumps(identity))
    return plain


def differing(there: Mapping[str, object], here: Mapping[str, object]) -> list[str]:
    """Name what differs between two identities."""
    return [
        f"{name}: {brief(there.get(name))} there, {brief(here.get(name))} here"
        for name in dict.fromkeys([*here, *there])
        if there.get(name) != here.get(name)
    ]


def brief(value: object) -> str:
    """Show a value in an error message."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
