"""Watching a line for drift: photographs, or records of inspections, against a bundle's calibration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flawscope.core.errors import DataError, ImageError
from flawscope.core.progress import Progress
from flawscope.core.types import Inspection, Json, Preprocess, Role, Sample
from flawscope.decision.drift import RUN_LENGTH, Watch, unlike
from flawscope.decision.drift_words import Alarm, Effect
from flawscope.methods.features import evenly
from flawscope.runtime.bundle import Bundle
from flawscope.runtime.inspector import Inspector, calibration_of
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.scenery import Scenery, scenery_of, small_look

_MOST = 200  # photographs that tell what the scene usually looks like


@dataclass(frozen=True, eq=False)
class Watched:
    """One part that the watch has taken, and what it made of it."""

    name: str
    score: float | None
    looks: Mapping[str, float]
    unlike: tuple[Effect, ...]  # in what this one photograph lies outside all that calibrated
    alarms: tuple[Alarm, ...]  # that it raised
    inspection: Inspection | None = None  # maps left out; None for a record


def scenery_from(
    samples: Sequence[Sample], preprocess: Preprocess, *, role: Role, progress: Progress
) -> Scenery | None:
    """Measure how good photographs look, for drift to be measured against: at most 200 of them, evenly
    spread; None for fewer than eight. Raises ImageError for one that cannot be read."""
    chosen = [samples[i] for i in evenly(len(samples), most=_MOST)]
    looks = []
    with progress.stage("Measuring the scene", len(chosen)) as stage:
        for loaded in read_ahead([sample.path for sample in chosen], preprocess):
            looks.append(small_look(loaded.required()))
            stage.advance()
    return scenery_of(looks, role=role.value)


def begin(bundle: Bundle, *, product: str = "", run_length: int = RUN_LENGTH, seed: int = 0) -> Watch:
    """Return a fresh watch over a bundle's line; `run_length` is how many parts pass between two false alarms
    on average, at least. Raises UsageError for a product that the bundle has no limits for."""
    scenery = bundle.contents.scenery
    looks = {} if scenery is None else scenery.by_name
    return Watch.of(calibration_of(bundle, product), looks, run_length=run_length, seed=seed)


def resume(bundle: Bundle, state: Path, *, product: str = "", run_length: int = RUN_LENGTH) -> Watch:
    """Return the watch that a state file keeps, or a fresh one where there is no file yet. Raises DataError
    for a state of another bundle, or one that cannot be read."""
    if not state.exists():
        return begin(bundle, product=product, run_length=run_length)
    try:
        values = json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"The state {state} cannot be read", found=str(error)) from error
    if not isinstance(values, dict) or values.get("bundle_id") != bundle.id:
        raise DataError(
            f"{state} watches another bundle",
            expected=bundle.id,
            found=str(values.get("bundle_id")) if isinstance(values, dict) else "no object",
            remedy="Give each bundle a state of its own",
        )
    return Watch.from_json(values["watch"])


def state_of(bundle: Bundle, watch: Watch) -> Json:
    """Return what `resume` reads, as JSON."""
    return {"bundle_id": bundle.id, "watch": watch.to_json()}


def looks_of(bundle: Bundle, image: Any) -> dict[str, float]:
    """Return how a photograph (an Image) looks, as the bundle's scene is measured; empty for a bundle without
    one."""
    scenery = bundle.contents.scenery
    return {} if scenery is None else scenery.measure(image)


def watch_paths(inspector: Inspector, watch: Watch, paths: Sequence[str]) -> Iterator[Watched]:
    """Judge photographs in order and take each into the watch. What cannot be judged is passed over: it has
    no score, and its inspection says why."""
    contents = inspector.bundle.contents
    usual = {} if contents.scenery is None else contents.scenery.by_name
    for loaded in read_ahead(paths, contents.preprocess):
        looks: dict[str, float] = {}
        if loaded.image is None:
            inspection = inspector(Path(loaded.path))
        else:
            inspection = inspector(loaded.image)
            try:
                looks = looks_of(inspector.bundle, loaded.image)
            except ImageError:
                looks = {}
        taken = inspection.score is not None or bool(looks)
        alarms = watch.add(inspection.score, looks) if taken else ()
        yield Watched(loaded.path, inspection.score, looks, unlike(looks, usual), alarms, inspection)


def watch_records(bundle: Bundle, watch: Watch, path: Path) -> Iterator[Watched]:
    """Take records of inspections (JSON lines, as `inspect --json` writes them) into the watch, in order. A
    record may hold `looks`, the measures by name. Raises DataError for a line that is none, and for one of
    another bundle."""
    scenery = bundle.contents.scenery
    usual = {} if scenery is None else scenery.by_name
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            record = _record(line, f"{path}, line {number}")
            if record.get("bundle_id") not in (None, bundle.id):
                raise DataError(
                    f"{path}, line {number} comes from another bundle",
                    expected=bundle.id,
                    found=str(record["bundle_id"]),
                    remedy="Watch each bundle's records by themselves",
                )
            score, looks = record.get("score"), record.get("looks") or {}
            alarms = watch.add(score, looks) if score is not None or looks else ()
            yield Watched(str(record.get("path", number)), score, looks, unlike(looks, usual), alarms)


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where} is no JSON", found=str(error)) from None
    looks = record.get("looks") if isinstance(record, dict) else None
    numbers = [record.get("score")] if isinstance(record, dict) else ["none"]
    numbers += list(looks.values()) if isinstance(looks, dict) else []
    fits = all(number is None or isinstance(number, int | float) for number in numbers)
    if not isinstance(record, dict) or not fits or not isinstance(looks, dict | None):
        raise DataError(
            f"{where} does not fit", expected="an inspection, as inspect --json writes it", found=line[:80]
        )
    return record
