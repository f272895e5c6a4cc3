"""Limits moved by hand, by cost or by another wished rate: a new version of a bundle's calibration.

The graph stays as it is. Limits are chosen by the good parts that calibrated, and by parts that people have
judged since and that were not taught. TEST is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flawscope.core.errors import DataError, LeakError, UsageError
from flawscope.core.progress import Progress, Silent
from flawscope.core.scores import ScoreSet
from flawscope.core.types import Calibration, Change, Role, Sample
from flawscope.data.digests import with_digests
from flawscope.data.leaks import Seen
from flawscope.decision.calibration import thresholds
from flawscope.decision.costs import choose_by_cost
from flawscope.decision.moving import Place, Turned, place, placed, turned, with_limits, with_rates
from flawscope.flows.card import card
from flawscope.flows.data import ALL, gather
from flawscope.flows.evaluate import roles_by_path
from flawscope.runtime.bundle import Bundle, seal
from flawscope.runtime.inspector import Inspector, calibration_of

HAND, COST, RATE, RANK = "by hand", "by cost", "by rate", "by rank"


@dataclass(frozen=True)
class Move:
    """Where limits go, who says so and why: to places (scores), wished rates, costs, or back to the ranks."""

    who: str
    why: str
    ng: float | None = None
    review: float | None = None
    alpha: float | None = None  # wished shares of good parts, 0 to 1
    review_alpha: float | None = None
    cost_escape: float = 0.0  # with cost_overkill: the NG limit goes where these cost least
    cost_overkill: float = 0.0
    bad_share: float | None = None  # of the parts on the line, 0 to 1
    by_rank: bool = False  # take back what was moved
    product: str = ""  # whose limits, where the bundle has some of its own for it

    @property
    def how(self) -> str:
        """The one way in which the limits are moved. Raises UsageError for none, and for several at once."""
        ways = {
            HAND: self.ng is not None or self.review is not None,
            COST: self.cost_escape > 0 or self.cost_overkill > 0,
            RATE: self.alpha is not None or self.review_alpha is not None,
            RANK: self.by_rank,
        }
        chosen = [way for way, wanted in ways.items() if wanted]
        if len(chosen) != 1:
            raise UsageError(
                "Limits are moved in one way at a time",
                expected="limits, or both costs, or rates, or back to the ranks",
                found=", ".join(chosen) or "none of them",
            )
        return chosen[0]


@dataclass(frozen=True)
class Reviewed:
    """A part that people have judged, with the score that the bundle in question gave it."""

    id: str
    sha256: str
    label: str  # good, or the defect's name
    score: float
    peak: float = 0.0  # of its map
    part: str = ""
    product: str = ""


@dataclass(frozen=True, eq=False)
class Relimited:
    """A bundle with moved limits, and what the move does."""

    bundle: Bundle
    before: Place
    after: Place
    turned: tuple[Turned, ...]  # reviewed parts that change sides
    words: str  # of a choice by cost
    warnings: tuple[str, ...] = ()


def relimit(bundle: Bundle, move: Move, out: Path, *, at: str, reviewed: ScoreSet | None = None) -> Relimited:
    """Write `out`: the bundle with its limits moved, naming the old one as its parent; `at` is the time (ISO
    8601, UTC). Raises UsageError for a move without who or why or that means nothing, LeakError for reviewed
    parts that serve for TEST, DataError where a cost finds no reviewed good or bad parts."""
    if out.resolve() == bundle.path.resolve():
        raise UsageError(
            f"{out} is the bundle that is moved", remedy="Give the new version a name of its own"
        )
    contents = bundle.contents
    old = calibration_of(bundle, move.product)
    new, words = moved(old, move, at=at, reviewed=reviewed)
    warnings = []
    if move.product in contents.calibrations:
        changed = replace(contents, calibrations={**contents.calibrations, move.product: new})
    else:
        changed = replace(contents, calibration=new)
        if contents.calibrations:
            names = ", ".join(sorted(contents.calibrations))
            warnings.append(f"{names} keep limits of their own: move them by --product.")
    changed = replace(changed, parent=bundle.id, created=at)
    changed = replace(changed, card=card(changed))
    sealed = seal(out, changed)
    was, now = thresholds(old), thresholds(new)
    return Relimited(
        bundle=sealed,
        before=place(old, was, reviewed),
        after=place(new, now, reviewed),
        turned=() if reviewed is None else turned(was, now, reviewed),
        words=words,
        warnings=tuple(warnings),
    )


def moved(
    calibration: Calibration, move: Move, *, at: str, reviewed: ScoreSet | None = None
) -> tuple[Calibration, str]:
    """Return the next version of a calibration, and what a choice by cost means in words. Raises as
    `relimit` does."""
    for name, text in (("who moves them", move.who), ("why", move.why)):
        if not text.strip():
            raise UsageError(f"Moved limits name {name}", expected="a few words", found="none")
    how = move.how
    change = Change(calibration.version + 1, move.who.strip(), move.why.strip(), at, how)
    if how == COST:
        if reviewed is None or not (move.cost_escape > 0 and move.cost_overkill > 0):
            raise DataError(
                "A limit by cost needs both costs and reviewed parts",
                expected="good and bad parts that people have judged and that were not taught",
                remedy="Give --cost-escape, --cost-overkill and --reviewed",
            )
        choice = choose_by_cost(
            reviewed,
            cost_escape=move.cost_escape,
            cost_overkill=move.cost_overkill,
            bad_share=move.bad_share,
        )
        limits = placed(calibration, ng=choice.limit, review=None)
        return with_limits(calibration, limits, change), choice.words
    if how == HAND:
        limits = placed(calibration, ng=move.ng, review=move.review)
        return with_limits(calibration, limits, change), ""
    alpha = calibration.alpha if move.alpha is None else move.alpha
    review_alpha = calibration.review_alpha if move.review_alpha is None else move.review_alpha
    if move.alpha is not None and move.review_alpha is None:
        review_alpha = max(alpha, review_alpha)
    return with_rates(calibration, alpha=alpha, review_alpha=review_alpha, change=change), ""


def score_set(
    reviewed: Sequence[Reviewed], seen: Seen, *, tested: Collection[str] = ()
) -> tuple[ScoreSet | None, tuple[str, ...]]:
    """Return reviewed parts as what limits may be chosen by, and remarks: those that the bundle was taught or
    calibrated with say nothing new and are left out. Raises LeakError for one whose digest is among
    `tested`."""
    for one in reviewed:
        if one.sha256 in tested:
            raise _tested(one.id)
    known = frozenset().union(*seen.sha256.values())
    fresh = [one for one in reviewed if one.sha256 not in known]
    left = len(reviewed) - len(fresh)
    remarks = (f"{left} reviewed parts were taught or calibrated with, and are left out.",) if left else ()
    if not fresh:
        return None, remarks
    samples = [
        Sample(one.id, one.id, one.label, one.sha256, one.product, part=one.part, role=Role.SELECT)
        for one in fresh
    ]
    scores, peaks = [one.score for one in fresh], [one.peak for one in fresh]
    return ScoreSet.of(samples, scores, maxima=peaks, role=Role.SELECT), remarks


def judge_reviewed(
    inspector: Inspector,
    data: Path,
    *,
    layout: str = "",
    group_by: str = "",
    progress: Progress | None = None,
) -> tuple[ScoreSet | None, tuple[str, ...]]:
    """Score labelled photographs that people have judged, by the line's own inspector; remarks name what was
    left out. Raises LeakError where the data, or the manifest beside the bundle, call one of them TEST."""
    progress = progress or Silent()
    bundle = inspector.bundle
    product = inspector.product or (ALL if bundle.contents.product == ALL else "")
    dataset = gather(data, layout=layout, group_by=group_by, product=product)
    labelled = [sample for sample in dataset.samples if sample.label is not None]
    roles = roles_by_path(bundle, None)
    for sample in labelled:
        if roles.get(Path(sample.path).resolve(), sample.role) is Role.TEST:
            raise _tested(sample.id)
    samples = with_digests(labelled, progress=progress)
    found: list[Reviewed] = []
    broken = 0
    with progress.stage("Judging", len(samples)) as stage:
        inspections = inspector.inspect([sample.path for sample in samples])
        for sample, one in zip(samples, inspections, strict=True):
            stage.advance()
            if one.score is None or one.map is None:
                broken += 1
                continue
            label, peak = str(sample.label), float(one.map.max())
            found.append(
                Reviewed(sample.id, sample.sha256, label, one.score, peak, sample.part, sample.product)
            )
    scored, remarks = score_set(found, bundle.contents.seen)
    return scored, (*remarks, *([f"{broken} photographs could not be judged."] if broken else []))


def now_at(bundle: Bundle, *, product: str = "", reviewed: ScoreSet | None = None) -> Place:
    """Say what a bundle's limits do as they are. Raises UsageError for a product without limits."""
    calibration = calibration_of(bundle, product)
    return place(calibration, thresholds(calibration), reviewed)


def _tested(name: str) -> LeakError:
    return LeakError(
        f"{name} serves for TEST",
        expected="parts that people have judged on the line",
        found="a test part, which would make the next test look better than the line will be",
        remedy="Move limits by other parts, and test afterwards",
    )
