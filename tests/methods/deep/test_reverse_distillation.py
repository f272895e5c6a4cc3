"""Reverse distillation: its shapes, its loss against a slow version, and its graph against torch."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import assert_agreement

from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.features import Geometry
from flawscope.methods.reverse_distillation import ReverseDistillationConfig
from flawscope.methods.settings import Training

torch = pytest.importorskip("torch")
deep = pytest.importorskip("flawscope.methods.deep.reverse_distillation")
store = pytest.importorskip("flawscope.methods.deep.canvases")

pytestmark = pytest.mark.deep


@pytest.mark.parametrize("grids", [((12, 16), (6, 8)), ((10, 14), (5, 7)), ((12, 8), (6, 4), (3, 2))])
def test_levels_are_rebuilt_in_their_own_shapes(grids):
    """Odd grids included, and a third level."""
    channels = (6, 10, 12)[: len(grids)]
    where = Geometry((96, 128), grids[0], grids, channels)
    rebuilder = deep.Rebuilder(where, (8, 16, 32)[: len(grids)], 4)
    levels = [torch.randn(2, count, *grid) for count, grid in zip(channels, grids, strict=True)]
    assert [value.shape for value in rebuilder(*levels)] == [level.shape for level in levels]


def test_the_decoder_sees_the_levels_through_the_embedding_only():
    """With the embedding blocked, what is rebuilt no longer depends on what was seen."""
    where = Geometry((64, 64), (8, 8), ((8, 8), (4, 4)), (6, 10))
    rebuilder = deep.Rebuilder(where, (8, 16), 4).eval()
    levels = [[torch.randn(1, 6, 8, 8), torch.randn(1, 10, 4, 4)] for _ in range(2)]
    sizes = []

    def block(module, inputs, output):
        sizes.append(output[0].numel())
        return torch.ones_like(output)

    free = [rebuilder(*each)[0] for each in levels]
    rebuilder.embed.register_forward_hook(block)
    blocked = [rebuilder(*each)[0] for each in levels]
    assert not torch.equal(free[0], free[1]) and torch.equal(blocked[0], blocked[1])
    assert sizes == [16 * 2 * 2] * 2  # half the coarsest grid, far fewer numbers than 6 * 64 + 10 * 16


def test_whole_distance_equals_a_slow_version():
    first, second = torch.randn(3, 5, 4, 6), torch.randn(3, 5, 4, 6)
    shares = torch.rand(3, 4, 6)
    shares[0, :2] = 0
    for i, found in enumerate(deep.whole_distance(first, second, shares)):
        product = own = other = 0.0
        for row in range(4):
            for column in range(6):
                one, two = first[i, :, row, column].double(), second[i, :, row, column].double()
                share = float(shares[i, row, column])
                product += share * float(one @ two)
                own += share * float(one @ one)
                other += share * float(two @ two)
        assert float(found) == pytest.approx(1 - product / np.sqrt(own * other), abs=1e-5)


def test_what_is_padding_has_no_part_in_the_loss():
    first, second = torch.randn(2, 5, 4, 6), torch.randn(2, 5, 4, 6)
    shares = torch.ones(2, 8, 12)
    shares[:, :, 6:] = 0  # of a finer grid, as the first level's shares are for the second level
    before = deep.whole_distance(first, second, shares)
    second[:, :, :, 3:] = torch.randn(2, 5, 4, 3)
    assert torch.allclose(before, deep.whole_distance(first, second, shares))
    second[:, :, :, :1] = torch.randn(2, 5, 4, 1)
    assert not torch.allclose(before, deep.whole_distance(first, second, shares))


def test_the_map_is_the_sum_of_the_levels_distances():
    """0 where everything is rebuilt, 2 a level where its opposite is; the coarse level counts at all four
    positions it covers."""
    where = Geometry((32, 32), (4, 4), ((4, 4), (2, 2)), (3, 5))
    levels = [torch.randn(1, 3, 4, 4), torch.randn(1, 5, 2, 2)]

    class Answer(torch.nn.Module):
        def __init__(self, signs):
            super().__init__()
            self.signs = signs

        def forward(self, *seen):
            return [level * sign for level, sign in zip(seen, self.signs, strict=True)]

    for signs, wanted in (((1, 1), 0), ((-1, 1), 2), ((1, -3), 2), ((-1, -1), 4)):
        found = deep.Unrebuilt(Answer(signs), where.grid_hw)(*levels)
        assert found.shape == (1, 4, 4) and found.min() >= 0
        assert torch.allclose(found, torch.full((1, 4, 4), float(wanted)), atol=1e-5)


def test_training_rebuilds_and_the_graph_agrees(chips, backbone, preprocess, monkeypatch):
    """The loss falls far below that of the start; torch and ONNX give real canvases the same scores."""
    made = []
    unrebuilt = deep.Unrebuilt
    monkeypatch.setattr(deep, "Unrebuilt", lambda *given: made.append(unrebuilt(*given)) or made[-1])
    monkeypatch.setattr("flawscope.methods.graph.halve", lambda model: model)
    context = FitContext(backbone, preprocess, threads=1)
    config = ReverseDistillationConfig(
        width=8, smoothing=0, top_share=0, training=Training(steps=60, batch=4, learning_rate=5e-3)
    )
    model = deep.fit(config, FitData(chips.fit[:8]), context)
    canvases = store.load_canvases((*chips.test_good[:8], *chips.test_bad[:8]), context)
    assert_agreement(made[0], model, canvases, context)
    levels = store.load_levels(store.load_canvases(chips.fit[:8], context), context)
    objective = deep.Rebuilding(made[0].rebuilder).eval()
    with torch.no_grad():
        trained = float(objective(torch.from_numpy(levels.shares), *levels.tensors(np.arange(8))))
    assert trained < 0.5  # of 2 for two levels, where nothing is rebuilt
