"""The one reading pass of an audit: every photograph is opened once, measured and forgotten, in threads and
in bounded memory."""

from __future__ import annotations

import math
import re
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from onnx import TensorProto

from flawscope.core import digest
from flawscope.core.errors import ImageError, UsageError
from flawscope.core.progress import Progress
from flawscope.core.rng import derive
from flawscope.core.types import Array, Fit, Image, Preprocess, Sample
from flawscope.data.audit.facts import SIDE, Facts, Look, MaskLook
from flawscope.data.audit.looking import look_at, look_at_mask
from flawscope.decision.calibration import parts_needed
from flawscope.imaging.headers import parse
from flawscope.imaging.preprocess import plan_size, to_canvases
from flawscope.imaging.read import MAX_PIXELS, read_bytes, read_content, size_of
from flawscope.imaging.write import thumbnail
from flawscope.methods.features import Embedding, geometry, level_maps, projected
from flawscope.methods.graph import GraphBuilder, canvas_input
from flawscope.runtime.backbone import Backbone, bundled
from flawscope.runtime.session import GraphSession

BUDGET_PX = 144 * 144  # of the canvas on which features are computed
PATCH_NUMBERS = 24  # kept of the features at each place, a random projection: distances stay what they are
WORKERS = 2
_SIZES_LOOKED_AT = 200  # headers that tell the canvas
_TOO_WIDE = 3.0  # kinds of pictures: what is larger is shrunk for its canvas before it is converted


@dataclass(frozen=True)
class AuditSettings:
    """What an audit is asked for: the share of good parts that may be called NG, a pattern on the ids that
    names the setting of camera and lamp, threads, and the seed of what is drawn."""

    alpha: float = 0.05
    setting: str = ""
    workers: int = WORKERS
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UsageError("alpha does not fit", expected="between 0 and 1", found=str(self.alpha))


@dataclass(frozen=True, eq=False)
class _Seen:
    """What one photograph left behind."""

    sample: Sample
    look: Look
    small: Array
    vector: Array
    patches: Array
    mask: MaskLook | None


@dataclass(frozen=True, eq=False)
class _Broken:
    """A photograph that could not be read."""

    sample: Sample
    error: ImageError


@contextmanager
def gathered(samples: Sequence[Sample], settings: AuditSettings, *, progress: Progress) -> Iterator[Facts]:
    """Yield the facts of all photographs. What is kept of each place of each photograph lies in a file that
    is removed at the end, so that memory does not grow with it."""
    describer = _Describer(samples, settings.seed)
    count = len(samples)
    names = settings_of(samples, settings.setting)
    small = np.zeros((count, SIDE, SIDE), np.uint8)
    vectors = np.zeros((count, describer.width), np.float32)
    seen: list[Sample] = []
    looks: list[Look | None] = []
    faults: dict[int, ImageError] = {}
    masks: dict[int, MaskLook] = {}
    with tempfile.TemporaryFile() as store:
        shape = (count, describer.positions, PATCH_NUMBERS)
        store.truncate(max(1, math.prod(shape) * 2))
        patches = np.memmap(store, np.float16, "r+", shape=shape)
        with progress.stage("Reading", count) as stage:
            for row, found in enumerate(_ahead(samples, describer, workers=settings.workers)):
                seen.append(found.sample)
                if isinstance(found, _Broken):
                    looks.append(None)
                    faults[row] = found.error
                else:
                    looks.append(found.look)
                    small[row], vectors[row], patches[row] = found.small, found.vector, found.patches
                    if found.mask is not None:
                        masks[row] = found.mask
                stage.advance()
        yield Facts(
            samples=tuple(seen),
            looks=tuple(looks),
            faults=faults,
            masks=masks,
            small=small,
            vectors=vectors,
            patches=patches,
            settings=names,
            alpha=settings.alpha,
            parts_needed=parts_needed(settings.alpha),
            seed=settings.seed,
        )
        del patches


def settings_of(samples: Sequence[Sample], pattern: str) -> tuple[str, ...]:
    """Return the setting of each photograph: the first group of `pattern` (else the whole match) in its id,
    empty where it does not match or there is no pattern. Raises UsageError for a broken pattern and for one
    that matches nowhere."""
    if not pattern:
        return ("",) * len(samples)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--setting {pattern} is no regular expression", found=str(error)) from None
    matches = [expression.search(sample.id) for sample in samples]
    if not any(matches):
        raise UsageError(
            f"--setting {pattern} matches no image", expected="a match in ids such as", found=samples[0].id
        )
    return tuple(
        "" if match is None else (match[1] if expression.groups else match[0]) or "" for match in matches
    )


class _Describer:
    """The bundled backbone on a small canvas: one vector a photograph and a few numbers at each place."""

    def __init__(self, samples: Sequence[Sample], seed: int) -> None:
        backbone = bundled()
        step = max(1, len(samples) // _SIZES_LOOKED_AT)
        sizes = [size for sample in samples[::step] if (size := _size_hw(sample.path)) is not None]
        self._preprocess = Preprocess(
            plan_size(sizes or [(1, 1)], budget_px=BUDGET_PX, multiple=backbone.card.canvas_multiple),
            fit=Fit.STRETCH,
        )
        where = geometry(backbone, self._preprocess.size_hw)
        self.positions = where.positions
        self.width = 2 * sum(where.channels)
        self._session = GraphSession(_graph(backbone, self._preprocess, seed), threads=1)

    def __call__(self, image: Image) -> tuple[Array, Array]:
        """Return the vector float32 (C,) and the places float16 (positions, k)."""
        longest = round(_TOO_WIDE * max(self._preprocess.size_hw))
        canvases = to_canvases(Image(thumbnail(image.pixels, longest)), self._preprocess)
        outputs = self._session.run(canvases.pixels, canvases.content_xyxy)
        return outputs["vector"][0], outputs["places"][0].T.astype(np.float16)


def _graph(backbone: Backbone, preprocess: Preprocess, seed: int) -> object:
    """Return a graph with the outputs `vector` (N, 2C), means and maxima of every level's channels, and
    `places` (N, k, positions), a projection of the features at each place."""
    where = geometry(backbone, preprocess.size_hw)
    channels = sum(where.channels)
    graph = GraphBuilder()
    image, _ = canvas_input(graph, preprocess, backbone)
    maps = level_maps(graph, image, backbone, Embedding())
    pooled = [graph.add(pool, level) for pool in ("GlobalAveragePool", "GlobalMaxPool") for level in maps]
    joined = graph.add("Concat", *pooled, attributes={"axis": 1})
    graph.output(
        "vector", graph.add("Reshape", joined, graph.ints(0, 2 * channels)), TensorProto.FLOAT,
        ["N", 2 * channels],
    )  # fmt: skip
    matrix = derive(seed, "projection").normal(size=(channels, PATCH_NUMBERS)) / math.sqrt(PATCH_NUMBERS)
    places = projected(
        graph, maps, where, matrix=matrix.astype(np.float32), offset=np.zeros(PATCH_NUMBERS, np.float32)
    )
    graph.output("places", places, TensorProto.FLOAT, ["N", PATCH_NUMBERS, where.positions])
    return graph.model(halves=False)


def _ahead(samples: Sequence[Sample], describer: _Describer, *, workers: int) -> Iterator[_Seen | _Broken]:
    """Yield what every photograph left, in order, while the next ones are read."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the workers are the threads
    try:
        with ThreadPoolExecutor(workers, thread_name_prefix="audit") as pool:
            pending: deque[Future[_Seen | _Broken]] = deque()
            try:
                for sample in samples:
                    pending.append(pool.submit(_see, sample, describer))
                    if len(pending) >= 3 * workers:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()
    finally:
        cv2.setNumThreads(threads)


def _see(sample: Sample, describer: _Describer) -> _Seen | _Broken:
    try:
        content = read_content(Path(sample.path), sample.path)
        known = replace(sample, sha256=digest.of_bytes(content))
        bits = parse(content, name=sample.path, max_pixels=MAX_PIXELS).bits
        image = read_bytes(content, name=sample.path)
    except ImageError as error:
        return _Broken(replace(sample, sha256=""), error)
    look, small = look_at(image, bits=bits)
    vector, patches = describer(image)
    mask = None if sample.mask_path is None else look_at_mask(sample.mask_path, image)
    return _Seen(known, look, small, vector, patches, mask)


def _size_hw(path: str) -> tuple[int, int] | None:
    try:
        return size_of(path)
    except ImageError:
        return None
