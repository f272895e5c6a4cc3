"""The one way from explainers to maps over the whole photograph, and from there to explanations.

    explaining = Explaining(Inspector.open("model.flaw"), ("gradcam++",))
    explained = explaining(image)             # one run of the graph: the verdict and, unless OK, why
    mapped = explaining.maps(image)           # the bare maps, whatever the verdict

A map that an explainer gives for canvases is brought up to the canvas, cut to the picture, merged with those
of other tiles, and divided by the explainer's limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flawscope.core.errors import BundleError, UsageError
from flawscope.core.explanation import ANOMALY, ExplainLimit, Explanation, Peak
from flawscope.core.registry import did_you_mean
from flawscope.core.types import Array, Fit, Image, Inspection, Raw, Region, Verdict
from flawscope.imaging.peaks import find_peaks
from flawscope.imaging.preprocess import Canvases, MapMerger, iter_canvases
from flawscope.imaging.regions import find_regions
from flawscope.imaging.resample import to_grid
from flawscope.runtime.bundle import Bundle
from flawscope.runtime.explain.contract import Explainer, Known, Shown, explainers
from flawscope.runtime.explain.limits import limit_of
from flawscope.runtime.inspector import Inspector
from flawscope.runtime.reading import TILE_BATCH
from flawscope.runtime.scorer import Scorer

Chunk = tuple[Canvases, Mapping[str, Array]]


@dataclass(frozen=True, eq=False)
class Mapped:
    """The bare maps of one photograph, and what the graph said of it."""

    raw: Raw
    target: int  # the class explained; 0 where there are no classes
    maps: Mapping[str, Array]  # float32 (h, w) over the whole photograph, in the explainer's unit, by name


@dataclass(frozen=True, eq=False)
class Explained:
    """A verdict with what explains it; nothing where the part is OK and nobody asked, or was not judged."""

    inspection: Inspection
    explanations: tuple[Explanation, ...]


class Explaining:
    """Explains verdicts of one bundle. Safe to call from several threads."""

    def __init__(
        self,
        inspector: Inspector,
        wanted: Sequence[str | Explainer],
        *,
        target: str = "",
        always: bool = False,
    ) -> None:
        """Take an inspector and the explainers wanted; `target` names the class to explain (empty: the
        likeliest bad one), `always` explains OK parts as well. Raises UsageError for an explainer that this
        bundle cannot serve, naming those that it can, and for a class that it does not know."""
        self.inspector = inspector
        self.known = Known.of(inspector.bundle, inspector.scorer.session)
        self.wanted = tuple(explainers[one] if isinstance(one, str) else one for one in wanted)
        for one in self.wanted:
            _require(one, self.known, inspector.bundle)
        self._target = _target(target, self.known.classes)
        self._always = always
        self._names = self.known.output_names(self.wanted)
        self._tiled = self.known.preprocess.fit is Fit.TILES

    def __call__(self, image: Image, *, read_ms: float = 0.0) -> Explained:
        """Judge one photograph and explain the verdict, tiled ones apart by one run of the graph."""
        chunks: list[Chunk] = []
        inspection = self.inspector.watched(
            image,
            names=() if self._tiled else self._names,
            keep=lambda canvases, outputs: None if self._tiled else chunks.append((canvases, outputs)),
            read_ms=read_ms,
        )
        if inspection.verdict is None or (inspection.verdict is Verdict.OK and not self._always):
            return Explained(inspection, ())
        target = self._target
        if target is None:
            shares = inspection.probabilities or {}
            target = max(range(1, len(self.known.classes)), key=lambda k: shares[self.known.classes[k]])
        maps = merged(self.known, image, self.wanted, target=target, chunks=chunks or None)
        return Explained(
            inspection, tuple(self._explanation(one, maps[one.name], image, target) for one in self.wanted)
        )

    def maps(self, image: Image) -> Mapped:
        """Return each explainer's bare map of any photograph that can be read, whatever its verdict."""
        return bare_maps(self.known, image, self.wanted, target=self._target)

    def limit(self, one: Explainer) -> ExplainLimit:
        """Return the limit by which an explainer's map is divided. Raises BundleError where the bundle has
        none."""
        return limit_of(one, self.inspector.bundle, self.inspector.calibration)

    def _explanation(self, one: Explainer, heat: Array, image: Image, target: int) -> Explanation:
        limit = self.limit(one)
        heat = np.asarray(heat / np.float32(limit.value), np.float32)
        regions = find_regions(
            heat,
            threshold=1.0,
            size_hw=image.size_hw,
            min_area_px=self.inspector.bundle.contents.min_area_px,
        )
        scale_y, scale_x = image.size_hw[0] / heat.shape[0], image.size_hw[1] / heat.shape[1]
        peaks = tuple(
            Peak(int((column + 0.5) * scale_x), int((row + 0.5) * scale_y), value)
            for row, column, value in find_peaks(heat, least=1.0)
        )
        classes = self.known.classes
        return Explanation(
            explainer=one.name,
            target=classes[target] if classes else ANOMALY,
            map=heat,
            limit=limit,
            size_hw=image.size_hw,
            regions=regions,
            peaks=peaks,
            words=(_sentence(regions, classes[target] if classes else ""),),
        )


def bare_maps(
    known: Known, image: Image, wanted: Sequence[Explainer], *, target: int | None = None
) -> Mapped:
    """Return each explainer's bare map of a photograph for a class (None: the likeliest bad one, the only one
    or none); tiled ones apart by one run of the graph."""
    chunks: list[Chunk] = []
    tiled = known.preprocess.fit is Fit.TILES
    ((raw, _),) = Scorer(known.session, known.preprocess).many(
        [image],
        names=() if tiled else known.output_names(wanted),
        keep=lambda canvases, outputs: None if tiled else chunks.append((canvases, outputs)),
    )
    if target is None:
        target = 1 + int(raw.extras["logits"][1:].argmax()) if known.classes else 0
    return Mapped(raw, target, merged(known, image, wanted, target=target, chunks=chunks or None))


def merged(
    known: Known,
    image: Image,
    wanted: Sequence[Explainer],
    *,
    target: int,
    chunks: Sequence[Chunk] | None = None,
) -> dict[str, Array]:
    """Return each explainer's map over the whole photograph, float32 (h, w), in the explainer's unit.

    `chunks` are the photograph's canvases with the outputs that the explainers need, where the graph has run
    already; None runs it. Raises BundleError where a map holds what is no number.
    """
    names = known.output_names(wanted)
    mergers = {one.name: MapMerger(known.preprocess, image.size_hw) for one in wanted}
    for canvases, outputs in chunks if chunks is not None else _run(known, image, names):
        for one in wanted:
            given = {name: values for name, values in outputs.items() if name in names}
            maps = one.explain(Shown(image, canvases, given, target, known))
            if len(maps) != len(canvases) or not np.isfinite(maps).all():
                raise BundleError(
                    f"{one.name} gave no map for {image.path or 'an image'}",
                    expected=f"{len(canvases)} maps of finite numbers",
                    found=f"{maps.shape}",
                )
            mergers[one.name].add(to_grid(maps.astype(np.float32), known.preprocess.size_hw), canvases)
    results = {}
    for one in wanted:
        heat = mergers[one.name].result()
        results[one.name] = heat if one.whole is None else one.whole(image, heat)
    return results


def _run(known: Known, image: Image, names: Sequence[str]) -> Iterator[Chunk]:
    """Run an image's canvases a few at a time."""
    for canvases in iter_canvases(image, known.preprocess, batch=TILE_BATCH):
        yield canvases, known.session.run(canvases.pixels, canvases.content_xyxy, names=names)


def _require(one: Explainer, known: Known, bundle: Bundle) -> None:
    """Raise UsageError where a bundle lacks what an explainer needs."""
    missing = known.lacks(one)
    if missing:
        raise UsageError(
            f"{bundle.path} ({bundle.contents.method}) cannot be explained by {one.name}",
            expected=" and ".join(missing),
            found="a bundle without",
            remedy="These work: " + ", ".join(known.working()),
        )


def _target(name: str, classes: tuple[str, ...]) -> int | None:
    """Return the place of a named bad class, or 0 where there are no classes; None: the likeliest bad one."""
    if not classes and not name:
        return 0
    if not name:
        return None if len(classes) > 2 else 1
    bad = classes[1:]
    if name not in bad:
        raise UsageError(
            f"There is no bad class {name!r} to explain",
            expected="one of " + ", ".join(bad)
            if bad
            else "no class: the bundle learnt from good parts alone",
            remedy=did_you_mean(name, list(bad)),
        )
    return classes.index(name)


def _sentence(regions: Sequence[Region], target: str) -> str:
    speaks = f"for {target}" if target else "against a good part"
    if not regions:
        return f"No place speaks {speaks} more than good parts do."
    first = regions[0]
    left, top, right, bottom = first.box_xyxy
    count = "1 place speaks" if len(regions) == 1 else f"{len(regions)} places speak"
    return (
        f"{count} {speaks}, {'' if len(regions) == 1 else 'most '}at ({left}, {top}), "
        f"{right - left}x{bottom - top} px: {first.peak:.1f} times the limit."
    )
