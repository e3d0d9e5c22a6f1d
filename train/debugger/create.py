"""What watches a job, by its hyperparameters and the files that the service wrote for it."""

import logging

from container.errors import UserError
from container.lifecycle import StopSignal
from container.paths import ContainerPaths
from train.config import TrainingConfig
from train.debugger.event_files import EventFiles, event_directory
from train.debugger.monitor import RuleMonitor
from train.debugger.record import RECORD_NAME
from train.debugger.recorder import Recorder, RecordFile
from train.debugger.rule_watcher import RuleWatcher
from train.debugger.smdebug_bridge import create_bridge
from train.debugger.step_times import StepTimes
from train.debugger.system import SystemSampler
from train.debugger.tensors import TensorWatcher
from train.debugger.trace import TRACE_NAME, Tracer

logger = logging.getLogger(__name__)


def create_recorder(config: TrainingConfig, paths: ContainerPaths, stop: StopSignal | None = None) -> Recorder:
    """Create the recorder of a job. What cannot be written is told in the log, and the job goes on without it.

    Raises UserError when rules are to stop a job that is not recorded.
    """
    recorder = Recorder()
    if config.recorder:
        add_record(recorder, config, paths)
        monitor = RuleMonitor(config.rules, config.stop_on, (stop or StopSignal()).request)
        recorder.watchers.append(RuleWatcher(recorder, monitor))
    elif config.stop_on:
        raise UserError(f"stop_on={','.join(config.stop_on)}: rules judge what is recorded; set recorder=true")
    directory = event_directory(paths, wanted=config.tensorboard)
    if directory is not None:
        try:
            recorder.watchers.append(EventFiles(directory, recorder.clock))
            if not config.recorder:
                recorder.watchers.insert(0, StepTimes(recorder))
        except (ImportError, OSError) as error:
            logger.warning("tensorboard: no event files in %s (%s)", directory, error)
    bridge = create_bridge(paths)
    if bridge is not None:
        recorder.watchers.append(bridge)
    return recorder


def add_record(recorder: Recorder, config: TrainingConfig, paths: ContainerPaths) -> None:
    """Add the record and those that measure for it."""
    tensors = TensorWatcher(recorder, config.record_interval, config.rules.saturated_activation)
    tracer = Tracer(recorder, paths.output_data / TRACE_NAME, config.trace_steps, tensors)
    # The tracer starts its profiler before a step's time begins, and statistics are taken after it ended.
    measuring = [tracer, StepTimes(recorder), tensors, SystemSampler(recorder)]
    try:
        file = RecordFile(paths.output_data / RECORD_NAME, measuring)
    except OSError as error:
        logger.warning("recorder: no record in %s (%s)", paths.output_data, error.strerror)
        return
    recorder.watchers += [*measuring, file]
