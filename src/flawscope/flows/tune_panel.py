"""The photographs that settings are judged by: SELECT, topped up where there is too little of it.

Good parts that are lacking are held out of FIT for as long as the tuning lasts; bad ones are drawn on good
photographs, or, for methods that learn from labelled ones, held out of FIT as well. TEST and CALIBRATE are
left alone, so that what is chosen can still be calibrated and tested.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from flawscope.core.errors import DataError
from flawscope.core.registry import Kind
from flawscope.core.rng import derive
from flawscope.core.types import Area, Array, Image, Role, Sample
from flawscope.data.splits import folds
from flawscope.flows.lesson import Lesson, apart_from
from flawscope.flows.supervision import FEWEST_BAD
from flawscope.imaging.foreground import find_foreground
from flawscope.synth.defects import PAINTERS, Wish

FEWEST = 10  # separate parts, good and bad: with fewer, what is chosen is chance
_THIRDS = 3  # of FIT, one of which is held out where SELECT lacks good parts
_DRAWN = 40  # flaws that are drawn where labelled ones lack
_SIZES = (0.0005, 0.02)  # of the product: small ones, so that settings differ
_CONTRAST = (10.0, 60.0)  # grey levels


@dataclass(frozen=True)
class Shown:
    """One photograph to be judged, as it is or with a flaw drawn on it."""

    sample: Sample
    is_bad: bool
    flaw: int | None = None  # the number of the flaw that is drawn


@dataclass(frozen=True, eq=False)
class Panel:
    """Who is taught while tuning, and what the settings are judged by."""

    taught: tuple[Sample, ...]
    bad: tuple[Sample, ...]  # taught beside them
    select: tuple[Sample, ...]
    shown: tuple[Shown, ...]  # every half of them holds good and bad alike
    seed: int
    notes: tuple[str, ...]

    @property
    def is_bad(self) -> Array:
        """Which of `shown` are bad: bool (n,)."""
        return np.array([one.is_bad for one in self.shown], np.bool_)

    @property
    def drawn(self) -> int:
        """How many flaws are drawn."""
        return sum(one.flaw is not None for one in self.shown)


def panel_for(lesson: Lesson, *, seed: int) -> Panel:
    """Choose what settings are judged by. Raises DataError where too few parts are left to teach or to judge
    by."""
    supervised = lesson.entry.kind is Kind.SUPERVISED
    select = lesson.prepared.of(Role.SELECT)
    good = tuple(sample for sample in select if sample.is_good)
    bad = tuple(sample for sample in select if sample.is_bad)
    taught, beside, notes = lesson.taught, lesson.bad, list[str]()
    if _parts(good) < FEWEST or (supervised and _parts(bad) < FEWEST):
        held, taught, beside = _held_out(lesson, seed)
        notes.append(
            f"SELECT holds {_parts(good)} good parts and {_parts(bad)} bad ones, too few to choose by: "
            f"{len(held)} photographs of FIT are held out while tuning. train teaches them again."
        )
        good = (*good, *(sample for sample in held if sample.is_good))
        bad = (*bad, *(sample for sample in held if sample.is_bad))
    shown = [Shown(sample, False) for sample in good] + [Shown(sample, True) for sample in bad]
    if _parts(bad) < FEWEST:
        if supervised:
            raise _too_few_bad(lesson, bad)
        grounds = [good[i % len(good)] for i in range(max(_DRAWN, len(good)))]
        shown += [Shown(sample, True, flaw) for flaw, sample in enumerate(grounds)]
        labelled = "no labelled defect" if not bad else f"labelled defects of {_parts(bad)} parts alone"
        notes.append(
            f"SELECT holds {labelled}: {len(grounds)} flaws drawn on good photographs serve"
            f"{' beside them' if bad else ''}. They tell settings that see small changes from those that do "
            "not; what your defects look like they do not know."
        )
    beside = apart_from((*good, *bad), beside)
    if supervised and _parts(beside) < FEWEST_BAD:
        raise _too_few_bad(lesson, bad)
    return Panel(taught, beside, (*good, *bad), _interleaved(shown, seed), seed, tuple(notes))


def with_flaw(image: Image, flaw: int, *, area: Area | None, seed: int) -> Image:
    """Return a photograph with the flaw of this number drawn on the product, where it is judged."""
    rng = derive(seed, "tune", "flaw", flaw)
    where = find_foreground(image.pixels).mask
    if area is not None:
        size_wh = (image.size_hw[1], image.size_hw[0])
        judged = cv2.resize(area.judged.astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST) > 0
        where = where & judged if (where & judged).any() else judged
    size = float(np.exp(rng.uniform(*np.log(_SIZES)))) * int(where.sum())
    wish = Wish(area_px=max(4.0, size), contrast=float(rng.uniform(*_CONTRAST)), where=where)
    kinds = tuple(PAINTERS)
    marked = PAINTERS[kinds[flaw % len(kinds)]](image.pixels, rng, wish=wish)
    return replace(image, pixels=marked.pixels)


def _held_out(lesson: Lesson, seed: int) -> tuple[tuple[Sample, ...], tuple[Sample, ...], tuple[Sample, ...]]:
    """Return a third of FIT, by part and group, and the good and the bad ones that are left of it."""
    fit = (*lesson.taught, *lesson.bad)
    rounds = folds(fit, _THIRDS, seed)
    if _parts(lesson.taught) < FEWEST or len(rounds) < _THIRDS:
        raise DataError(
            "There are too few good parts to choose settings by",
            expected=f"at least {FEWEST} separate good parts to teach, or as many in SELECT",
            found=f"{_parts(lesson.taught)} good parts in {len(rounds)} separate groups to teach",
            remedy="Keep the defaults until there are more photographs",
        )
    chosen = set(rounds[0])
    left = tuple(sample for i, sample in enumerate(fit) if i not in chosen)
    return (
        tuple(sample for i, sample in enumerate(fit) if i in chosen),
        tuple(sample for sample in left if sample.is_good),
        tuple(sample for sample in left if sample.is_bad),
    )


def _too_few_bad(lesson: Lesson, bad: tuple[Sample, ...]) -> DataError:
    """Return the error of a method that learns from labelled defects, of which there are too few: drawn ones
    would not show how well it knows yours."""
    return DataError(
        f"There are too few labelled defects to choose settings of {lesson.entry.name} by",
        expected=f"defects of {FEWEST} separate parts to judge by, and of {FEWEST_BAD} more to teach",
        found=f"{_parts(bad)} to judge by, {_parts(lesson.bad)} in FIT",
        remedy="Label more, deal anew with resplit=60/40/0, or keep the defaults",
    )


def _parts(samples: tuple[Sample, ...]) -> int:
    return len({sample.part_key for sample in samples})


def _interleaved(shown: list[Shown], seed: int) -> tuple[Shown, ...]:
    """Return them in an order of chance whose halves hold as many good and bad ones, labelled and drawn."""
    order = derive(seed, "tune", "order").permutation(len(shown)).tolist()
    groups: dict[tuple[bool, bool], list[Shown]] = {}
    for i in order:
        groups.setdefault((shown[i].is_bad, shown[i].flaw is None), []).append(shown[i])
    halves: tuple[list[Shown], list[Shown]] = ([], [])
    for group in groups.values():
        for half in (0, 1):
            halves[half].extend(group[half::2])
    return (*halves[0], *halves[1])
