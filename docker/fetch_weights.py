"""Write the pretrained weights of networks to a folder, for the image: `fetch_weights.py NAME... --out FOLDER`."""

import argparse
import logging
import sys
from pathlib import Path

from classifier.errors import ClassifierError
from classifier.weights import fetch_weights


def main() -> int:
    """Fetch every network that is named on the command line; 1 when one cannot be had."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", nargs="*", metavar="NAME", help="such as resnet50 or timm/convnext_tiny")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        for architecture in arguments.architectures:
            file = fetch_weights(architecture, arguments.out)
            print(f"{architecture}: {file} ({file.stat().st_size / 1e6:.1f} MB)")
    except ClassifierError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
