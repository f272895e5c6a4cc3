"""Evaluation: a bundle on test photographs that it has not seen, judged by the line's own inspector."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from flawscope.core.errors import DataError
from flawscope.core.progress import Progress, Silent
from flawscope.core.scores import ScoreSet
from flawscope.core.types import Array, Inspection, Judged, Metric, Report, Role, Sample
from flawscope.data.digests import with_digests
from flawscope.data.layouts import Dataset
from flawscope.data.leaks import refuse_seen
from flawscope.data.manifest import manifest_beside, read_manifest
from flawscope.data.splits import split_digest
from flawscope.decision.calibration import promise
from flawscope.decision.costs import overkill_escape_curve
from flawscope.flows import environment
from flawscope.flows.answers import answers_of, by_product
from flawscope.flows.data import ALL, gather
from flawscope.flows.masks import OneByOne, PackedMask, map_at, refuse_misfits
from flawscope.metrics import latency, ranking, summary
from flawscope.runtime.bundle import Bundle
from flawscope.runtime.inspector import Inspector

_LARGEST_HALF = 60_000.0  # what half precision can hold, rounded down


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
    return tested(
        inspector,
        test_samples(inspector.bundle, settings, progress=progress),
        settings,
        progress=progress,
    )


def tested(
    inspector: Inspector, samples: Sequence[Sample], settings: EvaluateSettings, *, progress: Progress
) -> Report:
    """Judge test samples that the bundle is known not to have seen, and measure everything."""
    if settings.pixels:
        refuse_misfits(samples)
    judged: list[Judged] = []
    with progress.stage("Judging", len(samples)) as stage:
        for sample, inspection in _inspections(inspector, samples):
            judged.append(Judged(sample, _compact(inspection)))
            stage.advance()
    places = {sample.id: i for i, sample in enumerate(samples)}
    judged.sort(key=lambda entry: places[entry.sample.id])
    return report_of(inspector, judged, settings, progress=progress)


def _inspections(inspector: Inspector, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Inspection]]:
    """Judge samples, each at its own product's limits where the bundle has them; products in turn. Limits
    that were asked for by name hold for all."""
    by_product: dict[str, list[Sample]] = {}
    for sample in samples:
        by_product.setdefault("" if inspector.product else sample.product, []).append(sample)
    for product, members in by_product.items():
        judge = inspector if inspector.product else inspector.of_product(product)
        yield from zip(members, judge.inspect([sample.path for sample in members]), strict=True)


def test_samples(bundle: Bundle, settings: EvaluateSettings, *, progress: Progress) -> tuple[Sample, ...]:
    """Return the samples to test on: those that the manifest of the training run calls TEST and, of what it
    does not list, those that the folder or list itself calls TEST; everything where that leaves none.

    Raises LeakError where the bundle has seen one of them, DataError where a file cannot be read.
    """
    dataset = _grouped_as_taught(bundle, settings)
    roles = roles_by_path(bundle, settings.manifest)
    chosen = tuple(
        sample
        for sample in dataset.samples
        if roles.get(Path(sample.path).resolve(), sample.role) is Role.TEST
    )
    samples = with_digests(chosen or dataset.samples, progress=progress)
    # parts and groups count within their product, which a folder given alone does not name
    product = "" if bundle.contents.product == ALL else bundle.contents.product
    samples = tuple(replace(sample, product=sample.product or product) for sample in samples)
    refuse_seen(samples, bundle.contents.seen)
    return tuple(replace(sample, role=Role.TEST) for sample in samples)


def samples_of(
    bundle: Bundle, settings: EvaluateSettings, roles: Sequence[Role], *, progress: Progress
) -> tuple[Sample, ...]:
    """Return the samples with one of these roles: TEST as `test_samples` says, refused where they were seen;
    the others as the manifest of the training run or the data say, seen as they are.

    Raises DataError where a role asked for has no sample.
    """
    if set(roles) == {Role.TEST}:
        return test_samples(bundle, settings, progress=progress)
    dataset = _grouped_as_taught(bundle, settings)
    given = roles_by_path(bundle, settings.manifest)
    named = [
        replace(sample, role=given.get(Path(sample.path).resolve(), sample.role))
        for sample in dataset.samples
    ]
    chosen = tuple(sample for sample in named if sample.role in roles)
    for role in roles:
        if not any(sample.role is role for sample in chosen):
            raise DataError(
                f"No image of {settings.data} has the role {role}",
                expected="roles in the data or in the manifest of the training run",
                remedy="Name the manifest with --manifest",
            )
    chosen = with_digests(chosen, progress=progress)
    refuse_seen([sample for sample in chosen if sample.role is Role.TEST], bundle.contents.seen)
    return chosen


def _grouped_as_taught(bundle: Bundle, settings: EvaluateSettings) -> Dataset:
    """Read the data set with the pattern given or, where it fits the names at hand, with the one that named
    parts and groups in training: without it a known part or lot would not be recognised."""
    product = settings.product or (ALL if bundle.contents.product == ALL else "")
    dataset = gather(settings.data, layout=settings.layout, group_by=settings.group_by, product=product)
    taught = str(bundle.contents.environment.get("group_by", ""))
    if settings.group_by or not taught or not any(re.search(taught, s.id) for s in dataset.samples):
        return dataset
    return gather(settings.data, layout=settings.layout, group_by=taught, product=product)


def roles_by_path(bundle: Bundle, manifest: Path | None) -> dict[Path, Role | None]:
    """Return what a manifest says of each file: the one given, or the one beside the bundle if there is
    one."""
    place = manifest or manifest_beside(bundle.path)
    if place is None:
        return {}
    return {Path(sample.path).resolve(): sample.role for sample in read_manifest(place)}


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
    answers = answers_of(scored, contents.classes)
    per_product = by_product(known) if contents.calibrations else {}
    return Report(
        bundle_id=bundle.id,
        bundle_name=contents.name,
        method=contents.method,
        product=contents.product,
        split_digest=split_digest([entry.sample for entry in judged]),
        metrics={**metrics, **answers.metrics},
        per_defect=per_defect,
        confusion=summary.confusion(labels, verdicts) if known else {},
        class_confusion=answers.confusion,
        per_product=per_product,
        worst_product=summary.worst_product(per_product),
        promise=promise(inspector.calibration),
        thresholds=inspector.thresholds,
        calibration=inspector.calibration,
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


def training_report(
    bundle: Bundle,
    *,
    warnings: tuple[str, ...] = (),
    curves: Mapping[str, Mapping[str, list[float]]] | None = None,
) -> Report:
    """Return the report of a bundle that has not been tested: what it promises, and how it was made;
    `curves` are those of its learning."""
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
        curves=curves or {},
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
    """Measure localisation at the photographs' own size (within the limit), one image in memory at a time."""
    packed: list[PackedMask] = []
    with progress.stage("Measuring maps", len(scored)) as stage:
        for entry in scored:
            packed.append(PackedMask.of(entry.sample, _size_hw(entry), above=settings.mask_above))
            stage.advance()
    return summary.pixel_metrics(
        OneByOne(len(scored), lambda i: _shown_map(scored[i])),
        OneByOne(len(scored), lambda i: packed[i].mask()),
        inspector.thresholds.pixel,
        is_bad=[entry.sample.is_bad for entry in scored],
    )


def _size_hw(entry: Judged) -> tuple[int, int]:
    assert entry.inspection.size_hw is not None
    return entry.inspection.size_hw


def _shown_map(entry: Judged) -> Array:
    assert entry.inspection.map is not None
    return map_at(entry.inspection.map, _size_hw(entry))


def _compact(inspection: Inspection) -> Inspection:
    """Keep the map in half precision where that can hold it: thousands of them wait until all are
    measured."""
    heat = inspection.map
    if heat is None or float(np.abs(heat).max()) > _LARGEST_HALF:
        return inspection
    return replace(inspection, map=heat.astype(np.float16))


def _peak(inspection: Inspection) -> float:
    assert inspection.map is not None
    return float(inspection.map.max())


def _warnings(judged: Sequence[Judged]) -> tuple[str, ...]:
    return each_once([warning for entry in judged for warning in entry.inspection.warnings])


def each_once(warnings: Sequence[str]) -> tuple[str, ...]:
    """Return each warning once, with how many photographs it concerns."""
    return tuple(
        f"{warning} ({count} photographs)" if count > 1 else warning
        for warning, count in Counter(warnings).items()
    )
