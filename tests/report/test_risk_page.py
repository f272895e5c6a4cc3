"""The page and the spreadsheet of risks: order, numbers, reasons, escaping, caps."""

from __future__ import annotations

import dataclasses
import html
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from pages import Page

from flawscope.core.types import Fault, Inspection, Region, Sample, Verdict
from flawscope.decision.bands import RiskLimits
from flawscope.decision.rated import Rated, RatedSample, RiskReport, analyse
from flawscope.decision.risk import rate
from flawscope.report import sheets
from flawscope.report.risk_page import Photo, render_risk
from flawscope.report.risk_table import RISK_HEAD, risk_csv
from flawscope.report.sheets import RiskBook

HOSTILE = "<script>alert('x')</script>\"'&.png"
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8 + b"\xff\xd9"
LIMITS = RiskLimits(20, 40, 70, "medium above 15 % of 99 held-out good parts, by rank")


def one(name: str, label: str | None, sure: float, peak: float, *, group: str = "") -> RatedSample:
    heat = np.full((40, 50), 0.3, np.float32)
    heat[10:18, 12:20] = peak
    rating = rate(sure, heat, np.ones(heat.shape, bool))
    verdict = Verdict.NG if sure > 0.9 else Verdict.OK
    regions = (
        (Region((120, 100, 200, 180), ((120, 100),), 6400, peak, peak),) if verdict is Verdict.NG else ()
    )
    found = Inspection(
        name, "b" * 12, verdict, score=sure, p_value=1 - sure, regions=regions, size_hw=(400, 500)
    )
    band = LIMITS.band(rating.risk)
    rated = Rated(found, rating, band, peak / 100, "the map", "whole picture", 1.0, 64, 2000)
    return RatedSample(Sample(name, name, label, group=group), rated)


def make(rated: list[RatedSample]) -> RiskReport:
    return RiskReport(
        bundle_id="b" * 12,
        bundle_name="chips",
        method="linear",
        product="",
        has_classes=True,
        roles=("test",),
        seen=0,
        threshold=0.9,
        limits=LIMITS,
        rated=tuple(rated),
        analysis=analyse(rated),
        created="2026-11-01T10:00:00+00:00",
    )


@pytest.fixture(scope="module")
def report() -> RiskReport:
    rng = np.random.default_rng(5)
    good = [one(f"good/{i}.png", "good", rng.uniform(0, 0.7), 0.9, group=f"lot{i % 2}") for i in range(30)]
    bad = [
        one(f"crack/{i}.png", "crack", rng.uniform(0.5, 1), rng.uniform(1, 4), group="lot0")
        for i in range(20)
    ]
    fault = Inspection("x.png", "b" * 12, None, error=Fault("truncated", "x.png is cut off"))
    return make([*good, *bad, RatedSample(Sample("x.png", "x.png", "good"), Rated(fault))])


@pytest.fixture(scope="module")
def page(report: RiskReport) -> Page:
    photos = [Photo(rated, JPEG, JPEG, True) for rated in report.ranked()[:6]]
    return Page(render_risk(report, photos=photos))


def test_the_work_list_is_sorted_and_says_where_to_look(page: Page, report: RiskReport) -> None:
    risks = [float(value) for value in re.findall(r'class="value">([\d.]+)<', page.html)]
    expected = [round(rated.risk or 0, 1) for rated in report.ranked()]
    assert risks == expected[:6] and sorted(risks, reverse=True) == risks
    assert "Look first middle left, 80x80 px at (120, 100)." in page.words
    assert sum(tag == "img" for tag, _ in page.tags) == 12
    rest = [row for row in page.rows["work"] if row and row[0].startswith(("good/", "crack/"))]
    assert [float(row[3]) for row in rest] == expected[6:]


def test_bands_are_counted_by_label_and_what_was_not_judged_apart(page: Page, report: RiskReport) -> None:
    for band, count in report.bands().items():
        cells = page.row("bands", band.value)
        assert int(cells[1]) == count == int(cells[2]) + int(cells[3])
    assert page.row("bands", "NOT JUDGED")[1] == "1"
    assert page.row("not-judged", "x.png")[1].startswith("x.png is cut off")


def test_analysis_stands_beside_that_of_qrs(page: Page, report: RiskReport) -> None:
    ours, theirs = report.analysis.risk.auroc, report.analysis.qrs.auroc
    assert ours.value is not None and theirs.value is not None
    cells = page.row("analysis", "AUROC")
    assert cells[1].startswith(f"{ours.value:.3f}") and cells[2].startswith(f"{theirs.value:.3f}")
    assert page.row("defects", "crack")[1] == "20" and page.row("lots", "lot1")[2] == "0"
    assert "no bad part among those judged" in page.row("lots", "lot1")[-1]
    assert {values.get("id") for _, values in page.tags} >= {"chart-risk", "chart-qrs", "meaning"}


def test_it_needs_nothing_from_outside_and_repeats(page: Page, report: RiskReport) -> None:
    assert not [tag for tag, _ in page.tags if tag in {"script", "link", "iframe"}]
    assert not re.search(r'(src|href)="(?!data:|#)', page.html) and "url(" not in page.html.replace(
        "url(#", ""
    )
    assert render_risk(report) == render_risk(report)
    assert not re.search(r"\b(nan|None)\b", page.words)


def test_hostile_names_are_shown_and_never_run() -> None:
    rated = [one(HOSTILE, HOSTILE, 0.95, 3, group=HOSTILE), one("g.png", "good", 0.1, 0.5)]
    report = dataclasses.replace(make(rated), bundle_name=HOSTILE, coords=HOSTILE, warnings=(HOSTILE,))
    page = Page(render_risk(report, photos=[Photo(rated[0], JPEG)]))
    assert "<script" not in page.html and page.words.count("<script>alert") >= 5


def test_without_labels_or_parts_it_says_why() -> None:
    alone = Page(render_risk(make([one("a.png", None, 0.5, 2)])))
    assert "labelled good" not in alone.words and "no bad part among those judged" in alone.words
    empty = Page(render_risk(make([])))
    assert "Nothing to rate" in empty.words


def test_pictures_beyond_the_budget_are_the_least_risky(report: RiskReport) -> None:
    photos = [Photo(rated, JPEG, JPEG) for rated in report.ranked()[:6]]
    page = Page(render_risk(report, photos=photos, budget_bytes=20_000))
    names = [values["alt"] for tag, values in page.tags if tag == "img"][::2]
    assert 0 < len(names) < 6
    assert names == [f"Photograph of {rated.sample.id}" for rated in report.ranked()[: len(names)]]


def test_the_spreadsheet_is_safe_and_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "WEIGHTS_AN_IMAGE", 5)
    monkeypatch.setattr(sheets, "WEIGHTS_IN_ALL", 8)
    weights = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    region = np.ones((10, 10), bool)
    region[9, 9] = False
    names = ["=cmd|' /C calc'!A0", "+1.png", "bad\x07\udc80.png"]
    with RiskBook() as book:
        listed = [book.add_weights(name, weights, region, 0.9) for name in names]
        report = dataclasses.replace(
            make([one(name, "good", 0.2, 2) for name in names]), unlisted=book.unlisted
        )
        book.write(report, tmp_path / "risk.xlsx")
    assert listed == [5, 3, 0] and book.unlisted == 3 * 9 - 8
    loaded = openpyxl.load_workbook(tmp_path / "risk.xlsx")
    for sheet in loaded:
        for row in sheet.iter_rows():
            for cell in row:
                assert cell.data_type != "f", "a cell became a formula"
    rows = list(loaded["weights over threshold"].values)
    assert rows[1] == ("'=cmd|' /C calc'!A0", 0.85, 0.95, pytest.approx(98 / 99))
    assert [row[0] for row in loaded["scores"].iter_rows(min_row=2, min_col=2, values_only=True)][
        2
    ].startswith("bad\ufffd")
    told = {row[0]: row for row in loaded["analysis"].values}
    assert told["weights over the threshold that are not listed"][4] == 19
    loaded.close()


def test_a_book_that_is_given_up_leaves_no_file_and_no_noise(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stopped"), RiskBook() as book:
        book.add_weights("a", np.ones((2, 2), np.float32), np.ones((2, 2), bool), 0.5)
        raise RuntimeError("stopped")
    assert not list(tmp_path.iterdir())


def test_the_csv_ends_with_what_was_not_judged(report: RiskReport) -> None:
    lines = risk_csv(report).splitlines()
    assert lines[0].split(",") == list(RISK_HEAD) and len(lines) == 52
    assert lines[-1].startswith(",x.png,") and "truncated" in lines[-1]


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MEASURE = """<body><iframe style="border:0;width:{width}px;height:900px" srcdoc="{page}"
 onload="const page = this.contentDocument;
 const rows = [...page.querySelectorAll('.list tbody tr')].map(row => row.offsetHeight);
 document.title = `width ${{page.documentElement.scrollWidth}} row ${{Math.max(...rows)}}`">
</iframe></body>"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_no_wider_than_the_window(report: RiskReport, tmp_path: Path, width: int) -> None:
    assert CHROMIUM is not None
    photos = [Photo(rated, b"", b"") for rated in report.ranked()[:6]]
    place = tmp_path / "frame.html"
    place.write_text(
        MEASURE.format(width=width, page=html.escape(render_risk(report, photos=photos))), encoding="utf-8"
    )
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", place.as_uri(),
    ]  # fmt: skip
    found = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=True)
    measured = re.search(r"<title>width (\d+) row (\d+)</title>", found.stdout)
    assert measured is not None and int(measured[1]) == width
    assert int(measured[2]) < 120  # names are broken into a few lines at most, never letter by letter
