"""Rules on processors, GPUs, memory and disks."""

import pytest
from rule_records import Event, data, fires, job, judge, record, samples, stage, steps

BUSY = [95.0] * 40


def work(seconds: float = 20.0, *, epochs: int = 1) -> list[Event]:
    """Steps of half a second, from second 10 on."""
    return [stage(epochs=epochs), *steps([1.0] * int(2 * seconds), epochs=epochs, times={"forward": 0.5})]


@pytest.mark.parametrize(("number", "applies"), [(11, False), (16, True)])
def test_too_few_samples_at_work_are_not_judged(number: int, applies: bool) -> None:
    given = record(job(), work(), samples(BUSY[:number], process_cpu=100.0))
    for rule in ("CPUBottleneck", "LowGPUUtilization", "IOBottleneck"):
        assert (judge(rule, given).status != "NotApplicable") is applies, rule


def test_samples_before_and_after_the_steps_do_not_count() -> None:
    given = record(job(), work(), samples([5.0] * 20, start=0.0), samples(BUSY), samples([5.0] * 60, start=31.0))
    assert not fires("LowGPUUtilization", given)


@pytest.mark.parametrize(("num_samples", "patience", "window"), [(40, 10, 7), (400, 100, 75), (6000, 1000, 500)])
def test_patience_and_window_shrink_to_a_quarter(num_samples: int, patience: int, window: int) -> None:
    given = record(job(), work(num_samples / 2), samples([95.0] * num_samples))
    result = judge("LowGPUUtilization", given)
    assert (result.parameters["patience"], result.parameters["window"]) == (patience, window)


@pytest.mark.parametrize(("own", "expected"), [(4 * 95.0, False), (4 * 76.0, False), (4 * 74.0, True), (100.0, True)])
def test_other_processes_take_the_processors(own: float, expected: bool) -> None:
    result = judge("CPUBottleneck", record(job(), work(), samples(BUSY, process_cpu=own)))
    assert (result.status == "IssuesFound") is expected
    if expected:
        assert result.gain == pytest.approx((95 - own / 4) / 100, abs=0.02)
        assert result.severity == "advice"


def test_other_processes_matter_only_where_the_processors_are_full() -> None:
    assert not fires("CPUBottleneck", record(job(), work(), samples([89.0] * 40, process_cpu=100.0)))


@pytest.mark.parametrize(("num_held_up", "expected"), [(15, False), (16, True)])
def test_a_processor_holds_up_the_gpu_in_more_than_half_of_the_samples(num_held_up: int, expected: bool) -> None:
    # 40 samples, of which the first ten are passed over
    gpu = [100.0] * (40 - num_held_up) + [5.0] * num_held_up
    given = record(job(num_gpus=1), work(), samples(BUSY, gpu=[gpu]))
    assert fires("CPUBottleneck", given) is expected
    assert not fires("CPUBottleneck", given, threshold=90)


@pytest.mark.parametrize(("use", "finding"), [
    ([69.0] * 40, "too little"), ([70.0] * 40, ""), ([100.0] * 40, ""), ([100.0, 9.0] * 20, "fits and starts"),
    ([100.0, 11.0] * 20, ""),
])  # fmt: skip
def test_a_gpu_has_too_little_to_do_or_works_by_fits_and_starts(use: list[float], finding: str) -> None:
    result = judge("LowGPUUtilization", record(job(num_gpus=1), work(), samples(BUSY, gpu=[use])))
    assert (finding in result.finding) if finding else (result.status == "NoIssuesFound")
    assert result.details["device"] == "GPU"


def test_without_a_gpu_the_processors_are_looked_at() -> None:
    result = judge("LowGPUUtilization", record(job(), work(), samples([30.0] * 40)))
    assert result.details["device"] == "CPU"
    assert result.finding.startswith("The CPU has too little to do: 30 % busy")


def epochs_of(*minimum: float, number: int = 80) -> list[Event]:
    """Four epochs of 10 s, and samples of the processes' memory in them."""
    return [job(), *work(number / 2, epochs=4), *samples([95.0] * number, process_bytes=minimum)]


def grown(percent: float) -> list[float]:
    """Memory of 80 samples that rises evenly, by a percentage from where it is judged from to the end."""
    # The first epoch has 20 samples, and a quarter of the others is passed over.
    return [1e9 * (1 + percent / 100 * max(0, i - 35) / 44) for i in range(80)]


@pytest.mark.parametrize(("percent", "expected"), [(0.0, False), (5.0, False), (7.0, True), (100.0, True)])
def test_memory_of_the_processes_grows_steadily(percent: float, expected: bool) -> None:
    result = judge("GPUMemoryIncrease", record(epochs_of(*grown(percent))))
    assert (result.status == "IssuesFound") is expected
    if expected:
        assert result.severity == "problem"
        assert "There is no GPU" in result.finding
        assert "Memory is full after" in result.advice


def test_memory_that_levels_off_does_not_grow() -> None:
    assert not fires("GPUMemoryIncrease", record(epochs_of(*[1e9 * (1 + min(i, 50) / 50) for i in range(80)])))


def test_memory_that_goes_up_and_down_does_not_grow() -> None:
    assert not fires("GPUMemoryIncrease", record(epochs_of(*[1e9 * (1 + 0.3 * (i // 5 % 2)) for i in range(80)])))
    assert not fires("GPUMemoryIncrease", record(epochs_of(*[1e9 * (1 + i / 600 + 0.2 * (i % 2)) for i in range(80)])))


def test_memory_may_grow_in_the_first_of_several_epochs() -> None:
    first = [stage(epochs=4), *steps([1.0] * 80, times={"forward": 0.5})]
    given = record(job(), first, samples([95.0] * 80, process_bytes=grown(50)))
    assert judge("GPUMemoryIncrease", given).status == "NotApplicable"


def test_gpu_memory_grows_in_points() -> None:
    memory = [20 + max(0, i - 35) * 10 / 44 for i in range(80)]
    machine = samples([95.0] * 80, gpu=[[90.0] * 80], gpu_memory=memory)
    given = record(job(num_gpus=1), work(40, epochs=4), machine)
    assert judge("GPUMemoryIncrease", given).finding.startswith("Memory of GPU 0 grew steadily from 21 to 29 %")
    assert not fires("GPUMemoryIncrease", given, increase=10)


@pytest.mark.parametrize(("io_wait", "expected"), [(50.0, False), (51.0, True)])
def test_cores_wait_for_disks(io_wait: float, expected: bool) -> None:
    given = record(job(photograph_cache=False), work(), samples(BUSY, io_wait=io_wait))
    result = judge("IOBottleneck", given)
    assert (result.status == "IssuesFound") is expected
    assert ("photograph_cache=true" in result.advice) is expected


def test_disks_do_not_matter_while_the_gpu_works() -> None:
    assert not fires("IOBottleneck", record(job(), work(), samples(BUSY, io_wait=90.0, gpu=[[50.0] * 40])))
    assert fires("IOBottleneck", record(job(), work(), samples(BUSY, io_wait=90.0, gpu=[[5.0] * 40])))


@pytest.mark.parametrize(("share", "expected"), [(0.4, False), (0.6, True)])
def test_two_gpus_are_used_unlike_when_their_histograms_are_far(share: float, expected: bool) -> None:
    # 30 samples are left of 40; in a share of them the second GPU is idle
    idle = int(30 * share)
    given = record(job(num_gpus=2), work(), samples(BUSY, gpu=[[90.0] * 40, [90.0] * (40 - idle) + [5.0] * idle]))
    assert fires("LoadBalancing", given) is expected


def test_one_gpu_needs_no_balance() -> None:
    assert judge("LoadBalancing", record(job(num_gpus=1), work(), samples(BUSY, gpu=[BUSY]))).status == "NotApplicable"


def test_the_use_of_everything_is_listed() -> None:
    given = record(job(num_gpus=1), data([50, 50]), work(), samples(BUSY, gpu=[[80.0] * 40], disk_read=1e6))
    result = judge("OverallSystemUsage", given)
    assert result.status == "NoIssuesFound"
    assert result.details["cpu_percent"]["p50"] == 95
    assert result.details["disk_read_bytes_per_second"]["max"] == 2e6
    assert result.details["gpu0_percent"]["mean"] == 80
