"""The report of a record: what it says, whatever the record lacks or holds."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from debugger_records import HOSTILE, Job, result, write

from train.debugger.record import Record, read_record
from train.debugger.report import HTML_NAME, JSON_NAME, report_job, write_debugger_report
from train.debugger.report.quality import dense_matrix
from train.debugger.report.results import MAX_FINDINGS, summarize
from train.debugger.report.text import money, name_of, number, seconds, share, size
from train.debugger.rule_settings import RuleSettings
from train.debugger.rules import RuleResult


class Page(HTMLParser):
    """The elements of a page: tags with attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def report(record: Record, results: list[RuleResult], directory: Path) -> tuple[Page, dict[str, Any]]:
    write_debugger_report(record, results, directory)
    content: dict[str, Any] = json.loads((directory / JSON_NAME).read_text(encoding="utf-8"))
    return Page((directory / HTML_NAME).read_text(encoding="utf-8")), content


def test_a_healthy_job_is_told_that_there_is_nothing_to_change(tmp_path: Path) -> None:
    record = write(Job(), tmp_path)
    page, content = report(record, [result("Overfit", "NoIssuesFound"), result("DeadRelu", "NotApplicable")], tmp_path)
    assert "Nothing to change: 1 rule judged" in page.text
    assert "1 rule did not apply" in page.text
    assert content["findings"] == []


def test_findings_come_in_order_of_expected_gain_a_problem_for_no_less_than_half(tmp_path: Path) -> None:
    record = write(Job(), tmp_path)
    fired = [
        result("BatchSize", severity="advice", gain=0.3), result("Overfit"), result("StalledTraining", gain=0.1),
        result("Dataloader", severity="advice", gain=0.6), result("AllZero", "NoIssuesFound", gain=0.9),
    ]  # fmt: skip
    findings = summarize(fired, record)
    rules = [finding.rules[0] for finding in findings]
    assert rules == ["Dataloader", "Overfit", "StalledTraining", "BatchSize"]
    assert (
        findings[0].gain_text
        == f"About {share(0.6)} of the time: {seconds(0.6 * record.duration)} of {seconds(record.duration)}."
    )
    page, _ = report(record, fired, tmp_path)
    assert re.search(r"What to change\s+Loading photographs holds training back\s+Dataloader was seen.", page.text)


def test_rules_that_advise_the_same_are_one_finding_and_there_are_at_most_five(tmp_path: Path) -> None:
    record = write(Job(), tmp_path)
    same = [
        result("CPUBottleneck", advice="Set num_workers=4.", gain=0.7),
        result("Dataloader", advice="Set num_workers=4."),
    ]
    others = [result(f"Rule{index}") for index in range(9)]
    findings = summarize([*others, *same], record)
    assert len(findings) == MAX_FINDINGS
    assert findings[0].rules == ("CPUBottleneck", "Dataloader")
    assert findings[0].seen == "CPUBottleneck was seen. Dataloader was seen."


def test_the_json_holds_the_statistics_of_the_record(tmp_path: Path) -> None:
    record = write(Job(num_gpus=2, gpu_use=(90, 30)), tmp_path)
    _, content = report(record, [], tmp_path)
    sections = content["sections"]
    total = record.steps.total
    assert sections["Step durations"]["finetune"]["p50"] == pytest.approx(float(np.median(total)))
    limit = total.mean() + 3 * total.std()
    assert sections["Step durations"]["finetune"]["outliers"] == np.flatnonzero(total > limit).tolist()
    assert sections["GPU utilisation"]["GPU 1"]["mean"] == pytest.approx(record.system.gpu_utilization[:, 1].mean())
    summary = sections["Job summary"]
    parts = ("initialization_in_seconds", "training_loop_duration_in_seconds", "finalization_in_seconds")
    assert sum(summary[part] for part in parts) == pytest.approx(record.duration)
    assert sum(summary["phases"].values()) == pytest.approx(record.duration)
    parts_of_a_step = sections["Framework metrics"]["parts"]["finetune"]
    assert sum(parts_of_a_step.values()) == pytest.approx(total.sum())
    assert parts_of_a_step["data_wait"] == pytest.approx(record.steps.data_wait.sum())


def test_every_section_of_a_killed_job_shows_something_or_says_why_not(tmp_path: Path) -> None:
    write(Job(has_ended=False), tmp_path)
    file = tmp_path / "record.jsonl"
    file.write_bytes(file.read_bytes() + b'{"kind":"steps","time":99,"sta')
    page, content = report(read_record(file), [], tmp_path)
    assert "killed, or it still runs" in page.text
    assert content["sections"]["Confusion matrix"] == {
        "empty": "The job ended before its final evaluation, so there are no predictions to show."
    }
    assert content["sections"]["Step durations"]["finetune"]["num_steps"] == 300
    assert "The job ran without a GPU." in page.text
    assert "no GPU, so there is nothing to balance" in page.text


def test_an_empty_record_still_gives_a_report(tmp_path: Path) -> None:
    (tmp_path / "record.jsonl").write_text("")
    page, content = report(read_record(tmp_path / "record.jsonl"), [], tmp_path)
    assert len(page.of("section")) == len(content["sections"]) + 1
    assert not page.of("svg")


KINDS = ("job", "data", "phase", "stage", "steps", "pause", "epoch", "system", "tensor", "trial", "predictions",
         "operators", "end")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_may_lack_any_kind_of_line(tmp_path: Path, kind: str) -> None:
    write(Job(num_steps=60, num_samples=20, num_trials=4, num_tensor_rows=96, has_operators=True), tmp_path)
    file = tmp_path / "record.jsonl"
    kept = [line for line in file.read_text().splitlines() if json.loads(line)["kind"] != kind]
    file.write_text("\n".join(kept))
    page, _ = report(read_record(file), [], tmp_path)
    assert page.of("svg")


def test_what_the_machine_did_not_tell_is_left_out(tmp_path: Path) -> None:
    record = write(Job(), tmp_path)
    for column in (record.system.net_in, record.system.net_out, record.system.io_wait, record.system.cpu):
        column[:] = np.nan
    page, content = report(record, [], tmp_path)
    assert "received" not in page.text and "could not be made" not in page.text
    assert "Disk read a second" in content["sections"]["System usage statistics"]["algo-1"]


def test_hostile_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    names = [f"{name}{index}" if index % 2 else name for index, name in enumerate(HOSTILE)]
    files = [Path(f"/nowhere/{name[:200]}.jpg") for name in names]
    job = {"architecture": HOSTILE[0], "device_name": HOSTILE[1], "host": HOSTILE[0], "started_at": HOSTILE[0],
           "hyperparameters": {HOSTILE[1]: HOSTILE[0]}, "versions": {HOSTILE[0]: HOSTILE[1]},
           "instance_type": HOSTILE[0]}  # fmt: skip
    record = write(Job(class_names=names, photographs=files, job=job, leaks=[(HOSTILE[0], HOSTILE[1])]), tmp_path)
    found = [result("Confusion", finding=" ".join(HOSTILE), advice=HOSTILE[0], parameters={HOSTILE[0]: HOSTILE[1]})]
    page, content = report(record, found, tmp_path)
    assert not page.of("script")
    assert not [attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)]
    assert not page.of("img")
    assert "<script>alert(1)</script>" in page.text
    assert max(map(len, page.text.splitlines())) < 3000
    assert content["sections"]["Job summary"]["job"]["architecture"] == HOSTILE[0]


def test_the_page_loads_nothing_and_has_no_id_twice(tmp_path: Path) -> None:
    page, _ = report(write(Job(num_trials=5), tmp_path), [], tmp_path)
    targets = [attributes.get(name) for _, attributes in page.elements for name in ("src", "href", "xlink:href")]
    assert all(target.startswith(("data:", "#")) for target in targets if target)
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers)) > 20
    assert {target[1:] for target in targets if target and target.startswith("#")} <= set(identifiers)
    policy = next(meta for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert str(policy["content"]).startswith("default-src 'none'")


def test_photographs_are_shown_and_missing_or_broken_ones_named(tmp_path: Path, many_photographs: list[Path]) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no photograph")
    files = [*many_photographs[:22], broken, Path("/nowhere/gone.jpg")]
    page, content = report(write(Job(photographs=files), tmp_path), [], tmp_path)
    assert len(page.of("img")) == 22
    assert all(str(image["src"]).startswith("data:image/webp;base64,") for image in page.of("img"))
    assert "2 photographs of 24 could not be shown" in page.text
    assert "not where the job found it" in page.text
    assert len(content["sections"]["Photographs to look at"]["photographs"]) == 24
    assert page.text.index("Most confidently wrong") < page.text.index("Other photographs of high loss")


@pytest.mark.parametrize("num_classes", [133, 1000])
def test_many_classes_have_their_most_confused_pairs_named(tmp_path: Path, num_classes: int) -> None:
    record = write(Job(class_names=[f"class_{index:04}" for index in range(num_classes)]), tmp_path)
    _, content = report(record, [], tmp_path)
    matrix = dense_matrix(record.predictions["test"]["confusion_matrix"], num_classes)
    np.fill_diagonal(matrix, 0)
    confusion = content["sections"]["Confusion matrix"]
    assert confusion["num_wrong"] == matrix.sum()
    assert confusion["pairs"][0]["count"] == matrix.max() == 3
    assert (tmp_path / HTML_NAME).stat().st_size < 1_500_000


def test_a_single_confusion_of_a_thousand_classes_is_drawn(tmp_path: Path) -> None:
    names = [f"class_{index:04}" for index in range(1000)]
    sizes = {}
    for name, extra in (("clean", []), ("one", [[10, 900, 1]])):
        record = write(Job(class_names=names, num_steps=5, num_samples=5), tmp_path / name)
        record.predictions["test"]["confusion_matrix"] = [*([i, i, 50] for i in range(1000)), *extra]
        report(record, [], tmp_path / name)
        found = re.search(r'href="data:image/png;base64,\s*([^"]+)"', (tmp_path / name / HTML_NAME).read_text())
        assert found
        sizes[name] = found[1]
    assert sizes["clean"] != sizes["one"]


def test_cost_is_the_price_times_the_hours_of_all_hosts(tmp_path: Path) -> None:
    record = write(Job(job={"instance_price_per_hour": 1.5, "num_hosts": 2}), tmp_path)
    page, content = report(record, [result("Dataloader", gain=0.5)], tmp_path)
    total = 1.5 * 2 * record.duration / 3600
    assert content["sections"]["Cost"]["cost"] == pytest.approx(total)
    assert content["sections"]["Cost"]["expected_saving"] == pytest.approx(total / 2)
    assert f"The job cost {money(total)} at 1.5 an hour on 2 hosts" in page.text


def test_without_a_price_the_section_says_how_to_give_it(tmp_path: Path) -> None:
    page, _ = report(write(Job(num_steps=5), tmp_path), [], tmp_path)
    assert "instance_price_per_hour=1.21" in page.text


def test_a_long_record_gives_a_small_page(tmp_path: Path) -> None:
    job = Job(
        num_steps=20_000, steps_per_epoch=2_000, num_samples=4_000, num_tensor_rows=10_000, num_gpus=2, gpu_use=(80, 60)
    )
    report(write(job, tmp_path), [], tmp_path)
    assert (tmp_path / HTML_NAME).stat().st_size < 2_000_000


def test_losses_that_are_not_finite_leave_gaps_and_are_named_in_json(tmp_path: Path) -> None:
    record = write(Job(), tmp_path)
    record.steps.loss[100:] = np.nan
    record.steps.loss[90:100] = np.inf
    record.epochs[-1]["validation_loss"] = float("nan")
    page, content = report(record, [], tmp_path)
    assert content["sections"]["Learning curves"]["epochs"][-1]["validation_loss"] == "nan"
    assert "Training loss of each step, finetune" in page.text


def test_a_report_that_cannot_be_made_is_told_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    report_job(tmp_path, RuleSettings())
    assert not caplog.records and not (tmp_path / HTML_NAME).exists()
    write(Job(num_steps=5), tmp_path)
    (tmp_path / HTML_NAME).mkdir()
    report_job(tmp_path, RuleSettings())
    assert f"{HTML_NAME} was not written" in caplog.text
    (tmp_path / HTML_NAME).rmdir()
    report_job(tmp_path, RuleSettings())
    assert "Training report" in (tmp_path / HTML_NAME).read_text(encoding="utf-8")


def test_a_section_shows_what_its_rules_found(tmp_path: Path) -> None:
    rules = [result("Leakage"), result("ClassImbalance", "NoIssuesFound", finding="", advice=""),
             result("CheckInputImages", "NotApplicable", details={"reason": "no inputs were recorded"})]  # fmt: skip
    page, _ = report(write(Job(num_steps=5), tmp_path), rules, tmp_path)
    assert re.search(r"Leakage:\s+Leakage was seen. Change Leakage.\s+No issue found by ClassImbalance.", page.text)
    assert "Not judged: no inputs were recorded." in page.text


def test_a_section_that_cannot_be_made_leaves_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = write(Job(), tmp_path)
    record.predictions["test"]["per_class"] = [{"num_images": 1}]
    page, content = report(record, [], tmp_path)
    assert "Final results was not made" in caplog.text
    assert "could not be made: KeyError" in page.text
    assert content["sections"]["Confusion matrix"]["num_wrong"] > 0


def test_a_number_is_written_as_a_person_reads_it() -> None:
    nbsp = "\u00a0"
    assert [seconds(v).replace(nbsp, " ") for v in (0.0123, 0.9999, 42.25, 59.96, 125, 7384, float("nan"))] == [
        "12.3 ms", "1 s", "42.2 s", "60 s", "2 min 5 s", "2 h 3 min", "?"]  # fmt: skip
    assert [share(v).replace(nbsp, " ") for v in (0, 0.00123, 0.054, 0.0996, 0.5, 1)] == [
        "0 %",
        "0.12 %",
        "5.4 %",
        "10 %",
        "50 %",
        "100 %",
    ]
    assert [size(v).replace(nbsp, " ") for v in (0, 999, 1000, 15_650_000, 1.6e10, 3e12)] == [
        "0 B",
        "999 B",
        "1 kB",
        "15.7 MB",
        "16 GB",
        "3 TB",
    ]
    assert [number(v) for v in (7, 1399, 12345.6, 0.123456, 1e-7, True, None)] == [
        "7", "1,399", "12,346", "0.1235", "1e-07", "True", "\u2013"]  # fmt: skip
    assert share(1e-7).replace(nbsp, " ") == "under 0.01 %"
    assert [money(v) for v in (0, 0.0000381, 0.0774, 1.5, 1234.567)] == ["0", "0.000038", "0.077", "1.50", "1,234.57"]
    assert name_of("a" * 100) == "a" * 29 + "\u2026" + "a" * 30
