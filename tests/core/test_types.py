"""The types that cross borders: what they refuse, and the way through JSON."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from flawscope.core.errors import LeakError
from flawscope.core.scores import ScoreSet
from flawscope.core.types import (
    Area,
    Calibration,
    CalibrationMode,
    Fault,
    Fit,
    Image,
    Inspection,
    Levels,
    Merge,
    Metric,
    Preprocess,
    Region,
    Role,
    Sample,
    Verdict,
)


def through_json(values):
    """Return what a file would give back; NaN is no JSON."""
    return json.loads(json.dumps(values, allow_nan=False))


@pytest.mark.parametrize("shape, kind", [((4, 4), np.uint8), ((4, 4, 4), np.uint8), ((4, 4, 3), np.uint16)])
def test_an_image_is_rgb_of_eight_bits(shape, kind):
    with pytest.raises(ValueError, match="uint8"):
        Image(np.zeros(shape, kind))


def test_an_image_has_pixels_and_knows_its_size():
    with pytest.raises(ValueError, match="at least one pixel"):
        Image(np.zeros((0, 4, 3), np.uint8))
    assert Image(np.zeros((2, 5, 3), np.uint8)).size_hw == (2, 5)


def test_a_sample_without_label_is_neither_good_nor_bad():
    sample = Sample("a", "a.png", None, product="tile")
    assert not sample.is_good and not sample.is_bad
    assert replace(sample, label="good").is_good and replace(sample, label="crack").is_bad
    assert replace(sample, part="7").part_key == replace(sample, id="b", part="7").part_key
    assert sample.part_key != replace(sample, product="chip").part_key
    with pytest.raises(FrozenInstanceError):
        sample.label = "good"  # type: ignore[misc]


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=17)))
def test_an_area_survives_json(judged):
    if not judged.any():
        with pytest.raises(ValueError, match="at least one pixel"):
            Area(judged)
        return
    again = Area.from_json(through_json(Area(judged).to_json()))
    assert again.judged.dtype == np.bool_ and (again.judged == judged).all()


@pytest.mark.parametrize("black, white", [(-1, 5), (5, 5), (9, 3), (0, 70_000)])
def test_levels_ascend_within_sixteen_bits(black, white):
    with pytest.raises(ValueError):
        Levels(black, white)


def test_preprocess_survives_json():
    original = Preprocess(
        (96, 160),
        Fit.TILES,
        Levels(10, 4000),
        (0.1, 0.2, 0.3),
        (0.4, 0.5, 0.6),
        Area(np.eye(5, dtype=bool)),
        0.5,
        Merge.MEAN,
    )
    again = Preprocess.from_json(through_json(original.to_json()))
    assert replace(again, area=original.area) == original
    assert again.area is not None and (again.area.judged == np.eye(5, dtype=bool)).all()
    plain = Preprocess((64, 64))
    assert Preprocess.from_json(through_json(plain.to_json())) == plain


@pytest.mark.parametrize(
    "values",
    [{"size_hw": (16, 64)}, {"size_hw": (64, 5000)}, {"tile_overlap": 0.9}, {"std": (1.0, 0.0, 1.0)}],
)
def test_preprocess_refuses_what_cannot_work(values):
    with pytest.raises(ValueError):
        Preprocess(**({"size_hw": (64, 64)} | values))


def calibration(**values: object) -> Calibration:
    """Return a calibration of three parts, with some values replaced."""
    given = {
        "scores": np.array([0.1, 0.2, 1 / 3]),
        "maxima": np.array([1.0, 2.0, 3.0]),
        "weights": np.ones(3),
        "parts": 3,
        "mode": CalibrationMode.SPLIT,
    }
    return Calibration(**(given | values))  # type: ignore[arg-type]


def test_a_calibration_survives_json_to_the_last_bit():
    original = calibration(limit_ng=0.3, limit_reason="by hand")
    again = Calibration.from_json(through_json(original.to_json()))
    for name in ("scores", "maxima", "weights"):
        assert (getattr(again, name) == getattr(original, name)).all()
    assert again.to_json() == original.to_json() and again.mode is CalibrationMode.SPLIT


@pytest.mark.parametrize(
    "values",
    [
        {"scores": np.array([0.2, 0.1, 0.3])},
        {"scores": np.array([0.1, 0.2, np.nan])},
        {"maxima": np.array([0.1, 0.2, np.inf])},
        {"maxima": np.ones(2)},
        {"weights": np.array([1.0, 2.0, 0.0])},
        {"parts": 4},
        {"alpha": 0.0},
        {"alpha": 0.2, "review_alpha": 0.1},
        {"review_alpha": 1.0},
    ],
)
def test_a_calibration_refuses_what_is_none(values):
    with pytest.raises(ValueError):
        calibration(**values)


def test_an_inspection_has_a_verdict_or_a_fault_and_never_both():
    judged = Inspection(
        "a.png", "id", Verdict.NG, score=2.0, regions=(Region((0, 1, 3, 4), (), 9, 2.0, 1.0),)
    )
    values = through_json(judged.to_json())
    assert values["verdict"] == "NG" and values["error"] is None
    assert values["regions"] == [{"box_xyxy": [0, 1, 3, 4], "area_px": 9, "peak": 2.0, "mean": 1.0}]
    broken = Inspection("a.png", "id", None, error=Fault("truncated", "a.png is cut off"))
    values = through_json(broken.to_json())
    assert values["verdict"] is None and values["error"]["code"] == "truncated" and values["score"] is None
    for verdict, error in ((None, None), (Verdict.OK, Fault("x", "y"))):
        with pytest.raises(ValueError):
            Inspection("a.png", "id", verdict, error=error)


def test_a_metric_is_a_number_or_a_reason():
    assert Metric(0.5, 0.4, 0.6, 10).to_json() == {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}
    assert Metric(None, reason="one class alone").to_json()["reason"] == "one class alone"
    for value in (None, float("nan"), float("inf")):
        with pytest.raises(ValueError):
            Metric(value)


def scored(role: Role, *, samples_role: Role | None, out_of_fold: bool = False) -> ScoreSet:
    """Return the scores of two samples of a role."""
    samples = [Sample(str(i), f"{i}.png", "good", part="p", role=samples_role) for i in range(2)]
    return ScoreSet.of(samples, [1, 2], maxima=[1, 2], role=role, out_of_fold=out_of_fold)


@pytest.mark.parametrize("use", list(Role))
@pytest.mark.parametrize("role", list(Role))
def test_scores_serve_for_their_own_role_alone(role, use):
    scores = scored(role, samples_role=role)
    assert (scores.weights == 0.5).all() and scores.is_good.all()
    if use is role:
        scores.require(use, use="this test")
        return
    with pytest.raises(LeakError, match="this test"):
        scores.require(use, use="this test")
    if role is Role.FIT and use is Role.CALIBRATE:
        assert len(scored(use, samples_role=role, out_of_fold=True)) == 2
    with pytest.raises(LeakError):
        scored(use, samples_role=role)
