"""Writes the reference pages that are made from declarations: `make docs`."""

from pathlib import Path

from container.reference import reference
from jobs.config import KennelConfig
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
            "Of `serve`. Made by `make docs`. `SAGEMAKER_BASE_DIR` moves /opt/ml for both commands; "
            "`KENNEL_FEATURES_DIR` is a folder of features that training jobs share.",
            by_environment=True,
        ),
        HERE / "kennel-settings.md": reference(
            KennelConfig,
            "Settings of `kennel`",
            "Of the [`kennel` command](jobs.md). Made by `make docs` from jobs/config.py. In the settings file a "
            "setting has the name of its variable without `KENNEL_`, in lower case.",
            by_environment=True,
        ),
    }


if __name__ == "__main__":
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")
