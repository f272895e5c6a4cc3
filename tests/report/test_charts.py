"""Charts: every number drawn is in the table, marks lie where they belong, nothing comes from nothing."""

from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flawscope.core.types import Calibration, CalibrationMode, Report, Thresholds
from flawscope.report import svg
from flawscope.report.charts import all_charts
from flawscope.report.histogram import score_histogram


def xml(text: str) -> ElementTree.Element:
    """Read a drawing as strict XML."""
    return ElementTree.fromstring(text)


def test_every_chart_is_well_formed_with_title_description_and_table(tested: Report) -> None:
    charts = all_charts(tested)
    assert list(charts) == ["scores", "overkill-escape", "roc", "pr", "latency"]
    for chart in charts.values():
        for drawing in filter(None, (chart.svg, chart.svg_narrow)):
            root = xml(drawing)
            named = (root.get("aria-labelledby") or "").split()
            assert [child.get("id") for child in root[:2]] == named
            assert all((child.text or "").strip() for child in root[:2])
        assert chart.rows and all(len(row) == len(chart.head) for row in chart.rows)


def test_the_histogram_counts_every_score_once(tested: Report) -> None:
    chart = score_histogram(tested)
    scored = [one for one in tested.judged if one.inspection.score is not None]
    sums = [sum(int(row[column]) for row in chart.rows) for column in (1, 2, 3)]
    assert sums == [
        len(tested.calibration.scores),
        sum(one.sample.is_good for one in scored),
        sum(one.sample.is_bad for one in scored),
    ]


def test_both_limits_are_drawn_and_labelled(tested: Report) -> None:
    for drawing in (score_histogram(tested).svg, score_histogram(tested).svg_narrow):
        lines = {line.get("class"): line for line in xml(drawing).iter("line")}
        assert float(lines["limit review"].get("x1") or 0) < float(lines["limit ng"].get("x1") or 0)
        texts = [text.text for text in xml(drawing).iter("text")]
        assert f"NG limit {tested.thresholds.ng:.4g}" in texts
        assert f"REVIEW limit {tested.thresholds.review:.4g}" in texts


def test_without_limits_no_line_is_drawn(untested: Report) -> None:
    bare = dataclasses.replace(untested, thresholds=Thresholds(None, None, 0.5))
    assert 'class="limit' not in score_histogram(bare).svg


def test_marks_on_the_roc_curve_are_what_the_limits_give(tested: Report) -> None:
    limit = tested.thresholds.ng
    assert limit is not None
    scores = [
        (one.sample.is_bad, one.inspection.score) for one in tested.judged if one.inspection.score is not None
    ]
    flagged = np.mean([score > limit for bad, score in scores if not bad])
    found = np.mean([score > limit for bad, score in scores if bad])
    summary = all_charts(tested)["roc"].summary.replace("\u00a0", " ")
    assert f"NG limit: {flagged * 100:.1f} %, {found * 100:.1f} %." in summary


def test_curves_of_one_point_or_of_unequal_lengths_are_not_drawn(tested: Report) -> None:
    odd = dataclasses.replace(
        tested, curves={"roc": {"x": [0.0], "y": [0.0]}, "pr": {"x": [0.0, 1.0], "y": [1.0]}}
    )
    assert list(all_charts(odd)) == ["scores", "latency"]


def test_long_curves_are_thinned_and_keep_their_ends(tested: Report) -> None:
    x = np.linspace(0, 1, 20_000)
    long = dataclasses.replace(tested, curves={"roc": {"x": x.tolist(), "y": np.sqrt(x).tolist()}})
    chart = all_charts(long)["roc"]
    assert len(chart.svg) < 20_000 and len(chart.rows) <= 41
    assert (chart.rows[0][0], chart.rows[-1][0]) == ("0\u00a0%", "100\u00a0%")


scores = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


@given(values=scores, limits=st.tuples(st.none() | st.floats(-1e6, 1e6), st.none() | st.floats(-1e6, 1e6)))
def test_any_calibration_can_be_drawn(
    untested: Report, values: list[float], limits: tuple[float | None, float | None]
) -> None:
    ordered = np.sort(np.asarray(values))
    calibration = Calibration(ordered, ordered, np.ones(len(values)), len(values), CalibrationMode.SPLIT)
    thresholds = Thresholds(ng=limits[0], review=limits[1], pixel=1.0)
    report = dataclasses.replace(untested, calibration=calibration, thresholds=thresholds)
    chart = score_histogram(report)
    xml(chart.svg)
    assert sum(int(row[1]) for row in chart.rows) == len(values)
    assert not re.search(r'="(nan|-?inf)', chart.svg)


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-6, 1e6), wanted=st.integers(2, 12))
def test_ticks_are_few_even_and_inside(low: float, span: float, wanted: int) -> None:
    high = low + span
    if not high > low:
        return
    values = svg.ticks(low, high, wanted=wanted)
    slack = 1e-6 * max(abs(low), abs(high), span)
    assert len(values) <= 2 * wanted + 2
    assert all(low - slack <= value <= high + slack for value in values)
    steps = np.diff(values)
    assert len(steps) == 0 or steps.max() - steps.min() <= slack


@pytest.mark.parametrize(
    ("values", "written"),
    [([0.0, 0.5, 1.0], ["0.0", "0.5", "1.0"]), ([0.0, 20.0], ["0", "20"]), ([0.02, 0.04], ["0.02", "0.04"])],
)
def test_ticks_share_their_decimals(values: list[float], written: list[str]) -> None:
    assert svg.plain_labels(values) == written


def test_a_learning_curve_shows_both_losses_and_needs_points(untested: Report) -> None:
    taught = {"step": [1.0, 2.0, 3.0], "loss": [0.9, 0.5, 0.4]}
    chosen = {"select_step": [2.0, 3.0], "select_loss": [0.7, 0.6]}
    learnt = dataclasses.replace(
        untested,
        curves={"learning/distilling": taught, "learning/teaching": taught | chosen, "learning/none": {}},
    )
    charts = {name: chart for name, chart in all_charts(learnt).items() if name.startswith("learning-")}
    assert list(charts) == ["learning-distilling", "learning-teaching"]
    lines = [xml(chart.svg).findall(".//polyline") for chart in charts.values()]
    assert [len(found) for found in lines] == [1, 2]
    assert "0.6 at best" in charts["learning-teaching"].summary
    assert charts["learning-distilling"].rows == (("1", "0.9"), ("2", "0.5"), ("3", "0.4"))
