"""Lay out test_dir as SageMaker lays out /opt/ml, for train_local.sh and serve_local.sh."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from sample_data import sample_photographs

TEST_DIR = Path(__file__).parent / "test_dir"


def make_test_dir(root: Path, data: Path, hyperparameters: Mapping[str, str], *, link: bool = False) -> Path:
    """Write configuration and one channel, `training`, below `root`; the photographs are copied, or linked to."""
    config = root / "input" / "config"
    channel = root / "input" / "data" / "training"
    for folder in (config, channel.parent, root / "model", root / "output" / "data"):
        folder.mkdir(parents=True, exist_ok=True)
    write(config / "hyperparameters.json", dict(hyperparameters))
    channels = {"training": {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}}
    write(config / "inputdataconfig.json", channels)
    hosts = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}
    write(config / "resourceconfig.json", hosts)
    if channel.is_symlink():
        channel.unlink()
    elif channel.exists():
        shutil.rmtree(channel)
    if link:
        channel.symlink_to(data.resolve(), target_is_directory=True)
    else:
        shutil.copytree(data, channel, copy_function=link_or_copy)
    return root


def link_or_copy(source: str, target: str) -> None:
    """Hard-link a file, or copy it where the file system has no link to give."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def write(file: Path, content: object) -> None:
    """Write JSON."""
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Lay out test_dir from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with class folders; by default the sample photographs")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter")
    arguments = parser.parse_args()
    if arguments.data and not arguments.data.is_dir():
        parser.error(f"--data {arguments.data}: no such folder")
    wrong = [item for item in arguments.set if "=" not in item]
    if wrong:
        parser.error(f"--set {wrong[0]}: expected NAME=VALUE")
    hyperparameters = dict(item.split("=", 1) for item in arguments.set)
    root = make_test_dir(TEST_DIR, arguments.data or sample_photographs(), hyperparameters)
    print(f"{root}: an /opt/ml tree with the channel training; now run train_local.sh IMAGE")
    return 0


if __name__ == "__main__":
    sys.exit(main())
