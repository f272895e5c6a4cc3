"""A realistic report: a few hundred drawn scores, with metrics computed from them in the plainest way."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from flawscope.core.types import (
    Calibration,
    CalibrationMode,
    Fault,
    Inspection,
    Judged,
    Metric,
    Promise,
    Region,
    Report,
    Sample,
    Thresholds,
    Verdict,
)

DEFECTS = ("scratch", "crack", "contamination", "bent lead")
STRENGTH = {"scratch": 0.16, "crack": 0.26, "contamination": 0.42, "bent lead": 0.9}


def wilson(hits: int, n: int) -> Metric:
    """Return a share with its 95 % Wilson interval."""
    if n == 0:
        return Metric(None, reason="there are no such test parts")
    z, share = 1.96, hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Metric(share, max(float(middle - half), 0.0), min(float(middle + half), 1.0), n)


def auroc(good: np.ndarray, bad: np.ndarray) -> float:
    """Return the share of pairs in which the bad one scores higher, ties half."""
    above = bad[:, None] - good[None, :]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def make_calibration(*, n: int = 200, seed: int = 3) -> Calibration:
    """Draw good parts' scores."""
    scores = np.sort(np.random.default_rng(seed).gamma(9.0, 0.03, n))
    return Calibration(
        scores,
        np.sort(scores * 1.2),
        np.ones(n),
        n,
        CalibrationMode.SPLIT,
        0.05,
        0.15,
        split_digest="5b" * 32,
    )


def make_thresholds(calibration: Calibration) -> Thresholds:
    """Take the limits as conformal quantiles."""
    n = len(calibration.scores)
    ng, review = (
        float(calibration.scores[int(np.ceil((n + 1) * (1 - alpha))) - 1])
        for alpha in (calibration.alpha, calibration.review_alpha)
    )
    return Thresholds(ng=ng, review=review, pixel=float(np.quantile(calibration.maxima, 0.95)))


def make_judged(name: str, label: str | None, score: float, limits: Thresholds) -> Judged:
    """Return a judged image whose verdict follows from its score."""
    above_ng = limits.ng is not None and score > limits.ng
    above_review = limits.review is not None and score > limits.review
    verdict = Verdict.NG if above_ng else Verdict.REVIEW if above_review else Verdict.OK
    peak = score * 1.2
    region = Region((12, 20, 44, 60), ((12, 20), (44, 20), (44, 60), (12, 60)), 800, peak, peak * 0.8)
    return Judged(
        Sample(id=name, path=name, label=label, product="chips"),
        Inspection(
            path=name,
            bundle_id="9f" * 32,
            verdict=verdict,
            score=score,
            p_value=0.031,
            thresholds=limits,
            regions=(region,) if peak > limits.pixel else (),
            timings_ms={"read": 2.1, "preprocess": 1.0, "graph": 9.2, "total": 12.9},
            map=np.full((4, 4), peak, np.float32),
        ),
    )


def make_failed(name: str, code: str, message: str) -> Judged:
    """Return an image that could not be judged."""
    return Judged(
        Sample(id=name, path=name, label="good", product="chips"),
        Inspection(path=name, bundle_id="9f" * 32, verdict=None, error=Fault(code, message)),
    )


def make_report(*, good: int = 120, bad: int = 120, seed: int = 7) -> Report:
    """Return a report of a tested bundle."""
    random = np.random.default_rng(seed)
    calibration = make_calibration()
    limits = make_thresholds(calibration)
    judged = [
        make_judged(f"test/good/{index:04d}.png", "good", float(score), limits)
        for index, score in enumerate(random.gamma(9.0, 0.03, good))
    ]
    for index in range(bad):
        defect = DEFECTS[index % len(DEFECTS)]
        score = float(random.gamma(9.0, 0.03) + random.gamma(4.0, STRENGTH[defect] / 4))
        judged.append(make_judged(f"test/{defect}/{index:04d}.png", defect, score, limits))
    judged.append(
        make_failed("test/good/0077.jpg", "truncated", "0077.jpg is cut off after 31 kB. Send it again.")
    )
    judged.append(make_failed("test/good/dark.png", "too_dark", "dark.png is too dark to judge."))
    return assemble(tuple(judged), calibration, limits)


def assemble(judged: tuple[Judged, ...], calibration: Calibration, limits: Thresholds) -> Report:
    """Measure what was judged in the plainest way."""
    sure = [one for one in judged if one.inspection.verdict is not None]
    good = [one for one in sure if one.sample.is_good]
    bad = [one for one in sure if one.sample.is_bad]
    good_scores, bad_scores = (np.array([one.inspection.score for one in group]) for group in (good, bad))
    confusion: dict[str, Counter[str]] = {}
    for one in judged:
        key = "not_judged" if one.inspection.verdict is None else one.inspection.verdict.value
        confusion.setdefault(str(one.sample.label), Counter())[key] += 1
    return Report(
        bundle_id="9f" * 32,
        bundle_name="chips line 2",
        method="patchcore",
        product="chips",
        split_digest="1c" * 32,
        metrics=_metrics(good, bad, good_scores, bad_scores),
        per_defect={defect: _defect_metrics(defect, bad) for defect in DEFECTS},
        confusion=confusion,
        promise=make_promise(),
        thresholds=limits,
        calibration=calibration,
        judged=judged,
        timings_ms={
            "read": {"p50": 2.1, "p95": 3.4},
            "preprocess": {"p50": 1.04, "p95": 1.3},
            "graph": {"p50": 9.2, "p95": 11.8},
            "regions": {"p50": 0.6, "p95": 0.9},
            "total": {"p50": 12.9, "p95": 17.2},
        },
        machine={"processor": "Intel Xeon, 2 cores", "threads": "1", "onnxruntime": "1.31.1"},
        size_bytes=9_812_345,
        peak_memory_mb=412.4,
        curves=_curves(good_scores, bad_scores) if good and bad else {},
        warnings=("3 images have 2 % of their pixels outside the 16-bit levels.",),
        created="2026-03-01T14:03:22+00:00",
        settings={
            "method": {"name": "patchcore", "bank_size": 2000, "reweight": None},
            "seed": 0,
            "fit": "letterbox",
        },
    )


def make_promise() -> Promise:
    """Return the promise of 200 good parts at 5 %."""
    return Promise(
        mode=CalibrationMode.SPLIT,
        alpha=0.05,
        review_alpha=0.15,
        parts=200,
        can_say_ng=True,
        bound=0.077,
        confidence=0.95,
        parts_needed=19,
        sentences=(
            "At most 5.0 % of good parts are called NG, on average over calibrations.",
            "This one bundle stays below 7.7 % with 95 % confidence.",
            "At most 15.0 % of good parts are not called OK.",
        ),
    )


def _metrics(
    good: list[Judged], bad: list[Judged], good_scores: np.ndarray, bad_scores: np.ndarray
) -> dict[str, dict[str, Metric]]:
    ng_good = sum(one.inspection.verdict is Verdict.NG for one in good)
    ng_bad = sum(one.inspection.verdict is Verdict.NG for one in bad)
    ok_bad = sum(one.inspection.verdict is Verdict.OK for one in bad)
    n = len(good) + len(bad)
    area = auroc(good_scores, bad_scores) if good and bad else None
    return {
        "image": {
            "auroc": Metric(area, area - 0.02, min(area + 0.02, 1.0), n)
            if area is not None
            else Metric(None, reason="it needs good and defective test parts"),
            "recall_at_5pct": wilson(int((bad_scores > np.quantile(good_scores, 0.95)).sum()), len(bad)),
        },
        "verdict": {
            "overkill": wilson(ng_good, len(good)),
            "escape": wilson(ok_bad, len(bad)),
            "recall": wilson(ng_bad, len(bad)),
            "specificity": wilson(len(good) - ng_good, len(good)),
            "accuracy": wilson(len(good) - ng_good + ng_bad, n),
        },
        "pixel": {
            "auroc": Metric(0.968, 0.961, 0.974, 118),
            "aupro_30": Metric(0.911, 0.894, 0.927, 118),
            "aupimo": Metric(None, reason="it needs at least 1 good image with a map in full size"),
        },
    }


def _defect_metrics(defect: str, bad: list[Judged]) -> dict[str, Metric]:
    of_it = [one for one in bad if one.sample.label == defect]
    verdicts = Counter(one.inspection.verdict for one in of_it)
    return {
        "recall": wilson(verdicts[Verdict.NG], len(of_it)),
        "escape": wilson(verdicts[Verdict.OK], len(of_it)),
        "pixel_auroc": Metric(0.97, 0.95, 0.99, len(of_it))
        if defect != "bent lead"
        else Metric(None, reason="bent lead has no masks"),
    }


def _curves(good: np.ndarray, bad: np.ndarray) -> dict[str, dict[str, list[float]]]:
    limits = np.sort(np.concatenate([good, bad]))
    flagged = np.array([(good >= limit).mean() for limit in limits])
    found = np.array([(bad >= limit).mean() for limit in limits])
    hits = found * len(bad)
    precision = hits / (hits + flagged * len(good))
    half = 1.96 * np.sqrt(np.clip(flagged * (1 - flagged), 0.002, None) / len(good))
    half_missed = 1.96 * np.sqrt(np.clip(found * (1 - found), 0.002, None) / len(bad))
    return {
        "roc": {"x": [*flagged[::-1].tolist(), 1.0], "y": [*found[::-1].tolist(), 1.0]},
        "pr": {"x": found.tolist(), "y": precision.tolist()},
        "overkill_escape": {
            "limits": limits.tolist(),
            "overkill": flagged.tolist(),
            "escape": (1 - found).tolist(),
            "overkill_low": np.clip(flagged - half, 0, 1).tolist(),
            "overkill_high": np.clip(flagged + half, 0, 1).tolist(),
            "escape_low": np.clip(1 - found - half_missed, 0, 1).tolist(),
            "escape_high": np.clip(1 - found + half_missed, 0, 1).tolist(),
        },
    }


def make_untested() -> Report:
    """Return what training writes when there are no test parts."""
    return dataclasses.replace(
        make_report(),
        metrics={},
        per_defect={},
        confusion={},
        judged=(),
        curves={},
        timings_ms={},
        warnings=(),
    )


@pytest.fixture(scope="session")
def tested() -> Report:
    """A report with 242 test images."""
    return make_report()


@pytest.fixture(scope="session")
def untested() -> Report:
    """A report of a bundle that was taught and calibrated only."""
    return make_untested()


@pytest.fixture(scope="session")
def judge() -> Callable[[str, str | None, float, Thresholds], Judged]:
    """The maker of judged images."""
    return make_judged
