"""The parts of efficientad that can be wrong: where a place is described, what is hardest, what is held out,
what the backbone's levels become, how a difference is measured, and that a teacher is made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flawscope.core.types import Sample
from flawscope.methods.settings import Training

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.deep


def test_a_place_describes_the_33_pixels_around_it() -> None:
    from flawscope.methods.deep.description import Description, described_hw

    torch.manual_seed(0)
    network = Description(4, 3).double()
    images = torch.randn(1, 3, 64, 96, dtype=torch.float64, requires_grad=True)
    said = network(images)
    assert tuple(said.shape[2:]) == described_hw((64, 96)) == (16, 24)
    said[0, :, 8, 12].square().sum().backward()
    rows, columns = np.nonzero(images.grad[0].abs().sum(0).numpy())
    for places, centre in ((rows, 33), (columns, 49)):
        assert places.max() - places.min() <= 32
        assert abs((places.max() + places.min()) / 2 - centre) <= 1


def test_the_hardest_are_those_from_the_quantile_on() -> None:
    from flawscope.methods.deep.efficientad import hardest

    values = np.random.default_rng(0).permutation(1000).astype(np.float32).reshape(2, 5, 100)
    slow = values[values >= np.quantile(values, 1 - 0.02, method="higher")].mean()
    assert float(hardest(torch.from_numpy(values), 0.02)) == pytest.approx(slow)
    assert float(hardest(torch.from_numpy(values), 0.0001)) == 999
    assert float(hardest(torch.from_numpy(values), 1)) == pytest.approx(499.5)


def test_whole_parts_are_held_out() -> None:
    from flawscope.methods.deep.canvases import Canvases
    from flawscope.methods.deep.efficientad import divided

    samples = tuple(Sample(str(i), f"{i}.png", "good", part=f"p{i // 2}") for i in range(40))
    owners = np.repeat(np.arange(40), 3)
    boxes = np.zeros((120, 4), np.float32)
    canvases = Canvases(np.zeros((120, 1, 1, 3), np.uint8), boxes, owners, boxes.astype(np.int32))
    kept, out = divided(samples, canvases, 0)
    assert len(out) == 12 and sorted([*kept, *out]) == list(range(120))
    assert not {samples[i].part for i in owners[kept]} & {samples[i].part for i in owners[out]}
    few = Canvases(canvases.pixels[:9], boxes[:9], owners[:9], canvases.windows_xyxy[:9])
    kept, out = divided(samples[:3], few, 0)
    assert kept.tolist() == out.tolist() == list(range(9))


def test_directions_keep_what_the_levels_tell_apart() -> None:
    """With all directions kept, distances between positions are those of the normalised levels."""
    from flawscope.methods.deep.canvases import Levels
    from flawscope.methods.deep.description import directions

    values = np.random.default_rng(0).normal(3, 2, (10, 6, 4, 5)).astype(np.float16)
    found = directions(Levels((values,), np.ones((10, 4, 5), np.float32)), 6).astype(np.float64)
    assert found.shape == (10, 6, 4, 5) and np.square(found).mean() == pytest.approx(1, abs=1e-2)
    flat, told = (each.transpose(1, 0, 2, 3).reshape(6, -1) for each in (values.astype(np.float64), found))
    flat = (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)
    wanted, got = (np.linalg.norm(each[:, :50] - each[:, 50:100], axis=0) for each in (flat, told))
    np.testing.assert_allclose(got, wanted, rtol=2e-2)


def test_a_teacher_is_made_once_and_again_where_its_file_is_damaged(context, tmp_path: Path) -> None:
    from flawscope.methods.deep.description import Recipe, teacher

    recipe = Recipe(8, 12, Training(steps=2, batch=2))
    first = teacher(recipe, context, cache=tmp_path)
    (place,) = tmp_path.iterdir()
    written = place.stat().st_mtime_ns
    second = teacher(recipe, context, cache=tmp_path)
    assert place.stat().st_mtime_ns == written
    place.write_bytes(b"damaged")
    third = teacher(recipe, context, cache=tmp_path)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]) and torch.equal(value, third.state_dict()[name])
    teacher(Recipe(8, 12, Training(steps=3, batch=2)), context, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_backbone_teaches_in_its_main_directions(context) -> None:
    """With all directions kept, distances between positions are those of the normalised levels."""
    from flawscope.methods.deep.blocks import to_grid
    from flawscope.methods.deep.canvases import Levels
    from flawscope.methods.deep.description import directed
    from flawscope.methods.features import Geometry

    rng = np.random.default_rng(0)
    values = (rng.normal(3, 2, (5, 4, 8, 8)), rng.normal(0, 9, (5, 2, 4, 4)))
    levels = Levels(tuple(value.astype(np.float16) for value in values), np.ones((5, 8, 8), np.float32))
    where = Geometry((64, 64), (8, 8), ((8, 8), (4, 4)), (4, 2))
    found = directed(levels, where, channels=6, grid_hw=(16, 16))(*levels.tensors(np.arange(5)))
    laid = torch.cat([to_grid(each, (8, 8)) for each in levels.tensors(np.arange(5))], 1)
    spread = laid.permute(0, 2, 3, 1).reshape(-1, 6).std(0, unbiased=False)
    wanted = torch.cat([to_grid(each, (16, 16)) for each in levels.tensors(np.arange(5))], 1)
    wanted = wanted / spread[None, :, None, None]
    gaps = [torch.linalg.vector_norm(each[:, :, 1:] - each[:, :, :-1], dim=1) for each in (found, wanted)]
    # the coarser level is brought to the grid in one step instead of two
    torch.testing.assert_close(gaps[0], gaps[1], rtol=2e-2, atol=2e-2)


def test_differences_are_told_in_units_of_how_good_parts_differ(chips, context) -> None:
    """On the parts that it was measured on, the whitened difference has mean 0, no direction of its own."""
    from flawscope.core.config import build
    from flawscope.core.registry import methods
    from flawscope.methods.contract import FitData
    from flawscope.methods.deep import efficientad

    kept = {}
    original = efficientad.Oddness.measure

    def measured(self, view, indices) -> None:
        original(self, view, indices)
        kept.update(oddness=self, view=view, indices=indices)

    settings = {"width": 8, "training": {"steps": 1, "batch": 2}}
    method = methods["efficientad"].method(build(methods["efficientad"].method.Config, settings, where="x"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficientad.Oddness, "measure", measured)
        method.fit(FitData(chips.fit[:8]), context)
    oddness, view, rows = kept["oddness"], kept["view"], []
    with torch.no_grad():
        for inputs, _ in view.batches(kept["indices"]):
            first, _ = oddness.trio(*inputs)
            rows.append(oddness.whitened(first).permute(0, 2, 3, 1).reshape(-1, first.shape[1]).numpy())
    told = np.concatenate(rows).astype(np.float64)
    covariance = np.cov(told.T)
    assert np.abs(told.mean(0)).max() < 1e-2
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 2e-2
    assert np.diag(covariance).max() == pytest.approx(1, abs=2e-2)
