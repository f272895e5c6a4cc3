"""Incremental teaching: a bundle learns further good parts without the photographs that it was taught first.

Reviewed parts were picked by their score, so they teach (FIT) and never calibrate. The parts that calibrated
are scored again by the new graph: their photographs are looked for where the manifest of the training run
says, and where `calibrate` says, by their digests. New calibration parts come from there too; they must be
drawn at random from what came along the line.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flawscope.core.config import build
from flawscope.core.errors import BundleError, ConfigError, UsageError
from flawscope.core.progress import Progress, Silent
from flawscope.core.registry import methods
from flawscope.core.types import Calibration, CalibrationMode, Change, Promise, Role, Sample
from flawscope.data.leaks import Seen
from flawscope.data.manifest import manifest_for, write_manifest
from flawscope.data.splits import split_digest
from flawscope.decision.calibration import promise
from flawscope.flows import environment
from flawscope.flows.card import card
from flawscope.flows.drift import scenery_from
from flawscope.flows.explain_limits import Shows, explain_limits
from flawscope.flows.limits import Calibrated, Scored, calibrations
from flawscope.flows.references import pick_references
from flawscope.flows.risk_limits import limits_from
from flawscope.flows.settings import TrainSettings
from flawscope.flows.teach_samples import Lesson, TeachSettings, samples_for
from flawscope.methods.backbones import resolve
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.teaching import Learnt, from_bytes, to_bytes
from flawscope.runtime.backbone import Backbone
from flawscope.runtime.bundle import Bundle, Contents, Golden, open_bundle, seal
from flawscope.runtime.explain.contract import Known, read_head
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.scene import Scene, look_of
from flawscope.runtime.scorer import Scorer
from flawscope.runtime.session import GraphSession


@dataclass(frozen=True, eq=False)
class Taught:
    """What incremental teaching leaves."""

    bundle: Bundle
    parent: str
    added: int  # photographs that were taught
    calibrated: int  # photographs that were scored anew; 0: the ranks are those from before
    promise: Promise
    seconds: Mapping[str, float]
    warnings: tuple[str, ...]


def teach(
    model: Path,
    settings: TeachSettings,
    out: Path,
    *,
    at: str,
    threads: int = 0,
    progress: Progress | None = None,
) -> Taught:
    """Teach a bundle further good parts and write `out`, a bundle that names the old one as its parent, and
    its manifest beside it; `at` is the time (ISO 8601, UTC).

    Raises UsageError for a method that cannot learn on, DataError where the bundle's projection does not
    explain the new parts (code `unexplained`) or calibration photographs are missing, LeakError where new
    parts have served for something else, ConfigError where the backbone is not at hand.
    """
    progress = progress or Silent()
    start = time.perf_counter()
    if out.resolve() == model.resolve():
        raise UsageError(f"{out} is the bundle that is taught", remedy="Give the new one a name of its own")
    bundle = open_bundle(model)
    method, config_values = _method(bundle)
    lesson = samples_for(bundle, settings, progress=progress)
    backbone = _backbone(bundle, settings)
    contents = bundle.contents
    seed = int(contents.environment.get("seed", 0))
    context = FitContext(backbone, contents.preprocess, seed, threads, progress)
    state = from_bytes(contents.teaching)
    learnt: Learnt = method.grow(state, FitData(lesson.added), context)
    graph = learnt.model.SerializeToString(deterministic=True)
    session = GraphSession(graph, threads=threads)
    taught_at = time.perf_counter()
    calibrated, warnings = _calibrated(bundle, lesson, settings, session, at=at, progress=progress)
    seconds = {"teach": taught_at - start, "calibrate": time.perf_counter() - taught_at}
    changed = replace(
        contents,
        graph=graph,
        calibration=calibrated.calibration,
        calibrations=calibrated.by_product,
        seen=contents.seen.joined(Seen.of((*lesson.added, *lesson.calibrate))),
        scene=_scene(contents.scene, lesson.added, contents),
        golden=_golden(contents.golden, session),
        created=at,
        parent=bundle.id,
        environment=_environment(contents, lesson, seconds, at=at),
        counts=_counts(contents, lesson),
        teaching=to_bytes(learnt.state),
        settings=config_values,
    )
    changed = _explained(changed, lesson, session, method, progress=progress)
    changed = replace(changed, card=card(changed))
    sealed = seal(out, changed)
    write_manifest(manifest_for(out), lesson.manifest)
    return Taught(
        bundle=sealed,
        parent=bundle.id,
        added=len(lesson.added),
        calibrated=len(lesson.calibrate),
        promise=promise(calibrated.calibration),
        seconds=seconds | {"total": time.perf_counter() - start},
        warnings=(*lesson.warnings, *warnings, *calibrated.warnings),
    )


def teachable() -> tuple[str, ...]:
    """Return the names of the methods that learn on."""
    return tuple(entry.name for entry in methods if hasattr(entry.method, "grow"))


def _method(bundle: Bundle) -> tuple[Any, dict[str, Any]]:
    contents = bundle.contents
    entry = methods[contents.method]
    if not hasattr(entry.method, "grow"):
        raise UsageError(
            f"{contents.method} does not learn on",
            expected="a bundle of " + ", ".join(teachable()),
            remedy="Train anew on old and new parts together",
        )
    if not contents.teaching:
        raise BundleError(
            f"{bundle.path} holds no teaching state",
            expected="a bundle that was trained with it",
            remedy="Train anew: it was left out (teaching = false), or the bundle is older than teaching",
            code="no_teaching_state",
        )
    values = dict(contents.settings)
    return entry.method(build(entry.method.Config, values, where=entry.name)), values


def _backbone(bundle: Bundle, settings: TeachSettings) -> Backbone:
    """Return the very backbone of the bundle. Raises ConfigError where another one is found."""
    known = bundle.contents.backbone
    found = resolve(settings.backbone or str(known["name"]), weights_dir=settings.weights_dir)
    if found.card.digest != known["digest"]:
        raise ConfigError(
            f"This backbone is not the one that {bundle.path.name} sees with",
            expected=f"{known['name']}, sha256 {str(known['digest'])[:12]}",
            found=f"{found.card.name}, sha256 {found.card.digest[:12]}",
            remedy="Name it with --backbone, or train anew",
        )
    return found


def _calibrated(
    bundle: Bundle,
    lesson: Lesson,
    settings: TeachSettings,
    session: GraphSession,
    *,
    at: str,
    progress: Progress,
) -> tuple[Calibrated, tuple[str, ...]]:
    """Score the calibration parts by the new graph. Where all parts teach (folds) and none is held out now,
    the ranks from before stay, and the count of parts that were taught since says so."""
    contents = bundle.contents
    old = contents.calibration
    words = f"{len(lesson.added)} photographs taught"
    change = Change(old.version + 1, settings.who, words, at, "by teaching")
    if not lesson.calibrate:
        since = replace(old, taught_since=old.taught_since + len(lesson.added), change=change)
        kept = {
            product: replace(one, taught_since=one.taught_since + len(lesson.added))
            for product, one in contents.calibrations.items()
        }
        return Calibrated(since, kept), ()
    scorer = Scorer(session, contents.preprocess)
    values: list[float] = []
    maxima: list[float] = []
    with progress.stage("Calibrating", len(lesson.calibrate)) as stage:
        for loaded in read_ahead([sample.path for sample in lesson.calibrate], contents.preprocess):
            raw, _ = scorer(loaded.required())
            values.append(raw.score)
            maxima.append(float(raw.map.max()))
            stage.advance()
    wishes = TrainSettings(product=contents.product, alpha=old.alpha, review_alpha=old.review_alpha)
    made = calibrations(
        Scored(lesson.calibrate, values, maxima), wishes, split_digest=split_digest(lesson.manifest)
    )
    made = replace(made, calibration=replace(made.calibration, change=change))
    return made, _remarks(old, made.calibration)


def _remarks(old: Calibration, new: Calibration) -> tuple[str, ...]:
    remarks = []
    if old.limit_ng is not None or old.limit_review is not None:
        remarks.append(
            f"The limits that were moved ({old.limit_reason}) are by rank again: the scale is another."
        )
    if old.mode is CalibrationMode.FOLDS and new.mode is CalibrationMode.SPLIT:
        remarks.append(f"From now on {new.parts} held-out parts calibrate, no longer folds.")
    return tuple(remarks)


def _scene(old: Scene, added: Sequence[Sample], contents: Contents) -> Scene:
    preprocess = contents.preprocess
    looks = [
        look_of(loaded.required().pixels, preprocess.area)
        for loaded in read_ahead([sample.path for sample in added], preprocess)
    ]
    new = Scene.of(looks)
    return Scene(
        darkest=min(old.darkest, new.darkest),
        brightest=max(old.brightest, new.brightest),
        flattest=min(old.flattest, new.flattest),
        images=old.images + new.images,
    )


def _golden(old: Golden, session: GraphSession) -> Golden:
    outputs = session.run(old.pixels, old.content_xyxy)
    return replace(old, score=float(outputs["score"][0]), peak=float(outputs["map"][0].max()))


def _environment(
    contents: Contents, lesson: Lesson, seconds: Mapping[str, float], *, at: str
) -> dict[str, Any]:
    """Return what is known of how the bundle was made, with this teaching among the earlier ones."""
    known = dict(contents.environment)
    entry = {
        "at": at,
        "photographs": len(lesson.added),
        "calibrate": len(lesson.calibrate),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }
    return known | {"versions": environment.versions(), "taught": [*known.get("taught", []), entry]}


def _counts(contents: Contents, lesson: Lesson) -> dict[str, int]:
    counts = dict(contents.counts)
    counts["fit"] = counts.get("fit", 0) + len(lesson.added)
    if lesson.calibrate:
        counts["calibrate"] = len(lesson.calibrate)
    return counts


def _explained(
    contents: Contents, lesson: Lesson, session: GraphSession, method: Any, *, progress: Progress
) -> Contents:
    """Return the contents with what explanations, risks and drift rest on, measured by the new graph."""
    preprocess = contents.preprocess
    references = contents.references
    if references is not None and not getattr(method, "keeps_features", True):
        references = pick_references(
            (*lesson.fit_at_hand, *lesson.added),
            session,
            preprocess,
            megabytes=len(references.to_bytes()) / 1e6,
            seed=int(contents.environment.get("seed", 0)),
            progress=progress,
        )
    known = Known(session, preprocess, session.classes, read_head(session, contents.golden), references)
    good, role = (lesson.calibrate, Role.CALIBRATE) if lesson.calibrate else (lesson.added, Role.FIT)
    bands = limits_from(Scorer(session, preprocess), contents.calibration, lesson.select, progress=progress)
    return replace(
        contents,
        references=references,
        explain_limits=explain_limits(
            known, Shows(good, (), role), alpha=contents.calibration.alpha, progress=progress
        ),
        risk_limits=bands,
        scenery=scenery_from(lesson.calibrate, preprocess, role=role, progress=progress)
        if lesson.calibrate
        else contents.scenery,
    )
