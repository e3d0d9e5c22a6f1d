"""The report in a real browser: drawn, accessible, on a phone and on paper. Needs chromium and chromium-driver."""

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from debugger_records import HOSTILE, Job, result, write
from sample_data import CACHE, wheels
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from train.debugger.report import HTML_NAME, write_debugger_report

RECORDS = {
    "healthy probe": Job(stage="linear_probe", num_trials=24, data_wait=0.0001, compute=0.001, num_workers=0),
    "slow loader": Job(data_wait=0.4, num_workers=0, has_operators=True, num_tensor_rows=1440,
                       leaks=[("/data/train/pug/1.jpg", "/data/test/pug/7.jpg")],
                       job={"instance_price_per_hour": 1.21}),
    "two GPUs": Job(num_gpus=2, gpu_use=(85, 40), num_steps=3000, steps_per_epoch=500,
                    class_names=[f"breed {index:03}" for index in range(133)]),
    "killed": Job(has_ended=False, num_steps=90),
    "hostile": Job(class_names=HOSTILE, num_steps=30),
}  # fmt: skip

FINDINGS = [
    result("Dataloader", gain=0.6, finding="Steps wait 0.4 s of 0.6 s for photographs.", advice="Set num_workers=4."),
    result("BatchSize", severity="advice", gain=0.1),
    result("StepOutlier", severity="advice"),
    result("Overfit", "NoIssuesFound", finding="", advice=""),
    result("LowGPUUtilization", "NotApplicable", finding="", advice=""),
]

Pages = dict[str, Path]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, many_photographs: list[Path]) -> Pages:
    """Write the report of each record; the directory's name is one that a URL must quote."""
    written = {}
    for name, job in RECORDS.items():
        directory = tmp_path_factory.mktemp("report") / f"{name} #1"
        job = Job(**{**vars(job), "photographs": many_photographs[:24]})
        write_debugger_report(write(job, directory), [] if name == "killed" else FINDINGS, directory)
        written[name] = directory / HTML_NAME
    return written


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = Options()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert program and driver, "install Debian's chromium and chromium-driver"
    options.binary_location = program
    with webdriver.Chrome(options=options, service=Service(driver)) as chrome:
        yield chrome


def read_log(browser: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    """Take what a log holds since it was read last."""
    entries: list[dict[str, Any]] = browser.get_log(kind)  # type: ignore[no-untyped-call]
    return entries


def show(browser: webdriver.Chrome, page: Path, *, width: int = 1200, scheme: str = "light") -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    read_log(browser, "browser")
    browser.get(page.as_uri())


@pytest.mark.parametrize("name", RECORDS)
def test_a_page_opens_from_a_file_and_draws_every_chart(browser: webdriver.Chrome, pages: Pages, name: str) -> None:
    show(browser, pages[name])
    assert read_log(browser, "browser") == []
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('figure.chart svg')].map(svg => [svg.getBoundingClientRect().height, "
        "svg.querySelectorAll('path, image').length, svg.querySelector('g').getBBox().width])"
    )
    assert len(boxes) >= 12
    assert all(height > 50 and num_drawn > 1 and width > 100 for height, num_drawn, width in boxes)
    broken = browser.execute_script("return [...document.images].filter(i => !i.complete || !i.naturalWidth).length")
    assert broken == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
@pytest.mark.parametrize("name", RECORDS)
def test_a_page_is_accessible_and_never_wider_than_the_screen(
    browser: webdriver.Chrome, pages: Pages, name: str, width: int, scheme: str
) -> None:
    show(browser, pages[name], width=width, scheme=scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert violations(browser) == []


def axe_source() -> str:
    """Read the accessibility checker."""
    folder = wheels(CACHE.parent / "axe", Path(__file__).with_name("requirements-axe.lock"))
    return (folder / "axe_playwright_python" / "axe.min.js").read_text(encoding="utf-8")


def violations(browser: webdriver.Chrome) -> list[Any]:
    """Run axe with all its rules, and list what is wrong with which elements."""
    browser.execute_script(axe_source())
    found = browser.execute_async_script("axe.run(document, {reporter: 'v2'}).then(arguments[0])")
    return [(item["id"], [node["html"][:200] for node in item["nodes"]][:3]) for item in found["violations"]]


def test_nothing_is_asked_of_the_network(browser: webdriver.Chrome, pages: Pages) -> None:
    browser.get("about:blank")
    read_log(browser, "performance")
    show(browser, pages["slow loader"])
    log = [entry["message"] for entry in read_log(browser, "performance")]
    requests = [entry for entry in log if '"Network.requestWillBeSent"' in entry]
    assert len(requests) >= 1
    assert not [entry for entry in requests if '"url":"http' in entry]


def test_a_page_is_printed_on_several_sheets_in_light_colours(browser: webdriver.Chrome, pages: Pages) -> None:
    show(browser, pages["slow loader"], scheme="dark")
    printed = browser.execute_cdp_cmd(
        "Page.printToPDF", {"preferCSSPageSize": True, "paperWidth": 8.27, "paperHeight": 11.69}
    )
    data = base64.b64decode(printed["data"])
    assert data.startswith(b"%PDF-")
    assert 4 <= data.count(b"/Type /Page\n") <= 30
