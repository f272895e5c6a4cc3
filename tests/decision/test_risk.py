"""The quality risk score: qrs as published against a slow reading of it, and what a risk must do."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flawscope.decision.risk import FACTORS, Rating, qrs, rate, scaled


def disc(size_hw: tuple[int, int], radius: float, *, height: float, at: tuple[float, float] = (0.5, 0.5)):
    """A good part (0.4 of the limit) with one flaw: a disc of a radius, a share of the height."""
    rows = (np.arange(size_hw[0]) + 0.5) / size_hw[0] - at[0]
    columns = ((np.arange(size_hw[1]) + 0.5) / size_hw[1] - at[1]) * size_hw[1] / size_hw[0]
    inside = np.hypot(rows[:, None], columns[None]) < radius
    return np.where(inside, height, 0.4).astype(np.float32)


def everywhere(heat: np.ndarray) -> np.ndarray:
    return np.ones(heat.shape, np.bool_)


def points(rating: Rating) -> dict[str, float]:
    return {factor.name: factor.points for factor in rating.factors}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1))
def test_qrs_is_the_share_of_the_product_over_the_threshold(seed: int, t: float) -> None:
    rng = np.random.default_rng(seed)
    weights = scaled(rng.normal(size=(6, 9)))
    region = rng.random((6, 9)) < 0.6
    region[2, 3] = True
    over = total = 0
    for y in range(6):
        for x in range(9):
            if region[y, x]:
                total += 1
                over += bool(weights[y, x] > t)
    assert qrs(weights, region, t) == over / total


def test_scaled_weights_reach_0_and_1_unless_nothing_varies() -> None:
    assert scaled(np.array([[-3.0, 1.0], [2.0, 7.0]])).ravel().tolist() == pytest.approx([0, 0.4, 0.5, 1])
    assert not scaled(np.full((3, 3), 5.0)).any()


@pytest.mark.parametrize(
    ("weights", "region"),
    [
        (np.zeros((2, 2)), np.zeros((2, 2), bool)),
        (np.zeros((2, 2)), np.ones((2, 3), bool)),
        (np.full((2, 2), 1.5), np.ones((2, 2), bool)),
        (np.full((2, 2), np.nan), np.ones((2, 2), bool)),
        (np.zeros((2, 2)), np.ones((2, 2))),
    ],
)
def test_qrs_refuses_what_is_no_weight_or_no_region(weights: np.ndarray, region: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"region|weights|finite"):
        qrs(weights, region)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.floats(0.01, 0.45), st.floats(1.05, 8), st.integers(0, 2**31))
def test_points_add_up_and_the_interval_holds_the_risk(
    sure: float, radius: float, height: float, seed: int
) -> None:
    heat = disc((48, 64), radius, height=height)
    zones = np.random.default_rng(seed).uniform(0, 10, heat.shape) if seed % 2 else None
    found = rate(sure, heat, everywhere(heat), zones=zones, seed=seed)
    assert tuple(factor.name for factor in found.factors) == FACTORS
    assert sum(points(found).values()) == pytest.approx(found.risk, abs=1e-9)
    assert 0 <= found.risk <= 100
    assert found.low is not None and found.high is not None
    assert 0 <= found.low <= found.risk + 1e-9 and found.risk - 1e-9 <= found.high <= 100
    if zones is None:
        assert found.factors[-1].measured is None and points(found)["where"] == 0


@settings(max_examples=80, deadline=None)
@given(
    st.floats(0.05, 0.99),
    st.floats(0.02, 0.3),
    st.floats(1.1, 5),
    st.sampled_from(["probability", "area", "intensity", "a heavier zone"]),
)
def test_risk_rises_with_each_of_them(sure: float, radius: float, height: float, what: str) -> None:
    heat = disc((64, 48), radius, height=height)
    zones = np.full(heat.shape, 2.0)
    less = rate(sure, heat, everywhere(heat), zones=zones)
    if what == "probability":
        more = rate(min(1.0, sure + 0.05), heat, everywhere(heat), zones=zones)
    elif what == "area":
        more = rate(sure, disc((64, 48), radius + 0.1, height=height), everywhere(heat), zones=zones)
    elif what == "intensity":
        more = rate(sure, disc((64, 48), radius, height=height + 0.5), everywhere(heat), zones=zones)
    else:
        more = rate(sure, heat, everywhere(heat), zones=np.full(heat.shape, 3.0))
        assert points(more)["where"] > points(less)["where"] > 0
    assert more.risk > less.risk


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1))
def test_no_cell_can_lower_the_risk_by_growing_hotter_within_its_place(seed: int, sure: float) -> None:
    """As long as the places stay apart: two that grow together are one place less."""
    rng = np.random.default_rng(seed)
    heat = rng.uniform(0, 3, (12, 16)).astype(np.float32)
    hotter = np.where(heat > 1, heat + rng.uniform(0, 2, heat.shape), heat).astype(np.float32)
    assert rate(sure, hotter, everywhere(heat)).risk >= rate(sure, heat, everywhere(heat)).risk - 1e-9


def test_two_places_count_more_than_one_of_the_same_area() -> None:
    heat = disc((80, 80), 0.1, height=2)
    apart = np.insert(heat, 40, 0.4, axis=1)[:, :80]  # a gap through the middle of the disc
    assert (apart > 1).sum() == (heat > 1).sum()
    one, two = rate(1, heat, everywhere(heat)), rate(1, apart, everywhere(heat))
    assert (one.factors[3].measured, two.factors[3].measured) == (1, 2)
    assert points(one)["many"] == 0 and points(two)["many"] == pytest.approx(5)


def test_specks_are_no_places_of_their_own() -> None:
    heat = disc((200, 200), 0.1, height=2)
    heat[3, 3] = 2
    assert rate(1, heat, everywhere(heat)).factors[3].measured == 1


@pytest.mark.parametrize("factor", [0.5, 2.0, 3.7])
def test_resolution_does_not_matter(factor: float) -> None:
    heat = disc((96, 128), 0.15, height=2.5)
    size_wh = round(128 * factor), round(96 * factor)
    other = np.asarray(cv2.resize(heat, size_wh, interpolation=cv2.INTER_LINEAR))
    first, second = rate(0.9, heat, everywhere(heat)), rate(0.9, other, everywhere(other))
    assert second.risk == pytest.approx(first.risk, abs=1.5)
    assert first.low is not None and second.low == pytest.approx(first.low, abs=6)


def test_what_lies_around_the_product_does_not_matter() -> None:
    heat = disc((60, 80), 0.15, height=2.5)
    padded = np.full((100, 120), 9.0, np.float32)
    padded[20:80, 20:100] = heat
    region = np.zeros(padded.shape, bool)
    region[20:80, 20:100] = True
    assert rate(0.8, padded, region) == rate(0.8, heat, everywhere(heat))


def test_a_calm_part_has_no_points_but_for_certainty() -> None:
    heat = np.full((32, 32), 0.99, np.float32)
    found = rate(0.3, heat, everywhere(heat))
    assert found.risk == pytest.approx(12) and found.low == found.high == pytest.approx(12)
    assert points(found) == {"sure": found.risk, "large": 0, "intense": 0, "many": 0, "where": 0}


def test_zones_weigh_where_a_flaw_lies() -> None:
    heat = disc((64, 64), 0.08, height=2, at=(0.25, 0.25))
    pads = np.ones(heat.shape)
    pads[:32, :32] = 5
    elsewhere = np.ones(heat.shape)
    elsewhere[32:, 32:] = 5
    nowhere = np.ones(heat.shape)
    nowhere[:32, :32] = 0
    usual = rate(1, heat, everywhere(heat))
    assert rate(1, heat, everywhere(heat), zones=np.ones(heat.shape)).risk == usual.risk
    assert rate(1, heat, everywhere(heat), zones=elsewhere).risk == usual.risk
    on_pad = rate(1, heat, everywhere(heat), zones=pads)
    assert on_pad.risk > usual.risk + 5 and on_pad.factors[4].measured == 5
    calmed = rate(1, heat, everywhere(heat), zones=nowhere)
    assert calmed.risk == pytest.approx(40) and points(calmed)["where"] < 0


def test_the_interval_is_wide_where_one_place_decides_and_repeats_with_the_seed() -> None:
    local = rate(1, disc((80, 80), 0.05, height=4), np.ones((80, 80), bool), seed=3)
    spread = np.full((80, 80), 0.5, np.float32)
    spread[::4] = 4
    broad = rate(1, spread, np.ones((80, 80), bool), seed=3)
    assert local.low is not None and local.high is not None
    assert broad.low is not None and broad.high is not None
    assert local.high - local.low > 3 * (broad.high - broad.low)
    assert local == rate(1, disc((80, 80), 0.05, height=4), np.ones((80, 80), bool), seed=3)
    tiny = rate(1, np.ones((1, 3), np.float32), np.ones((1, 3), bool))
    assert tiny.low is None and tiny.high is None


@pytest.mark.parametrize(
    ("sure", "heat", "zones"),
    [
        (1.1, np.ones((4, 4)), None),
        (float("nan"), np.ones((4, 4)), None),
        (0.5, np.full((4, 4), np.inf), None),
        (0.5, np.ones((4, 4)), np.ones((3, 4))),
        (0.5, np.ones((4, 4)), -np.ones((4, 4))),
    ],
)
def test_what_is_no_number_gets_no_risk(sure: float, heat: np.ndarray, zones: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match=r"sure|finite|zones"):
        rate(sure, heat, np.ones((4, 4), bool), zones=zones)


def oracle_interval(sure: float, heat: np.ndarray, seed: int) -> tuple[float, float]:
    """The same interval by going back to the cells for every draw; one place at most."""
    from flawscope.core.rng import derive

    blocks = (np.arange(heat.shape[0]) * 8 // heat.shape[0])[:, None] * 8 + np.arange(
        heat.shape[1]
    ) * 8 // heat.shape[1]
    draws = derive(seed, "risk").multinomial(64, np.full(64, 1 / 64), size=200)
    risks = []
    for draw in draws:
        cells = np.concatenate([np.repeat(heat[blocks == b], draw[b]) for b in range(64)])
        excess = np.sort(np.maximum(cells.astype(float) - 1, 0))[::-1]
        room = max(0.002 * cells.size, 1)
        whole = int(room)
        top = (excess[:whole].sum() + (room - whole) * excess[whole]) / room
        area = (cells > 1).mean()
        places = min(1, draw[blocks.ravel()[heat.argmax()]])
        risks.append(
            sure * (40 + 25 * area / (area + 0.02) + 25 * top / (top + 1) + 10 * (1 - 1 / max(places, 1)))
        )
    low, high = np.quantile(risks, [0.025, 0.975])
    return float(low), float(high)


def test_the_interval_is_that_of_drawing_cells() -> None:
    rng = np.random.default_rng(4)
    heat = (disc((80, 120), 0.2, height=2) + rng.uniform(0, 0.3, (80, 120))).astype(np.float32)
    found = rate(0.9, heat, everywhere(heat), seed=11)
    low, high = oracle_interval(0.9, heat, 11)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))
