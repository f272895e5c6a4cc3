"""Torch and the bundle's graph say the same of real photographs: batch 1 and 8, no verdict flipped."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from quick import few, hasty
from worlds import SHARED

from flawscope.core.registry import Kind, methods
from flawscope.core.types import Array, Fit, Preprocess
from flawscope.imaging.preprocess import to_canvases
from flawscope.imaging.read import read
from flawscope.methods.contract import FitContext, FitData
from flawscope.runtime.session import GraphSession

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.deep

TILES = SHARED / "data" / "magnetic_tile"
SIZE_HW = (96, 128)
TOLERANCE = 1e-3  # of the scores' interquartile range
DEEP = [entry for entry in methods if entry.extra is not None and entry.kind is Kind.ONE_CLASS]
CLASSIFIERS = [entry for entry in methods if entry.extra is not None and entry.kind is Kind.SUPERVISED]


@pytest.fixture(scope="module")
def pictures(chips) -> list[str]:
    """Real photographs, good and bad; drawn ones where there are none."""
    found = [
        str(path)
        for kind in ("MT_Free", "MT_Blowhole")
        for path in sorted(TILES.glob(f"{kind}/Imgs/*.jpg"))[:8]
    ]
    return found or [sample.path for sample in (*chips.test_good[:8], *chips.test_bad[:8])]


@pytest.fixture(scope="module")
def stretched(preprocess) -> Preprocess:
    """Canvases without padding."""
    return Preprocess(size_hw=SIZE_HW, fit=Fit.STRETCH, mean=preprocess.mean, std=preprocess.std)


def canvases_of(pictures: list[str], preprocess: Preprocess) -> Array:
    return np.concatenate([to_canvases(read(path), preprocess).pixels for path in pictures])


def by_graph(model: Any, pixels: Array, *, batch: int) -> Array:
    session = GraphSession(model, threads=1)
    box = np.array([[0, 0, SIZE_HW[1], SIZE_HW[0]]], np.float32)
    parts = [pixels[i : i + batch] for i in range(0, len(pixels), batch)]
    return np.concatenate([session.run(part, np.tile(box, (len(part), 1)))["score"] for part in parts])


def assert_same(wanted: Array, model: Any, pixels: Array) -> None:
    """The graph's scores are torch's, and a limit between any two parts parts them alike."""
    spread = float(np.subtract(*np.percentile(wanted, [75, 25])))
    ordered = np.sort(wanted)
    widest = int(np.argmax(np.diff(ordered)[4:-1])) + 4
    limit = float(ordered[widest : widest + 2].mean())
    for batch in (1, 8):
        found = by_graph(model, pixels, batch=batch)
        rounding = 1e-6 * float(np.abs(wanted).max())  # of float32, where scores hardly differ
        assert np.abs(found - wanted).max() <= max(TOLERANCE * spread, rounding), batch
        assert ((found > limit) == (wanted > limit)).all(), batch


def exact_levels(pixels: Array, context: FitContext) -> list[Any]:
    """Return the frozen backbone's levels of canvases in full precision."""
    from flawscope.methods.deep.canvases import normalised

    images = normalised(pixels, context.backbone.card).numpy()
    import onnxruntime

    session = onnxruntime.InferenceSession(
        context.backbone.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return [torch.from_numpy(level) for level in session.run(None, {session.get_inputs()[0].name: images})]


@pytest.mark.parametrize("entry", DEEP, ids=lambda entry: entry.name)
def test_one_class_methods_agree(entry, chips, context_of, stretched, pictures, monkeypatch):
    from flawscope.methods.deep.canvases import normalised

    base = context_of(entry)
    context = FitContext(base.backbone, stretched, threads=1)
    module = importlib.import_module(f"flawscope.methods.deep.{entry.name}")
    heads = []

    def recorded(head: Any, *arguments: Any, name: str) -> Any:
        heads.append(head)
        return original(head, *arguments, name=name)

    original = module.distance_graph
    monkeypatch.setattr(module, "distance_graph", recorded)
    method = hasty(entry)
    model = method.fit(FitData(chips.fit[:6]), context)
    (head,) = heads
    pixels = canvases_of(pictures, stretched)
    inputs = [normalised(pixels, context.backbone.card)] if head.pixels else []
    inputs += exact_levels(pixels, context) if head.levels else []
    if getattr(head, "shares", False):
        inputs.append(torch.ones((len(pixels), *head.grid_hw)))
    with torch.no_grad():
        given = head.module.eval()(*inputs)
    if getattr(head, "scores", False):
        wanted = given[1].numpy()
    else:
        flat = np.sort(given.flatten(1).numpy(), axis=1)
        count = max(1, round(method._config.top_share * flat.shape[1]))
        wanted = flat[:, -count:].mean(1)
    assert_same(wanted, model, pixels)


@pytest.mark.parametrize("entry", CLASSIFIERS, ids=lambda entry: entry.name)
def test_classifiers_agree(entry, labelled, backbone, stretched, pictures, monkeypatch):
    from flawscope.methods.classifier import log_odds
    from flawscope.methods.deep import classifier as module
    from flawscope.methods.deep.canvases import normalised

    kept = []

    def recorded(body: Any, network: Any, temperature: Any, *arguments: Any, **settings: Any) -> Any:
        kept.append((body, network, temperature))
        return original(body, network, temperature, *arguments, **settings)

    original = module._graph
    monkeypatch.setattr(module, "_graph", recorded)
    context = FitContext(backbone, stretched, threads=1)
    model = hasty(entry).fit(few(labelled), context)
    ((body, network, temperature),) = kept
    pixels = canvases_of(pictures, stretched)
    values = normalised(pixels, context.backbone.card)
    if body.frozen is not None:
        import onnxruntime

        session = onnxruntime.InferenceSession(
            body.frozen.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        (found,) = session.run(None, {session.get_inputs()[0].name: values.numpy()})
        values = torch.from_numpy(found)
    with torch.no_grad():
        logits = network.eval()(values, torch.ones((len(pixels), *body.grid_hw))).numpy()
    assert_same(log_odds(temperature.applied(logits.astype(np.float64))), model, pixels)
