"""Episodes for pretraining: what is marked has changed, light is no defect, the same seed draws the same."""

from __future__ import annotations

import numpy as np
import pytest

from flawscope.core.rng import derive
from flawscope.synth import assemblies, blemishes, materials
from flawscope.synth.episodes import Layout, episodes
from flawscope.synth.photographs import Conditions, photographed

SMALL = Layout(episodes=2, good=2, defective=2, side=64)


@pytest.mark.parametrize("layer", sorted({layer.__name__ for layer in materials.LAYERS}))
def test_every_layer_has_mean_0_and_deviation_1(layer: str) -> None:
    for seed in range(3):
        grey = getattr(materials, layer)(np.random.default_rng(seed), 96)
        assert grey.shape == (96, 96) and grey.dtype == np.float32 and np.isfinite(grey).all()
        assert abs(float(grey.mean())) < 0.02 and float(grey.std()) == pytest.approx(1, abs=0.05)


def test_the_same_seed_draws_the_same_episodes() -> None:
    one, two, other = (episodes(derive(seed, "test"), SMALL, difficulty=0.5) for seed in (3, 3, 4))
    assert np.array_equal(one.pixels, two.pixels) and np.array_equal(one.masks, two.masks)
    assert not np.array_equal(one.pixels, other.pixels)
    assert one.pixels.shape == (2, 4, 64, 64, 3) and one.pixels.dtype == np.uint8
    assert one.masks.shape == (2, 2, 64, 64) and one.masks.dtype == bool


def test_most_defective_photographs_have_a_defect_and_harder_ones_are_smaller() -> None:
    shares = []
    for difficulty in (0.0, 1.0):
        drawn = [episodes(derive(seed, "size"), SMALL, difficulty=difficulty).masks for seed in range(40)]
        area = np.concatenate(drawn).reshape(-1, 64 * 64).mean(1)
        assert (area > 0).mean() > 0.8
        shares.append(np.median(area[area > 0]))
    assert shares[1] < shares[0]


@pytest.mark.parametrize("shape", blemishes.SHAPES)
def test_a_blemish_changes_the_scene_where_it_is_marked(shape: blemishes.Shape) -> None:
    rng = np.random.default_rng(1)
    assert shape(rng, 64, 0.06).shape == (64, 64)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scene = np.full((64, 64, 3), 0.5, np.float32) + rng.normal(0, 0.02, (64, 64, 1)).astype(np.float32)
        before = scene.copy()
        out, seen = blemishes.blemished(rng, scene, np.zeros_like(scene), difficulty=0.5)
        change = np.abs(out - scene).mean(2)
        assert np.array_equal(scene, before), "the input stays as it is"
        if seen.any():
            assert change[seen].min() > 0.01 and change[seen].mean() > 3 * change[~seen].mean()


def test_photographs_differ_by_what_their_conditions_say() -> None:
    scene = np.full((64, 64, 3), 0.5, np.float32)
    still = photographed(np.random.default_rng(0), scene, Conditions())
    assert set(np.unique(still)) <= {127, 128}
    brighter = [photographed(np.random.default_rng(s), scene, Conditions(gain=0.3)) for s in range(8)]
    assert np.std([p.mean() for p in brighter]) > 10 and max(p.std() for p in brighter) < 1
    assert photographed(np.random.default_rng(0), scene, Conditions(noise=0.05)).std() > 5
    packed = photographed(np.random.default_rng(0), scene, Conditions(jpeg=60))
    assert abs(float(packed.mean()) - 127.5) < 2


def test_a_spoiled_product_differs_in_one_place() -> None:
    changed = 0
    for seed in range(30):
        rng = derive(seed, "spoiled")
        made = assemblies.assembly(rng, materials.material(rng, 128), materials.material(rng, 128))
        at = assemblies.pose(rng, made, 64)
        parts = assemblies.spoiled(rng, made, least=0.2)
        if parts is None:
            continue
        assert len(parts) == len(made.parts)
        assert sum(one is not two for one, two in zip(parts, made.parts, strict=True)) == 1
        difference = assemblies.scene(made, at, 64, parts=parts) - assemblies.scene(made, at, 64)
        changed += bool(np.abs(difference).max() > 0.05)
    assert changed > 10


def test_a_chipped_border_changes_in_one_small_place() -> None:
    seen = []
    for seed in range(30):
        rng = derive(seed, "chipped")
        made = assemblies.edge(rng, materials.material(rng, 128), materials.material(rng, 128))
        parts = assemblies.spoiled(rng, made, least=0.2)
        if parts is None:
            continue
        at = assemblies.pose(rng, made, 64)
        change = np.abs(assemblies.scene(made, at, 64, parts=parts) - assemblies.scene(made, at, 64)).mean(2)
        strong = np.argwhere(change > 0.5 * change.max())
        if change.max() > 0.1:
            seen.append(np.ptp(strong, 0).max())
    assert len(seen) > 10 and np.median(seen) < 20
