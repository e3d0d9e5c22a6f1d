"""What the machine is and does: processors, memory within the container's limit, GPUs."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryFiles:
    """Where a version of control groups tells about memory."""

    limit: Path
    used: Path
    details: Path
    reclaimable: str
    """Name in `details` of the file pages that the kernel drops when memory is short."""


MEMORY_FILES = (
    MemoryFiles(CGROUP / "memory.max", CGROUP / "memory.current", CGROUP / "memory.stat", "inactive_file"),
    MemoryFiles(
        CGROUP / "memory" / "memory.limit_in_bytes",
        CGROUP / "memory" / "memory.usage_in_bytes",
        CGROUP / "memory" / "memory.stat",
        "total_inactive_file",
    ),
)
"""Of versions 2 and 1."""


def limiting_group() -> MemoryFiles | None:
    """Find the control group that limits the container's memory; None where the machine's memory does."""
    for files in MEMORY_FILES:
        if files.limit.exists() and files.used.exists():
            limit = files.limit.read_text().strip()
            if limit != "max" and int(limit) < psutil.virtual_memory().total:
                return files
    return None


def total_memory(group: MemoryFiles | None) -> int:
    """Tell the bytes of memory that the job may use."""
    return psutil.virtual_memory().total if group is None else int(group.limit.read_text())


def used_memory(group: MemoryFiles | None) -> int:
    """Tell the bytes of memory in use, without what the kernel can drop."""
    if group is None:
        memory = psutil.virtual_memory()
        return memory.total - memory.available
    details = dict(line.split() for line in group.details.read_text().splitlines())
    return max(0, int(group.used.read_text()) - int(details.get(group.reclaimable, 0)))


def available_cores() -> list[int]:
    """List the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def processor_name() -> str:
    """Name the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


class Gpus:
    """The GPUs of this machine, through NVIDIA's management library; none where it is not there."""

    def __init__(self) -> None:
        self._handles: list[Any] = []
        try:
            import pynvml

            pynvml.nvmlInit()
        except Exception:  # noqa: BLE001 - no package, no driver, no GPU: all the same
            return
        self._nvml: Any = pynvml
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        everything = ",".join(map(str, range(pynvml.nvmlDeviceGetCount())))
        for name in (everything if visible is None else visible).split(","):
            try:
                if name.strip().isdigit():
                    self._handles.append(pynvml.nvmlDeviceGetHandleByIndex(int(name)))
                elif name.strip():
                    self._handles.append(pynvml.nvmlDeviceGetHandleByUUID(name.strip()))
            except pynvml.NVMLError:
                # What CUDA does not know either ends its list of devices.
                return

    def sample(self) -> list[dict[str, float | None]]:
        """Measure each GPU; None for what it does not tell."""
        rows = []
        for handle in self._handles:
            nvml = self._nvml
            utilization = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
            memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
            power = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
            rows.append(
                {
                    "utilization": None if utilization is None else utilization.gpu,
                    "memory": None if memory is None else round(100 * memory.used / memory.total, 2),
                    "memory_bytes": None if memory is None else memory.used,
                    "power_watts": None if power is None else power / 1000,
                    "temperature": self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
                }
            )
        return rows

    def _ask(self, question: Any, *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except self._nvml.NVMLError:
            return None
