"""How many processes, streams and threads the machine is good for."""

from dataclasses import dataclass
from pathlib import Path

from classifier.artifact import IR_WEIGHTS
from container.resources import memory_bytes, num_cpus, num_gpus
from serve.config import ServeConfig

CORES_PER_PROCESS = 8
"""More cores than this are not kept busy by one Python process."""
PROCESS_MB, WEIGHT_COPIES = 200, 2
"""Memory of a server process: a base, and the weights as they are and as OpenVINO orders them."""
BYTES_PER_MB = 1024 * 1024


@dataclass(frozen=True)
class Sizes:
    """The shape of the server."""

    num_workers: int
    """Processes, each with the model."""
    num_streams: int
    """Batches that one process runs side by side, a thread each; 1 on a GPU."""
    num_decoders: int
    """Photographs that one process decodes side by side."""
    model_budget_mb: int
    """Memory for all models of a multi-model endpoint."""
    arithmetic: str
    """How the numbers came about, for the log."""


def choose_sizes(config: ServeConfig, model: Path) -> Sizes:
    """Choose sizes by cores, GPUs and memory, all within the cgroup's limits; a given number of workers stays."""
    cores, gpus, memory_mb = num_cpus(), num_gpus(), memory_bytes() // BYTES_PER_MB
    process_mb = PROCESS_MB + model_mb(model)
    by_cores = 1 if gpus or config.is_multi_model else max(1, cores // CORES_PER_PROCESS)
    by_memory = max(1, memory_mb // process_mb)
    set_workers = None if config.is_multi_model else config.num_workers
    num_workers = set_workers or min(by_cores, by_memory)
    num_decoders = max(1, cores // num_workers)
    num_streams = 1 if gpus else num_decoders
    chosen = "as set" if set_workers else f"the least of {by_cores} by cores and {by_memory} by memory"
    arithmetic = (
        f"{cores} cores, {gpus} GPUs, {memory_mb} MB of memory; {num_workers} process(es), {chosen} "
        f"({process_mb} MB each: {PROCESS_MB} and {model_mb(model)} of the model); in each "
        f"{num_streams} stream(s), {num_decoders} decoding, {config.num_threads} threads of which "
        f"{config.num_admitted} answer images, "
        f"a queue of {config.queue_images} images"
    )
    budget_mb = config.model_memory_mb or max(1, memory_mb * 4 // 5 - PROCESS_MB)
    return Sizes(num_workers, num_streams, num_decoders, budget_mb, arithmetic)


def model_mb(directory: Path) -> int:
    """Estimate the memory of a model, in MB; 0 where there is none."""
    weights = directory / IR_WEIGHTS
    return WEIGHT_COPIES * (weights.stat().st_size // BYTES_PER_MB + 1) if weights.is_file() else 0
