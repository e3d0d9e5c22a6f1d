"""What several tests need."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).parent.parent

NUM_CLASSES = 5


def run_train(root: Path, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run the `train` command to its end."""
    command = [sys.executable, "-m", "train", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment_of(root), capture_output=True, text=True, timeout=timeout)


def start_train(root: Path, **streams: Any) -> "subprocess.Popen[str]":
    """Start the `train` command; `streams` are those of Popen."""
    command = [sys.executable, "-m", "train"]
    return subprocess.Popen(command, cwd=ROOT, env=environment_of(root), text=True, **streams)


def environment_of(root: Path) -> dict[str, str]:
    """Give the environment of a job whose /opt/ml is another folder."""
    return {**os.environ, "SAGEMAKER_BASE_DIR": str(root)}


def draw_shapes(folder: Path, num_photographs: int, seed: int) -> list[dict[str, object]]:
    """Draw pictures with any number of coloured shapes on noise; return the lines of their manifest."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, object]] = []
    for number in range(num_photographs):
        noise = generator.integers(60, 180, (12, 12, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize((160, 160), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(image)
        # A quarter of the picture for each, so that none covers another.
        quarters = generator.permutation(4)
        labels = [name for name in SHAPES if generator.random() < 0.45]
        for name, quarter in zip(labels, quarters, strict=False):
            size = int(generator.integers(45, 70))
            left, top = (80 * corner + int(generator.integers(80 - size)) for corner in divmod(int(quarter), 2))
            SHAPES[name](draw, (left, top, left + size, top + size))
        image.save(folder / f"{number:04d}.jpg", quality=90)
        lines.append({"image": f"{folder.name}/{number:04d}.jpg", "labels": labels})
    return lines


Box = tuple[int, int, int, int]


def draw_cross(draw: ImageDraw.ImageDraw, box: Box) -> None:
    left, top, right, bottom = box
    draw.line((left, top, right, bottom), fill=(240, 220, 20), width=12)
    draw.line((left, bottom, right, top), fill=(240, 220, 20), width=12)


def draw_triangle(draw: ImageDraw.ImageDraw, box: Box) -> None:
    left, top, right, bottom = box
    draw.polygon([(left, bottom), (right, bottom), ((left + right) // 2, top)], fill=(30, 40, 220))


SHAPES: dict[str, Callable[[ImageDraw.ImageDraw, Box], None]] = {
    "red circle": lambda draw, box: draw.ellipse(box, fill=(220, 30, 30)),
    "green square": lambda draw, box: draw.rectangle(box, fill=(30, 200, 40)),
    "blue triangle": draw_triangle,
    "yellow cross": draw_cross,
}
