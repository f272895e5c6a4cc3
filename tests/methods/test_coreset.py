"""The block-greedy cover against the plain algorithm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flawscope.methods.coreset import farthest_first


def plain(points: np.ndarray, count: int) -> list[int]:
    """Choose one point after another, each the farthest from all chosen ones; ties go to the lower index."""
    points = points.astype(np.float64)
    chosen = [int(np.square(points - points.mean(0)).sum(1).argmax())]
    distance = np.square(points - points[chosen[0]]).sum(1)
    while len(chosen) < min(count, len(points)):
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.square(points - points[chosen[-1]]).sum(1))
    return chosen


@pytest.mark.parametrize(
    "total, dimensions, count", [(700, 3, 300), (1500, 16, 400), (97, 2, 97), (98, 2, 40)]
)
def test_chooses_what_the_plain_algorithm_chooses(total, dimensions, count):
    points = np.random.default_rng(total).standard_normal((total, dimensions)).astype(np.float32)
    assert farthest_first(points, count).tolist() == plain(points, count)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    total=st.integers(1, 260),
    count=st.integers(1, 300),
    levels=st.integers(2, 30),
)
def test_ties_and_doubles_are_resolved_alike(seed, total, count, levels):
    """Whole numbers on a small grid: distances are exact, equal ones and equal points abound."""
    points = np.random.default_rng(seed).integers(0, levels, (total, 2)).astype(np.float32)
    chosen = farthest_first(points, count)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, total)
    first, *rest = plain(points, count)
    if chosen[0] == first:  # the mean is the one figure that is not exact
        assert chosen.tolist() == [first, *rest]


@pytest.mark.parametrize("seed", range(4))
def test_more_ties_than_a_block_holds(seed):
    """400 points in one place, all farthest from the first choice: the lowest index comes next."""
    places = np.repeat([0.0, 5000.0, 10_000.0], [400, 100, 1])
    points = np.random.default_rng(seed).permutation(places).astype(np.float32)[:, None]
    assert farthest_first(points, 3).tolist() == plain(points, 3)


def test_leaves_its_input_untouched():
    points = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    kept = points.copy()
    farthest_first(points, 50)
    assert (points == kept).all()
