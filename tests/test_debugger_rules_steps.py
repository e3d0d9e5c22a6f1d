"""Rules on how long steps take, and on what is between them."""

import pytest
from rule_records import Event, data, fires, job, judge, record, samples, stage, steps

from train.debugger.record import Record


def stalled(seconds: float, usual: float = 0.1) -> list[Event]:
    return steps([1.0] * 100, times={"forward": [usual] * 50 + [seconds] + [usual] * 49})


@pytest.mark.parametrize(("seconds", "expected"), [(9.9, False), (10.1, True), (60.0, True)])
def test_a_short_job_stalls_after_ten_seconds(seconds: float, expected: bool) -> None:
    result = judge("StalledTraining", record(job(), stalled(seconds)))
    assert (result.status == "IssuesFound") is expected
    if expected:
        assert (result.first_step, result.severity) == (50, "problem")
        assert result.parameters["threshold"] == pytest.approx(10.0)


def test_a_job_of_slow_steps_stalls_later() -> None:
    given = record(job(), steps([1.0] * 40, times={"forward": [1.0] * 20 + [45.0] + [1.0] * 19}))
    assert not fires("StalledTraining", given)
    assert fires("StalledTraining", given, threshold=40)


def test_validation_and_phases_are_no_stall_but_the_phase_of_the_steps_is() -> None:
    gap = [*steps([1.0] * 20, times={"forward": 0.1}), *steps([1.0] * 20, start=40.0, times={"forward": 0.1})]
    gap[1]["first"] = 20
    whole = {"kind": "phase", "time": 42.0, "name": "finetune", "start": 5.0, "seconds": 37.0}
    pause = {"kind": "pause", "time": 39.0, "name": "validation", "stage": "finetune", "epoch": 1, "start": 12.5}
    assert fires("StalledTraining", record(gap, whole))
    assert not fires("StalledTraining", record(gap, whole, {**pause, "seconds": 27.0}))
    assert fires("StalledTraining", record(gap, whole, {**pause, "seconds": 15.0}))


def test_a_job_that_was_killed_while_it_hung_has_stalled() -> None:
    hung = [*steps([1.0] * 20, times={"forward": 0.1}), *samples([1.0], start=12 + 1801.0)]
    result = judge("StalledTraining", record(hung))
    assert result.first_step == 20
    assert not fires("StalledTraining", record(hung, {"kind": "end", "time": 1900.0, "status": "completed"}))


def timed(**times: float) -> list[Event]:
    return steps([1.0] * 100, num_images=8, times=times)


@pytest.mark.parametrize(("optimizer", "expected"), [(0.0099, False), (0.0125, True)])
def test_a_batch_is_too_small_when_much_of_a_step_is_fixed(optimizer: float, expected: bool) -> None:
    given = record(
        job(), stage(batch_size=8), data([400, 400]), timed(forward=0.03, backward=0.06, optimizer=optimizer)
    )
    result = judge("BatchSize", given)
    assert (result.status == "IssuesFound") is expected
    if expected:
        assert "batch_size=64" in result.advice
        assert result.gain == pytest.approx(0.0125 / 0.1025 * 7 / 8 * given.steps.total.sum() / given.duration)


def test_time_that_no_part_accounts_for_is_fixed_too() -> None:
    times = {"forward": [0.1] * 100, "total": [0.15] * 100}
    given = record(job(), stage(batch_size=8), data([400, 400]), steps([1.0] * 100, num_images=8, times=times))
    assert judge("BatchSize", given).details["fixed_share"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("seconds", "share"), [(4.0, 0.0), (2.0, 0.35), (1.0, 0.675)])
def test_a_forward_pass_slower_than_that_of_validation_is_fixed_cost(seconds: float, share: float) -> None:
    # 8 images take 32 ms; 1,000 photographs in validation `seconds`, of which 1.3 times are granted
    validation = {"kind": "pause", "time": 30.0, "name": "validation", "stage": "finetune", "epoch": 1, "start": 25.0}
    given = record(
        job(), stage(batch_size=8), data([400, 400], [500, 500]), timed(forward=0.032, backward=0.064),
        {**validation, "seconds": seconds},
    )  # fmt: skip
    assert judge("BatchSize", given).details["fixed_share"] == pytest.approx(share)


def test_a_large_batch_or_a_small_data_set_is_left_alone() -> None:
    wide = steps([1.0] * 100, num_images=64, times={"forward": 0.01, "optimizer": 0.09})
    assert not fires("BatchSize", record(job(), stage(batch_size=64), data([4000, 4000]), wide))
    few = stage(batch_size=8, steps_per_epoch=8)
    assert not fires("BatchSize", record(job(), few, timed(forward=0.01, optimizer=0.09)))


@pytest.mark.parametrize(("cpu", "gpu", "memory", "expected"), [
    (69.0, 69.0, 69.0, True), (71.0, 69.0, 69.0, False), (69.0, 71.0, 69.0, False), (69.0, 69.0, 71.0, False),
])  # fmt: skip
def test_a_batch_is_too_small_for_a_gpu_when_all_three_have_little_to_do(
    cpu: float, gpu: float, memory: float, expected: bool
) -> None:
    work = steps([1.0] * 100, num_images=16, times={"forward": 0.2})
    machine = samples([cpu] * 40, gpu=[[gpu] * 40], gpu_memory=[memory] * 40)
    assert fires("BatchSize", record(job(num_gpus=1), stage(batch_size=16), work, machine)) is expected


def test_the_batch_for_a_gpu_fills_its_memory_within_limits() -> None:
    work = [stage(batch_size=16), *steps([1.0] * 100, num_images=16, times={"forward": 0.2})]
    machine = samples([20.0] * 40, gpu=[[30.0] * 40], gpu_memory=[16.0] * 40)
    assert "batch_size=64" in judge("BatchSize", record(job(num_gpus=1), work, machine)).advice


def waiting(wait: float, num_workers: int, *, busy: float = 30.0, num_gpus: int = 0, cache: bool = True) -> Record:
    work = steps([1.0] * 100, epochs=2, times={"data_wait": wait, "forward": 1 - wait})
    machine = samples([busy] * 100, gpu=[[50.0] * 100] * num_gpus, num_loaders=num_workers, process_cpu=4 * busy)
    asked = job(num_gpus=num_gpus, photograph_cache=cache)
    return record(asked, stage(epochs=2, num_workers=num_workers), work, machine)


@pytest.mark.parametrize(("wait", "expected"), [(0.09, False), (0.11, True)])
def test_few_loaders_matter_where_steps_wait(wait: float, expected: bool) -> None:
    result = judge("Dataloader", waiting(wait, 0))
    assert (result.status == "IssuesFound") is expected
    assert ("num_workers=4" in result.advice) is expected


def test_more_loaders_gain_as_much_as_processors_are_free() -> None:
    free = judge("Dataloader", waiting(0.5, 0, busy=25.0))
    full = judge("Dataloader", waiting(0.5, 0, busy=100.0))
    weight = 100 / 110  # of the steps in the job
    assert free.gain == pytest.approx(0.5 * weight, rel=0.01)
    assert full.gain == 0
    on_gpu = judge("Dataloader", waiting(0.5, 1, num_gpus=1))
    assert on_gpu.gain == pytest.approx(0.5 * weight, rel=0.01)


def test_a_cache_is_advised_where_photographs_are_decoded_again() -> None:
    result = judge("Dataloader", waiting(0.4, 4, busy=100.0, cache=False))
    assert result.advice == "Set photograph_cache=true."
    assert result.gain == pytest.approx(0.55 * 0.4 / 2 * 100 / 110, rel=0.01)


@pytest.mark.parametrize(("num_workers", "expected"), [(8, False), (9, True)])
def test_too_many_loaders_are_more_than_twice_the_cores(num_workers: int, expected: bool) -> None:
    assert fires("Dataloader", waiting(0.01, num_workers)) is expected


def test_the_first_step_of_an_epoch_may_wait() -> None:
    wait = [10.0 if i % 50 == 0 else 0.01 for i in range(100)]
    work = steps([1.0] * 100, epochs=2, times={"data_wait": wait, "forward": 1.0})
    assert not fires("Dataloader", record(job(), stage(num_workers=0), work))


@pytest.mark.parametrize(("minutes", "expected"), [(1.9, False), (2.1, True)])
def test_a_short_job_begins_within_two_minutes(minutes: float, expected: bool) -> None:
    imports = {"kind": "phase", "time": 60.0, "name": "imports", "start": 0.0, "seconds": 60.0}
    given = record(imports, steps([1.0] * 10, start=60 * minutes, times={"forward": 0.1}))
    result = judge("MaxInitializationTime", given)
    assert (result.status == "IssuesFound") is expected
    assert ("imports 60 s" in result.finding) is expected


@pytest.mark.parametrize(("minutes", "expected"), [(19.9, False), (20.1, True)])
def test_a_long_job_begins_within_twenty_minutes(minutes: float, expected: bool) -> None:
    given = record(steps([1.0] * 10, start=60 * minutes), {"kind": "end", "time": 36000.0, "status": "completed"})
    assert fires("MaxInitializationTime", given) is expected


def test_features_are_work_and_no_initialization() -> None:
    features = {"kind": "phase", "time": 400.0, "name": "features train", "start": 20.0, "seconds": 380.0}
    given = record(features, steps([1.0] * 10, start=405.0, times={"forward": 0.1}))
    assert not fires("MaxInitializationTime", given)


@pytest.mark.parametrize(("num_slow", "expected"), [(1, False), (2, True), (8, True)])
def test_outliers_are_more_than_a_hundredth_of_the_steps(num_slow: int, expected: bool) -> None:
    slow = {20 + 10 * i for i in range(num_slow)}
    times = [4.0 if i in slow else 0.1 for i in range(150)]
    result = judge("StepOutlier", record(job(), steps([1.0] * 150, times={"data_wait": times, "forward": 0.0})))
    assert (result.status == "IssuesFound") is expected
    if expected:
        assert (result.triggered, result.first_step) == (num_slow, 20)
        assert result.advice.startswith("Set num_workers=4, photograph_cache=true. ")
        assert result.details["outliers"] == sorted(slow)


@pytest.mark.parametrize(("slow", "expected"), [(0.3, False), (0.8, True)])
def test_outliers_matter_when_they_cost_time(slow: float, expected: bool) -> None:
    # 2 % of the steps take three or eight times as long: they add 4 % or 12 % to the time, 4 s or 14 s
    times = [slow if i % 50 == 30 else 0.1 for i in range(1000)]
    given = record(job(), steps([1.0] * 1000, times={"forward": times}))
    assert fires("StepOutlier", given) is expected
    assert fires("StepOutlier", given, lost_share=0.01)
    assert not fires("StepOutlier", given, stddev=10)


def test_the_time_is_split_into_parts() -> None:
    whole = {"kind": "phase", "time": 22.0, "name": "finetune", "start": 8.0, "seconds": 14.0}
    imports = {"kind": "phase", "time": 5.0, "name": "imports", "start": 0.0, "seconds": 5.0}
    given = record(imports, whole, steps([1.0] * 100, times={"forward": 0.06, "backward": 0.04}))
    details = judge("OverallFrameworkMetrics", given).details
    assert details["phases"] == {"imports": 5.0}
    assert details["stages"]["finetune"]["forward"] == pytest.approx(6.0)
    assert details["stages"]["finetune"]["total"] == pytest.approx(10.0)
    assert details["other"] == pytest.approx(22 - 5 - 10)
