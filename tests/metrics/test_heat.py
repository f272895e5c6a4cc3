"""Where heat lies: by hand, against a slow oracle, and what has no answer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flawscope.metrics import heat


def test_heat_in_one_place_is_drawn_together_and_even_heat_is_not() -> None:
    one = np.zeros((20, 20), np.float32)
    one[3, 4] = 5
    assert heat.concentration(one) == 1.0
    ramp = np.arange(400, dtype=np.float32).reshape(20, 20)
    assert heat.concentration(ramp) == pytest.approx(slow(ramp))
    assert 0.05 < slow(ramp) < 0.2
    assert heat.concentration(ramp + 1000) == pytest.approx(slow(ramp), rel=1e-4)  # a common level is none
    assert heat.concentration(np.full((4, 4), 2.0, np.float32)) is None


def slow(values: np.ndarray) -> float:
    """Return the concentration by sorting everything."""
    above = sorted((max(0.0, float(v) - float(np.median(values))) for v in values.ravel()), reverse=True)
    return sum(above[: math.ceil(0.05 * len(above))]) / sum(above)


def test_heat_beside_the_product() -> None:
    values = np.zeros((4, 4), np.float32)
    values[0, 0], values[3, 3] = 3, 1
    product = np.ones((4, 4), bool)
    assert heat.outside(values, product) is None  # no background to be seen
    product[0] = False
    assert heat.outside(values, product) == 0.75
    assert heat.outside(np.zeros((4, 4), np.float32), product) is None
    with pytest.raises(ValueError, match="differ"):
        heat.outside(values, product[:2])
