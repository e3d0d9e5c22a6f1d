"""Documentation that is made from the code, or points into it."""

import re
from pathlib import Path

import pytest
from support import ROOT

from container.reference import parameter_ranges
from container.settings import from_strings
from docs.generate import pages
from train.config import TrainingConfig


@pytest.mark.parametrize("file", pages(), ids=lambda file: file.name)
def test_a_generated_page_says_what_the_code_says(file: Path) -> None:
    assert file.read_text(encoding="utf-8") == pages()[file], "run `make docs`"


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_both_ends_of_every_tuning_range_are_values_that_a_job_takes() -> None:
    ranges = parameter_ranges(TrainingConfig)
    numeric = ranges["ContinuousParameterRanges"] + ranges["IntegerParameterRanges"]
    assert len(numeric) >= 3
    for item in numeric:
        from_strings(TrainingConfig, {item["Name"]: item["MinValue"]})
        from_strings(TrainingConfig, {item["Name"]: item["MaxValue"]})
    for item in ranges["CategoricalParameterRanges"]:
        for value in item["Values"]:
            from_strings(TrainingConfig, {item["Name"]: value})
