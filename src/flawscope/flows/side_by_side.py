"""Two bundles on the same photographs: where they disagree, and what the second does better on TEST.

`side_by_side` needs no labels (the line's parts, a shadow's). `before_after` measures both on test parts that
neither has seen: each defect newly caught or newly missed counts, since the parts are the same. An exact sign
test (McNemar's) says whether the changes are more than chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flawscope.core.errors import UsageError
from flawscope.core.progress import Progress, Silent
from flawscope.core.types import Inspection, Json, Judged, Metric, Report, Sample, Verdict
from flawscope.data.leaks import refuse_seen
from flawscope.flows.evaluate import EvaluateSettings, test_samples, tested
from flawscope.metrics.intervals import RESAMPLES, percentile_interval, resampling_counts
from flawscope.runtime.inspector import Inspector

NOT_JUDGED = "NOT JUDGED"
_GRAVITY = {Verdict.OK.value: 0, Verdict.REVIEW.value: 1, NOT_JUDGED: 2, Verdict.NG.value: 3}


@dataclass(frozen=True, eq=False)
class Pair:
    """One photograph as two bundles judge it; maps are left out."""

    path: str
    before: Inspection
    after: Inspection
    label: str | None = None
    sample_id: str = ""

    @property
    def verdicts(self) -> tuple[str, str]:
        """Both verdicts in words."""
        return _word(self.before), _word(self.after)

    @property
    def differ(self) -> bool:
        """Whether the verdicts are not the same."""
        first, second = self.verdicts
        return first != second

    def to_json(self) -> Json:
        """Return both inspections with what is known of the photograph."""
        return {
            "path": self.path,
            "id": self.sample_id or self.path,
            "label": self.label,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
        }


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Two bundles on the same photographs."""

    before_id: str
    after_id: str
    pairs: tuple[Pair, ...]  # in the order in which they came

    @property
    def table(self) -> dict[str, dict[str, int]]:
        """How often which verdict became which."""
        counts = Counter(pair.verdicts for pair in self.pairs)
        names = [name for name in _GRAVITY if any(name in verdicts for verdicts in counts)]
        return {first: {second: counts[first, second] for second in names} for first in names}

    def disagreements(self) -> tuple[Pair, ...]:
        """Return the photographs with two verdicts: those farthest apart first, then the surest."""

        def order(pair: Pair) -> tuple[float, float]:
            first, second = (_GRAVITY[word] for word in pair.verdicts)
            ranks = [one.p_value for one in (pair.before, pair.after) if one.p_value is not None]
            return -abs(first - second), min(ranks, default=0.0)

        return tuple(sorted((pair for pair in self.pairs if pair.differ), key=order))

    def to_json(self) -> Json:
        """Return counts and disagreements."""
        return {
            "before": self.before_id,
            "after": self.after_id,
            "images": len(self.pairs),
            "table": self.table,
            "disagreements": [pair.to_json() for pair in self.disagreements()],
        }


@dataclass(frozen=True)
class Changes:
    """What the second bundle does otherwise on parts of one kind, counted in photographs."""

    images: int
    better: int  # good: no longer NG; bad: newly caught (not OK any more)
    worse: int
    p: float  # two-sided, of as many changes of each sort or more; 1 where nothing changed

    def to_json(self) -> Json:
        """Return everything as JSON."""
        return {"images": self.images, "better": self.better, "worse": self.worse, "p": self.p}


@dataclass(frozen=True, eq=False)
class BeforeAfter:
    """Two bundles on the same test parts, which neither has seen."""

    before: Report
    after: Report
    auroc_gain: Metric  # after less before, with the interval of a paired bootstrap
    good: Changes
    bad: Changes
    compared: SideBySide
    words: tuple[str, ...]  # what changes, for people, most important first

    def to_json(self) -> Json:
        """Return everything but the reports' samples as JSON."""
        shown: Mapping[str, Json] = {
            name: {
                "bundle_id": report.bundle_id,
                "metrics": {
                    group: {key: metric.to_json() for key, metric in metrics.items()}
                    for group, metrics in report.metrics.items()
                },
                "confusion": {label: dict(row) for label, row in report.confusion.items()},
            }
            for name, report in (("before", self.before), ("after", self.after))
        }
        return {
            **shown,
            "auroc_gain": self.auroc_gain.to_json(),
            "good": self.good.to_json(),
            "bad": self.bad.to_json(),
            "table": self.compared.table,
            "disagreements": [pair.to_json() for pair in self.compared.disagreements()],
            "words": list(self.words),
        }


def side_by_side(
    before: Inspector,
    after: Inspector,
    paths: Sequence[str],
    *,
    samples: Sequence[Sample] = (),
    progress: Progress | None = None,
) -> SideBySide:
    """Judge photographs by two bundles, one photograph at a time in memory. `samples`, where given, are those
    of `paths` in the same order, and lend labels and names. Raises UsageError where their numbers differ."""
    if samples and len(samples) != len(paths):
        raise UsageError(
            "Photographs and samples differ in number", expected=str(len(paths)), found=str(len(samples))
        )
    progress = progress or Silent()
    pairs = []
    with progress.stage("Judging twice", len(paths)) as stage:
        both = zip(before.inspect(paths), after.inspect(paths), strict=True)
        for i, (first, second) in enumerate(both):
            sample = samples[i] if samples else None
            pairs.append(_pair(paths[i], first, second, sample))
            stage.advance()
    return SideBySide(before.bundle.id, after.bundle.id, tuple(pairs))


def before_after(
    before: Inspector,
    after: Inspector,
    settings: EvaluateSettings,
    *,
    progress: Progress | None = None,
) -> BeforeAfter:
    """Measure two bundles on the test part of a data set, chosen as `evaluate` chooses it for the first.
    Raises LeakError where either has seen a test image, part or group."""
    progress = progress or Silent()
    samples = test_samples(before.bundle, settings, progress=progress)
    refuse_seen(samples, after.bundle.contents.seen)
    first = tested(before, samples, settings, progress=progress)
    second = tested(after, samples, settings, progress=progress)
    pairs = tuple(
        _pair(one.sample.path, one.inspection, other.inspection, one.sample)
        for one, other in zip(first.judged, second.judged, strict=True)
    )
    compared = SideBySide(before.bundle.id, after.bundle.id, pairs)
    good, bad = (
        _changes(first.judged, second.judged, bad=False),
        _changes(first.judged, second.judged, bad=True),
    )
    gain = _auroc_gain(first, second)
    return BeforeAfter(first, second, gain, good, bad, compared, _words(good, bad, gain))


def _pair(path: str, first: Inspection, second: Inspection, sample: Sample | None) -> Pair:
    return Pair(
        path,
        replace(first, map=None),
        replace(second, map=None),
        None if sample is None else sample.label,
        "" if sample is None else sample.id,
    )


def _word(inspection: Inspection) -> str:
    return NOT_JUDGED if inspection.verdict is None else inspection.verdict.value


def _changes(first: Sequence[Judged], second: Sequence[Judged], *, bad: bool) -> Changes:
    """Count photographs of one kind that the second judges right and the first wrong, and the other way. A
    good part is wrong when called NG, a bad one when called OK; what is not judged is neither."""
    wrong = Verdict.OK if bad else Verdict.NG
    images = better = worse = 0
    for one, other in zip(first, second, strict=True):
        if not (one.sample.is_bad if bad else one.sample.is_good):
            continue
        images += 1
        was, now = one.inspection.verdict is wrong, other.inspection.verdict is wrong
        better += was and not now
        worse += now and not was
    return Changes(images, better, worse, _sign_test(better, worse))


def _sign_test(better: int, worse: int) -> float:
    if better + worse == 0:
        return 1.0
    from scipy.stats import binomtest  # slow to load

    return float(binomtest(better, better + worse).pvalue)


def _auroc_gain(first: Report, second: Report) -> Metric:
    """Return the difference of the AUROCs with the interval of a bootstrap over parts in pairs."""
    rows = [
        (one.sample.is_bad, one.inspection.score, other.inspection.score)
        for one, other in zip(first.judged, second.judged, strict=True)
        if one.sample.label is not None
        and one.inspection.score is not None
        and other.inspection.score is not None
    ]
    is_bad = np.array([bad for bad, _, _ in rows], np.bool_)
    if not is_bad.any() or is_bad.all():
        return Metric(None, n=len(rows), reason="it needs good and bad test parts")
    scores = np.array([[before, after] for _, before, after in rows], np.float64)
    wins = [
        _wins(scores[is_bad, column], scores[~is_bad, column]) for column in (0, 1)
    ]  # (bad, good), 1 where the bad one scores higher
    difference = wins[1] - wins[0]
    counts = resampling_counts(is_bad, resamples=RESAMPLES)
    of_bad, of_good = counts[:, is_bad], counts[:, ~is_bad]
    resampled = np.einsum("rb,bg,rg->r", of_bad, difference, of_good, optimize=True) / difference.size
    value = float(difference.mean())
    interval = percentile_interval(resampled, value)
    low, high = (None, None) if interval is None else interval
    return Metric(value, low, high, len(rows))


def _wins(bad: np.ndarray, good: np.ndarray) -> np.ndarray:
    above = (bad[:, None] > good[None]).astype(np.float64)
    return np.asarray(above + 0.5 * (bad[:, None] == good[None]))


def _words(good: Changes, bad: Changes, gain: Metric) -> tuple[str, ...]:
    lines = []
    for kind, changes, better, worse in (
        ("bad", bad, "caught that was missed", "missed that was caught"),
        ("good", good, "no longer called NG", "newly called NG"),
    ):
        if not changes.images:
            lines.append(f"No {kind} test part: nothing is known about them.")
            continue
        chance = "" if changes.better + changes.worse == 0 or changes.p <= 0.05 else ", which may be chance"
        lines.append(
            f"Of {changes.images} {kind} test photographs {changes.better} {better}, {changes.worse} "
            f"{worse}{chance}."
        )
    if gain.value is not None and gain.low is not None and gain.high is not None:
        lines.append(
            f"AUROC {gain.value:+.3f} (95 % interval {gain.low:+.3f} to {gain.high:+.3f}, {gain.n} "
            "photographs)."
        )
    return tuple(lines)
