"""The page: structure, no outside reference, escaping, reasons, and the size budget."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import pytest
from pages import Page

from flawscope.core.types import Judged, Metric, Report, Thresholds, Verdict
from flawscope.report.page import render
from flawscope.report.picture import Picture, choose, grouped

HOSTILE = "<script>alert('x')</script>\"'&.png"
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8 + b"\xff\xd9"


def pictures_of(report: Report, *, size: int = 2000) -> list[Picture]:
    return [Picture(judged, JPEG[:size], JPEG[:size], True) for judged in choose(report)]


@pytest.fixture(scope="module")
def page(tested: Report) -> Page:
    return Page(render(tested, pictures=pictures_of(tested)))


def test_sections_come_in_their_order(page: Page) -> None:
    sections = [values.get("id") for tag, values in page.tags if tag == "section" and values.get("id")]
    assert sections == [
        "verdicts", "promise", "metrics", "scores", "confusion",
        "defects", "pictures", "not-judged", "costs", "traces",
    ]  # fmt: skip


def test_nothing_is_asked_of_the_outside(page: Page) -> None:
    for tag, values in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        assert not [name for name in values if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            target = values.get(name)
            assert target is None or target.startswith(("#", "data:image/jpeg;base64,")), (tag, target)
    style = page.html.split("<style>")[1].split("</style>")[0]
    assert "@import" not in style
    assert re.findall(r"url\(([^)]*)\)", style) == ["#hatch"]
    policy = next(values["content"] for tag, values in page.tags if values.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:")


def test_ids_are_unique_and_every_link_within_the_page_has_its_target(page: Page) -> None:
    ids = [values["id"] for _, values in page.tags if values.get("id")]
    assert len(ids) == len(set(ids))
    for tag, values in page.tags:
        target = values.get("href") or ""
        assert not target.startswith("#") or target[1:] in ids, (tag, target)
        for name in (values.get("aria-labelledby") or "").split():
            assert name in ids


def test_verdict_counts_add_up_and_have_shape_and_word(page: Page, tested: Report) -> None:
    for word, verdict in (
        ("OK", Verdict.OK),
        ("REVIEW", Verdict.REVIEW),
        ("NG", Verdict.NG),
        ("NOT JUDGED", None),
    ):
        of_it = [one for one in tested.judged if one.inspection.verdict is verdict]
        good = sum(one.sample.is_good for one in of_it)
        cells = page.row("verdicts", word)
        assert (cells[1], cells[3], cells[4]) == (str(len(of_it)), str(good), str(len(of_it) - good))
    shapes = {values.get("href") for tag, values in page.tags if tag == "use"}
    assert {"#v-ok", "#v-review", "#v-ng", "#v-not-judged"} <= shapes


def test_metrics_stand_with_value_interval_and_n(page: Page, tested: Report) -> None:
    metric = tested.metrics["image"]["auroc"]
    assert metric.value is not None and metric.low is not None and metric.high is not None
    cells = page.row("metrics", "AUROC")
    assert cells[1:3] == [f"{metric.value:.3f}", f"{metric.low:.3f} to {metric.high:.3f}"]
    assert cells[-1] == str(metric.n)
    escape = tested.metrics["verdict"]["escape"]
    assert escape.value is not None
    assert page.row("metrics", "Missed")[1] == f"{escape.value * 100:.1f} %"


def test_an_unknown_metric_says_so_and_why(page: Page) -> None:
    cells = page.row("metrics", "AUPIMO")
    assert "not known" in cells[1] and "it needs at least 1 good image" in cells[1]
    assert "bent lead has no masks" in page.row("defects", "bent lead")[-1]
    assert not re.search(r"\b(nan|None)\b", page.words)


def test_every_defect_has_its_row(page: Page, tested: Report) -> None:
    for defect, metrics in tested.per_defect.items():
        recall = metrics["recall"].value
        assert recall is not None
        assert page.row("defects", defect)[1].startswith(f"{recall * 100:.1f} %")


def test_the_confusion_matrix_has_all_counts_good_first(page: Page, tested: Report) -> None:
    labels = [row[0].strip() for row in page.rows["confusion"][1:]]
    assert labels == ["good", *sorted(set(tested.confusion) - {"good"})]
    for label, counts in tested.confusion.items():
        cells = page.row("confusion", label)
        expected = [counts.get(key, 0) for key in ("OK", "REVIEW", "NG", "not_judged")]
        assert [int(cell.split()[0]) for cell in cells[1:]] == [*expected, sum(counts.values())]


def test_promise_and_delivery_stand_side_by_side(page: Page, tested: Report) -> None:
    for sentence in tested.promise.sentences:
        assert sentence in page.words
    overkill = tested.metrics["verdict"]["overkill"]
    assert overkill.value is not None
    assert f"At most 5.0 % of good parts called NG {overkill.value * 100:.1f} %" in page.words


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (Metric(0.04, 0.01, 0.08, 100), "Kept on these parts"),
        (Metric(0.07, 0.03, 0.12, 100), "within this bundle's bound of 7.7 %"),
        (Metric(0.09, 0.05, 0.14, 100), "chance alone can explain"),
        (Metric(0.2, 0.15, 0.26, 300), "not like those taught"),
        (Metric(None, reason="there are no good test parts"), "there are no good test parts"),
    ],
)
def test_delivery_is_judged_with_its_interval(tested: Report, metric: Metric, said: str) -> None:
    changed = dataclasses.replace(tested, metrics={"verdict": {"overkill": metric}})
    assert said in Page(render(changed)).words


def test_not_judged_images_stand_with_their_reason(page: Page) -> None:
    assert page.row("not-judged", "test/good/0077.jpg")[1].startswith("0077.jpg is cut off after 31 kB")
    assert "Not one of them counts as OK" in page.words


def test_hostile_texts_are_shown_and_never_run(
    tested: Report, judge: Callable[[str, str | None, float, Thresholds], Judged]
) -> None:
    missed = judge(HOSTILE, HOSTILE, 0.01, tested.thresholds)
    report = dataclasses.replace(
        tested,
        bundle_name=HOSTILE,
        product=HOSTILE,
        judged=(*tested.judged, missed),
        confusion={HOSTILE: {"OK": 1}},
        per_defect={HOSTILE: {HOSTILE: Metric(None, reason=HOSTILE)}},
        settings={HOSTILE: {HOSTILE: HOSTILE}},
        timings_ms={HOSTILE: {"p50": 1.0, "p95": 2.0}},
        machine={HOSTILE: HOSTILE},
        warnings=(HOSTILE,),
        promise=dataclasses.replace(tested.promise, sentences=(HOSTILE,)),
    )
    page = Page(render(report, pictures=[Picture(missed, JPEG, JPEG)]))
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert "<script" not in page.html
    assert page.words.count("<script>alert") >= 9


def test_the_two_error_rates_lead_to_their_pictures(page: Page) -> None:
    links = {values.get("href") for tag, values in page.tags if tag == "a"}
    assert {"#missed", "#false-alarm", "#not-judged"} <= links


def test_pictures_come_mistakes_first_and_are_embedded(page: Page, tested: Report) -> None:
    names = [kind.name.lower().replace("_", "-") for kind in grouped(pictures_of(tested), tested)]
    shown = [values["id"] for tag, values in page.tags if values.get("class") == "group" and tag == "div"]
    assert shown == names and names[0] == "missed"
    assert sum(tag == "img" for tag, _ in page.tags) == 2 * len(choose(tested))


@pytest.mark.parametrize("size", [500, 60_000])
def test_the_size_budget_is_kept(tested: Report, size: int) -> None:
    content = b"\xff" * size
    pictures = [Picture(judged, content, content) for judged in choose(tested)]
    bare = len(render(tested).encode())
    budget = bare + 400_000
    html = render(tested, pictures=pictures, budget_bytes=budget)
    shown = sum(tag == "img" for tag, _ in Page(html).tags) // 2
    assert len(html.encode()) <= budget
    fits = size == 500
    assert shown == len(pictures) if fits else 1 <= shown < len(pictures)
    assert ("left out to keep this file small" in html) is not fits


def test_pictures_beyond_the_budget_are_the_least_telling_ones(tested: Report) -> None:
    content = b"\xff" * 60_000
    pictures = [Picture(judged, content, content) for judged in choose(tested)]
    html = render(tested, pictures=pictures, budget_bytes=len(render(tested).encode()) + 400_000)
    assert 'id="missed"' in html and 'id="clearest"' not in html


def test_an_untested_bundle_shows_its_promise_and_the_way_to_a_test(untested: Report) -> None:
    page = Page(render(untested))
    assert "Not tested yet" in page.words and "flawscope evaluate --model" in page.words
    assert untested.promise.sentences[0] in page.words
    assert page.row("scores", "0.")  # the histogram's table has the calibration
    assert "confusion" not in page.rows and "metrics" not in page.rows
    ids = [values.get("id") for _, values in page.tags]
    assert "chart-scores" in ids and "chart-roc" not in ids and "traces" in ids


def test_too_few_parts_for_ng_say_how_many_are_needed(untested: Report) -> None:
    few = dataclasses.replace(
        untested,
        thresholds=Thresholds(ng=None, review=None, pixel=0.5),
        promise=dataclasses.replace(untested.promise, can_say_ng=False, parts=12, bound=None),
    )
    page = Page(render(few))
    assert page.row("promise", "NG limit")[1] == "not known: 12 good parts, 19 needed"
    assert page.row("promise", "False alarms stay below")[1] == "not promised"
    assert "No limit is set" in page.words


def test_no_time_of_rendering_enters_the_page(tested: Report) -> None:
    assert render(tested) == render(tested)
