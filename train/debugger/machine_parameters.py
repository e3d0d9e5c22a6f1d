"""The parameters of the rules on time and machine. Imports the standard library only."""

from dataclasses import dataclass

from container.settings import setting
from train.debugger.training_parameters import COUNT, PERCENT, POSITIVE, SHARE

SAMPLES = "samples of 0.5 s"

PATIENCE = "First samples that are passed over; at most a quarter of those there are."
WINDOW = "Samples that a quantile or mean is taken over; at most a quarter of those there are, and at least 6."


@dataclass(frozen=True)
class StalledTraining:
    """Finds the longest time without a step, outside of validation and other known work."""

    threshold: float = setting(
        1800.0, "Time without a step; a tenth of the job or 50 usual steps, at least 10 s, in short jobs.", unit="s",
        interval="(0, inf)",
    )  # fmt: skip


@dataclass(frozen=True)
class BatchSize:
    """Finds a batch too small for the machine.

    With a GPU: percentile 95 of CPU, GPU and GPU memory all stay below their thresholds. Without: what a step costs
    whatever its batch, such as the optimizer's work, is more than `fixed_share` of it.
    """

    cpu_threshold_p95: float = setting(70.0, "Percentile 95 of the CPU's use.", unit="%", interval=PERCENT)
    gpu_threshold_p95: float = setting(70.0, "Percentile 95 of the GPU's use.", unit="%", interval=PERCENT)
    gpu_memory_threshold_p95: float = setting(70.0, "Percentile 95 of GPU memory.", unit="%", interval=PERCENT)
    patience: int = setting(1000, PATIENCE, unit=SAMPLES, interval=COUNT)
    window: int = setting(500, WINDOW, unit=SAMPLES, interval=COUNT)
    fixed_share: float = setting(
        0.1, "Kennel's own: share of a step that does not depend on its batch.", interval=SHARE
    )


@dataclass(frozen=True)
class CPUBottleneck:
    """Finds samples in which the CPU is full and holds training up, more than `threshold` percent of them.

    With a GPU: it waits below `gpu_threshold`. Without: other processes take more than `other_threshold` of the CPU.
    """

    threshold: float = setting(50.0, "Share of samples.", unit="%", interval=PERCENT)
    gpu_threshold: float = setting(10.0, "Use of the GPU below which it waits.", unit="%", interval=PERCENT)
    cpu_threshold: float = setting(90.0, "Use of the CPU above which it is full.", unit="%", interval=PERCENT)
    patience: int = setting(1000, PATIENCE, unit=SAMPLES, interval=COUNT)
    other_threshold: float = setting(
        20.0, "Kennel's own: share of the CPU that other processes take.", unit="%", interval=PERCENT
    )


@dataclass(frozen=True)
class Dataloader:
    """Compares the number of loader processes with the cores, and the time that steps wait for data with their length.

    Few loaders matter only where steps wait.
    """

    min_threshold: float = setting(70.0, "Loaders for a hundred cores, at least.", unit="%", interval=POSITIVE)
    max_threshold: float = setting(200.0, "Loaders for a hundred cores, at most.", unit="%", interval=POSITIVE)
    wait_threshold: float = setting(
        10.0, "Kennel's own: share of the steps' time that is waiting for data.", unit="%", interval=PERCENT
    )


@dataclass(frozen=True)
class GPUMemoryIncrease:
    """Finds GPU memory that grows steadily: its moving average rises by more than `increase` points.

    Without a GPU it looks at the memory of the job's processes, in percent of what they held at first.
    """

    increase: float = setting(5.0, "Rise from one window to a later one.", unit="points", interval=POSITIVE)
    patience: int = setting(1000, PATIENCE, unit=SAMPLES, interval=COUNT)
    window: int = setting(10, WINDOW, unit=SAMPLES, interval=COUNT)


@dataclass(frozen=True)
class IOBottleneck:
    """Finds samples in which the cores wait for disks while the GPU, if any, has nothing to do."""

    threshold: float = setting(50.0, "Share of samples.", unit="%", interval=PERCENT)
    io_threshold: float = setting(50.0, "Share of time that cores wait for disks.", unit="%", interval=PERCENT)
    gpu_threshold: float = setting(10.0, "Use of the GPU below which it waits.", unit="%", interval=PERCENT)
    patience: int = setting(1000, PATIENCE, unit=SAMPLES, interval=COUNT)


@dataclass(frozen=True)
class LoadBalancing:
    """Compares the histograms of the use of each two GPUs: half the sum of differences of shares."""

    threshold: float = setting(0.5, "Distance of two histograms.", interval=SHARE)
    patience: int = setting(1000, PATIENCE, unit=SAMPLES, interval=COUNT)


@dataclass(frozen=True)
class LowGPUUtilization:
    """Finds a GPU that has little to do: percentile 95 of its use below `threshold_p95`, or 5 below `threshold_p5`.

    Without a GPU it looks at the mean use of the cores.
    """

    threshold_p95: float = setting(70.0, "Percentile 95 below which it is too little used.", unit="%", interval=PERCENT)
    threshold_p5: float = setting(10.0, "Percentile 5 below which its use fluctuates.", unit="%", interval=PERCENT)
    patience: int = setting(1000, PATIENCE, unit=SAMPLES, interval=COUNT)
    window: int = setting(500, WINDOW, unit=SAMPLES, interval=COUNT)


@dataclass(frozen=True)
class MaxInitializationTime:
    """Measures the time before the first step, without the making of features."""

    threshold: float = setting(
        20.0, "Time before the first step; half of the job, at least 2 minutes, in short jobs.", unit="minutes",
        interval="(0, inf)",
    )  # fmt: skip


@dataclass(frozen=True)
class OverallSystemUsage:
    """Lists largest, percentile 99, 95, 50 and smallest use of CPU, memory, disk, network and GPU."""


@dataclass(frozen=True)
class OverallFrameworkMetrics:
    """Splits the job's time into phases, and that of steps into data, copy, forward, backward and optimizer."""


@dataclass(frozen=True)
class StepOutlier:
    """Finds steps longer than the mean by more than `stddev` standard deviations, where they cost time."""

    stddev: float = setting(3.0, "Standard deviations.", interval="(0, inf)")
    n_outliers: int = setting(
        10, "Outliers that are allowed; a hundredth of the steps, at least 1, in short stages.", interval=COUNT
    )
    lost_share: float = setting(0.05, "Kennel's own: share of the time that the outliers add.", interval=SHARE)
