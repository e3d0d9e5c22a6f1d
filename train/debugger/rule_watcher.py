"""Tells the rules what is recorded, and records what they find."""

from collections.abc import Sequence
from dataclasses import asdict

from train.debugger.monitor import RuleMonitor
from train.debugger.recorder import Recorder
from train.debugger.watcher import Row, Watcher


class RuleWatcher(Watcher):
    """Lets the rules judge each line of the record, and adds their findings to it."""

    name = "rules"

    def __init__(self, recorder: Recorder, monitor: RuleMonitor) -> None:
        super().__init__()
        self._recorder = recorder
        self._monitor = monitor

    def wrote(self, rows: Sequence[Row]) -> None:
        """Judge lines."""
        for row in rows:
            for finding in self._monitor.observe(row):
                self._recorder.write("finding", **asdict(finding))
