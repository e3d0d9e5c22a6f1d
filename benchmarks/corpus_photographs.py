"""Small photographs for the corpus of training runs: stripes, whose direction and colour tell the class."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 40

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Data:
    """Which photographs a run has: by split, how many of each class."""

    train: tuple[int, ...] = (60, 60, 60)
    validation: tuple[int, ...] = (20, 20, 20)
    test: tuple[int, ...] = (20, 20, 20)
    noise: float = 40.0
    """Standard deviation of the noise over the stripes, in grey levels."""
    wrong_labels: float = 0.0
    """Share of the training photographs that show another class."""
    same: tuple[int, ...] = ()
    """Classes that show what class 0 shows."""
    leaked: int = 0
    """Test photographs that are copies of training ones; with `leaks_into` validation, of that split."""
    leaks_into: str = "test"
    unreadable: int = 0
    """Training photographs that are cut off after some bytes."""
    is_black: bool = False

    def write(self, folder: Path, seed: int) -> Path:
        """Write the photographs as folders of splits with folders of classes."""
        generator = np.random.default_rng(seed)
        counts: Mapping[str, tuple[int, ...]] = {"train": self.train, "valid": self.validation, "test": self.test}
        for split, by_class in counts.items():
            for label, number in enumerate(by_class):
                target = folder / split / f"class_{label}"
                target.mkdir(parents=True)
                for index in range(number):
                    is_wrong = split == "train" and generator.random() < self.wrong_labels
                    shown = int(generator.integers(len(by_class))) if is_wrong else label
                    Image.fromarray(self._draw(shown, generator)).save(target / f"{index:05d}.png")
        self._leak(folder)
        for file in sorted((folder / "train").rglob("*.png"))[: self.unreadable]:
            file.write_bytes(file.read_bytes()[:100])
        return folder

    def _draw(self, label: int, generator: np.random.Generator) -> Pixels:
        if self.is_black:
            return np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
        shown = 0 if label in self.same else label
        angle = np.pi * shown / 5 + generator.normal(0, 0.1)
        y, x = np.mgrid[:SIDE, :SIDE]
        waves = np.sin((np.cos(angle) * x + np.sin(angle) * y) * 0.8 + generator.uniform(0, 6))
        colour = 120 + 60 * np.cos(shown + np.arange(3))
        noise = generator.normal(0, self.noise, (SIDE, SIDE, 3))
        return np.asarray(np.clip(colour + 50 * waves[..., None] + noise, 0, 255), dtype=np.uint8)

    def _leak(self, folder: Path) -> None:
        name = {"test": "test", "validation": "valid"}[self.leaks_into]
        targets = sorted((folder / name).rglob("*.png"))[: self.leaked]
        sources = sorted((folder / "train").rglob("*.png"))
        for source, target in zip(sources, targets, strict=False):
            target.write_bytes(source.read_bytes())
