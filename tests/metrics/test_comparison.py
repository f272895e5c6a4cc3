"""Comparisons of two groups against scipy's and slow oracles; what is undefined says why."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from flawscope.metrics.comparison import cliffs_delta, hedges_g, mann_whitney, welch

VALUES = st.lists(st.integers(-20, 20), min_size=3, max_size=12)


@settings(max_examples=60, deadline=None)
@given(VALUES, VALUES)
def test_they_equal_the_definitions(bad: list[int], good: list[int]) -> None:
    x, y = np.array(bad, float), np.array(good, float)
    pairs = np.sign(x[:, None] - y[None])
    delta = cliffs_delta(x, y)
    assert delta.value == pytest.approx(pairs.mean())
    assert delta.low is not None and delta.high is not None and -1 <= delta.low <= delta.high <= 1
    u = mann_whitney(x, y)
    if np.ptp(np.concatenate([x, y])) > 0:
        assert u.statistic == pytest.approx((pairs > 0).sum() + (pairs == 0).sum() / 2)
        assert u.p == pytest.approx(stats.mannwhitneyu(x, y).pvalue)
    else:
        assert u.p is None and "equal" in u.reason
    if np.ptp(x) == 0 and np.ptp(y) == 0:
        assert welch(x, y).p is None and hedges_g(x, y).value is None
        return
    t = welch(x, y)
    if np.ptp(x) == 0 or np.ptp(y) == 0:  # scipy warns that one of the groups is constant
        return
    expected = stats.ttest_ind(x, y, equal_var=False)
    assert (t.statistic, t.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))


def test_hedges_g_by_hand() -> None:
    found = hedges_g(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert found.value == pytest.approx((4 - 2) / np.sqrt((4 + 1) / 2) * (1 - 3 / 15))
    assert found.low is not None and found.high is not None and found.low < found.value < found.high


@pytest.mark.parametrize(
    ("bad", "good", "reason"),
    [
        ([], [1.0, 2.0], "2 defective parts, and there are 0"),
        ([1.0], [1.0, 2.0], "2 defective parts, and there are 1"),
        ([1.0, 2.0], [], "2 good parts, and there are 0"),
        ([1.0, 1.0], [1.0, 1.0], "neither group varies"),
        ([5.0, 5.0], [1.0, 1.0], "neither group varies"),
    ],
)
def test_what_is_undefined_says_why(bad: list[float], good: list[float], reason: str) -> None:
    x, y = np.array(bad), np.array(good)
    found = welch(x, y)
    assert found.p is None and found.statistic is None and reason in found.reason
    assert found.to_json()["reason"] == found.reason
    assert reason in hedges_g(x, y).reason
    if not (len(bad) and len(good)):
        assert mann_whitney(x, y).p is None and cliffs_delta(x, y).value is None
