"""The hosts of a job (resourceconfig.json) and the processors of this one."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from container.errors import UserError
from container.paths import ContainerPaths


@dataclass(frozen=True)
class ResourceConfig:
    """The cluster of a training job and this host's share of it."""

    hosts: tuple[str, ...]
    """Host names in lexicographic order, the same on every host."""
    current_host: str
    network_interface: str
    num_cpus: int
    """Processors that this process may use, in whole cores."""
    num_gpus: int
    instance_type: str = ""
    """Such as ml.g5.xlarge; empty outside the service."""

    @classmethod
    def from_paths(cls, paths: ContainerPaths) -> "ResourceConfig":
        """Read resourceconfig.json; one host named `localhost` when it is not there.

        Raises UserError when the file lacks `hosts` or `current_host`.
        """
        file = paths.input_config / "resourceconfig.json"
        if not file.exists():
            return cls(("localhost",), "localhost", "lo", num_cpus(), num_gpus())
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            hosts, current_host = tuple(sorted(content["hosts"])), content["current_host"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}: expected an object with hosts and current_host ({error!r})") from error
        if current_host not in hosts:
            raise UserError(f"{file}: current_host={current_host!r} is not one of hosts={list(hosts)}")
        interface = content.get("network_interface_name") or "eth0"
        instance_type = str(content.get("current_instance_type") or "")
        return cls(hosts, current_host, interface, num_cpus(), num_gpus(), instance_type)

    @property
    def is_first_host(self) -> bool:
        """Tell whether this host is the one that writes the model."""
        return self.current_host == self.hosts[0]


def num_cpus() -> int:
    """Count the processors that this process may use: its affinity, capped by the cgroup's quota."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cpu_quota(Path("/sys/fs/cgroup"))
    return max(1, min(available, int(quota))) if quota else available


def cgroup_cpu_quota(root: Path) -> float | None:
    """Read the processor quota of a cgroup, version 2 (`cpu.max`) or 1, in cores; None when there is no limit."""
    version_2 = root / "cpu.max"
    if version_2.exists():
        quota, period = version_2.read_text().split()[:2]
        return None if quota == "max" else int(quota) / int(period)
    version_1 = root / "cpu" / "cpu.cfs_quota_us"
    if version_1.exists():
        microseconds = int(version_1.read_text())
        period_file = version_1.with_name("cpu.cfs_period_us")
        return microseconds / int(period_file.read_text()) if microseconds > 0 else None
    return None


def memory_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Tell the memory that this process may use: the machine's, capped by the cgroup's limit (version 2 or 1)."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        if file.exists() and (text := file.read_text().strip()).isdigit():
            return min(total, int(text))
    return total


def num_gpus() -> int:
    """Count the NVIDIA devices that the container was given, without loading CUDA."""
    return sum(1 for device in Path("/dev").glob("nvidia[0-9]*") if device.name.removeprefix("nvidia").isdigit())
