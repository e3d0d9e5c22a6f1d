"""Feature extraction against its two parts alone: decoding the photographs, and running the engine on their pixels.

    python benchmarks/feature_extraction.py FOLDER [--photographs 400] [--repeat 5]

FOLDER holds class folders. All three use the same threads and photographs, in turn; the ratio is that of the medians,
near 1 when reading, hashing, caching and the meeting of threads cost nothing.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from classifier.architectures import DEFAULT_ARCHITECTURE
from classifier.conversion import convert_backbone
from classifier.engines import OpenVinoEngine
from classifier.inference import BATCH_SIZE
from classifier.preprocessing import load_pixels
from classifier.weights import imagenet_network
from container.lifecycle import StopSignal
from container.resources import num_cpus
from train.class_folders import read_class_folders
from train.feature_cache import FeatureCache
from train.features import FeatureExtractor, UnreadablePhotographs, sample
from train.source import Source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photographs", type=int, default=400)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    listing = read_class_folders(Source(arguments.folder, arguments.folder))
    split = sample(listing.split, arguments.photographs)
    backbone, head, preprocessing = imagenet_network(DEFAULT_ARCHITECTURE, [])
    cores = num_cpus()
    engine = OpenVinoEngine(convert_backbone(backbone, preprocessing), num_threads=cores, num_streams=cores)
    pixels = np.stack([load_pixels(photograph, preprocessing) for photograph in split.photographs])
    batches = [pixels[start : start + BATCH_SIZE] for start in range(0, len(pixels), BATCH_SIZE)]

    def decode() -> None:
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(lambda photograph: load_pixels(photograph, preprocessing), split.photographs))

    def run_engine() -> None:
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(engine.run, batches))

    def extract() -> None:
        with tempfile.TemporaryDirectory() as folder:
            cache = FeatureCache(Path(folder), "benchmark", head.in_features)
            extractor = FeatureExtractor(engine, preprocessing, cache, cores)
            extractor.rows(split, UnreadablePhotographs(0), name="benchmark", stop=StopSignal())
            cache.close()

    parts: dict[str, Callable[[], None]] = {"decode": decode, "engine": run_engine, "extract": extract}
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(arguments.repeat):
        for name, part in parts.items():
            started = time.perf_counter()
            part()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        print(f"{name}: median {medians[name]:.2f} s, {min(values):.2f} to {max(values):.2f}, n={len(values)}")
    print(f"{len(split)} photographs, {cores} threads, {engine.name}")
    print(f"extraction / (decode + engine) = {medians['extract'] / (medians['decode'] + medians['engine']):.3f}")


if __name__ == "__main__":
    main()
