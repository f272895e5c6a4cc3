"""Explaining: photographs to verdicts with their reasons, as pictures and as data, one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flawscope.core.explanation import ANOMALY, Explanation, NearestNormal
from flawscope.core.files import replacing
from flawscope.core.types import Array, Image, Json, Region
from flawscope.imaging.overlay import overlay
from flawscope.imaging.panel import Captioned, Compared, cut_out, panel
from flawscope.imaging.read import read_bytes
from flawscope.runtime.bundle import Bundle
from flawscope.runtime.explain import Explained, Explaining, Known, with_nearest
from flawscope.runtime.explain.anomaly import NAME
from flawscope.runtime.inspector import Inspector
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.references import References

FILE_NAME = "explain.json"
_PREFERRED = ("cam", "gradcam++")  # of a classifier, the first that the bundle can serve
_COMPARED = 3  # regions on the picture
_PLAIN = 0.5  # of the limit: what is never painted
_VIEW = 0.15  # of the photograph's longer side that a cut-out shows at least


@dataclass(frozen=True)
class ExplainSettings:
    """What is explained, and by what."""

    explainers: tuple[str, ...] = ()  # empty: the one that suits the bundle
    target: str = ""  # the class to explain; empty: the likeliest bad one
    always: bool = False  # explain parts called OK as well
    nearest: bool = True  # look for the good patches that regions resemble most
    product: str = ""  # whose limits count


def default_explainer(bundle: Bundle, known: Known) -> str:
    """Return the explainer that suits a bundle: its own map for a method that learnt from good parts alone,
    for a classifier one that shows what speaks for the class."""
    if not known.classes:
        return NAME
    working = set(known.working())
    limits = bundle.contents.explain_limits
    return next((name for name in _PREFERRED if name in working and name in limits), NAME)


class Explainers:
    """A bundle opened to explain photographs, whatever they are asked for."""

    def __init__(self, inspector: Inspector, settings: ExplainSettings) -> None:
        """Take an inspector. Raises UsageError for explainers or a class that the bundle cannot serve, and
        BundleError where it holds no limit for one of them."""
        known = Known.of(inspector.bundle, inspector.scorer.session)
        names = settings.explainers or (default_explainer(inspector.bundle, known),)
        self._explaining = Explaining(inspector, names, target=settings.target, always=settings.always)
        for one in self._explaining.wanted:
            self._explaining.limit(one)  # said now, and not after an hour
        self._settings = settings
        self.bundle = inspector.bundle
        self.names = tuple(one.name for one in self._explaining.wanted)
        limits = inspector.thresholds
        # a classifier's score is log-odds and no value of its map
        self.plain_below = _PLAIN
        if not known.classes and limits.review is not None and limits.pixel > 0:
            self.plain_below = min(max(limits.review / limits.pixel, _PLAIN), 1.0)

    def __call__(self, paths: Sequence[str]) -> Iterator[tuple[Image | None, Explained]]:
        """Yield each photograph with its verdict and what explains it, in order; without an image where it
        cannot be read."""
        known = self._explaining.known
        for loaded in read_ahead(paths, known.preprocess):
            if loaded.image is None:
                yield None, Explained(self._explaining.inspector(loaded.path), ())
                continue
            explained = self._explaining(loaded.image, read_ms=loaded.read_ms)
            if self._settings.nearest:
                with_patches = [with_nearest(known, loaded.image, one) for one in explained.explanations]
                explained = Explained(explained.inspection, tuple(with_patches))
            yield loaded.image, explained


def picture(
    image: Image,
    explanations: Sequence[Explanation],
    references: References | None,
    *,
    plain_below: float = _PLAIN,
) -> Array:
    """Return what explains one photograph as one picture, uint8 (H, W, 3): an overlay for each explanation on
    the absolute scale, plain below `plain_below` limits, the regions outlined, and the highest regions of the
    first beside the good patches that they resemble most."""
    shown = [Captioned(image.pixels, "as it came")]
    for one in explanations:
        pixels = overlay(image, one.map, limit=1.0, review=plain_below, regions=one.regions)
        what = one.explainer if one.target == ANOMALY else f"{one.explainer} for {one.target}"
        highest = f"highest {float(one.map.max()):.2f} of the limit"
        shown.append(Captioned(pixels, f"{what}\n{highest}"))
    compared = []
    if references is not None:
        for one in explanations[:1]:
            pairs = zip(one.regions, one.nearest, strict=False)
            for number, (region, normals) in enumerate(pairs, 1):
                if number <= _COMPARED:
                    compared.append(_compared(image, number, region, normals, references))
    return panel(shown, compared)


def _compared(
    image: Image, number: int, region: Region, normals: Sequence[NearestNormal], references: References
) -> Compared:
    longer = max(region.box_xyxy[2] - region.box_xyxy[0], region.box_xyxy[3] - region.box_xyxy[1])
    view = max(2 * longer, _VIEW * max(image.size_hw))  # one field of view for all, in px of the photograph
    shown = []
    for normal in normals:
        if normal.thumbnail < 0:
            continue
        small = read_bytes(references.thumbnails[normal.thumbnail], name=normal.image).pixels
        height, width = normal.size_hw
        left, top, right, bottom = normal.box_xyxy
        box = (
            left * small.shape[1] // width,
            top * small.shape[0] // height,
            max(-(-right * small.shape[1] // width), left * small.shape[1] // width + 1),
            max(-(-bottom * small.shape[0] // height), top * small.shape[0] // height + 1),
        )
        name = Path(normal.image).name
        side = view * max(small.shape[:2]) / max(normal.size_hw)
        shown.append(Captioned(cut_out(small, box, side_px=side), f"{name}\ndistance {normal.distance:.2f}"))
    caption = f"region {number}: {region.peak:.1f} limits\nnearest good parts:"
    return Compared(Captioned(cut_out(image.pixels, region.box_xyxy, side_px=view), caption), tuple(shown))


def as_json(explained: Explained, *, picture_name: Path | None = None) -> Json:
    """Return the verdict and its explanations as JSON; `picture_name` is the picture's file beside it."""
    return {
        **explained.inspection.to_json(),
        "explanations": [one.to_json() for one in explained.explanations],
        "picture": None if picture_name is None else picture_name.as_posix(),
    }


@contextmanager
def explain_file(path: Path, bundle: Bundle, names: Sequence[str]) -> Iterator[Callable[[Json], None]]:
    """Yield a function that writes one photograph's values into `explain.json`: a file of any length in
    bounded memory, there whole or not at all."""
    head = {"bundle_id": bundle.id, "method": bundle.contents.method, "explainers": list(names)}
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(json.dumps(head, allow_nan=False)[:-1] + ', "photographs": [')
        between = "\n"

        def add(values: Json) -> None:
            nonlocal between
            stream.write(between + json.dumps(values, allow_nan=False))
            between = ",\n"

        yield add
        stream.write("\n]}\n")
        stream.flush()
