"""Explanations measured, not admired: every explainer on test photographs that the bundle has not seen."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import cv2
import numpy as np

from flawscope.core.errors import DataError
from flawscope.core.files import write_text
from flawscope.core.progress import Progress, Silent
from flawscope.core.types import Array, Image, Json, Metric, Sample
from flawscope.flows.evaluate import EvaluateSettings, test_samples
from flawscope.flows.explain import ExplainSettings
from flawscope.flows.masks import OneByOne, PackedMask, map_at, refuse_misfits
from flawscope.flows.stand_in import StandIn, stand_in
from flawscope.methods.features import evenly
from flawscope.metrics import explanations, localisation
from flawscope.report import format as fmt
from flawscope.report.metric_words import EXPLANATION
from flawscope.report.table import csv_text
from flawscope.runtime.explain import Explaining, Known, explainers
from flawscope.runtime.inspector import Inspector
from flawscope.runtime.reading import read_ahead

_DELETED = 100  # bad photographs on which pixels are removed and put in
_CALM = 0.5  # what stands in for removed pixels says nothing where its own answer is above
_BATCH = 9  # changed photographs scored together
LOWER_IS_BETTER = frozenset({"deletion"})


@dataclass(frozen=True, eq=False)
class Measured:
    """A table explainer x metric, and which is best here."""

    bundle_id: str
    method: str
    rows: Mapping[str, Mapping[str, Metric]]  # by explainer; the metrics of report/metric_words.EXPLANATION
    tested: int
    instead: str = ""  # what stood in for removed pixels, in words
    best: str = ""  # empty where nothing could be measured
    why: str = ""
    warnings: tuple[str, ...] = field(default_factory=tuple)

    def to_json(self) -> Json:
        """Return the table as JSON."""
        return {
            "bundle_id": self.bundle_id,
            "method": self.method,
            "tested": self.tested,
            "explainers": {
                name: {metric: value.to_json() for metric, value in row.items()}
                for name, row in self.rows.items()
            },
            "stand_in": self.instead,
            "best": self.best,
            "why": self.why,
            "warnings": list(self.warnings),
        }


def measure(
    inspector: Inspector,
    settings: EvaluateSettings,
    asked: ExplainSettings,
    *,
    progress: Progress | None = None,
) -> Measured:
    """Measure explainers (those asked for, or all that the bundle can serve but audits) on the test part.

    Raises LeakError where the bundle has seen a test image, DataError where no photograph is bad, UsageError
    for an explainer that the bundle cannot serve.
    """
    progress = progress or Silent()
    names = asked.explainers or measurable(inspector)
    explaining = Explaining(inspector, names, target=asked.target)
    limits = {one.name: explaining.limit(one).value for one in explaining.wanted}
    samples = tuple(s for s in test_samples(inspector.bundle, settings, progress=progress) if s.label)
    refuse_misfits(samples)
    bad = [i for i, sample in enumerate(samples) if sample.is_bad]
    if not bad:
        raise DataError(
            "There is no bad part to explain",
            expected="test photographs labelled with a defect",
            found=f"{len(samples)} labelled photographs, all good",
        )
    deleted = {bad[i] for i in evenly(len(bad), most=_DELETED)}
    with _kept(limits) as kept:
        found = _Found(kept, stand_in(inspector, [s for s in samples if s.is_good]))
        with progress.stage("Measuring explanations", len(samples)) as stage:
            for loaded in read_ahead([sample.path for sample in samples], explaining.known.preprocess):
                if loaded.image is None:
                    found.faults.append(loaded.path)
                else:
                    sample = samples[loaded.index]
                    _look(found, explaining, loaded.image, sample, limits, settings)
                    if loaded.index in deleted:
                        _change(found, inspector, loaded.image)
                stage.advance()
        rows = {name: _row(found, name) for name in limits}
    warnings = [f"{len(found.faults)} photographs could not be read."] if found.faults else []
    if found.unseen:
        warnings.append(
            f"{found.unseen} bad photographs score no higher than usual good ones: they have no deletion or "
            "insertion."
        )
    if found.restless:
        warnings.append(
            f"{found.restless} bad photographs are hardly odder than what stands in for their pixels: they "
            "have no deletion or insertion."
        )
    best, why = choose(rows)
    bundle = inspector.bundle
    return Measured(
        bundle.id, bundle.contents.method, rows, len(samples), found.instead.words, best, why, tuple(warnings)
    )


def measurable(inspector: Inspector) -> tuple[str, ...]:
    """Return the explainers that a bundle can serve and has limits for, audits left out."""
    known = Known.of(inspector.bundle, inspector.scorer.session)
    limits = inspector.bundle.contents.explain_limits
    return tuple(
        name
        for name in known.working()
        if not explainers[name].audit and (name == "anomaly" or name in limits)
    )


class _Maps:
    """Maps of one explainer in a file without a name: thousands of them are not kept in memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._places: list[tuple[int, tuple[int, int]]] = []

    def add(self, heat: Array) -> None:
        """Keep a map float32 (h, w)."""
        self._places.append((self._stream.seek(0, 2), (heat.shape[0], heat.shape[1])))
        self._stream.write(np.ascontiguousarray(heat, np.float32).tobytes())

    def __getitem__(self, index: int) -> Array:
        start, (height, width) = self._places[index]
        self._stream.seek(start)
        content = self._stream.read(4 * height * width)
        return np.frombuffer(content, np.float32).reshape(height, width)


@contextmanager
def _kept(names: Mapping[str, float]) -> Iterator[dict[str, _Maps]]:
    streams = {name: tempfile.TemporaryFile() for name in names}
    try:
        yield {name: _Maps(stream) for name, stream in streams.items()}
    finally:
        for stream in streams.values():
            stream.close()


class _Found:
    """What is gathered photograph by photograph."""

    def __init__(self, maps: dict[str, _Maps], instead: StandIn) -> None:
        self.maps = maps
        self.instead = instead
        self.sizes: list[tuple[int, int]] = []
        self.masks: list[PackedMask] = []
        self.is_bad: list[bool] = []
        self.hits: dict[str, list[bool]] = {name: [] for name in maps}
        self.deletion: dict[str, list[float]] = {name: [] for name in maps}
        self.insertion: dict[str, list[float]] = {name: [] for name in maps}
        self.score = 0.0  # of the photograph at hand
        self.unseen = 0
        self.restless = 0
        self.faults: list[str] = []


def _look(
    found: _Found,
    explaining: Explaining,
    image: Image,
    sample: Sample,
    limits: Mapping[str, float],
    settings: EvaluateSettings,
) -> None:
    """Explain one photograph and keep its maps in limits, its mask, and whether each points at the flaw."""
    mapped = explaining.maps(image)
    packed = PackedMask.of(sample, image.size_hw, above=settings.mask_above)
    mask = packed.mask()
    found.score = mapped.raw.score
    found.sizes.append(image.size_hw)
    found.masks.append(packed)
    found.is_bad.append(sample.is_bad)
    for name, heat in mapped.maps.items():
        scaled = heat / np.float32(limits[name])
        found.maps[name].add(scaled)
        if sample.is_bad and mask is not None and mask.any():
            found.hits[name].append(explanations.points_at_flaw(map_at(scaled, image.size_hw), mask))


def _change(found: _Found, inspector: Inspector, image: Image) -> None:
    """Remove the hottest pixels of the photograph at hand step by step, and put them into what
    stands in for it, by every explainer's map."""
    usual = float(np.median(inspector.calibration.scores))
    if not found.score > usual:
        found.unseen += 1
        return
    number = len(found.sizes) - 1
    instead = found.instead(image.pixels)
    least = inspector.scorer(Image(instead))[0].score
    if float(explanations.answer(np.array([least]), usual=usual, whole=found.score)[0]) > _CALM:
        found.restless += 1
        return
    for name, maps in found.maps.items():
        heat = cv2.resize(maps[number], image.size_hw[::-1], interpolation=cv2.INTER_LINEAR)
        order = explanations.ranked_pixels(np.asarray(heat), seed=number)
        removed = _scores(inspector, image.pixels, instead, order)
        put_in = _scores(inspector, instead, image.pixels, order)
        for kept, scores in ((found.deletion, removed), (found.insertion, put_in)):
            answers = explanations.answer(scores, usual=usual, whole=found.score)
            kept[name].append(explanations.curve_area(answers))


def _scores(inspector: Inspector, base: Array, other: Array, order: Array) -> Array:
    """Return the scores of a picture whose hottest pixels, step by step, are another's."""
    images = []
    for share in explanations.STEPS:
        changed = base.copy().reshape(-1, 3)
        first = order[: max(1, round(share * len(order)))]
        changed[first] = other.reshape(-1, 3)[first]
        images.append(Image(changed.reshape(base.shape)))
    found = []
    for start in range(0, len(images), _BATCH):
        found += [raw.score for raw, _ in inspector.scorer.many(images[start : start + _BATCH])]
    return np.array(found)


def _row(found: _Found, name: str) -> dict[str, Metric]:
    """Return one explainer's metrics."""
    count = len(found.sizes)
    pixels = localisation.collect(
        OneByOne(count, lambda i: map_at(found.maps[name][i], found.sizes[i])),
        OneByOne(count, lambda i: found.masks[i].mask()),
        pixel_threshold=1.0,
        is_bad=found.is_bad,
    )
    reason = "no bad photograph scores above usual good ones and above what stands in for its pixels"
    return {
        "pointing": explanations.pointing_game(found.hits[name]),
        "aupro_30": localisation.aupro(pixels, 0.3),
        "iou": explanations.iou(pixels),
        "dark": explanations.dark(pixels),
        "deletion": explanations.mean(found.deletion[name], reason=reason),
        "insertion": explanations.mean(found.insertion[name], reason=reason),
    }


def choose(rows: Mapping[str, Mapping[str, Metric]]) -> tuple[str, str]:
    """Return the best explainer and why: by AUPRO where flaws are marked, otherwise by insertion less
    deletion."""
    by_masks = {name: row["aupro_30"].value for name, row in rows.items()}
    known = {name: value for name, value in by_masks.items() if value is not None}
    what = "AUPRO"
    if not known:
        what = "insertion less deletion (no flaw is marked)"
        for name, row in rows.items():
            insertion, deletion = row["insertion"].value, row["deletion"].value
            if insertion is not None and deletion is not None:
                known[name] = insertion - deletion
    if not known:
        return "", "Nothing could be measured: no flaw is marked, and no bad part scores above good ones."
    ranked = sorted(known, key=lambda name: (-known[name], name))
    best = ranked[0]
    why = f"{best} is best here by {what}: {fmt.ratio(known[best])}"
    if len(ranked) > 1:
        why += f", next {ranked[1]} {fmt.ratio(known[ranked[1]])}"
        low = rows[best]["aupro_30"].low
        if what == "AUPRO" and low is not None and known[ranked[1]] >= low:
            why += " (within its interval: more bad parts would be needed to tell them apart)"
    return best, why + "."


def table(measured: Measured) -> list[tuple[str, ...]]:
    """Return the table as text cells, head first, best explainers first."""
    rows = [("explainer", *(EXPLANATION[name].title for name in EXPLANATION))]
    for name in in_order(measured):
        cells = []
        for metric, meaning in EXPLANATION.items():
            cells.append(fmt.value(measured.rows[name][metric], meaning.formatter))
        rows.append((name, *cells))
    return rows


def in_order(measured: Measured) -> list[str]:
    """Return the explainers by AUPRO, highest first; those without come last."""

    def key(name: str) -> tuple[float, str]:
        value = measured.rows[name]["aupro_30"].value
        return (-value if value is not None else np.inf), name

    return sorted(measured.rows, key=key)


def write_measured(measured: Measured, out: Path) -> tuple[Path, ...]:
    """Write the table as explainers.csv, explainers.json and explainers.md into a folder."""
    import json

    places = tuple(out / f"explainers.{ending}" for ending in ("csv", "json", "md"))
    lines = [
        (name, metric, value.value, value.low, value.high, value.n, value.reason)
        for name, row in measured.rows.items()
        for metric, value in row.items()
    ]
    head = ("explainer", "metric", "value", "low", "high", "n", "reason")
    write_text(places[0], csv_text(head, lines))
    write_text(places[1], json.dumps(measured.to_json(), indent=2, allow_nan=False) + "\n")
    write_text(places[2], markdown(measured))
    return places


def markdown(measured: Measured) -> str:
    """Return the table as Markdown, with what its columns mean and which explainer is best."""
    rows = [[cell.replace(fmt.NBSP, " ") for cell in row] for row in table(measured)]
    lines = [
        "| " + " | ".join(rows[0]) + " |",
        "|" + "---|" * len(rows[0]),
        *("| " + " | ".join(row) + " |" for row in rows[1:]),
    ]
    meanings = [f"- {one.title}: {one.meaning}" for one in EXPLANATION.values()]
    instead = f"Removed pixels gave way to {measured.instead}."
    return "\n".join([*lines, "", measured.why, "", instead, "", *meanings]) + "\n"
