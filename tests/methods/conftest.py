"""What the methods' tests share: a small set of drawn chips, contexts over them, and a way to run a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from quick import Labelled
from stand_ins import drawn_blocks

from flawscope.core.registry import Entry
from flawscope.core.types import GOOD, Fit, Preprocess, Sample
from flawscope.imaging.write import encode
from flawscope.methods.contract import FitContext
from flawscope.methods.graph import GraphBuilder
from flawscope.runtime.backbone import Backbone, bundled
from flawscope.runtime.session import GraphSession
from flawscope.synth.chips import DEFECTS, draw_chip
from flawscope.synth.parts import design_of, lot_of
from flawscope.synth.write import write_chips

SIZE_HW = (96, 128)

Scored = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Chips:
    """Drawn parts: to teach from, and good and bad ones to be judged."""

    fit: tuple[Sample, ...]
    test_good: tuple[Sample, ...]
    test_bad: tuple[Sample, ...]


@pytest.fixture(scope="session")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Chips:
    """24 good parts, 12 further good ones and 12 with a defect, 128x96."""
    folder = tmp_path_factory.mktemp("chips") / "set"
    write_chips(folder, good=24, bad=12, size_wh=(SIZE_HW[1], SIZE_HW[0]), seed=7)

    def samples(pattern: str) -> tuple[Sample, ...]:
        return tuple(
            Sample(id=str(i), path=path.as_posix(), label=path.parent.name)
            for i, path in enumerate(sorted(folder.glob(pattern)))
        )

    test = samples("test/*/*.png")
    return Chips(
        samples("train/good/*.png"),
        tuple(s for s in test if s.label == GOOD),
        tuple(s for s in test if s.label != GOOD),
    )


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Teachers that methods keep from one training to the next stay within the session."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("cache"))
        for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
            patch.setenv(name, folder)
        yield


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    """The backbone that ships inside the package."""
    return bundled()


@pytest.fixture(scope="session")
def preprocess() -> Preprocess:
    """The canvas of the drawn chips, pixel by pixel."""
    return Preprocess(size_hw=SIZE_HW, fit=Fit.LETTERBOX)


@pytest.fixture(scope="session")
def context(backbone: Backbone, preprocess: Preprocess) -> FitContext:
    """One context for the whole session: features are computed once, as folds and refits share them."""
    return FitContext(backbone, preprocess, threads=1)


@pytest.fixture(scope="session")
def context_of() -> Callable[[Entry], FitContext]:
    """The context of a method, one for the whole session: on the bundled backbone, or on one of blocks where
    a method asks for them."""
    contexts = {
        kind: FitContext(backbone, Preprocess(SIZE_HW), threads=1)
        for kind, backbone in ((False, bundled()), (True, drawn_blocks()))
    }
    return lambda entry: contexts[hasattr(entry.method, "tokens")]


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    """48 good and 48 bad parts to teach from, 12 and 12 to choose by, 24 and 24 to be judged, 128x96. The
    flaws are as strong as their laws allow, so that a small network sees them too."""
    folder = tmp_path_factory.mktemp("labelled")
    design = design_of(11)
    good, bad = [], []
    for i in range(168):
        label = GOOD if i % 2 else DEFECTS[i // 2 % len(DEFECTS)]
        drawn = draw_chip(
            11,
            SIZE_HW,
            lot=lot_of(design, 11, number=i // 5),
            index=i,
            defect=None if label == GOOD else label,
            severity=None if label == GOOD else 1.0,
        )
        path = folder / f"{i:03d}.png"
        path.write_bytes(encode(drawn.pixels, ".png"))
        (good if label == GOOD else bad).append(Sample(id=path.stem, path=path.as_posix(), label=label))
    return Labelled((*good[:48], *bad[:48]), (*good[48:60], *bad[48:60]), (*good[60:], *bad[60:]))


@pytest.fixture(scope="session")
def canvas() -> Callable[[Path | str], np.ndarray]:
    """A function that reads a drawn chip as a canvas, uint8 (1, H, W, 3)."""
    from flawscope.imaging.read import read

    return lambda path: read(str(path)).pixels[None]


@pytest.fixture(scope="session")
def scores_of(canvas: Callable[[str], np.ndarray]) -> Callable[[Any, Sequence[Sample]], np.ndarray]:
    """A function that opens a graph and scores samples: float32 (n,)."""

    def score(model: Any, samples: Sequence[Sample]) -> np.ndarray:
        session = GraphSession(model, threads=1)
        whole = np.array([[0, 0, SIZE_HW[1], SIZE_HW[0]]], np.float32)
        return np.concatenate([session.run(canvas(s.path), whole)["score"] for s in samples])

    return score


@pytest.fixture(scope="session")
def run_graph() -> Callable[..., np.ndarray]:
    """A function that builds a graph from named float32 inputs and returns what its last value is."""
    import onnxruntime

    def run(build: Callable[..., str], **inputs: np.ndarray) -> np.ndarray:
        graph = GraphBuilder()
        names = {
            name: graph.input(name, TensorProto.FLOAT, ["N", *values.shape[1:]])
            for name, values in inputs.items()
        }
        value = build(graph, **names)
        graph.output("result", value, TensorProto.FLOAT, [])
        model = graph.model(halves=False)
        del model.graph.output[0].type.tensor_type.shape.dim[:]
        model.graph.output[0].type.tensor_type.ClearField("shape")
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(["result"], inputs)[0])

    return run
