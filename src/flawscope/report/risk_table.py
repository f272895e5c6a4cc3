"""The risks of a set as rows: for `risk.csv` and the spreadsheet."""

from __future__ import annotations

from collections.abc import Iterator

from flawscope.core.types import Metric
from flawscope.decision.rated import RatedSample, RiskReport
from flawscope.decision.risk import FACTORS
from flawscope.metrics.comparison import Test
from flawscope.report.table import Cell, csv_text

RISK_HEAD = (
    "rank",
    "id",
    "path",
    "product",
    "part",
    "group",
    "label",
    "role",
    "verdict",
    "risk",
    "risk_low",
    "risk_high",
    "band",
    *(f"points_{name}" for name in FACTORS),
    *(f"measured_{name}" for name in FACTORS),
    "qrs",
    "qrs_rests_on",
    "region",
    "region_share",
    "weights_over",
    "weights_listed",
    "score",
    "p_value",
    "error_code",
    "error_message",
    "warnings",
)
ANALYSIS_HEAD = ("what", "risk", "risk_low", "risk_high", "qrs", "qrs_low", "qrs_high", "why_none")


def risk_csv(report: RiskReport) -> str:
    """Return every photograph as a line, riskiest first; what was not judged comes last, without a rank."""
    return csv_text(RISK_HEAD, risk_rows(report))


def risk_rows(report: RiskReport) -> Iterator[tuple[Cell, ...]]:
    """Yield the rows of `risk_csv`."""
    for rank, one in enumerate(report.ranked(), 1):
        yield _row(one, rank)
    for one in report.rated:
        if one.risk is None:
            yield _row(one, None)


def analysis_rows(report: RiskReport) -> Iterator[tuple[Cell, ...]]:
    """Yield what was measured over the set, of risk and of qrs side by side, then lots and defects."""
    ours, theirs = report.analysis.risk, report.analysis.qrs
    yield _words("good photographs", ours.good)
    yield _words("defective photographs", ours.bad)
    yield "mean of the good", ours.mean_good, None, None, theirs.mean_good, None, None, None
    yield "mean of the defective", ours.mean_bad, None, None, theirs.mean_bad, None, None, None
    for name, first, second in (
        ("Welch's t", ours.welch, theirs.welch),
        ("Mann-Whitney's U", ours.mann_whitney, theirs.mann_whitney),
    ):
        yield name, first.statistic, None, None, second.statistic, None, None, _reason(first, second)
        yield f"p of {name}", first.p, None, None, second.p, None, None, _reason(first, second)
    for name, one, two in (
        ("Hedges' g", ours.hedges_g, theirs.hedges_g),
        ("Cliff's delta", ours.cliffs_delta, theirs.cliffs_delta),
        ("AUROC", ours.auroc, theirs.auroc),
    ):
        yield name, one.value, one.low, one.high, two.value, two.low, two.high, _reason(one, two)
    for kind, groups in (("lot", report.analysis.per_lot), ("defect", report.analysis.per_defect)):
        for group in groups:
            yield (
                f"median of {kind} {group.name}",
                group.median,
                None,
                None,
                group.median_qrs,
                None,
                None,
                None,
            )
    yield _words("threshold of qrs", None, report.threshold)
    for band, begins in (("medium", report.limits.medium), ("high", report.limits.high)):
        yield _words(f"{band} begins above", begins)
    yield _words("critical begins above", report.limits.critical)
    yield _words("weights over the threshold that are not listed", None, report.unlisted)
    for note in report.analysis.notes:
        yield _words(note, None)


def _words(what: str, risk: Cell, qrs: Cell = None) -> tuple[Cell, ...]:
    return what, risk, None, None, qrs, None, None, None


def _reason(first: Test | Metric, second: Test | Metric) -> str | None:
    return first.reason or second.reason or None


def _row(one: RatedSample, rank: int | None) -> tuple[Cell, ...]:
    sample, rated = one.sample, one.rated
    found, rating = rated.inspection, rated.rating
    factors = {factor.name: factor for factor in (rating.factors if rating is not None else ())}
    return (
        rank,
        sample.id,
        found.path or sample.path,
        sample.product,
        sample.part,
        sample.group,
        sample.label,
        None if sample.role is None else sample.role.value,
        None if found.verdict is None else found.verdict.value,
        one.risk,
        None if rating is None else rating.low,
        None if rating is None else rating.high,
        None if rated.band is None else rated.band.value,
        *(factors[name].points if name in factors else None for name in FACTORS),
        *(factors[name].measured if name in factors else None for name in FACTORS),
        rated.qrs,
        rated.qrs_rests_on,
        rated.region,
        rated.region_share,
        rated.over if rating is not None else None,
        one.listed if rating is not None else None,
        found.score,
        found.p_value,
        None if found.error is None else found.error.code,
        None if found.error is None else found.error.message,
        "; ".join(rated.warnings),
    )
