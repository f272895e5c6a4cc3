"""Export: a bundle's graph for other programs, with proof that it gives the same verdicts, or not at all."""

from __future__ import annotations

import importlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from flawscope.core.errors import BundleError, MissingExtraError
from flawscope.core.files import write_bytes, write_text
from flawscope.core.progress import Progress, Silent
from flawscope.core.rng import derive
from flawscope.core.types import Array, Json
from flawscope.decision.calibration import thresholds, verdict
from flawscope.runtime.bundle import Bundle, open_bundle
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.session import GraphSession

TARGETS = ("onnx", "openvino")
TOLERANCE = 1e-3  # of the calibration scores' interquartile range
_MADE = 16  # variations of the golden sample where no photographs are given

Canvas = tuple[Array, Array]  # pixels uint8 (N, H, W, 3) and content_xyxy float32 (N, 4)


class Runner(Protocol):
    """A graph that can be run."""

    def run(self, pixels: Array, content_xyxy: Array) -> dict[str, Array]:
        """Return the outputs by name."""


@dataclass(frozen=True)
class Parity:
    """How near the exported graph comes to the bundle's own."""

    images: int
    source: str  # which images, in words
    largest_difference: float  # of scores, in interquartile ranges of the calibration
    largest_map_difference: float  # of map maxima, the same
    flipped: int  # verdicts that differ
    unread: tuple[str, ...] = ()  # photographs that could not be read

    def to_json(self) -> Json:
        """Return everything as JSON."""
        return {
            "images": self.images,
            "source": self.source,
            "largest_difference": self.largest_difference,
            "largest_map_difference": self.largest_map_difference,
            "tolerance": TOLERANCE,
            "flipped": self.flipped,
            "unread": list(self.unread),
        }


@dataclass(frozen=True, eq=False)
class Exported:
    """What an export leaves."""

    bundle: Bundle
    files: tuple[Path, ...]
    parity: Parity


def export(
    model: Path,
    out: Path,
    *,
    target: str,
    images: Sequence[str] = (),
    threads: int = 0,
    progress: Progress | None = None,
) -> Exported:
    """Write a bundle's graph as ONNX or OpenVINO IR beside `preprocess.json`, which says how to feed it.

    Parity is measured on `images`, or on variations of the golden sample where none are given. Raises
    BundleError (`parity`) where scores differ by more than the tolerance or a verdict flips; then, and on any
    other failure, nothing is written. Raises MissingExtraError where OpenVINO is not installed.
    """
    bundle = open_bundle(model)
    out.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=".export-", dir=out))
    try:
        runner, names = (
            _as_onnx(bundle, workshop, threads)
            if target == "onnx"
            else _as_openvino(bundle, workshop, threads)
        )
        parity = measure(bundle, runner, images=images, threads=threads, progress=progress or Silent())
        if not (parity.largest_difference <= TOLERANCE) or parity.flipped:
            raise BundleError(
                f"The {target} graph of {model} does not give the bundle's verdicts",
                expected=f"scores within {TOLERANCE:g} of the calibration's spread (interquartile range)",
                found=f"{parity.largest_difference:.2g}, {parity.flipped} of {parity.images} flipped",
                remedy="Nothing was written; use the .flaw file itself, or the other target",
                code="parity",
            )
        write_text(workshop / "preprocess.json", json.dumps(papers(bundle, parity), indent=1) + "\n")
        files = []
        for name in (*names, "preprocess.json"):
            (workshop / name).replace(out / name)
            files.append(out / name)
        return Exported(bundle, tuple(files), parity)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def measure(
    bundle: Bundle, runner: Runner, *, images: Sequence[str], threads: int, progress: Progress
) -> Parity:
    """Run both graphs on the same canvases and compare scores, map maxima and verdicts."""
    own = GraphSession(bundle.contents.graph, threads=threads)
    calibration = bundle.contents.calibration
    limits = thresholds(calibration)
    unread: list[str] = []
    pictures = _photographs(bundle, images, unread) if images else _variations(bundle)
    pairs: list[tuple[float, float, float, float]] = []
    with progress.stage("Comparing", len(images) or _MADE + 1) as stage:
        for canvases in pictures:
            scores = [-np.inf] * 4
            for pixels, content in canvases:
                for i, outputs in enumerate((own.run(pixels, content), runner.run(pixels, content))):
                    scores[i] = max(scores[i], float(outputs["score"].max()))
                    scores[i + 2] = max(scores[i + 2], float(outputs["map"].max()))
            pairs.append((scores[0], scores[1], scores[2], scores[3]))
            stage.advance()
    if not pairs:
        raise BundleError(
            "None of the photographs given could be read",
            found=unread[0] if unread else "none",
            code="parity",
        )
    table = np.array(pairs)
    return Parity(
        images=len(pairs),
        source=f"{len(pairs)} photographs given" if images else f"the golden sample and {_MADE} variations",
        largest_difference=float(np.abs(table[:, 0] - table[:, 1]).max() / _spread(calibration.scores)),
        largest_map_difference=float(np.abs(table[:, 2] - table[:, 3]).max() / _spread(calibration.maxima)),
        flipped=sum(verdict(limits, a) is not verdict(limits, b) for a, b in table[:, :2].tolist()),
        unread=tuple(unread),
    )


def papers(bundle: Bundle, parity: Parity) -> Json:
    """Return what a program needs beside the graph: how to prepare an image, and the limits."""
    contents = bundle.contents
    return {
        "bundle_id": bundle.id,
        "name": contents.name,
        "method": contents.method,
        "inputs": {
            "image": "uint8 [N,H,W,3], RGB, resized as `preprocess` says",
            "content_xyxy": "float32 [N,4], where the picture lies in the canvas, px",
        },
        "outputs": {"score": "float32 [N]", "map": "float32 [N,h,w]"}
        | ({"logits": "float32 [N,K]"} if contents.classes else {}),
        "classes": list(contents.classes),
        "preprocess": contents.preprocess.to_json(),
        "thresholds": thresholds(contents.calibration).to_json(),
        "thresholds_by_product": {
            product: thresholds(one).to_json() for product, one in contents.calibrations.items()
        },
        "min_area_px": contents.min_area_px,
        "parity": parity.to_json(),
    }


def _spread(scores: Array) -> float:
    """Return the interquartile range; with so few or so equal scores that it is 0, a thousandth of their
    size."""
    low, high = np.percentile(scores, [25, 75])
    return float(high - low) or max(1e-3 * float(np.abs(scores).max()), 1e-9)


def _photographs(bundle: Bundle, images: Sequence[str], unread: list[str]) -> Iterator[Iterator[Canvas]]:
    preprocess = bundle.contents.preprocess
    for loaded in read_ahead(images, preprocess):
        if loaded.image is None:
            unread.append(str(loaded.error))
            continue
        yield ((canvases.pixels, canvases.content_xyxy) for canvases in loaded.chunks(preprocess))


def _variations(bundle: Bundle) -> Iterator[Iterator[Canvas]]:
    """Yield the golden canvas, and the same in other light, with noise, and with a patch laid over it."""
    golden = bundle.contents.golden
    yield iter([(golden.pixels, golden.content_xyxy)])
    rng = derive(0, "export", bundle.id)
    for _ in range(_MADE):
        pixels = golden.pixels.astype(np.float32) * rng.uniform(0.8, 1.2)
        pixels += rng.normal(0, rng.uniform(0, 12), pixels.shape)
        height, width = pixels.shape[1:3]
        top, left = int(rng.integers(height - 8)), int(rng.integers(width - 8))
        size = int(rng.integers(4, max(5, min(height, width) // 3)))
        pixels[:, top : top + size, left : left + size] += rng.uniform(-90, 90)
        yield iter([(np.clip(pixels, 0, 255).astype(np.uint8), golden.content_xyxy)])


def _as_onnx(bundle: Bundle, folder: Path, threads: int) -> tuple[Runner, tuple[str, ...]]:
    write_bytes(folder / "graph.onnx", bundle.contents.graph)
    return GraphSession(folder / "graph.onnx", threads=threads), ("graph.onnx",)


def _as_openvino(bundle: Bundle, folder: Path, threads: int) -> tuple[Runner, tuple[str, ...]]:
    try:
        openvino: Any = importlib.import_module("openvino")  # an optional library, as extras are
    except ImportError as error:
        raise MissingExtraError(
            "Export to OpenVINO needs openvino, which is not installed",
            remedy="Install it with: pip install openvino",
        ) from error
    write_bytes(folder / "graph.onnx", bundle.contents.graph)
    converted = openvino.convert_model(str(folder / "graph.onnx"))
    openvino.save_model(converted, str(folder / "graph.xml"), compress_to_fp16=False)
    return _OpenVino(openvino, folder / "graph.xml", threads), ("graph.xml", "graph.bin")


class _OpenVino:
    """An OpenVINO graph on the CPU, in full precision."""

    def __init__(self, openvino: Any, path: Path, threads: int) -> None:
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        self._compiled = openvino.Core().compile_model(str(path), "CPU", options)
        self._names = [output.get_any_name() for output in self._compiled.outputs]

    def run(self, pixels: Array, content_xyxy: Array) -> dict[str, Array]:
        """Run canvases and return the outputs by name."""
        found = self._compiled({"image": pixels, "content_xyxy": content_xyxy})
        return {name: np.asarray(found[i]) for i, name in enumerate(self._names)}
