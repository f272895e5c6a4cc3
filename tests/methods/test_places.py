"""What is usual at each place: running figures against numpy, and the bounds of what they may say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flawscope.methods.places import Places, usual

GRID = (4, 6)
ALL = np.ones(24, bool)


def test_figures_are_those_of_all_canvases_at_once():
    distances = np.random.default_rng(0).random((9, 24))
    places = Places(GRID)
    for one in distances:
        places.add(one, ALL)
    count, mean, variance = places.figures()
    assert (count == 9).all()
    np.testing.assert_allclose(mean.reshape(-1), distances.mean(0))
    np.testing.assert_allclose(variance.reshape(-1), distances.var(0), atol=1e-12)


def test_places_are_counted_over_the_picture():
    """A picture letterboxed onto the middle rows tells of all places, from its own upper to its lower end."""
    shown = np.zeros(GRID, bool)
    shown[1:3] = True
    distance = np.full(GRID, np.nan)
    distance[1], distance[2] = 1.0, 3.0
    places = Places(GRID)
    places.add(distance.reshape(-1), shown.reshape(-1))
    _, mean, _ = places.figures()
    np.testing.assert_allclose(mean, np.repeat([[1.0], [1.5], [2.5], [3.0]], 6, axis=1))


def test_a_canvas_that_shows_nothing_adds_nothing():
    places = Places(GRID)
    places.add(np.full(24, np.nan), np.zeros(24, bool))
    assert (usual(places, strength=1.0) == 1).all()


def test_an_irregular_place_expects_more_and_strength_nought_makes_all_alike():
    rng = np.random.default_rng(0)
    distances = 1 + 0.1 * rng.random((60, *GRID))
    distances[:, 2, 3] += 2 * rng.random(60)
    places = Places(GRID)
    for one in distances:
        places.add(one.reshape(-1), ALL)
    by_place = usual(places, strength=1.0)
    assert by_place.argmax() == 2 * 6 + 3
    assert by_place[2, 3] > 1.5 * np.median(by_place)
    alike = usual(places, strength=0.0)
    assert np.ptp(alike) < 1e-6
    expected = distances.mean() + 2 * np.sqrt(distances.reshape(60, -1).var(0).mean())
    assert alike[0, 0] == pytest.approx(expected, rel=0.01)
    np.testing.assert_allclose(usual(places, strength=0.5), (by_place + alike) / 2, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 5),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    strength=st.floats(0, 1),
    zeros=st.integers(0, 23),
)
def test_nothing_is_ever_divided_by_nought(n, scale, strength, zeros):
    distances = np.random.default_rng(n).random((n, 24)) * scale
    distances[:, :zeros] = 0
    places = Places(GRID)
    for one in distances:
        places.add(one, ALL)
    values = usual(places, strength=strength)
    assert values.dtype == np.float32 and np.isfinite(values).all() and (values > 0).all()
    assert values.min() >= 0.0099 * usual(places, strength=0.0).max()
