"""The parts of draem that can be wrong: the two losses against slow versions, where flaws are simulated."""

from __future__ import annotations

import numpy as np
import pytest

from flawscope.methods.draem import DraemConfig

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.deep


def test_similarity_is_the_slow_ssim() -> None:
    from flawscope.methods.deep.draem import similarity

    rng = np.random.default_rng(0)
    first = rng.random((24, 20))
    second = np.clip(first + rng.normal(0, 0.2, first.shape), 0, 1)
    away = np.arange(-5, 6)
    window = np.exp(-0.5 * (away[:, None] ** 2 + away[None] ** 2) / 1.5**2)
    row, column = 9, 11
    found = similarity(*(torch.from_numpy(each)[None, None] for each in (first, second)))[0, 0]
    for row, column in ((9, 11), (0, 2)):
        rows, columns = (np.arange(place - 5, place + 6) for place in (row, column))
        inside = np.ix_((rows >= 0) & (rows < 24), (columns >= 0) & (columns < 20))
        here = np.ix_(rows[(rows >= 0) & (rows < 24)], columns[(columns >= 0) & (columns < 20)])
        weights = window[inside] / window[inside].sum()
        a, b = first[here], second[here]
        m, n = (weights * a).sum(), (weights * b).sum()
        v, w, c = ((weights * x).sum() for x in ((a - m) ** 2, (b - n) ** 2, (a - m) * (b - n)))
        slow = (2 * m * n + 1e-4) * (2 * c + 9e-4) / ((m**2 + n**2 + 1e-4) * (v + w + 9e-4))
        assert float(found[row, column]) == pytest.approx(slow, rel=1e-5)


def test_focal_loss_is_its_formula() -> None:
    from flawscope.methods.deep.draem import focal

    logits = torch.tensor([[[[1.0, -2.0]], [[0.5, 3.0]]]])
    found = focal(logits, torch.tensor([[[0, 1]]]))[0, 0].numpy()
    chances = np.array([1 / (1 + np.exp(0.5 - 1.0)), 1 / (1 + np.exp(-2.0 - 3.0))])
    np.testing.assert_allclose(found, -((1 - chances) ** 2) * np.log(chances), rtol=1e-5)


@pytest.mark.parametrize("painted", [0.0, 1.0])
def test_flaws_lie_where_they_may_and_change_nothing_else(painted: float) -> None:
    from flawscope.methods.deep.draem import simulated

    picture = np.random.default_rng(0).integers(60, 200, (64, 96, 3), np.uint8)
    where = np.zeros((64, 96), bool)
    where[:, 40:] = True
    areas = []
    for seed in range(20):
        config = DraemConfig(painted=painted)
        marked = simulated(picture, np.random.default_rng(seed), where=where, config=config)
        assert not (marked.mask & ~where).any()
        assert (marked.pixels[~marked.mask] == picture[~marked.mask]).all()
        areas.append(int(marked.mask.sum()))
    assert 0 < max(areas) and np.median(areas) < 0.1 * where.sum()
