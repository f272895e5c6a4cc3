"""patchcore against a slow, obvious version of itself, and on real photographs where they are at hand."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sklearn.metrics import roc_auc_score

from flawscope.core.types import Fit, Preprocess, Sample
from flawscope.imaging.preprocess import to_canvases
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.features import Embedding
from flawscope.methods.patchcore import Patchcore, PatchcoreConfig
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.session import GraphSession

DATA = Path(os.environ.get("FLAWSCOPE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def constants(model: onnx.ModelProto, start: str) -> list[np.ndarray]:
    """Return the constants whose name starts so, as float32."""
    return [
        numpy_helper.to_array(value).astype(np.float32)
        for value in model.graph.initializer
        if value.name.startswith(start)
    ]


@pytest.mark.parametrize("unit_levels", [True, False])
def test_scores_are_distances_to_the_bank_that_the_graph_holds(unit_levels, chips, context, canvas):
    """All components are kept and places count alike, so the score can be had from the features alone: the
    distances to every patch of the bank, levels weighted, divided by the one figure for all places."""
    config = PatchcoreConfig(
        unit_levels=unit_levels, components=0, by_place=0, top_share=0, bank=100, candidates=1000
    )
    model = Patchcore(config).fit(FitData(chips.fit[:4]), context)
    (bank,) = constants(model, "bank")
    bank = bank.T
    assert bank.shape == (100, 384)
    parts = [part.reshape(384, -1) for part in constants(model, "projection")]
    (offset,) = constants(model, "offset")
    store = context.features(Embedding(unit_levels, config.neighbourhood))
    session = GraphSession(model, threads=1)
    box = np.array([[0, 0, 128, 96]], np.float32)
    ratios = []
    for sample in chips.test_bad[:4]:
        ((_, vectors, _),) = store.stream([sample])
        query = vectors.astype(np.float64) @ np.concatenate(parts, axis=1).T + offset
        slow = min_distances(query, bank.astype(np.float64)).max()
        ratios.append(slow / session.run(canvas(sample.path), box)["score"][0])
    assert np.ptp(ratios) < 3e-3 * np.mean(ratios)


def min_distances(query: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """Return each query's distance to the nearest row of the bank, one by one."""
    return np.array([np.sqrt(np.square(bank - one).sum(1)).min() for one in query])


def test_photographs_of_one_part_do_not_vouch_for_each_other(chips, context):
    """Each picture is there twice. Told that both show one part, patchcore measures what is usual against the
    other parts; not told, it finds the very same patches in the twin and thinks everything is regular."""
    twins = tuple(replace(sample, id=f"{sample.id}b") for sample in chips.fit[:4])
    pictures = chips.fit[:4] + twins
    named = tuple(replace(sample, part=str(i % 4)) for i, sample in enumerate(pictures))
    config = PatchcoreConfig(bank=1500, candidates=2000, by_place=1)
    usual = [
        constants(Patchcore(config).fit(FitData(samples), context), "grid")[0]
        for samples in (named, pictures)
    ]
    assert usual[0].mean() > 1.2 * usual[1].mean()


@pytest.mark.skipif(not (DATA / "magnetic_tile").is_dir(), reason="the magnetic tiles are not here")
def test_flawed_tiles_rank_above_good_ones():
    """A small piece of the published protocol: 40 good tiles taught, 30 good and 30 flawed ones judged."""
    sys.path.insert(0, str(DATA))
    try:
        import protocol  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(DATA))
    from flawscope.runtime.backbone import bundled

    lists = protocol.split()
    preprocess = Preprocess(size_hw=(128, 128), fit=Fit.STRETCH)

    def samples(role: str, count: int) -> tuple[Sample, ...]:
        return tuple(
            Sample(id=name, path=str(protocol.ROOT / name), label=role) for name in lists[role][:count]
        )

    config = PatchcoreConfig(bank=1000, candidates=8000)
    teach = FitData(samples("fit", 40))
    session = GraphSession(Patchcore(config).fit(teach, FitContext(bundled(), preprocess, threads=1)))
    scores = []
    for loaded in read_ahead(
        [s.path for s in samples("test_good", 30) + samples("test_bad", 30)], preprocess
    ):
        canvases = to_canvases(loaded.image, preprocess)
        scores.append(session.run(canvases.pixels, canvases.content_xyxy)["score"][0])
    assert roc_auc_score([0] * 30 + [1] * 30, scores) >= 0.65
