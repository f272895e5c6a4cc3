"""CSV tables read back to what the report holds; numbers for people keep their promises."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flawscope.core.types import Judged, Metric, Report, Thresholds, Verdict
from flawscope.report import format as fmt
from flawscope.report.picture import Kind, Picture, choose, grouped
from flawscope.report.table import metrics_csv, samples_csv


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_metrics_read_back_exactly(tested: Report) -> None:
    rows = {(row["group"], row["name"]): row for row in read(metrics_csv(tested))}
    groups = {**tested.metrics, **{f"defect:{name}": group for name, group in tested.per_defect.items()}}
    assert len(rows) == sum(len(group) for group in groups.values())
    for group, metrics in groups.items():
        for name, metric in metrics.items():
            row = rows[group, name]
            assert row["value"] == ("" if metric.value is None else repr(float(metric.value)))
            assert (int(row["n"]), row["reason"]) == (metric.n, metric.reason)


def test_samples_read_back_with_verdict_or_reason(tested: Report) -> None:
    rows = read(samples_csv(tested))
    assert [row["path"] for row in rows] == [one.inspection.path for one in tested.judged]
    for row, one in zip(rows, tested.judged, strict=True):
        found = one.inspection
        if found.error is not None:
            assert (row["verdict"], row["score"], row["error_code"]) == ("", "", found.error.code)
        else:
            assert found.verdict is not None and found.score is not None
            assert row["verdict"] == found.verdict.value and float(row["score"]) == found.score
            assert row["total_ms"] == "12.9"


@given(name=st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1))
def test_any_name_survives_and_none_becomes_a_formula(tested: Report, name: str) -> None:
    report = dataclasses.replace(tested, metrics={"image": {name: Metric(1.0)}}, per_defect={})
    (row,) = read(metrics_csv(report))
    assert row["name"] in (name, f"'{name}")
    assert row["name"][0] not in "=+-@\t\r"


@pytest.mark.parametrize(
    ("share", "written"),
    [(0, "0 %"), (1, "100 %"), (0.033, "3.3 %"), (0.0001, "< 0.1 %"), (0.99999, "> 99.9 %"), (0.05, "5.0 %")],
)
def test_percent(share: float, written: str) -> None:
    assert fmt.percent(share).replace("\u00a0", " ") == written


@pytest.mark.parametrize(
    ("number", "written"),
    [(999, "999 B"), (9_812_345, "9.8 MB"), (999_960, "1.0 MB"), (3_200_000_000, "3.2 GB")],
)
def test_size(number: int, written: str) -> None:
    assert fmt.size(number).replace("\u00a0", " ") == written


@pytest.mark.parametrize(
    ("value", "written"), [(1.239, "1.24 ms"), (12.94, "12.9 ms"), (140.2, "140 ms"), (2500, "2.50 s")]
)
def test_milliseconds(value: float, written: str) -> None:
    assert fmt.milliseconds(value).replace("\u00a0", " ") == written


def test_choice_takes_mistakes_first_and_keeps_its_limit(tested: Report) -> None:
    all_kinds = grouped([Picture(one, b"", b"") for one in tested.judged], tested)
    few = choose(tested, limit=3)
    assert len(few) == 3
    assert all(one.sample.is_bad and one.inspection.verdict is Verdict.OK for one in few)
    assert [one.sample.id for one in few] == [one.judged.sample.id for one in all_kinds[Kind.MISSED][:3]]
    many = choose(tested, limit=60)
    assert len(many) == 60 and len({id(one) for one in many}) == 60
    assert all(one.inspection.verdict is not None for one in many)


def test_groups_are_sorted_by_what_is_most_worth_seeing(tested: Report) -> None:
    groups = grouped([Picture(one, b"", b"") for one in tested.judged], tested)
    values = {kind: [one.judged.inspection.score for one in members] for kind, members in groups.items()}
    assert values[Kind.MISSED] == sorted(values[Kind.MISSED])
    assert values[Kind.FALSE_ALARM] == sorted(values[Kind.FALSE_ALARM], reverse=True)
    assert sum(map(len, groups.values())) == len(tested.judged)


def test_unlabelled_parts_are_neither_right_nor_wrong(
    tested: Report, judge: Callable[[str, str | None, float, Thresholds], Judged]
) -> None:
    loose = judge("loose.png", None, 9.0, tested.thresholds)
    report = dataclasses.replace(tested, judged=(loose,))
    assert list(grouped([Picture(loose, b"", b"")], report)) == [Kind.UNLABELLED]
