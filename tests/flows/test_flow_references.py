"""References of good parts: what is picked, what it takes, and that the same run gives the same."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from flawscope.core.errors import BundleError
from flawscope.core.progress import Silent
from flawscope.core.types import Fit, Sample
from flawscope.data.manifest import read_manifest
from flawscope.flows.references import MEGABYTE, pick_references
from flawscope.imaging.read import read_bytes
from flawscope.runtime.bundle import open_bundle, seal
from flawscope.runtime.inspector import Inspector
from flawscope.runtime.references import References


@pytest.fixture(scope="module")
def picked(world):
    """A function that picks references of the world's good parts with a budget in megabytes."""
    inspector = Inspector.open(world.model, threads=1)
    samples = [s for s in read_manifest(world.run / "manifest.jsonl") if s.role == "fit"]
    assert len(samples) == 24

    def pick(
        megabytes: float, *, fit: Fit | None = None, some: list[Sample] | None = None
    ) -> References | None:
        preprocess = inspector.bundle.contents.preprocess
        preprocess = preprocess if fit is None else replace(preprocess, fit=fit)
        return pick_references(
            some or samples,
            inspector.scorer.session,
            preprocess,
            megabytes=megabytes,
            seed=3,
            progress=Silent(),
        )

    return pick


@pytest.mark.parametrize("megabytes", [0.02, 0.2, 1.5])
def test_the_budget_is_kept_and_used(picked, megabytes):
    references = picked(megabytes)
    taken = len(references.to_bytes())
    assert taken <= megabytes * MEGABYTE
    if megabytes < 1:
        assert taken > 0.5 * megabytes * MEGABYTE
    left_out = sum(not content for content in references.thumbnails)
    assert left_out > 0 if megabytes < 0.1 else left_out == 0 or megabytes < 1


def test_no_budget_and_no_features_leave_them_out(picked, split_world):
    assert picked(0.0) is None
    inspector = Inspector.open(split_world.model, threads=1)
    assert inspector.bundle.contents.references is not None


def test_the_same_run_picks_the_same(picked):
    assert picked(0.1).to_bytes() == picked(0.1).to_bytes()


def test_they_cover_good_parts_better_than_chance(picked):
    """The farthest of all good patches lies nearer to the picked than to as many random ones."""
    many, few = picked(1.5), picked(0.03)
    rng = np.random.default_rng(0)
    everything = many.vectors.astype(np.float32)
    chance = everything[rng.permutation(len(everything))[: len(few.vectors)]]
    assert len(few.vectors) < len(everything) / 4

    def farthest(centres: np.ndarray) -> float:
        gaps = np.linalg.norm(everything[:, None] - centres[None].astype(np.float32), axis=2)
        return float(gaps.min(1).max())

    assert farthest(few.vectors) < farthest(chance)


def test_thumbnails_show_their_photographs(picked):
    references = picked(1.5)
    for content, (height, width) in zip(references.thumbnails, references.sizes_hw.tolist(), strict=True):
        small = read_bytes(content, name="thumbnail").pixels
        assert max(small.shape[:2]) == min(160, max(height, width))
        assert small.shape[0] / small.shape[1] == pytest.approx(height / width, rel=0.02)


def test_tiles_give_references_too(picked):
    references = picked(0.2, fit=Fit.TILES)
    assert len(references.vectors) > 50
    sides = references.boxes_xyxy[:, 2:] - references.boxes_xyxy[:, :2]
    assert (sides > 0).all() and references.boxes_xyxy.min() >= 0 and references.boxes_xyxy.max() <= 1


def test_round_trip_and_what_is_no_references(picked):
    references = picked(0.1)
    again = References.from_bytes(references.to_bytes())
    assert again.names == references.names and again.thumbnails == references.thumbnails
    for name in ("vectors", "images", "boxes_xyxy", "sizes_hw"):
        np.testing.assert_array_equal(getattr(again, name), getattr(references, name))
    stream = io.BytesIO()
    np.savez(stream, vectors=references.vectors)
    with pytest.raises(KeyError):
        References.from_bytes(stream.getvalue())
    with pytest.raises(ValueError, match="not there"):
        replace(references, images=references.images + len(references.names))


def test_cosines_equal_the_plain_formula(picked):
    references = picked(0.05)
    queries = np.random.default_rng(0).standard_normal((7, references.vectors.shape[1])).astype(np.float32)
    bank = references.vectors.astype(np.float64)
    plain = (queries @ bank.T) / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(bank, axis=1)
    np.testing.assert_allclose(references.best_cosine(queries), plain.max(1), atol=1e-5)
    assert references.best_cosine(np.zeros_like(queries)).tolist() == [0.0] * 7


def test_a_bundle_without_them_opens_and_a_damaged_member_does_not(world, tmp_path):
    bundle = open_bundle(world.model)
    assert bundle.contents.references is not None
    bare = seal(tmp_path / "bare.flaw", replace(bundle.contents, references=None))
    assert open_bundle(bare.path).contents.references is None and bare.size_bytes < bundle.size_bytes
    content = world.model.read_bytes()
    vectors = bundle.contents.references.vectors.tobytes()
    place = content.index(vectors[:64])
    broken = tmp_path / "broken.flaw"
    broken.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(BundleError, match=r"references\.npz"):
        open_bundle(broken)
