"""A sample of the machine each half second, in a thread."""

import threading
import time
from pathlib import Path
from typing import Any

import psutil

from train.debugger.machine import Gpus, available_cores, limiting_group, used_memory
from train.debugger.recorder import Recorder
from train.debugger.watcher import Watcher

INTERVAL_SECONDS = 0.5

MAX_SAMPLES = 10_000
"""After so many the interval doubles, and so on, which bounds the record of a job of days."""

FAMILY_INTERVAL = 4
"""Samples between two looks for new processes: to look at all of a busy machine takes milliseconds."""


class SystemSampler(Watcher):
    """Samples processors, memory, disk, network, processes and GPUs while the job runs."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system-sampler", daemon=True)

    def begin(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def close(self) -> None:
        """Take a last sample and end."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def detach(self) -> None:
        """End without waiting, as this may be the thread itself."""
        self._ended.set()

    def _run(self) -> None:
        try:
            sampler = Sampler()
            interval, num_samples = INTERVAL_SECONDS, 0
            is_over = False
            while not is_over:
                is_over = self._ended.wait(interval)
                if self.is_off:
                    return
                self._recorder.write("system", **sampler.sample())
                num_samples += 1
                if num_samples % MAX_SAMPLES == 0:
                    interval *= 2
        except Exception as error:  # noqa: BLE001 - the thread's last frame
            self.fail(error)


class Sampler:
    """Measures what happened since the sample before."""

    def __init__(self) -> None:
        self._gpus = Gpus()
        self._group = limiting_group()
        self._cores = available_cores()
        self._process = psutil.Process()
        self._family: list[psutil.Process] = []
        self._children = ""
        self._cpu_seconds = {self._process.pid: cpu_seconds(self._process.cpu_times())}
        self._loaders: set[int] = set()
        self._num_samples = 0
        self._time = time.perf_counter()
        # The first answers of these mean nothing.
        psutil.cpu_percent(percpu=True)
        psutil.cpu_times_percent()
        self._counters = read_counters()

    def sample(self) -> dict[str, object]:
        """Measure the machine."""
        now = time.perf_counter()
        interval, self._time = now - self._time, now
        percents = psutil.cpu_percent(percpu=True)
        counters = read_counters()
        changes = {name: value - self._counters[name] for name, value in counters.items()}
        self._counters = counters
        return {
            "interval": round(interval, 4),
            "cpu": [percents[core] for core in self._cores if core < len(percents)],
            "io_wait": getattr(psutil.cpu_times_percent(), "iowait", 0.0),
            "memory_bytes": used_memory(self._group),
            **self._processes(),
            "process_cpu": self._process_cpu(interval),
            **changes,
            "gpu": self._gpus.sample(),
        }

    def _processes(self) -> dict[str, int]:
        """Measure this process and those it started; loaders are copies of it, with its command line."""
        children = children_of(self._process.pid)
        if self._num_samples % FAMILY_INTERVAL == 0 or children != self._children:
            self._children = children
            self._family = self._process.children(recursive=True)
            command = self._process.cmdline()
            self._loaders = {child.pid for child in self._family if self._ask(child, "cmdline") == command}
        self._num_samples += 1
        sizes = {child.pid: self._ask(child, "memory_info") for child in self._family}
        alive = {pid: size.rss for pid, size in sizes.items() if size is not None and size.rss > 0}
        return {
            "process_bytes": self._process.memory_info().rss + sum(alive.values()),
            "num_loaders": len(self._loaders & alive.keys()),
            "num_processes": 1 + len(alive),
        }

    def _process_cpu(self, interval: float) -> float:
        """Measure how much of a core, in percent, this process and those it started took since the sample before."""
        times = {process.pid: self._ask(process, "cpu_times") for process in (self._process, *self._family)}
        seconds = {pid: cpu_seconds(spent) for pid, spent in times.items() if spent is not None}
        grown = sum(spent - self._cpu_seconds.get(pid, 0.0) for pid, spent in seconds.items())
        self._cpu_seconds = seconds
        return round(100 * grown / max(interval, 1e-9), 1)

    @staticmethod
    def _ask(process: psutil.Process, name: str) -> Any:
        """Ask a process that may be gone."""
        try:
            return getattr(process, name)()
        except psutil.Error:
            return None


def cpu_seconds(times: Any) -> float:
    """Add up the processor time of a process."""
    return float(times.user + times.system)


def children_of(pid: int) -> str:
    """List the processes that the main thread of a process started; empty where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return ""


def read_counters() -> dict[str, int]:
    """Read the bytes that disks and network have moved since the machine started; 0 where it does not tell."""
    disk = psutil.disk_io_counters() if Path("/proc/diskstats").exists() else None
    network = psutil.net_io_counters()
    return {
        "disk_read": disk.read_bytes if disk else 0,
        "disk_write": disk.write_bytes if disk else 0,
        "net_in": network.bytes_recv if network else 0,
        "net_out": network.bytes_sent if network else 0,
    }
