"""The artifact: everything that `serve` needs to answer as training measured. No pickle, no code.

model.json           version, architecture, task, class names, thresholds, preprocessing, checksums, probe logits
model.safetensors    weights, for torch
model.xml model.bin  the same network as OpenVINO IR in float32, for CPUs
probe.png            an image whose logits are known
"""

import errno
import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from safetensors.numpy import save_file

from classifier.errors import ArtifactError
from classifier.preprocessing import Preprocessing, load_pixels
from classifier.tasks import Task

if TYPE_CHECKING:
    import openvino

    from classifier.engines import Engine

FORMAT = "kennel-image-classifier"
VERSION = 2
READABLE_VERSIONS = (1, 2)
"""Version 1 knew images with one label each only."""
MANIFEST = "model.json"
WEIGHTS = "model.safetensors"
IR = "model.xml"
IR_WEIGHTS = "model.bin"
PROBE = "probe.png"

SMALL_FILES_BYTES = 4_000_000
"""More than manifest, graph and probe of any network take."""


@dataclass(frozen=True)
class ModelArtifact:
    """A verified artifact on disk."""

    directory: Path
    architecture: str
    task: Task
    class_names: tuple[str, ...]
    thresholds: tuple[float, ...]
    """Probability, by class, from which on a label is selected; none where an image has one label."""
    preprocessing: Preprocessing
    probe_logits: npt.NDArray[np.float32]
    """Logits (num_classes,) of the probe, computed by torch in float32 on the CPU when the artifact was written."""

    @property
    def weights(self) -> Path:
        """File of the weights, by torch's names."""
        return self.directory / WEIGHTS

    @property
    def ir(self) -> Path:
        """File of the OpenVINO IR."""
        return self.directory / IR

    def check_probe(self, engine: "Engine") -> None:
        """Run the probe through an engine. Raises ArtifactError when the stored logits do not come out."""
        pixels = load_pixels(self.directory / PROBE, self.preprocessing)
        logits = engine.run(pixels[None])[0]
        if logits.shape != self.probe_logits.shape:
            raise ArtifactError(f"{self.directory}: {len(logits)} outputs for {len(self.probe_logits)} classes")
        difference = float(np.abs(logits - self.probe_logits).max())
        allowed = engine.tolerance * max(1.0, float(np.abs(self.probe_logits).max()))
        if not difference <= allowed:
            raise ArtifactError(
                f"{self.directory}: {engine.name} gives other logits than training did for {PROBE} (difference "
                f"{difference:.3g}, allowed {allowed:.3g}); train again with this image, or serve with the image that "
                f"trained it"
            )


def write_artifact(
    directory: Path,
    *,
    architecture: str,
    class_names: tuple[str, ...],
    thresholds: Sequence[float] = (),
    preprocessing: Preprocessing,
    weights: Mapping[str, npt.NDArray[Any]],
    ir: "openvino.Model",
    reference: "Engine",
) -> ModelArtifact:
    """Write an artifact; it is complete or not there, as the manifest comes last. Raises OSError for a full disk.

    `thresholds`, one a class, are for images with any number of labels. `reference` is the engine that computes the
    probe's logits, torch in float32 on the CPU.
    """
    import openvino

    directory.mkdir(parents=True, exist_ok=True)
    # Weights twice, torch's and OpenVINO's, whose own error on a full disk does not say that it is full.
    needed_bytes = 2 * sum(array.nbytes for array in weights.values()) + SMALL_FILES_BYTES
    check_free_space(directory, needed_bytes, "the artifact")
    (directory / MANIFEST).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=directory) as folder:
        writing = Path(folder)
        save_file(dict(weights), writing / WEIGHTS)
        # safetensors makes files that only their owner may read; an endpoint may run as another user.
        (writing / WEIGHTS).chmod(0o644)
        openvino.save_model(ir, str(writing / IR), compress_to_fp16=False)
        (writing / PROBE).write_bytes(probe_image(preprocessing))
        logits = reference.run(load_pixels(writing / PROBE, preprocessing)[None])[0]
        content: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "architecture": architecture,
            "task": "multi_label" if thresholds else "single_label",
            "class_names": list(class_names),
            "thresholds": [float(threshold) for threshold in thresholds],
            "preprocessing": preprocessing.to_json(),
            "probe_logits": [float(logit) for logit in logits],
            "files": {name: sha256(writing / name) for name in (WEIGHTS, IR, IR_WEIGHTS, PROBE)},
        }
        manifest = {**content, "sha256": digest(content)}
        (writing / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for name in (WEIGHTS, IR, IR_WEIGHTS, PROBE, MANIFEST):
            (writing / name).replace(directory / name)
    return read_artifact(directory)


def check_free_space(directory: Path, needed_bytes: int, what: str) -> None:
    """Raise OSError, which names `what` and both sizes, when a folder has no room for so many bytes."""
    free_bytes = shutil.disk_usage(directory).free
    if free_bytes < needed_bytes:
        reason = f"no space for {what} ({needed_bytes / 1e6:.0f} MB needed, {free_bytes / 1e6:.0f} MB free)"
        raise OSError(errno.ENOSPC, reason, str(directory))


def read_artifact(directory: Path) -> ModelArtifact:
    """Read and verify an artifact, in the folder or one level below it.

    Raises ArtifactError when it is not there, is of another version, or when a file is missing or altered.
    """
    directory = find_manifest(directory)
    file = directory / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        form, version = manifest["format"], manifest["version"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ArtifactError(f"{file}: not a manifest of {FORMAT} ({error!r})") from error
    if form != FORMAT or version not in READABLE_VERSIONS:
        readable = " and ".join(str(number) for number in READABLE_VERSIONS)
        raise ArtifactError(
            f"{file}: format {form!r} version {version!r}; this image reads {FORMAT} version {readable}"
        )
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    if manifest.get("sha256") != digest(content):
        raise ArtifactError(f"{file}: altered since it was written; use the artifact as training left it")
    for name, expected in content["files"].items():
        if not (directory / name).is_file():
            raise ArtifactError(f"{directory / name}: missing; the folder holds {listing(directory)}")
        if sha256(directory / name) != expected:
            raise ArtifactError(f"{directory / name}: altered since it was written; use it as training left it")
    return ModelArtifact(
        directory=directory,
        architecture=content["architecture"],
        task=content.get("task", "single_label"),
        class_names=tuple(content["class_names"]),
        thresholds=tuple(content.get("thresholds", ())),
        preprocessing=Preprocessing.from_json(content["preprocessing"]),
        probe_logits=np.array(content["probe_logits"], dtype=np.float32),
    )


def find_manifest(directory: Path) -> Path:
    """Find the folder with the manifest: this one, or the only one below it that has one."""
    if (directory / MANIFEST).is_file():
        return directory
    below = sorted(directory.glob(f"*/{MANIFEST}"))
    if len(below) == 1:
        return below[0].parent
    raise ArtifactError(f"{directory}: no {MANIFEST} there; the folder holds {listing(directory)}")


def listing(directory: Path) -> str:
    """Name what a folder holds, for an error message."""
    names = sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []
    return ", ".join(names[:20]) or "nothing"


def sha256(file: Path) -> str:
    """Hash a file. Raises ArtifactError when it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{file}: {error.strerror}; make it readable for the user that serves") from error


def digest(content: dict[str, Any]) -> str:
    """Hash the content of a manifest."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def probe_image(preprocessing: Preprocessing) -> bytes:
    """Make a PNG of random colours and fine grain, larger than the network's input, always the same.

    The grain is there for the resampling: smooth colours come out alike with any.
    """
    generator = np.random.default_rng(0)
    size = (2 * preprocessing.resize_size, preprocessing.resize_size * 3 // 2)
    coarse = Image.fromarray(generator.integers(60, 196, (9, 12, 3), dtype=np.uint8))
    colours = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
    grain = generator.choice(np.array([-60, 0, 60], dtype=np.int16), (size[1], size[0], 1))
    buffer = io.BytesIO()
    Image.fromarray((colours + grain).clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
