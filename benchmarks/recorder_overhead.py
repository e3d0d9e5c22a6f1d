"""What the recorder costs: epochs of fine-tuning on a CPU, with and without it in turn.

    python benchmarks/recorder_overhead.py [--size 224] [--batch-size 8] [--num-steps 25] [--repeats 8]

The network is random and the photographs are those of local_test/sample_data.py, decoded in the main process. In each
repeat one epoch is trained without and one with a recorder of its own, in changing order; the ratio is of that pair.
The recorder takes its statistics as in a job of five epochs, samples the machine, and writes to a temporary folder. A
trace, of which a job has one at most, is left out; `--trace-steps 3` puts one into each epoch.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

# As the `train` command does, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "local_test"))

from sample_data import sample_photographs

from classifier.architectures import create_network
from classifier.preprocessing import Preprocessing
from container.lifecycle import StopSignal
from container.paths import ContainerPaths
from container.resources import num_cpus
from train.config import TrainingConfig
from train.data import Photographs
from train.debugger.create import create_recorder
from train.debugger.record import read_record
from train.debugger.recorder import Recorder
from train.features import UnreadablePhotographs
from train.history import EarlyStopping, History
from train.optim import Recipe
from train.path_list import PathList
from train.pipeline import EpochSampler, TrainingCrops, create_loader
from train.split import Split
from train.step import Step
from train.trainer import FineTuner
from train.training_state import Progress, TrainingState

NUM_CLASSES = 40


class Comparison:
    """One network that is trained with and without a recorder."""

    def __init__(self, arch: str, size: int, batch_size: int, num_steps: int) -> None:
        files = sorted(sample_photographs().rglob("*.png"), key=lambda file: (file.name, file.parent.name))
        files = (files * (batch_size * num_steps // len(files) + 1))[: batch_size * num_steps]
        split = Split(PathList(files), np.array([int(file.parent.name.rpartition("_")[2]) - 1 for file in files]))
        self._photographs = Photographs(tuple(map(str, range(NUM_CLASSES))), split, split, None)
        self._preprocessing = Preprocessing(size, size, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        self._recipe = Recipe("finetune", 5, batch_size, 1e-3, 0.01, 0.0, 0)
        self._network = create_network(arch, NUM_CLASSES).to(memory_format=torch.channels_last)

    def epoch(self, recorder: Recorder) -> tuple[float, float]:
        """Train an epoch; return its seconds and those of all processors."""
        tuner = FineTuner(
            self._network, self._photographs, self._preprocessing, UnreadablePhotographs(0.0),
            device="cpu", num_workers=0, num_threads=num_cpus(), recorder=recorder,
        )  # fmt: skip
        train, batch_size = self._photographs.train, self._recipe.batch_size
        crops = TrainingCrops(train, self._preprocessing)
        loader = create_loader(crops, EpochSampler(train, 0, "none"), batch_size, 0, pin_memory=False)
        device, history = torch.device("cpu"), History(self._photographs.class_names)
        step = Step(self._recipe, self._network, device, len(loader))
        training = TrainingState(self._network, step, history, EarlyStopping(None, 0.0), Progress(device))
        with recorder:
            steps = tuner.begin_stage(loader, self._recipe, self._network, step)
            started, used = time.perf_counter(), time.process_time()
            steps.begin_epoch(1)
            tuner.train_one_epoch(loader, self._recipe, self._network, training, steps, StopSignal())
            seconds = time.perf_counter() - started, time.process_time() - used
            steps.end()
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--num-steps", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--trace-steps", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(num_cpus())
    compared = Comparison(arguments.arch, arguments.size, arguments.batch_size, arguments.num_steps)
    # Both once, so that what is loaded or compiled at first is in no pair.
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        paths = ContainerPaths(Path(folder))
        for repeat in range(arguments.repeats + 1):
            seconds = {}
            for has_recorder in (False, True) if repeat % 2 else (True, False):
                config = TrainingConfig(trace_steps=arguments.trace_steps)
                seconds[has_recorder] = compared.epoch(create_recorder(config, paths) if has_recorder else Recorder())
            if repeat:
                pairs.append((seconds[False], seconds[True]))
        file = paths.output_data / "record.jsonl"
        record, num_bytes = read_record(file), file.stat().st_size
    watched = sorted({row.step for row in record.tensors})
    step_seconds = statistics.median(without[0] for without, _ in pairs) / arguments.num_steps
    print(
        f"torch {torch.__version__}, {arguments.arch}, batch {arguments.batch_size} of {arguments.size}, "
        f"{num_cpus()} threads: {step_seconds:.4f} s a step; statistics in steps {watched}; {num_bytes / 1e3:.0f} kB a "
        f"recorded epoch of {arguments.num_steps} steps"
    )
    for kind, name in enumerate(("wall time", "processor time")):
        ratios = [recorded[kind] / without[kind] - 1 for without, recorded in pairs]
        error = statistics.stdev(ratios) / len(ratios) ** 0.5
        print(
            f"{name} with the recorder: {statistics.median(ratios):+.2%} (median of {len(ratios)} pairs, "
            f"{min(ratios):+.2%} to {max(ratios):+.2%}, standard error {error:.2%})"
        )


if __name__ == "__main__":
    main()
