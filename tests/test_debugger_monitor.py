"""Rules that judge a job while it runs."""

import logging
import math
import threading
import time

import pytest
from rule_records import Event, data, epochs, falling, job, record, samples, stage, steps, tensor

from train.debugger.monitor import MAX_STEPS, RuleMonitor, halved
from train.debugger.record import build_record
from train.debugger.rule_settings import RuleSettings
from train.debugger.training_parameters import LossNotDecreasing


class Stop:
    """Keeps the reason for which a job was to stop."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def request(self, reason: str) -> None:
        self.reasons.append(reason)


def observe(monitor: RuleMonitor, *lines: Event | list[Event]) -> list[str]:
    """Tell a monitor lines, and name the rules that were heard."""
    every = [line for item in lines for line in (item if isinstance(item, list) else [item])]
    return [finding.rule for line in every for finding in monitor.observe(line)]


def monitor(*stop_on: str, settings: RuleSettings | None = None) -> tuple[RuleMonitor, Stop]:
    stop = Stop()
    return RuleMonitor(settings or RuleSettings(), stop_on, stop.request), stop


def test_a_loss_that_explodes_is_heard_at_once_and_stops_the_job(caplog: pytest.LogCaptureFixture) -> None:
    watching, stop = monitor("ExplodingTensor")
    good, bad = steps([1.0, 0.9]), [{**steps([math.nan])[0], "first": 2}]
    with caplog.at_level(logging.INFO):
        assert observe(watching, job(), stage(), good) == []
        assert observe(watching, bad) == ["ExplodingTensor"]
        assert observe(watching, [{**bad[0], "first": 3}]) == []
    (line,) = caplog.messages
    assert line.startswith("ExplodingTensor: From step 2 on, values are infinite or no number: the loss. Set lr=0.0001")
    assert stop.reasons == ["ExplodingTensor: From step 2 on, values are infinite or no number: the loss."]


def test_a_rule_that_was_not_asked_to_stop_the_job_does_not() -> None:
    watching, stop = monitor("LossNotDecreasing")
    assert observe(watching, tensor("fc.weight", "weights", 1, nan=1)) == ["ExplodingTensor"]
    assert stop.reasons == []


def test_a_loss_that_stays_stops_the_job_at_the_end_of_an_epoch() -> None:
    watching, stop = monitor("LossNotDecreasing")
    blocks = steps([0.7] * 60, epochs=2)
    rows = epochs([0.7, 0.7], [0.7, 0.7])
    assert observe(watching, job(), stage(), blocks[0]) == []
    assert "LossNotDecreasing" in observe(watching, {**rows[0], "time": 1000.0})
    assert len(stop.reasons) == 1
    assert stop.reasons[0].startswith("LossNotDecreasing: In finetune, the training loss stayed at 0.7")


def test_data_and_leaks_are_heard_when_they_are_listed() -> None:
    watching, _ = monitor()
    assert observe(watching, data([10_000, 3])) == ["ClassImbalance"]
    leak = {"kind": "leak", "time": 1.0, "count": 1, "photographs": []}
    assert observe(watching, leak) == ["Leakage"]


def test_parameters_of_the_rules_count() -> None:
    lenient = RuleSettings(loss_not_decreasing=LossNotDecreasing(num_steps=1000000, diff_percent=0))
    losses = [0.7 - 1e-5 * i for i in range(60)]
    for settings, expected in ((RuleSettings(), True), (lenient, False)):
        watching, _ = monitor(settings=settings)
        heard = observe(watching, job(), stage(), steps(losses), [{**epochs([0.7], [0.7])[0], "time": 1000.0}])
        assert ("LossNotDecreasing" in heard) is expected


def test_a_job_that_hangs_is_heard_from_the_sampler() -> None:
    watching, _ = monitor()
    assert observe(watching, job(), stage(), steps([1.0] * 20)) == []
    assert observe(watching, samples([1.0], start=1000.0)) == []
    assert observe(watching, samples([1.0], start=1831.0)) == ["StalledTraining"]


def test_judging_takes_a_small_share_of_the_time_and_of_memory() -> None:
    watching, _ = monitor()
    names = [f"layer{i}.weight" for i in range(100)]
    observe(watching, job(), stage(epochs=200), data([100, 100]))
    begun = time.perf_counter()
    for epoch in range(200):
        block = steps(falling(100, 2 - epoch / 100, 1.99 - epoch / 100), times={"forward": 0.01})[0]
        moment = 10.0 + epoch
        observe(watching, {**block, "first": 100 * epoch, "epoch": epoch + 1, "time": moment})
        for name in names:
            observe(watching, [{**row, "time": moment} for row in tensor(f"gradient/{name}", "gradients", 1)])
        observe(watching, [{**epochs([1.0], [1.0])[0], "epoch": epoch + 1, "time": moment}])
    assert time.perf_counter() - begun < 0.02 * 210
    kept = watching._all()
    assert sum(len(row["loss"]) for row in kept if row["kind"] == "steps") <= MAX_STEPS + 100
    assert sum(row["kind"] == "tensor" for row in kept) == 10 * len(names)


def test_merged_steps_tell_the_same_means() -> None:
    losses = falling(101, 2.0, 1.0)
    block = steps(losses, times={"forward": 0.5})[0]
    halves = build_record(part for part in [{"kind": "job", "time": 0.0}, *halved(block)])
    whole = record([block])
    assert halves.steps.merged.tolist() == [2] * 50 + [1]
    assert halves.steps.number.tolist() == list(range(0, 101, 2))
    assert (halves.steps.loss * halves.steps.merged).sum() == pytest.approx(whole.steps.loss.sum())
    assert halves.steps.end_time[-1] == whole.steps.end_time[-1]


def test_lines_may_come_from_several_threads() -> None:
    watching, _ = monitor("ExplodingTensor")
    errors: list[BaseException] = []

    def sample() -> None:
        try:
            for i in range(2000):
                watching.observe(samples([50.0], start=10 + i / 1000)[0])
        except BaseException as error:  # noqa: BLE001 - the assertion is below
            errors.append(error)

    thread = threading.Thread(target=sample)
    thread.start()
    observe(watching, job(), stage(), data([50, 50]))
    for epoch in range(30):
        observe(watching, steps([1.0] * 20), [{**epochs([1.0], [1.0])[0], "epoch": epoch + 1, "time": 1e6}])
    thread.join()
    assert errors == []
