"""Top-1 and top-5 of a pretrained 1,000-class network through Kennel's preprocessing, on both engines.

    python benchmarks/imagenet_accuracy.py FOLDER [--arch timm/tf_efficientnet_lite0]

FOLDER holds one photograph of each ImageNet class, named by its WordNet identifier (`n02085620_name.JPEG`), so that
the sorted names are in the order of the classes.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from classifier.architectures import DEFAULT_ARCHITECTURE, Network
from classifier.conversion import attach_head, convert_backbone
from classifier.engines import Engine, OpenVinoEngine, TorchEngine
from classifier.evaluation import softmax
from classifier.inference import Outputs, run_photographs
from classifier.weights import imagenet_network
from container.resources import num_cpus

NUM_CLASSES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arch", default=DEFAULT_ARCHITECTURE)
    arguments = parser.parse_args()
    photographs = sorted(arguments.folder.glob("n*"))
    if len(photographs) != NUM_CLASSES:
        parser.error(
            f"{arguments.folder}: {len(photographs)} photographs; expected one of each of {NUM_CLASSES} classes"
        )
    backbone, head, preprocessing = imagenet_network(arguments.arch, [])
    cores = num_cpus()
    ir = attach_head(convert_backbone(backbone, preprocessing), head)
    engines: list[Engine] = [
        OpenVinoEngine(ir, num_threads=cores, num_streams=cores),
        TorchEngine(Network(backbone, head), preprocessing, "cpu"),
    ]
    results = []
    for engine in engines:
        started = time.perf_counter()
        outputs = run_photographs(engine, preprocessing, photographs, num_threads=cores)
        report(engine, outputs, time.perf_counter() - started)
        results.append(softmax(outputs.values))
    print(f"largest difference of probabilities between the engines: {np.abs(results[0] - results[1]).max():.1e}")


def report(engine: Engine, outputs: Outputs, seconds: float) -> None:
    true = outputs.values[np.arange(len(outputs.indices)), outputs.indices]
    rank = (outputs.values > true[:, None]).sum(axis=1)
    print(
        f"{engine.name}: n={len(rank)} unreadable={len(outputs.unreadable)} top-1 {(rank == 0).mean():.3f} "
        f"top-5 {(rank < 5).mean():.3f}, {len(rank) / seconds:.0f} images a second with decoding"
    )


if __name__ == "__main__":
    main()
