"""Training: photographs to a sealed bundle, calibrated by good parts that were not taught."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flawscope.core.config import as_values
from flawscope.core.errors import DataError, PromiseError, UsageError
from flawscope.core.progress import Progress, Silent
from flawscope.core.scores import ScoreSet
from flawscope.core.types import (
    CalibrationMode,
    Preprocess,
    Promise,
    Role,
    Sample,
)
from flawscope.data.leaks import Seen
from flawscope.data.manifest import write_manifest
from flawscope.data.splits import folds
from flawscope.decision.calibration import promise
from flawscope.decision.costs import choose_by_cost
from flawscope.flows import environment
from flawscope.flows.card import card
from flawscope.flows.data import Prepared
from flawscope.flows.drift import scenery_from
from flawscope.flows.explain_limits import Shows, explain_limits
from flawscope.flows.lesson import Tools, apart_from, lesson
from flawscope.flows.limits import Calibrated, Scored, calibrations, with_cost
from flawscope.flows.references import pick_references
from flawscope.flows.risk_limits import limits_from
from flawscope.flows.settings import TrainSettings
from flawscope.imaging.preprocess import iter_canvases
from flawscope.methods.contract import CHECKPOINTS, FitContext, FitData, Workshop
from flawscope.methods.teaching import to_bytes
from flawscope.runtime.bundle import SUFFIX, Bundle, Contents, Golden, seal
from flawscope.runtime.explain.contract import Known, read_head
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.scene import Scene, look_of
from flawscope.runtime.scorer import Scorer
from flawscope.runtime.session import LEARNT_KEY, GraphSession

BUNDLE_NAME = f"model{SUFFIX}"
MANIFEST_NAME = "manifest.jsonl"
_ENOUGH_GROUPS = 20  # lots, cameras or days behind a calibration, from which on no warning is given


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training run leaves."""

    bundle: Bundle
    promise: Promise
    prepared: Prepared
    seconds: Mapping[str, float]  # teach, calibrate, explain, total
    warnings: tuple[str, ...]
    choice_words: str = ""  # of a limit chosen by cost


@dataclass(frozen=True, eq=False)
class _Run:
    """What every step of one training run shares."""

    settings: TrainSettings
    prepared: Prepared
    context: FitContext
    method: Any
    progress: Progress
    bad: tuple[Sample, ...] = ()  # of FIT; what supervised methods are taught beside good parts

    def fit(self, samples: tuple[Sample, ...]) -> GraphSession:
        """Teach the method these good samples and open the graph that the line will open."""
        return GraphSession(self.graph(samples), threads=self.context.threads)

    def graph(self, samples: tuple[Sample, ...]) -> bytes:
        """Teach the method these good samples, and all bad ones of FIT, and return the graph's bytes."""
        data = FitData((*samples, *self.bad), self.prepared.of(Role.SELECT))
        model = self.method.fit(data, self.context)
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def learnt(self, samples: tuple[Sample, ...]) -> tuple[bytes, bytes]:
        """Do as `graph` does, and return also what further parts are taught with; empty where the method
        keeps nothing, or the settings leave it out."""
        learn = getattr(self.method, "learn", None)
        if learn is None or not self.settings.teaching:
            return self.graph(samples), b""
        learnt = learn(FitData(samples, self.prepared.of(Role.SELECT)), self.context)
        return learnt.model.SerializeToString(deterministic=True), to_bytes(learnt.state)


def train(
    settings: TrainSettings,
    out: Path,
    *,
    weights_dir: Path | None = None,
    threads: int = 0,
    workshop: Workshop | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Teach a method, calibrate it and write `out/model.flaw` and `out/manifest.jsonl`.

    `threads` 0 takes as many as onnxruntime chooses. `workshop` says what networks are trained on; its folder
    is `out`, where checkpoints stand until the bundle is written, so that a run that was killed goes on where
    it stopped. Raises DataError, LeakError, ConfigError or MissingExtraError, each with the remedy; no bundle
    is written before everything has succeeded.
    """
    progress = progress or Silent()
    start = time.perf_counter()
    _refuse_file(out)
    tools = Tools(weights_dir, threads, replace(workshop or Workshop(), folder=out))
    given = lesson(settings, tools, progress=progress)
    prepared, context, taught, bad = given.prepared, given.context, given.taught, given.bad
    backbone, preprocess = context.backbone, context.preprocess
    run = _Run(settings, prepared, context, given.method, progress, bad)
    graph, kept_state = run.learnt(taught)
    session = GraphSession(graph, threads=threads)
    teaching = time.perf_counter()
    calibrated = _calibrate(run, taught, session)
    scorer = Scorer(session, preprocess)
    bands = limits_from(scorer, calibrated.calibration, prepared.of(Role.SELECT), progress=progress)
    ended = time.perf_counter()
    golden, scene = _golden((*taught, *bad), preprocess, session)
    references = pick_references(
        taught,
        session,
        preprocess,
        megabytes=settings.references,
        seed=settings.seed,
        progress=progress,
    )
    known = Known(session, preprocess, session.classes, read_head(session, golden), references)
    shows = _shows(prepared, taught, bad)
    limits = explain_limits(known, shows, alpha=settings.alpha, progress=progress)
    explained = time.perf_counter()
    seconds = {
        "teach": teaching - start,
        "calibrate": ended - teaching,
        "explain": explained - ended,
        "total": time.perf_counter() - start,
    }
    contents = Contents(
        name=settings.name or _name_of(settings.data),
        product=settings.product,
        method=settings.method,
        settings=as_values(given.config),
        backbone=backbone.card.to_json(),
        preprocess=preprocess,
        graph=graph,
        calibration=calibrated.calibration,
        seen=Seen.of(prepared.split.samples),
        scene=scene,
        golden=golden,
        card="",
        min_area_px=settings.min_area,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        environment={
            "versions": environment.versions(),
            "machine": environment.machine(),
            "seed": settings.seed,
            "group_by": settings.group_by,
            "seconds": {name: round(value, 2) for name, value in seconds.items()},
            **({"learnt": json.loads(learnt)} if (learnt := session.metadata.get(LEARNT_KEY)) else {}),
        },
        counts={role.value: len(prepared.of(role)) for role in Role},
        classes=session.classes,
        calibrations=calibrated.by_product,
        risk_limits=bands,
        references=references,
        explain_limits=limits,
        scenery=scenery_from(shows.good, preprocess, role=shows.role, progress=progress),
        teaching=kept_state,
    )
    contents = replace(contents, card=card(contents))
    bundle = seal(out / BUNDLE_NAME, contents)
    write_manifest(out / MANIFEST_NAME, prepared.split.samples)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    warnings = (*prepared.warnings, *_few_groups(prepared), *calibrated.warnings)
    kept = promise(calibrated.calibration)
    return Trained(bundle, kept, prepared, seconds, warnings, calibrated.choice_words)


def _shows(prepared: Prepared, taught: tuple[Sample, ...], bad: tuple[Sample, ...]) -> Shows:
    """Return the photographs that limits of explanations rest on: those that calibrate where there are any,
    and bad ones that were not taught where there are any."""
    held_out = tuple(sample for sample in prepared.of(Role.CALIBRATE) if sample.is_good)
    select = tuple(sample for sample in prepared.of(Role.SELECT) if sample.is_bad)
    return Shows(held_out or taught, select or bad, Role.CALIBRATE if held_out else Role.FIT)


def _refuse_file(out: Path) -> None:
    """Raise UsageError where no folder can stand: said now, and not after an hour of teaching."""
    for place in (out, *out.absolute().parents):
        if place.is_dir():
            return
        if place.exists():
            raise UsageError(
                f"Nothing can be written into {out}", expected="a folder", found=f"{place} is a file"
            )


def _name_of(data: Path) -> str:
    """Return what to call a bundle: the folder's name, also where a list or manifest inside it was given."""
    place = data.absolute()
    return place.parent.name if place.is_file() else place.name


def _few_groups(prepared: Prepared) -> tuple[str, ...]:
    """Warn where the parts that calibrate come from few lots: parts of one lot resemble each other."""
    parts = [s for s in prepared.of(Role.CALIBRATE) or prepared.of(Role.FIT) if s.is_good]
    groups = {sample.group for sample in parts if sample.group}
    if not 0 < len(groups) < _ENOUGH_GROUPS:
        return ()
    return (
        f"The parts that calibrate come from {len(groups)} groups. Ranks take parts as independent; a new "
        "group may bring more false alarms than stated.",
    )


def _calibrate(run: _Run, taught: tuple[Sample, ...], session: GraphSession) -> Calibrated:
    """Score good parts that were not taught; return the calibrations and, for a limit by cost, what it
    means."""
    settings = run.settings
    held_out = tuple(sample for sample in run.prepared.of(Role.CALIBRATE) if sample.is_good)
    if held_out and settings.calibrate == CalibrationMode.FOLDS:
        raise UsageError(
            "The manifest holds parts out to calibrate with, which folds would leave unused",
            found=f"{len(held_out)} photographs with the role CALIBRATE",
            remedy="Calibrate by split, or give them the role FIT",
        )
    if held_out:
        values, maxima = _scores(run, held_out, Scorer(session, run.context.preprocess), "Calibrating")
        good = Scored(held_out, values, maxima)
    elif settings.calibrate == CalibrationMode.SPLIT:
        raise PromiseError(
            "No good part is held out to calibrate by split",
            expected="good parts of more than one part or group, or CALIBRATE in the manifest",
            found=f"{len(taught)} photographs that all teach",
            remedy="Add good parts, or calibrate by folds",
        )
    else:
        good = _by_folds(run, taught)
    digest = run.prepared.split.digest
    if not settings.cost_escape:
        return calibrations(good, settings, split_digest=digest)
    select = run.prepared.of(Role.SELECT)
    if not any(sample.is_bad for sample in select):
        raise DataError(
            "A limit by cost needs labelled defects outside the test part",
            found=f"{len(select)} images in SELECT, none of them a defect",
            remedy="Add some, or leave --cost-escape and --cost-overkill out",
        )
    values, maxima = _scores(run, select, Scorer(session, run.context.preprocess), "Weighing costs")
    choice = choose_by_cost(
        ScoreSet.of(select, values, maxima=maxima, role=Role.SELECT),
        cost_escape=settings.cost_escape,
        cost_overkill=settings.cost_overkill,
        bad_share=settings.bad_share or None,
    )
    return with_cost(calibrations(good, settings, split_digest=digest), choice)


def _by_folds(run: _Run, taught: tuple[Sample, ...]) -> Scored:
    """Score every part by a model that was taught the others."""
    rounds = folds(taught, run.settings.folds, run.settings.seed)
    if len(rounds) < 2:
        raise DataError(
            "One part alone cannot calibrate",
            expected="photographs of at least two good parts",
            found=f"{len(taught)} photographs of one part or group",
            remedy="Add good parts; twenty are a start",
        )
    samples: list[Sample] = []
    values: list[float] = []
    maxima: list[float] = []
    with run.progress.stage(f"Calibrating by {len(rounds)} folds", len(taught)) as stage:
        for members in rounds:
            left_out = set(members)
            rest = tuple(sample for i, sample in enumerate(taught) if i not in left_out)
            held_out = tuple(taught[i] for i in members)
            quiet = replace(
                run,
                progress=Silent(),
                context=replace(run.context, progress=Silent()),
                bad=_taught_beside(held_out, run.bad),
            )
            scorer = Scorer(quiet.fit(rest), run.context.preprocess)
            found = _scores(quiet, held_out, scorer, "")
            samples.extend(held_out)
            values.extend(found[0])
            maxima.extend(found[1])
            stage.advance(len(members))
    return Scored(tuple(samples), values, maxima, out_of_fold=True)


def _taught_beside(held_out: tuple[Sample, ...], bad: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Return the bad samples that share neither part nor group with those held out. Raises DataError where
    none is left: such parts cannot be judged by models that have not seen them."""
    rest = apart_from(held_out, bad)
    if bad and not rest:
        raise DataError(
            "Calibrating by folds leaves no defect to teach with",
            found="every defect shares a part or group with good parts of one fold",
            remedy="Calibrate by split",
        )
    return rest


def _scores(
    run: _Run, samples: tuple[Sample, ...], scorer: Scorer, name: str
) -> tuple[list[float], list[float]]:
    """Return scores and map maxima by the line's own code."""
    values: list[float] = []
    maxima: list[float] = []
    with run.progress.stage(name, len(samples)) as stage:
        for loaded in read_ahead([sample.path for sample in samples], scorer.preprocess):
            raw, _ = scorer(loaded.required())
            values.append(raw.score)
            maxima.append(float(raw.map.max()))
            stage.advance()
    return values, maxima


def _golden(
    taught: tuple[Sample, ...], preprocess: Preprocess, session: GraphSession
) -> tuple[Golden, Scene]:
    """Return the first taught canvas with the graph's answer, and how bright and rich in contrast the taught
    are."""
    looks = []
    golden = None
    for loaded in read_ahead([sample.path for sample in taught], preprocess):
        image = loaded.required()
        looks.append(look_of(image.pixels, preprocess.area))
        if golden is None:
            canvases = next(iter_canvases(image, preprocess, batch=1))
            pixels, content = canvases.pixels, canvases.content_xyxy
            outputs = session.run(pixels, content)
            golden = Golden(pixels, content, float(outputs["score"][0]), float(outputs["map"][0].max()))
    assert golden is not None
    return golden, Scene.of(looks)
