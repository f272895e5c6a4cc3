"""Photograph in, score and map out: the one way for calibration, evaluation and the line."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flawscope.core.types import Array, Fit, Image, Preprocess, Raw
from flawscope.imaging.preprocess import Canvases, MapMerger, iter_canvases, to_canvases
from flawscope.runtime.session import GraphSession

_TILE_BATCH = 8  # tiles of one image judged together; bounds memory for very large images

Keep = Callable[[Canvases, Mapping[str, Array]], None]


@dataclass(frozen=True, eq=False)
class Scorer:
    """A graph with its preprocessing."""

    session: GraphSession
    preprocess: Preprocess

    def __call__(self, image: Image) -> tuple[Raw, dict[str, float]]:
        """Return score and map over the whole image, and the milliseconds of `preprocess`, `graph` and
        `map`."""
        return self.many([image])[0]

    def many(
        self, images: list[Image], *, names: Sequence[str] = (), keep: Keep | None = None
    ) -> list[tuple[Raw, dict[str, float]]]:
        """Score several images in one run of the graph; tiled ones go one by one. Times are shares of the
        run. The outputs asked for in `names`, and `logits` where there are classes, stand in Raw.extras
        without their first axis; of a tiled image they are those of the tile with the highest score. `keep`
        is handed the canvases of one image, for tiles some at a time, with all that the graph gave for
        them."""
        names = self._asked(names)
        if self.preprocess.fit is Fit.TILES:
            return [self._tiled(image, names, keep) for image in images]
        start = time.perf_counter()
        canvases = [to_canvases(image, self.preprocess) for image in images]
        if len(images) == 1:
            pixels, content = canvases[0].pixels, canvases[0].content_xyxy
        else:
            pixels = np.concatenate([one.pixels for one in canvases])
            content = np.concatenate([one.content_xyxy for one in canvases])
        prepared = time.perf_counter()
        outputs = self.session.run(pixels, content, names=names)
        ran = time.perf_counter()
        results = []
        for i, one in enumerate(canvases):
            merger = MapMerger(self.preprocess, one.image_size_hw)
            merger.add(outputs["map"][i : i + 1], one)
            if keep is not None:
                keep(one, {name: values[i : i + 1] for name, values in outputs.items()})
            results.append(Raw(float(outputs["score"][i]), merger.result(), _extras(outputs, i)))
        merged = time.perf_counter()
        shares = _shares(len(images), preprocess=prepared - start, graph=ran - prepared, map=merged - ran)
        return [(raw, dict(shares)) for raw in results]

    def _asked(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return what the graph has to give: score and map always; nothing more asked for is the usual."""
        if not names:
            return ()
        logits = ("logits",) if self.session.classes else ()
        return tuple(dict.fromkeys(("score", "map", *logits, *names)))

    def _tiled(self, image: Image, names: Sequence[str], keep: Keep | None) -> tuple[Raw, dict[str, float]]:
        """Score an image by its tiles; the score is the oddest tile's."""
        merger = MapMerger(self.preprocess, image.size_hw)
        score = -np.inf
        extras: dict[str, Array] = {}
        times = dict.fromkeys(("preprocess", "graph", "map"), 0.0)
        chunks = iter_canvases(image, self.preprocess, batch=_TILE_BATCH)
        while True:
            start = time.perf_counter()
            canvases = next(chunks, None)
            if canvases is None:
                break
            prepared = time.perf_counter()
            outputs = self.session.run(canvases.pixels, canvases.content_xyxy, names=names)
            ran = time.perf_counter()
            oddest = int(outputs["score"].argmax())
            if not float(outputs["score"][oddest]) <= score:  # a score that is no number is not hidden
                score, extras = float(outputs["score"][oddest]), _extras(outputs, oddest)
            merger.add(outputs["map"], canvases)
            if keep is not None:
                keep(canvases, outputs)
            merged = time.perf_counter()
            for name, seconds in (
                ("preprocess", prepared - start),
                ("graph", ran - prepared),
                ("map", merged - ran),
            ):
                times[name] += seconds * 1000
        return Raw(score, merger.result(), extras), times


def _extras(outputs: dict[str, Array], index: int) -> dict[str, Array]:
    """Return one canvas's outputs but score and map."""
    return {name: values[index] for name, values in outputs.items() if name not in ("score", "map")}


def _shares(count: int, *, preprocess: float, graph: float, map: float) -> dict[str, float]:
    """Return milliseconds per image of stages measured in seconds over `count` images."""
    scale = 1000 / count
    return {"preprocess": preprocess * scale, "graph": graph * scale, "map": map * scale}
