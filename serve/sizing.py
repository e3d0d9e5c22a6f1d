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
    arithmetic: str
    """How the numbers came about, for the log."""


def choose_sizes(config: ServeConfig, model: Path) -> Sizes:
    """Choose sizes by cores, GPUs and memory, all within the cgroup's limits; a given number of workers stays."""
    cores, gpus, memory_mb = num_cpus(), num_gpus(), memory_bytes() // BYTES_PER_MB
    weights = model / IR_WEIGHTS
    weights_mb = weights.stat().st_size // BYTES_PER_MB + 1 if weights.is_file() else 0
    process_mb = PROCESS_MB + WEIGHT_COPIES * weights_mb
    by_cores = 1 if gpus else max(1, cores // CORES_PER_PROCESS)
    by_memory = max(1, memory_mb // process_mb)
    num_workers = config.num_workers or min(by_cores, by_memory)
    num_decoders = max(1, cores // num_workers)
    num_streams = 1 if gpus else num_decoders
    chosen = "as set" if config.num_workers else f"the least of {by_cores} by cores and {by_memory} by memory"
    arithmetic = (
        f"{cores} cores, {gpus} GPUs, {memory_mb} MB of memory; {num_workers} process(es), {chosen} "
        f"({process_mb} MB each: {PROCESS_MB} and {WEIGHT_COPIES} times {weights_mb} of weights); in each "
        f"{num_streams} stream(s), {num_decoders} decoding, {config.num_threads} threads of which "
        f"{config.num_admitted} answer images, "
        f"a queue of {config.queue_images} images"
    )
    return Sizes(num_workers, num_streams, num_decoders, arithmetic)
