"""Writes the reference pages that are made from declarations: `make docs`."""

from pathlib import Path

from container.reference import reference
from serve.config import ServeConfig
from train.config import TrainingConfig

HERE = Path(__file__).parent


def pages() -> dict[Path, str]:
    """Make every generated page, by file."""
    return {
        HERE / "hyperparameters.md": reference(
            TrainingConfig,
            "Hyperparameters",
            "Of `train`, in hyperparameters.json or on the command line. Made by `make docs` from train/config.py. "
            "`auto` stands for a value that the job chooses. A name may be spelled with `-`, a value quoted as JSON.",
        ),
        HERE / "environment.md": reference(
            ServeConfig,
            "Environment variables",
            "Of `serve`. Made by `make docs`. `SAGEMAKER_BASE_DIR` moves /opt/ml for both commands.",
            by_environment=True,
        ),
    }


if __name__ == "__main__":
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")
