"""Seconds since the process began."""

import os
import time
from pathlib import Path

START_FIELD = 19
"""Of starttime among the fields after the name in /proc/PID/stat; see proc(5)."""


class Clock:
    """Tells the seconds since the process began, from a monotonic clock."""

    def __init__(self) -> None:
        self._start = time.perf_counter() - process_age()

    def now(self) -> float:
        """Tell the time."""
        return time.perf_counter() - self._start

    def at(self, moment: float) -> float:
        """Turn a moment of time.perf_counter() into the same time."""
        return moment - self._start


def process_age() -> float:
    """Read how long ago the process began; 0 where the system does not tell."""
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return 0.0
    ticks = int(stat.read_text().rpartition(")")[2].split()[START_FIELD])
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
