"""Torch and the bundle's graph say the same of real photographs: batch 1 and 8, no verdict flipped."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
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
CASES = [pytest.param(entry, {}, id=entry.name) for entry in DEEP]
CASES.append(
    pytest.param(
        methods["efficientad"], {"teacher": "distilled", "distil_steps": 2}, id="efficientad-distilled"
    )
)
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


@pytest.mark.parametrize("entry, settings", CASES)
def test_one_class_methods_agree(entry, settings, chips, context_of, stretched, pictures, monkeypatch):
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
    method = hasty(entry, **settings)
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
        here = 1 if head.places is None else head.places
        flat = np.sort((given.numpy() / here).reshape(len(given), -1), axis=1)
        count = max(1, round(method._config.top_share * flat.shape[1]))
        wanted = flat[:, -count:].mean(1)
    assert_same(wanted, model, pixels)


@dataclass
class Learnt:
    """What a classifier's fit came to, before the graph."""

    body: Any
    learned: Any
    memory: Any = None  # ifm's
    rule: Any = None  # ifm's
    temperature: Any = None


@pytest.fixture
def learnt(monkeypatch) -> Learnt:
    """Filled by the next classifier's fit."""
    from flawscope.methods.deep import classifier, ifm

    kept = Learnt(None, None)

    def keeps(module: Any, name: str, field: str, take: Callable[[Any], Any] = lambda given: given) -> None:
        original = getattr(module, name)

        def recorded(*given: Any, **settings: Any) -> Any:
            found = original(*given, **settings)
            setattr(kept, field, take(found))
            if name == "learn":
                kept.body = given[0]
            return found

        monkeypatch.setattr(module, name, recorded)

    keeps(classifier, "learn", "learned")
    keeps(classifier, "fit_temperature", "temperature", lambda found: found[0])
    keeps(ifm, "learn", "learned")
    keeps(ifm, "_remember", "memory")
    keeps(ifm, "rule_of", "rule")
    return kept


def by_torch(kept: Learnt, values: Any) -> Array:
    """Return the scores of canvases that show nothing but picture, by the trained network in torch."""
    from flawscope.methods.classifier import log_odds

    classifier = kept.learned.classifier.eval()
    with torch.no_grad():
        maps = classifier.body(values)
        evidence = classifier.head(classifier.norm(maps)).numpy().astype(np.float64)
    logits = evidence.mean((2, 3))
    if kept.rule is None:
        return log_odds(kept.temperature.applied(logits))
    balanced = maps * torch.from_numpy(kept.memory.scale).float()[:, None, None]
    unit = torch.nn.functional.normalize(balanced, dim=1).numpy()
    best = np.einsum("nchw,bc->nbhw", unit, kept.memory.bank, optimize=True).max(1)
    excess = np.maximum((1 - best) / kept.memory.places - kept.rule.usual, 0)
    local = log_odds(evidence.transpose(0, 2, 3, 1).reshape(-1, evidence.shape[1])).reshape(excess.shape)
    loud = np.logaddexp(0, local)
    return log_odds(kept.rule.temperature.applied(logits, (excess * loud).mean((1, 2))))


@pytest.mark.parametrize("entry", CLASSIFIERS, ids=lambda entry: entry.name)
def test_classifiers_agree(entry, labelled, backbone, stretched, pictures, learnt):
    from flawscope.methods.deep.canvases import normalised

    context = FitContext(backbone, stretched, threads=1)
    model = hasty(entry).fit(few(labelled), context)
    temperature = learnt.temperature if entry.name != "ifm" else learnt.rule.temperature
    assert temperature.scale != 1  # found on SELECT, and in the scores below
    pixels = canvases_of(pictures, stretched)
    values = normalised(pixels, context.backbone.card)
    if learnt.body.frozen is not None:
        import onnxruntime

        session = onnxruntime.InferenceSession(
            learnt.body.frozen.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        (found,) = session.run(None, {session.get_inputs()[0].name: values.numpy()})
        values = torch.from_numpy(found)
    assert_same(by_torch(learnt, values), model, pixels)
