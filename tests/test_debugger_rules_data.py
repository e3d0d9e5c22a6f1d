"""Rules on photographs, classes and predictions."""

import pytest
from rule_records import Event, data, fires, job, judge, predictions, record, stage, tensor


@pytest.mark.parametrize(("smallest", "expected"), [(101, False), (100, False), (99, True), (1, True)])
def test_classes_are_unbalanced_above_the_ratio(smallest: int, expected: bool) -> None:
    given = record(data([1000, smallest]))
    assert fires("ClassImbalance", given) is expected
    assert not fires("ClassImbalance", given, threshold_imbalance=2000)


def test_imbalance_is_advice_until_the_rare_class_is_missed() -> None:
    listed = data([500, 40])
    assert judge("ClassImbalance", record(listed)).severity == "advice"
    missed = judge("ClassImbalance", record(listed, predictions([[100, 0], [8, 2]])))
    assert missed.severity == "problem"
    assert "class_balance=sampling" in missed.advice
    balanced = judge("ClassImbalance", record(job(class_balance="loss"), listed))
    assert "class_balance" not in balanced.advice


@pytest.mark.parametrize(("num_found", "expected"), [(3, False), (2, True)])
def test_a_class_is_missed_above_the_share(num_found: int, expected: bool) -> None:
    given = record(data([100, 100, 100]), predictions([[10, 0, 0], [0, 10, 0], [10 - num_found, 0, num_found]]))
    result = judge("ClassImbalance", given)
    assert (result.status == "IssuesFound") is expected
    assert result.details["missed"] == (["class_2"] if expected else [])


def test_a_network_that_finds_nothing_says_nothing_of_a_class() -> None:
    assert not fires("ClassImbalance", record(data([50, 50]), predictions([[0, 10], [10, 0]])))


@pytest.mark.parametrize(("counts", "applies"), [([25, 24], False), ([25, 25], True)])
def test_imbalance_is_judged_from_fifty_photographs_on(counts: list[int], applies: bool) -> None:
    assert (judge("ClassImbalance", record(data(counts))).status != "NotApplicable") is applies


@pytest.mark.parametrize(("taken", "expected"), [(10, False), (11, True)])
def test_classes_are_confused_above_the_share(taken: int, expected: bool) -> None:
    given = record(data([50, 50]), predictions([[100 - taken, taken], [0, 100]]))
    assert fires("Confusion", given) is expected
    assert not fires("Confusion", given, max_off_diag=0.5)


def test_two_photographs_of_a_pair_are_chance() -> None:
    assert not fires("Confusion", record(data([5, 5]), predictions([[3, 2], [0, 5]])))
    assert fires("Confusion", record(data([5, 5]), predictions([[2, 3], [0, 5]])))


def test_two_classes_that_are_one_are_a_problem_and_a_similar_pair_is_advice() -> None:
    rest = [[0, 0, 20, 0], [0, 0, 0, 20]]
    same = judge("Confusion", record(data([50] * 4), predictions([[11, 9, 0, 0], [8, 12, 0, 0], *rest])))
    alike = judge("Confusion", record(data([50] * 4), predictions([[15, 5, 0, 0], [0, 20, 0, 0], *rest])))
    assert (same.severity, alike.severity) == ("problem", "advice")
    assert "class_0 and class_1 are taken for each other: 45% and 40%" in same.finding


def test_a_sparse_matrix_of_many_classes_is_read() -> None:
    cells = [[i, i, 10] for i in range(250)] + [[7, 9, 5]]
    result = judge("Confusion", record(data([20] * 250), predictions(cells)))
    assert result.details["pairs"] == [["class_7", "class_9", 0.3333, 5]]


def test_the_test_photographs_win_over_validation() -> None:
    good, bad = predictions([[50, 0], [0, 50]], "test"), predictions([[0, 50], [50, 0]], "validation")
    assert not fires("Confusion", record(data([50, 50]), good, bad))


def inputs(mean: float, std: float = 1.0, number: int = 4) -> list[Event]:
    return tensor("Net_input_0", "inputs", number, mean=mean, std=std)


@pytest.mark.parametrize(("mean", "severity"), [
    (0.19, ""), (-0.2, ""), (0.21, "advice"), (-0.5, "advice"), (-1.1, "problem"), (120.0, "problem"),
])  # fmt: skip
def test_photographs_have_a_mean_near_zero(mean: float, severity: str) -> None:
    result = judge("CheckInputImages", record(stage(batch_size=32), inputs(mean)))
    assert (result.severity if result.status == "IssuesFound" else "") == severity


@pytest.mark.parametrize(("std", "what"), [(0.0, "black"), (0.24, "black"), (0.26, ""), (3.9, ""), (4.1, "not scaled")])
def test_photographs_have_a_deviation_near_one(std: float, what: str) -> None:
    result = judge("CheckInputImages", record(stage(batch_size=32), inputs(0.0, std)))
    assert (what in result.finding) if what else (result.status == "NoIssuesFound")


@pytest.mark.parametrize(("number", "applies"), [(3, False), (4, True)])
def test_inputs_are_judged_from_enough_images_on(number: int, applies: bool) -> None:
    given = record(stage(batch_size=8), inputs(5.0, number=number))
    assert (judge("CheckInputImages", given).status != "NotApplicable") is applies


def leak(count: int, split: str = "test") -> Event:
    pair = {"photograph": "/test/a.jpg", "split": split, "other": "/train/b.jpg", "other_split": "train"}
    return {"kind": "leak", "time": 1.0, "count": count, "photographs": [pair] * min(count, 100)}


@pytest.mark.parametrize(("count", "severity"), [(1, "advice"), (2, "problem"), (200, "problem")])
def test_leaked_photographs_are_a_problem_from_a_share_of_the_split_on(count: int, severity: str) -> None:
    given = record(data([500, 500], test=[100, 100]), leak(count))
    result = judge("Leakage", given)
    assert (result.severity, result.triggered) == (severity, count)
    assert "/test/a.jpg" in result.finding


def test_splits_without_a_photograph_in_common_do_not_leak() -> None:
    assert not fires("Leakage", record(data([500, 500])))


@pytest.mark.parametrize(("unreadable", "severity"), [(0, ""), (1, "advice"), (2, "advice"), (3, "problem")])
def test_unreadable_photographs_are_a_problem_from_a_share_of_all_on(unreadable: int, severity: str) -> None:
    given = record({**data([100, 100], [25, 25]), "unreadable": unreadable})
    result = judge("UnreadablePhotographs", given)
    assert (result.severity if result.status == "IssuesFound" else "") == severity


def test_shares_are_of_photographs_and_not_of_labels() -> None:
    listed = {**data([100, 100], [25, 25]), "task": "multi_label", "unreadable": 2}
    given = record({**listed, "num_photographs": {"train": 120, "validation": 25}})
    assert judge("UnreadablePhotographs", given).severity == "problem"
    assert judge("Confusion", given).status == "NotApplicable"
