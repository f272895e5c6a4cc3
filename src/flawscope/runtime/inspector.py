"""The line: a bundle opened once, then a verdict for every photograph.

inspector = Inspector.open("model.flaw")
inspection = inspector("part.jpg")
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from flawscope.core.errors import BundleError, ImageError, UsageError
from flawscope.core.registry import did_you_mean
from flawscope.core.types import (
    Array,
    Calibration,
    Fault,
    Image,
    Inspection,
    Raw,
    Thresholds,
    Verdict,
)
from flawscope.decision.calibration import p_value, thresholds, verdict
from flawscope.imaging.read import from_array, read, read_bytes
from flawscope.imaging.regions import find_regions
from flawscope.runtime.bundle import Bundle, open_bundle
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.scene import look_of
from flawscope.runtime.scorer import Keep, Scorer
from flawscope.runtime.session import GraphSession

_GOLDEN_TOLERANCE = 0.01  # relative; other processors round differently, other graphs differ by far more


class Inspector:
    """Judges photographs with one bundle. Safe to call from several threads."""

    def __init__(self, bundle: Bundle, scorer: Scorer, *, product: str = "") -> None:
        """Take an open bundle and its scorer; `product` as `open` says."""
        self.bundle = bundle
        self._scorer = scorer
        self.product = product
        self.calibration: Calibration = calibration_of(bundle, product)
        self.thresholds: Thresholds = thresholds(self.calibration)

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        threads: int = 0,
        providers: Sequence[str] = (),
        check: bool = True,
        product: str = "",
    ) -> Inspector:
        """Open a bundle and check it: digests, version, and the golden sample's answer (unless `check` is
        False).

        `threads` 0 uses as many as onnxruntime chooses; `providers` empty means the CPU. Of a bundle for
        several products, `product` names the one whose limits count; empty takes the limits of all products
        together. Raises BundleError, and UsageError for a product that the bundle does not know.
        """
        bundle = open_bundle(Path(path))
        session = GraphSession(bundle.contents.graph, threads=threads, providers=providers)
        if check:
            check_golden(bundle, session)
        return cls(bundle, Scorer(session, bundle.contents.preprocess), product=product)

    def of_product(self, product: str) -> Inspector:
        """Return an inspector with the limits of this product, on the same graph: those of all products
        together where the bundle has none for it alone."""
        known = product if product in self.bundle.contents.calibrations else ""
        return self if known == self.product else Inspector(self.bundle, self._scorer, product=known)

    def __call__(self, image: Image | Array | bytes | Path | str) -> Inspection:
        """Judge one photograph: a path, a file's bytes, an array (H, W), (H, W, 3) RGB or (H, W, 4) RGBA of
        uint8 or uint16, or an Image. What cannot be judged comes back without a verdict and with an error,
        never as OK. Raises UsageError for anything else than these, BundleError where onnxruntime fails."""
        start = time.perf_counter()
        name = Path(image).as_posix() if isinstance(image, Path | str) else "image"
        try:
            picture = self._image(image)
            read_ms = (time.perf_counter() - start) * 1000
            return self._judge([picture], [read_ms])[0]
        except ImageError as error:
            return self._fault(name, error)

    @property
    def scorer(self) -> Scorer:
        """The graph with its preprocessing."""
        return self._scorer

    def watched(self, image: Image, *, names: Sequence[str], keep: Keep, read_ms: float = 0.0) -> Inspection:
        """Judge one photograph as `__call__` does, and hand its canvases with the graph's outputs `names`, as
        well as the usual ones, to `keep`: what explains a verdict comes from the run that made it. Nothing is
        handed over for a photograph that cannot be judged."""
        return self._judge([image], [read_ms], names=names, keep=keep)[0]

    def many(self, images: Sequence[Image], *, read_ms: Sequence[float] = ()) -> list[Inspection]:
        """Judge photographs that are read already in one run of the graph, in order; `read_ms` says how long
        reading each took."""
        return self._judge(list(images), list(read_ms) or [0.0] * len(images))

    def fault(self, name: str, error: ImageError) -> Inspection:
        """Return the inspection, NOT JUDGED, of a photograph that cannot be read."""
        return self._fault(name, error)

    def inspect(self, paths: Sequence[str], *, batch: int = 1, workers: int = 2) -> Iterator[Inspection]:
        """Judge files in order; the next ones are read by `workers` threads meanwhile, `batch` go through the
        graph together (1 gives each verdict as soon as it can be; more is faster on GPUs). Raises UsageError
        for a batch or a number of workers below one."""
        if batch < 1 or workers < 1:
            raise UsageError(
                "Inspecting needs a batch and workers",
                expected="at least 1",
                found=f"batch {batch}, workers {workers}",
            )
        waiting: list[Inspection | tuple[Image, float]] = []
        for loaded in read_ahead(paths, self.bundle.contents.preprocess, workers=workers):
            if loaded.image is None:
                assert loaded.error is not None
                waiting.append(self._fault(Path(loaded.path).as_posix(), loaded.error))
            else:
                waiting.append((loaded.image, loaded.read_ms))
            if len(waiting) >= batch:
                yield from self._flush(waiting)
                waiting = []
        yield from self._flush(waiting)

    def _flush(self, waiting: list[Inspection | tuple[Image, float]]) -> list[Inspection]:
        pictures = [entry for entry in waiting if not isinstance(entry, Inspection)]
        judged = iter(self._judge([image for image, _ in pictures], [ms for _, ms in pictures]))
        return [entry if isinstance(entry, Inspection) else next(judged) for entry in waiting]

    def _image(self, image: Image | Array | bytes | Path | str) -> Image:
        levels = self.bundle.contents.preprocess.levels
        if isinstance(image, Image):
            return image
        if isinstance(image, np.ndarray):
            return from_array(image, levels=levels)
        if isinstance(image, bytes | bytearray | memoryview):
            return read_bytes(bytes(image), name="image", levels=levels)
        if isinstance(image, Path | str):
            return read(image, levels=levels)
        raise UsageError(
            "This is nothing that can be judged",
            expected="a path, a file's bytes, a numpy array or an Image",
            found=type(image).__name__,
        )

    def _judge(
        self,
        images: list[Image],
        read_ms: list[float],
        *,
        names: Sequence[str] = (),
        keep: Keep | None = None,
    ) -> list[Inspection]:
        """Judge images in one run of the graph; those too dark or too bright to be judged are left out of
        it."""
        results: list[Inspection | None] = [None] * len(images)
        warnings: dict[int, tuple[str, ...]] = {}
        contents = self.bundle.contents
        for i, image in enumerate(images):
            try:
                warnings[i] = contents.scene.check(
                    look_of(image.pixels, contents.preprocess.area), name=image.path or "The image"
                )
            except ImageError as error:
                results[i] = self._fault(image.path or "image", error)
        good = list(warnings)
        if good:
            found = self._scorer.many([images[i] for i in good], names=names, keep=keep)
            for i, (raw, timings) in zip(good, found, strict=True):
                results[i] = self._decide(images[i], raw, {"read": read_ms[i], **timings}, warnings[i])
        return [result for result in results if result is not None]

    def _decide(
        self, image: Image, raw: Raw, timings: dict[str, float], warnings: tuple[str, ...]
    ) -> Inspection:
        start = time.perf_counter()
        score, heat = raw.score, raw.map
        if not (np.isfinite(score) and np.isfinite(heat).all()):
            raise BundleError(
                f"The graph of {self.bundle.path} gave no number for {image.path or 'an image'}",
                expected="a finite score and map",
                found=f"score {score}",
                remedy="See flawscope doctor; another version or provider of onnxruntime may help",
            )
        decided = verdict(self.thresholds, score)
        regions = (
            ()
            if decided is Verdict.OK
            else find_regions(
                heat,
                threshold=self.thresholds.pixel,
                size_hw=image.size_hw,
                min_area_px=self.bundle.contents.min_area_px,
            )
        )
        rank = p_value(self.calibration, score)
        timings["decide"] = (time.perf_counter() - start) * 1000
        timings["total"] = sum(timings.values())
        return Inspection(
            path=image.path,
            bundle_id=self.bundle.id,
            verdict=decided,
            score=score,
            p_value=rank,
            thresholds=self.thresholds,
            probabilities=self._probabilities(raw),
            regions=regions,
            timings_ms=timings,
            warnings=(*image.warnings, *warnings),
            size_hw=image.size_hw,
            map=heat,
        )

    def _probabilities(self, raw: Raw) -> dict[str, float] | None:
        """Return softmax(logits) by class name, or None where there are no classes."""
        if not self._scorer.session.classes:
            return None
        logits = raw.extras["logits"].astype(np.float64)
        powers = np.exp(logits - logits.max())
        shares = (powers / powers.sum()).tolist()
        return dict(zip(self._scorer.session.classes, shares, strict=True))

    def _fault(self, path: str, error: ImageError) -> Inspection:
        return Inspection(
            path=path,
            bundle_id=self.bundle.id,
            verdict=None,
            error=Fault(error.code, str(error)),
            thresholds=self.thresholds,
        )


def calibration_of(bundle: Bundle, product: str) -> Calibration:
    """Return the calibration that counts for a product, or for all together where none is named. Raises
    UsageError for a product that the bundle does not know."""
    contents = bundle.contents
    if not product or product == contents.product:
        return contents.calibration
    if product not in contents.calibrations:
        known = sorted(contents.calibrations)
        raise UsageError(
            f"{bundle.path} has no limits for a product {product!r}",
            expected="one of " + ", ".join(known) if known else "no --product: it was taught one product",
            remedy=did_you_mean(product, known),
        )
    return contents.calibrations[product]


def check_golden(bundle: Bundle, session: GraphSession) -> None:
    """Run the bundle's golden sample. Raises BundleError where this machine gives another answer."""
    golden = bundle.contents.golden
    missing = {"score", "map"} - set(session.output_names)
    if missing:
        raise BundleError(f"The graph of {bundle.path} has no output {', '.join(sorted(missing))}")
    outputs = session.run(golden.pixels, golden.content_xyxy)
    found = (float(outputs["score"][0]), float(outputs["map"][0].max()))
    least = 1.0 if session.classes else 1e-6  # log-odds may be near 0, where nothing is small beside them
    for name, value, expected in zip(("score", "map"), found, (golden.score, golden.peak), strict=True):
        if not abs(value - expected) <= _GOLDEN_TOLERANCE * max(abs(expected), least):
            raise BundleError(
                f"{bundle.path} does not give its expected answer on this machine",
                expected=f"{name} {expected:.6g} on the golden sample",
                found=f"{value:.6g}",
                remedy="See flawscope doctor; another version or provider of onnxruntime may help",
            )
