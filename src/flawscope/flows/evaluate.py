"""Evaluation: a bundle on test photographs that it has not seen, judged by the line's own inspector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from flawscope.core.errors import DataError
from flawscope.core.progress import Progress, Silent
from flawscope.core.scores import ScoreSet
from flawscope.core.types import Array, Inspection, Judged, Metric, Report, Role, Sample
from flawscope.data.digests import with_digests
from flawscope.data.leaks import refuse_seen
from flawscope.data.manifest import read_manifest
from flawscope.data.splits import split_digest
from flawscope.decision.calibration import promise
from flawscope.decision.costs import overkill_escape_curve
from flawscope.flows import environment
from flawscope.flows.data import gather
from flawscope.imaging.read import read_mask
from flawscope.metrics import latency, ranking, summary
from flawscope.runtime.bundle import Bundle
from flawscope.runtime.inspector import Inspector

_LARGEST_MAP_PX = 1_000_000  # maps and masks are compared at the photograph's size, but no larger than this


@dataclass(frozen=True)
class EvaluateSettings:
    """What is tested, and how the folder is read."""

    data: Path
    layout: str = ""
    group_by: str = ""
    product: str = ""
    manifest: Path | None = None  # roles of a mixed folder; the bundle's own lies beside it
    mask_above: int | None = None  # grey value over which a mask is a defect; None: not zero (127 in JPEG)
    pixels: bool = True  # measure localisation where masks are


def evaluate(
    model: Path | Inspector,
    settings: EvaluateSettings,
    *,
    threads: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Judge the test part of a data set with a bundle and measure everything.

    Raises LeakError where the bundle has seen a test image, part or group, DataError where there is no test
    part.
    """
    progress = progress or Silent()
    inspector = model if isinstance(model, Inspector) else Inspector.open(model, threads=threads)
    samples = test_samples(inspector.bundle, settings, progress=progress)
    judged: list[Judged] = []
    with progress.stage("Judging", len(samples)) as stage:
        for sample, inspection in zip(
            samples, inspector.inspect([sample.path for sample in samples]), strict=True
        ):
            judged.append(Judged(sample, _compact(inspection)))
            stage.advance()
    return report_of(inspector, judged, settings, progress=progress)


def test_samples(bundle: Bundle, settings: EvaluateSettings, *, progress: Progress) -> tuple[Sample, ...]:
    """Return the samples to test on, in this order of preference: those that the folder or list itself calls
    TEST, those that the manifest of the training run calls TEST, everything. Refuses what the bundle has
    seen."""
    dataset = gather(
        settings.data, layout=settings.layout, group_by=settings.group_by, product=settings.product
    )
    samples = tuple(sample for sample in dataset.samples if sample.role is Role.TEST)
    if not samples:
        samples = _by_manifest(dataset.samples, bundle, settings.manifest)
    samples = samples or dataset.samples
    if not samples:
        raise DataError(f"{settings.data} holds nothing to test on")
    samples = with_digests(samples, progress=progress)
    refuse_seen(samples, bundle.contents.seen)
    return tuple(replace(sample, role=Role.TEST) for sample in samples)


def _by_manifest(samples: Sequence[Sample], bundle: Bundle, manifest: Path | None) -> tuple[Sample, ...]:
    """Return the samples that a manifest calls TEST: the one given, or the one beside the bundle."""
    place = manifest or bundle.path.parent / "manifest.jsonl"
    if not place.is_file():
        return ()
    tested = {Path(sample.path).resolve() for sample in read_manifest(place) if sample.role is Role.TEST}
    return tuple(sample for sample in samples if Path(sample.path).resolve() in tested)


def report_of(
    inspector: Inspector, judged: Sequence[Judged], settings: EvaluateSettings, *, progress: Progress
) -> Report:
    """Measure inspections of test samples and put the report together."""
    known = [entry for entry in judged if entry.sample.label is not None]
    scored = [entry for entry in known if entry.inspection.score is not None]
    verdicts = [entry.inspection.verdict for entry in known]
    is_bad = [entry.sample.is_bad for entry in known]
    labels = [str(entry.sample.label) for entry in known]
    scores = ScoreSet.of(
        [entry.sample for entry in scored],
        [float(entry.inspection.score or 0.0) for entry in scored],
        maxima=[_peak(entry.inspection) for entry in scored],
        role=Role.TEST,
    )
    metrics: dict[str, dict[str, Metric]] = {}
    per_defect: dict[str, dict[str, Metric]] = {}
    curves: dict[str, dict[str, list[float]]] = {}
    if known:
        metrics["image"] = summary.report_image_metrics(scores)
        metrics["verdict"] = summary.verdict_metrics(verdicts, is_bad)
        per_defect = summary.per_defect(labels, verdicts, [entry.inspection.score for entry in known])
        if scores.is_good.any() and scores.is_bad.any():
            curves = {
                "roc": ranking.roc_curve(scores.scores, scores.is_bad),
                "pr": ranking.pr_curve(scores.scores, scores.is_bad),
                "overkill_escape": overkill_escape_curve(scores).to_json(),
            }
        if settings.pixels and any(entry.sample.mask_path for entry in scored):
            metrics["pixel"] = _pixel_metrics(inspector, scored, settings, progress=progress)
    bundle, contents = inspector.bundle, inspector.bundle.contents
    return Report(
        bundle_id=bundle.id,
        bundle_name=contents.name,
        method=contents.method,
        product=contents.product,
        split_digest=split_digest([entry.sample for entry in judged]),
        metrics=metrics,
        per_defect=per_defect,
        confusion=summary.confusion(labels, verdicts) if known else {},
        promise=promise(contents.calibration),
        thresholds=inspector.thresholds,
        calibration=contents.calibration,
        judged=tuple(judged),
        timings_ms=latency.percentiles(
            [entry.inspection.timings_ms for entry in judged if entry.inspection.timings_ms]
        ),
        machine=environment.machine(),
        size_bytes=bundle.size_bytes,
        peak_memory_mb=environment.peak_memory_mb(),
        curves=curves,
        warnings=_warnings(judged),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=traced(bundle),
    )


def training_report(bundle: Bundle, *, warnings: tuple[str, ...] = ()) -> Report:
    """Return the report of a bundle that has not been tested: what it promises, and how it was made."""
    from flawscope.decision.calibration import thresholds

    contents = bundle.contents
    return Report(
        bundle_id=bundle.id,
        bundle_name=contents.name,
        method=contents.method,
        product=contents.product,
        split_digest=contents.calibration.split_digest,
        metrics={},
        per_defect={},
        confusion={},
        promise=promise(contents.calibration),
        thresholds=thresholds(contents.calibration),
        calibration=contents.calibration,
        judged=(),
        timings_ms={},
        machine=environment.machine(),
        size_bytes=bundle.size_bytes,
        peak_memory_mb=environment.peak_memory_mb(),
        warnings=warnings,
        created=contents.created,
        settings=traced(bundle),
    )


def traced(bundle: Bundle) -> dict[str, Any]:
    """Return what a report tells of how a bundle was made."""
    contents = bundle.contents
    preprocess = contents.preprocess.to_json()
    preprocess["area"] = None if contents.preprocess.area is None else "region of interest set"
    return {
        "method": {"name": contents.method, **contents.settings},
        "backbone": {name: value for name, value in contents.backbone.items() if name != "levels"},
        "preprocess": preprocess,
        "min_area_px": contents.min_area_px,
        "samples": dict(contents.counts),
        "made": {"created": contents.created, "parent": contents.parent or "none", **contents.environment},
    }


def _pixel_metrics(
    inspector: Inspector, scored: Sequence[Judged], settings: EvaluateSettings, *, progress: Progress
) -> dict[str, Metric]:
    """Measure localisation at the photographs' own size."""
    maps: list[Array] = []
    masks: list[Array | None] = []
    with progress.stage("Measuring maps", len(scored)) as stage:
        for heat, mask in _with_masks(scored, settings):
            maps.append(heat)
            masks.append(mask)
            stage.advance()
    is_bad = [entry.sample.is_bad for entry in scored]
    return summary.pixel_metrics(maps, masks, inspector.thresholds.pixel, is_bad=is_bad)


def _with_masks(scored: Sequence[Judged], settings: EvaluateSettings) -> Iterator[tuple[Array, Array | None]]:
    """Yield each map at its photograph's size (within the limit) beside its mask at the same size."""
    for entry in scored:
        inspection = entry.inspection
        assert inspection.map is not None and inspection.size_hw is not None
        height, width = inspection.size_hw
        scale = min(1.0, (_LARGEST_MAP_PX / (height * width)) ** 0.5)
        size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        heat = cv2.resize(inspection.map.astype(np.float32), size_wh, interpolation=cv2.INTER_LINEAR)
        if entry.sample.mask_path is None:
            yield heat, None
            continue
        mask = read_mask(entry.sample.mask_path, above=settings.mask_above)
        if mask.shape != (height, width):
            raise DataError(
                f"The mask {entry.sample.mask_path} does not fit its photograph",
                expected=f"{width}x{height} px",
                found=f"{mask.shape[1]}x{mask.shape[0]} px",
                remedy="Correct the mask, or leave localisation out with --no-pixels",
            )
        if scale < 1:  # a cell that holds any of the flaw is flawed: thin scratches must not vanish
            share = cv2.resize(mask.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
            mask = share > 0
        yield heat, mask


def _compact(inspection: Inspection) -> Inspection:
    """Keep the map in half precision: thousands of them are held until all are measured."""
    if inspection.map is None:
        return inspection
    return replace(inspection, map=inspection.map.astype(np.float16))


def _peak(inspection: Inspection) -> float:
    assert inspection.map is not None
    return float(inspection.map.max())


def _warnings(judged: Sequence[Judged]) -> tuple[str, ...]:
    """Return each warning once, with how many photographs it concerns."""
    counts: dict[str, int] = {}
    for entry in judged:
        for warning in entry.inspection.warnings:
            counts[warning] = counts.get(warning, 0) + 1
    return tuple(
        f"{warning} ({count} photographs)" if count > 1 else warning for warning, count in counts.items()
    )
