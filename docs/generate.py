"""Writes the reference pages that are made from declarations: `make docs`."""

from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_type_hints

from container.reference import reference, table
from jobs.config import KennelConfig
from serve.config import ServeConfig
from train.config import TrainingConfig
from train.debugger.rule_settings import RuleSettings
from train.debugger.rules.result import describe

HERE = Path(__file__).parent

ABOUT_RULES = """# Rules

Each rule judges the record of a job, output/data/record.jsonl, while the job runs and when it has ended, and finds a
`problem` or has `advice`. `python -m train.debugger FOLDER` judges again, also the tensors that smdebug saved. Made by
`make docs`.

Names and defaults are those of SageMaker Debugger's built-in rules; for the rules on time and machine, BatchSize and
below, those that its SDK sends (smdebug-rulesconfig 1.0.1). AWS's patience of 1,000 samples of half a second fits jobs
of hours: what is shortened in short jobs, and to what, is said with the parameter. Without a GPU, rules on GPUs do not
apply or look at the processors, as they say. A parameter is set as a hyperparameter, such as
`rule_overfit_ratio_threshold=0.2`; `stop_on=ExplodingTensor,LossNotDecreasing` lets rules end training.
"""


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
        HERE / "rules.md": ABOUT_RULES + "".join(map(about_rule, fields(RuleSettings))),
    }


def about_rule(field: Field[Any]) -> str:
    """Describe a rule and its parameters."""
    parameters = get_type_hints(RuleSettings)[field.name]
    text = f"\n## {parameters.__name__}\n\n{describe(parameters)}\n"
    prefix = f"rule_{field.metadata['prefix']}"
    return text + (f"\n{table(parameters, prefix=prefix)}" if fields(parameters) else "")


if __name__ == "__main__":
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")
