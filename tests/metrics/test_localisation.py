"""Pixel metrics against scikit-learn and slow, obvious loops."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from flawscope.core.types import Array
from flawscope.metrics import localisation, pixel_intervals
from flawscope.metrics.localisation import collect
from flawscope.metrics.summary import pixel_metrics

Case = tuple[list[Array], list[Array | None]]


def drawn(seed: int, *, levels: int | None, images: int = 6, side: int = 14) -> Case:
    """Maps of several sizes with rectangles for flaws (touching at corners too); `levels` makes ties."""
    generator = np.random.default_rng(seed)
    maps, masks = [], []
    for i in range(images):
        shape = (side + i, side + 2 * (i % 3))
        heat = generator.normal(size=shape)
        mask = np.zeros(shape, bool)
        if i % 3:
            mask[2:5, 3 : 5 + i] = True
            mask[5:7, 5 + i : 7 + i] = True  # touches by a corner only
            mask[10:12, 1:3] = True
            heat += mask * generator.uniform(0.5, 2.0)
        if levels:
            heat = np.round(heat * levels) / levels
        maps.append(heat.astype(np.float32))
        masks.append(mask if i % 3 else None)
    return maps, masks


CASES = [drawn(0, levels=None), drawn(1, levels=2), drawn(2, levels=1)]


def flat(case: Case) -> tuple[Array, Array]:
    maps, masks = case
    values = np.concatenate([heat.ravel() for heat in maps])
    filled = [np.zeros(h.shape, bool) if k is None else k for h, k in zip(maps, masks, strict=True)]
    return values, np.concatenate([mask.ravel() for mask in filled])


def regions_by_flooding(mask: Array) -> list[set[tuple[int, int]]]:
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    regions = []
    while left:
        waiting = [left.pop()]
        region = set(waiting)
        while waiting:
            y, x = waiting.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            region |= near
            waiting += near
        regions.append(region)
    return regions


def slow_aupro(case: Case, limit: float) -> float:
    """Walk every threshold, draw the curve, integrate it by trapezoids up to the limit."""
    maps, masks = case
    values, marked = flat(case)
    xs, ys = [0.0], [0.0]
    for threshold in sorted(set(values.tolist()), reverse=True):
        overlaps = []
        for heat, mask in zip(maps, masks, strict=True):
            for region in regions_by_flooding(mask) if mask is not None else []:
                overlaps.append(sum(heat[place] >= threshold for place in region) / len(region))
        xs.append(float((values[~marked] >= threshold).mean()))
        ys.append(float(np.mean(overlaps)))
    x = np.unique([*xs, limit])
    x = x[x <= limit]
    area = 0.0
    for left, right in pairwise(x):
        # At a jump (several y at one x) the highest counts from there on, the lowest up to there.
        first = max(y for at, y in zip(xs, ys, strict=True) if at == left)
        after = min((at, y) for at, y in zip(xs, ys, strict=True) if at >= right)
        last = first + (after[1] - first) * (right - left) / (after[0] - left)
        area += (right - left) * (first + last) / 2
    return area / limit


def check_auroc(module: ModuleType) -> None:
    for case in CASES:
        values, marked = flat(case)
        metric = module.auroc(module.collect(*case, pixel_threshold=1.0))
        assert metric.value == pytest.approx(roc_auc_score(marked, values), abs=1e-9)


def check_average_precision(module: ModuleType) -> None:
    for case in CASES:
        values, marked = flat(case)
        metric = module.average_precision(module.collect(*case, pixel_threshold=1.0))
        assert metric.value == pytest.approx(average_precision_score(marked, values), abs=1e-9)


def check_aupro(module: ModuleType) -> None:
    for case in CASES:
        pixels = module.collect(*case, pixel_threshold=1.0)
        for limit in (0.05, 0.3):
            metric = module.aupro(pixels, limit)
            assert metric.value == pytest.approx(slow_aupro(case, limit), abs=1e-9)
            assert metric.n == 8


def aupimo_case(levels: int | None) -> Case:
    """Good images of two sizes with 130,000 pixels in all, bad ones whose flaws lie in their upper tail."""
    generator = np.random.default_rng(4)
    maps = [generator.normal(size=shape) for shape in ((300, 300), (200, 200), (30, 30), (20, 40), (25, 25))]
    masks: list[Array | None] = [None, None]
    for heat in maps[2:]:
        mask = np.zeros(heat.shape, bool)
        mask[4:9, 4:12] = True
        heat += mask * 4
        masks.append(mask)
    if levels:
        maps = [np.round(heat * levels) / levels for heat in maps]
    return [heat.astype(np.float32) for heat in maps], masks


def check_aupimo(module: ModuleType) -> None:
    for levels in (None, 5):
        maps, masks = aupimo_case(levels)
        found = [heat[mask] for heat, mask in zip(maps, masks, strict=True) if mask is not None]
        limits = np.unique(np.concatenate([*found, *(heat[heat > 3] for heat in maps[:2])]))
        alarms = np.array([np.mean([(heat >= limit).mean() for heat in maps[:2]]) for limit in limits])
        recalls = []
        for rate in np.geomspace(1e-5, 1e-4, 4001):
            limit = min((x for x, alarm in zip(limits, alarms, strict=True) if alarm <= rate), default=np.inf)
            recalls.append(np.mean([(values >= limit).mean() for values in found]))
        metric = module.aupimo(module.collect(maps, masks, pixel_threshold=1.0))
        assert metric.value == pytest.approx(np.mean(recalls), abs=1e-3)
        assert 0.05 < metric.value < 0.95 and metric.n == 3


def check_seg_f1(module: ModuleType) -> None:
    for case in CASES:
        values, marked = flat(case)
        for threshold in (-1.0, 1.0):
            metric = module.seg_f1(module.collect(*case, pixel_threshold=threshold))
            assert metric.value == pytest.approx(f1_score(marked, values > threshold))


CHECKS = [
    (check_auroc, '("right", "left")', '("right", "right")'),
    (check_average_precision, "true / (true + pixels.at_or_above", "true / (true + pixels.above"),
    (check_aupro, "structure=np.ones((3, 3))", "structure=None"),
    (check_aupro, "partly + np.maximum(limit - at_or_above, 0.0)", "partly + np.maximum(limit - above, 0.0)"),
    (check_aupimo, "np.full(len(top), 1.0 / (good_images", "np.full(len(top), 1.0 / (0.5 * good_images"),
    (check_aupimo, "np.log(high / np.clip(alarms, low, high))", "(high - np.clip(alarms, low, high)) / high"),
    (check_seg_f1, "hit = heat > pixel_threshold", "hit = heat >= pixel_threshold"),
]


@pytest.mark.parametrize("check", dict.fromkeys(check for check, _, _ in CHECKS))
def test_against_the_oracle(check) -> None:
    check(localisation)


@pytest.mark.parametrize(("check", "old", "new"), CHECKS)
def test_the_oracle_fails_on_a_broken_copy(
    check, old: str, new: str, broken_copy: Callable[[ModuleType, str, str], ModuleType]
) -> None:
    with pytest.raises(AssertionError):
        check(broken_copy(localisation, old, new))


def test_counting_in_bounded_memory_stays_close_to_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, masks = aupimo_case(None)
    exact = pixel_metrics(maps, masks, 1.0)
    monkeypatch.setattr(localisation, "EXACT_PIXELS", 30_000)
    counted = pixel_metrics(maps, masks, 1.0)
    for name, metric in exact.items():
        assert counted[name].value == pytest.approx(metric.value, abs=1e-3), name
        assert (counted[name].low, counted[name].high) == pytest.approx((metric.low, metric.high), abs=0.02)


@pytest.mark.parametrize("name", ["auroc", "ap", "aupro_30", "aupro_05", "seg_f1"])
def test_intervals_equal_resampling_whole_images(name: str) -> None:
    maps, masks = drawn(9, levels=None, images=24)
    metric = pixel_metrics(maps, masks, 1.0)[name]
    generator = np.random.default_rng(0)
    bad = np.array([mask is not None for mask in masks])
    # Without intervals of their own the resamples are quick.
    values = []
    for _ in range(40):
        picked = [
            *generator.choice(np.flatnonzero(bad), bad.sum()),
            *generator.choice(np.flatnonzero(~bad), 8),
        ]
        pixels = collect([maps[i] for i in picked], [masks[i] for i in picked], pixel_threshold=1.0)
        measure = {
            "auroc": localisation.auroc,
            "ap": localisation.average_precision,
            "aupro_30": lambda p: localisation.aupro(p, 0.3),
            "aupro_05": lambda p: localisation.aupro(p, 0.05),
            "seg_f1": localisation.seg_f1,
        }[name]
        values.append(measure(pixels).value)
    width = metric.high - metric.low
    assert 0.6 * 3.92 * np.std(values) <= width <= 1.5 * 3.92 * np.std(values)
    assert metric.low <= metric.value <= metric.high


def test_the_aupimo_interval_follows_the_good_images() -> None:
    maps, masks = aupimo_case(None)
    metric = pixel_metrics(maps, masks, 1.0)["aupimo"]
    assert metric.low < metric.value < metric.high
    bins = collect(maps, masks, pixel_threshold=1.0).bins
    exact = bins.aupimo(np.ones((1, 5)), localisation.AUPIMO_BOUNDS)[0]
    assert exact == pytest.approx(metric.value, abs=0.01)


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_a_monotone_map_of_the_pixels_changes_no_ranking(seed: int) -> None:
    maps, masks = drawn(seed, levels=4)
    first = pixel_metrics(maps, masks, 1.0)
    second = pixel_metrics([np.float32(2) * heat + np.float32(8) for heat in maps], masks, 10.0)
    for name, metric in first.items():
        assert metric.value == pytest.approx(second[name].value) if metric.value else second[name].reason


def test_perfect_and_worst_maps() -> None:
    mask = np.zeros((400, 400), bool)
    mask[5:9, 5:9] = True
    good = np.zeros((400, 400), np.float32)
    best = pixel_metrics([mask.astype(np.float32), good], [mask, None], 0.5)
    assert {metric.value for metric in best.values()} == {1.0}
    worst = pixel_metrics([-mask.astype(np.float32), good], [mask, None], 0.5)
    zero = {name: metric.value for name, metric in worst.items() if name != "ap"}
    assert set(zero.values()) == {0.0}


def test_undefined_is_none_with_a_reason() -> None:
    heat, mask = np.zeros((8, 8), np.float32), np.zeros((8, 8), bool)
    for metric in pixel_metrics([heat], [None], 0.5).values():
        assert metric.value is None and "flaw" in metric.reason
    for metric in pixel_metrics([], [], 0.5).values():
        assert metric.value is None
    mask[2, 2] = True
    few = pixel_metrics([heat + mask, heat], [mask, None], 0.5)
    assert few["aupimo"].value is None and "100000" in few["aupimo"].reason
    assert few["auroc"].value == 1 and few["auroc"].low is None  # one bad image shows no spread
    full = pixel_metrics([heat], [np.ones((8, 8), bool)], 0.5)
    assert full["auroc"].value is None and full["seg_f1"].value == 0


def test_bad_images_without_a_mark_are_left_out() -> None:
    maps, masks = drawn(3, levels=None)
    is_bad = [mask is not None for mask in masks]
    unmarked = [*maps, maps[0] + 100]
    with_it = pixel_metrics(unmarked, [*masks, None], 1.0, is_bad=[*is_bad, True])
    assert with_it == pixel_metrics(maps, masks, 1.0)
    assert pixel_metrics(unmarked, [*masks, None], 1.0)["auroc"].value < with_it["auroc"].value


def test_what_does_not_fit_is_refused() -> None:
    heat = np.zeros((4, 4), np.float32)
    with pytest.raises(ValueError, match="mask 0"):
        collect([heat], [np.ones((4, 5), bool)], pixel_threshold=1)
    with pytest.raises(ValueError, match="finite"):
        collect([heat + np.nan], [None], pixel_threshold=1)
    with pytest.raises(ValueError, match="number"):
        collect([heat], [], pixel_threshold=1)


def test_coarse_values_keep_their_order() -> None:
    values = np.sort(np.random.default_rng(0).normal(size=5000).astype(np.float32) * 1e3)
    coarse = localisation._coarse(values)
    assert (np.diff(coarse) >= 0).all()
    assert np.allclose(coarse, values, rtol=2**-15)


def test_bin_edges_rise() -> None:
    edges = pixel_intervals.bin_edges(lambda shares: shares, np.array([0.2, 0.2, 5.0]), np.zeros(0))
    assert (np.diff(edges) > 0).all()
