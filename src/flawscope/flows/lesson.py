"""What a training run is made of before anything is learned: method, backbone, samples with roles, canvases.

Training and tuning begin with the same lesson, so that what is tuned is what is trained.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flawscope.core import extras
from flawscope.core.config import build
from flawscope.core.errors import DataError
from flawscope.core.progress import Progress
from flawscope.core.registry import Entry, Kind, methods
from flawscope.core.types import Fit, Levels, Preprocess, Role, Sample
from flawscope.flows.data import Prepared, gather, prepare
from flawscope.flows.settings import TrainSettings
from flawscope.flows.supervision import defects_to_teach
from flawscope.imaging.area import load_area
from flawscope.imaging.preprocess import plan_canvas
from flawscope.imaging.read import estimate_levels
from flawscope.methods.backbones import Tokens, resolve, source_of
from flawscope.methods.contract import FitContext, Workshop


@dataclass(frozen=True, eq=False)
class Lesson:
    """Everything that a fit takes, and who learns from what."""

    entry: Entry
    config: Any  # the method's own settings, checked
    method: Any
    prepared: Prepared
    context: FitContext
    taught: tuple[Sample, ...]  # the good ones of FIT
    bad: tuple[Sample, ...]  # those of FIT that a method learns beside them


@dataclass(frozen=True)
class Tools:
    """With what a lesson is held: it decides how long things take and never what comes of them."""

    weights_dir: Path | None = None
    threads: int = 0  # 0: as many as onnxruntime chooses
    workshop: Workshop = Workshop()


def lesson(settings: TrainSettings, tools: Tools, *, progress: Progress) -> Lesson:
    """Check the settings, read and split the data, and find the backbone. Raises DataError, LeakError,
    ConfigError or MissingExtraError, each with the remedy."""
    entry = methods[settings.method]
    if entry.extra is not None:
        extras.require_all(entry.extra, purpose=f"Teaching {entry.name}")
    config = build(entry.method.Config, settings.settings, where=entry.name)
    method = entry.method(config)
    # a method that rebuilds tokens asks for blocks from the middle; to the others the last one is enough
    tokens = getattr(method, "tokens", Tokens.LATE)
    backbone = resolve(settings.backbone, weights_dir=tools.weights_dir, tokens=tokens)
    dataset = gather(
        settings.data, layout=settings.layout, group_by=settings.group_by, product=settings.product
    )
    supervised = entry.kind is Kind.SUPERVISED
    defects = supervised or getattr(method, "uses_defects", False)
    prepared = prepare(dataset, settings, progress=progress, defects=defects)
    taught = tuple(sample for sample in prepared.of(Role.FIT) if sample.is_good)
    if not taught:
        raise DataError(f"{settings.data} holds no good part to teach from")
    bad = defects_to_teach(prepared, settings, needed=supervised) if defects else ()
    planned = plan_preprocess(settings, prepared, multiple=backbone.card.canvas_multiple)
    preprocess = replace(planned, mean=backbone.card.mean, std=backbone.card.std)
    source = source_of(settings.backbone, weights_dir=tools.weights_dir)
    context = FitContext(backbone, preprocess, settings.seed, tools.threads, progress, tools.workshop, source)
    return Lesson(entry, config, method, prepared, context, taught, bad)


def apart_from(held_out: tuple[Sample, ...], bad: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Return the bad samples that share neither part nor group with those held out."""
    parts = {sample.part_key for sample in held_out}
    groups = {sample.group for sample in held_out if sample.group}
    return tuple(s for s in bad if s.part_key not in parts and s.group not in groups)


def plan_preprocess(settings: TrainSettings, prepared: Prepared, *, multiple: int = 32) -> Preprocess:
    """Return how photographs become canvases: the data's own aspect within the budget, in steps of
    `multiple` px, unless a size is given; 16-bit levels measured on FIT, unless given."""
    taught = prepared.of(Role.FIT)
    content_px = None
    if settings.size:
        width, height = settings.size
    elif settings.fit is Fit.STRETCH or settings.fit is Fit.TILES:
        height = width = max(1, round(settings.budget / multiple)) * multiple
    else:
        sizes = [prepared.sizes_hw[sample.path] for sample in taught if sample.path in prepared.sizes_hw]
        (height, width), content_px = plan_canvas(sizes, budget_px=settings.budget**2, multiple=multiple)
    levels = (
        Levels(settings.levels[0], settings.levels[1])
        if settings.levels
        else estimate_levels([sample.path for sample in taught])
    )
    return Preprocess(
        size_hw=(height, width),
        fit=settings.fit,
        levels=levels,
        area=load_area(settings.roi, settings.ignore),
        tile_overlap=settings.tile_overlap,
        tile_merge=settings.tile_merge,
        content_px=content_px,
    )
