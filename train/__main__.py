"""The `train` command: a folder of photographs in, an artifact and its report out."""

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence

from container.errors import UserError
from container.lifecycle import StopSignal, run_training
from container.paths import ContainerPaths
from container.settings import declared, from_strings
from train.config import TrainingConfig
from train.debugger.rule_settings import PREFIX


def main() -> int:
    """Run a training job as SageMaker starts it; hyperparameters on the command line win over the file's."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    arguments = parse_arguments(sys.argv[1:])
    paths = ContainerPaths.from_environment(os.environ)
    return run_training(lambda stop: run(paths, arguments, stop), paths)


def run(paths: ContainerPaths, arguments: Mapping[str, str], stop: StopSignal) -> None:
    """Read the hyperparameters, then run the job."""
    config = read_config(paths, arguments)
    # Waiting threads of torch that spin take the processor from those that work: 185 s instead of 41 s for the same job
    # beside two busy processes on two cores. It is read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # torch takes seconds to import: a wrong hyperparameter is told before that
    from classifier.errors import ClassifierError
    from train.job import TrainingJob

    try:
        TrainingJob(config, paths, stop).run()
    except ClassifierError as error:
        raise UserError(str(error)) from error


def read_config(paths: ContainerPaths, arguments: Mapping[str, str]) -> TrainingConfig:
    """Merge hyperparameters.json and the command line. Raises UserError that lists every wrong one."""
    given = {name.replace("-", "_") for name in arguments}
    from_file = {name: text for name, text in paths.hyperparameters().items() if name.replace("-", "_") not in given}
    return from_strings(TrainingConfig, {**from_file, **arguments})


def parse_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """Read `--name value` for each hyperparameter, as strings."""
    epilog = "Each parameter of a rule is an option too, --rule-RULE-PARAMETER: see docs/rules.md."
    parser = argparse.ArgumentParser(prog="train", description=__doc__, epilog=epilog, allow_abbrev=False)
    for name, setting in declared(TrainingConfig).items():
        about = f"{setting.help} {setting.interval} {setting.unit}".strip().replace("%", "%%")
        if name.startswith(PREFIX):
            about = argparse.SUPPRESS
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar="VALUE", help=about)
    return {name: text for name, text in vars(parser.parse_args(arguments)).items() if text is not None}


if __name__ == "__main__":
    sys.exit(main())
