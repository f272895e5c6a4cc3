"""Drift: has what comes along the line changed since the calibration? One sequential test a measure.

Each measure of a part (its score, its light, ...) is ranked among those of the calibration and of all parts
since; ties are broken at random (smoothed conformal p-values, Vovk, Gammerman and Shafer 2005), so that for
unchanged parts the ranks are independent and uniform, whatever the measure's distribution and however few
parts calibrated. Against that bet several densities; their Shiryaev-Roberts statistics (Pollak 1987; for
conformal martingales Vovk et al. 2021) grow by one a part on average while nothing changes. So an alarm at
`charts * run_length` comes falsely once in `run_length` parts on average at most, over all charts together;
within N parts with a probability of at most N / run_length. After an alarm a chart starts again from nothing.

A defect raises the score of one part far above the REVIEW limit and leaves ordinary parts as they are. The
score's chart therefore looks at ordinary parts alone (below the limit that ranks give), and at none while
many around them are odd, for up to 300 parts: a burst of defects is no drift, weak ones among them included.
Whether parts are odd says nothing of the ranks of the ordinary ones, so that these stay uniform. Odd parts
are counted apart. Light, colour, focus and position are measured so that a flaw hardly touches them. While a
change lasts, a chart learns nothing from it.
"""

from __future__ import annotations

import bisect
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flawscope.core.errors import DataError
from flawscope.core.types import Array, Calibration, CalibrationMode, Json
from flawscope.decision.calibration import false_alarm_bound, thresholds
from flawscope.decision.drift_words import KINDS, ODD, SCORE, Alarm, Effect, scene_kinds, sentence_of

RUN_LENGTH = 400_000  # parts between false alarms on average, at least
VERSION = 1
LOOKS = ("light", "red", "blue", "sharpness", "right", "down", "agreement")
# what a change must come to before it is worth an alarm, in the measure's own unit
LEAST: Mapping[str, float] = {
    "light": 0.03,  # of a logarithm: about 3 %
    "red": 0.02,
    "blue": 0.02,
    "sharpness": 0.10,
    "right": 0.01,  # of a side
    "down": 0.01,
    "agreement": 0.05,  # of a correlation
}
FEWEST = 8  # values of the calibration, below which a measure is not watched
_FAR = 6.0  # robust deviations beyond which a single photograph is unlike all that calibrated
_BINS = 64
_BEYOND = 2.0 ** np.arange(-2, 7)  # of the calibration's range: bins for what lies outside it
_LEARNING = 100  # parts from which a chart learns what is usual where no calibration tells
_RECENT = 120  # values kept to say how large a change is
_LATELY = 100  # parts that the sentence counts
_QUIET = 300  # parts without another alarm after which a change counts as over
_QUIET_SCORE = 1000  # the same for scores, which tell more slowly
_LOW = 20.0  # of the statistic: where it was last below, the change began
_ODD_BETS = (0.4, 0.7, 0.95)  # shares of odd parts that are bet on
_AROUND = 20  # latest parts that tell whether many are odd
_MANY = 0.35  # of them
_BURST = 300  # parts after which many odd ones are no burst any more
_TILTS = (-0.9, -0.5, 0.5, 0.9)
_POWERS = (0.25, 0.5)


@dataclass
class Chart:
    """The running test of one measure."""

    name: str
    edges: list[float]  # between bins of values, rising
    counts: list[float]  # parts by bin: the calibration's and those since
    centre: float | None  # the calibration's median; None: learnt from the first parts
    learning: int  # parts still to be learnt from
    bets: list[float]  # Shiryaev-Roberts statistic of each density
    parts: int = 0
    began: int = 0  # the part after which the statistic was last low
    recent: list[float] | None = None
    spread: float = 0.0  # of the calibration's values, robust

    def is_unlike(self, value: float) -> bool:
        """Whether one value lies outside all that the calibration showed, by more than what matters."""
        if self.centre is None or self.name not in LEAST:
            return False
        return _is_unlike(self.name, value - self.centre, self.spread)

    def push(self, value: float, number: int, tau: float, *, learn: bool) -> float:
        """Take the value of part `number`; return the statistic. With `learn` it counts as usual from now
        on."""
        place = bisect.bisect_right(self.edges, value)
        below, total = sum(self.counts[:place]), sum(self.counts)
        rank = (below + tau * (self.counts[place] + 1)) / (total + 1)
        self.counts[place] += float(learn or self.learning > 0)
        self.parts += 1
        self.recent = [*(self.recent or [])[1 - _RECENT :], value]
        if self.learning:
            self.learning -= 1
            if not self.learning and self.centre is None:
                self.centre = float(np.median(self.recent))
            return 0.0
        return self._bet(densities(rank), number)

    def bet_share(self, odd: bool, rate: float, number: int) -> float:
        """Take whether part `number` is odd, where at most the share `rate` should be; return the
        statistic."""
        self.parts += 1
        shares = [max(share, min(0.98, 2 * rate)) for share in _ODD_BETS]
        gains = [share / rate if odd else (1 - share) / (1 - rate) for share in shares]
        return self._bet(gains, number)

    def restart(self) -> None:
        """Start the test again; what is usual stays known."""
        self.bets = [0.0] * len(self.bets)

    def effect(self, since: int, number: int) -> float | None:
        """Return the median of the values from part `since` on less the centre; None where either is not
        known."""
        if self.centre is None or not self.recent:
            return None
        values = self.recent[-max(1, min(number - since, len(self.recent))) :]
        return float(np.median(values)) - self.centre

    def _bet(self, gains: Sequence[float], number: int) -> float:
        if sum(self.bets) < _LOW * len(self.bets):
            self.began = number - 1
        self.bets = [min((1.0 + r) * g, 1e100) for r, g in zip(self.bets, gains, strict=True)]
        return sum(self.bets) / len(self.bets)

    def to_json(self) -> Json:
        """Return the chart as JSON."""
        return {
            "name": self.name,
            "edges": self.edges,
            "counts": self.counts,
            "centre": self.centre,
            "learning": self.learning,
            "bets": self.bets,
            "parts": self.parts,
            "began": self.began,
            "recent": self.recent or [],
            "spread": self.spread,
        }


def densities(rank: float) -> list[float]:
    """Return the densities on 0..1 that are bet on, at one rank: tilts, and pile-ups at either end and at
    both."""
    rank = min(max(rank, 1e-12), 1 - 1e-12)
    tilted = [1 + tilt * (2 * rank - 1) for tilt in _TILTS]
    piled = [power * side ** (power - 1) for power in _POWERS for side in (rank, 1 - rank)]
    return [*tilted, *piled, 1 / (math.pi * math.sqrt(rank * (1 - rank)))]


def tie_breaks(seed: int, number: int) -> list[float]:
    """Return eight numbers from 0 to 1 that depend on the seed and the part's number alone."""
    drawn = hashlib.blake2b(f"{seed}\x1fdrift\x1f{number}".encode(), digest_size=64).digest()
    return [int.from_bytes(drawn[i : i + 8], "little") / 2**64 for i in range(0, 64, 8)]


class Watch:
    """Watches one bundle's line. Its state is JSON, so that a station can keep it; not safe to share between
    threads."""

    def __init__(
        self,
        charts: dict[str, Chart],
        *,
        limit: float,
        odd_rate: float,
        run_length: int = RUN_LENGTH,
        seed: int = 0,
    ) -> None:
        self._charts = charts
        self.limit = limit
        self.odd_rate = odd_rate
        self.run_length = run_length
        self.seed = seed
        self.parts = 0
        self.alarms: list[Alarm] = []
        self._odd: list[bool] = []
        self._burst = 0  # parts that many odd ones have been around for
        self._unlike: list[str] = []  # in what each of the latest parts differs from all that calibrated

    @classmethod
    def of(
        cls,
        calibration: Calibration,
        looks: Mapping[str, Array],
        *,
        run_length: int = RUN_LENGTH,
        seed: int = 0,
    ) -> Watch:
        """Begin to watch: `looks` are the calibration's measures by name, float (n,), as many of LOOKS as
        there are. By folds the calibration's scores come from other models; the score's chart then learns
        what is usual from the first parts."""
        by_rank = replace(calibration, limit_ng=None, limit_review=None)
        limit = thresholds(by_rank).review
        assert limit is not None
        calm = calibration.scores[calibration.scores < limit]
        told = calibration.mode is CalibrationMode.SPLIT and not calibration.taught_since
        charts = {SCORE: _chart(SCORE, calm if len(calm) else calibration.scores, told=told)}
        rate = min(0.5, false_alarm_bound(calibration.parts, calibration.review_alpha) or 0.5)
        charts[ODD] = Chart(ODD, [], [0.0], None, 0, [0.0] * len(_ODD_BETS))
        for name in LOOKS:
            known = np.asarray(looks.get(name, ()), np.float64)
            known = known[np.isfinite(known)]
            if len(known) >= FEWEST:
                charts[name] = _chart(name, known, told=True)
        return cls(charts, limit=limit, odd_rate=max(rate, 0.02), run_length=run_length, seed=seed)

    @property
    def level(self) -> float:
        """The statistic at which a chart raises an alarm."""
        return float(self.run_length * len(self._charts))

    def add(self, score: float | None, looks: Mapping[str, float] | None = None) -> tuple[Alarm, ...]:
        """Take one part's score and measures (None, absent or not finite where not known); return the alarms
        that it raises for the first time."""
        self.parts += 1
        taus = tie_breaks(self.seed, self.parts)
        raised: list[Alarm] = []
        differs = {
            KINDS[name]
            for name, value in (looks or {}).items()
            if name in self._charts and self._charts[name].is_unlike(value)
        }
        if score is not None and math.isfinite(score):
            odd = score >= self.limit
            self._unlike = [*self._unlike[1 - _RECENT :], " ".join(sorted(differs)) if odd else ""]
            self._odd = [*self._odd[1 - _RECENT :], odd]
            statistic = self._charts[ODD].bet_share(odd, self.odd_rate, self.parts)
            raised += self._raised(ODD, statistic)
            burst = self._in_burst()
            if not odd and not burst:
                raised += self._pushed(SCORE, score, taus[-1])
        for i, name in enumerate(LOOKS):
            value = (looks or {}).get(name)
            if name in self._charts and value is not None and math.isfinite(value):
                raised += self._pushed(name, value, taus[i])
        return tuple(raised)

    def effects(self) -> tuple[Effect, ...]:
        """Return how far the latest parts' measures lie from the calibration's, a measure each: what a page
        draws."""
        found = []
        for name in LOOKS:
            chart = self._charts.get(name)
            change = None if chart is None else chart.effect(self.parts - _RECENT // 2, self.parts)
            if change is not None:
                found.append(Effect(name, change, self._open(name) is not None))
        return tuple(found)

    def open_alarms(self) -> tuple[Alarm, ...]:
        """Return the alarms whose change is not over yet."""
        return tuple(alarm for alarm in self.alarms if self._open(alarm.measure) is alarm)

    def odd_scene(self) -> list[str]:
        """Return in what the latest odd parts differ from all that calibrated (light, colour, focus,
        position, layout), where so many do that they are not taken for defects."""
        return scene_kinds(self._unlike_lately(), odd=sum(self._odd[-_LATELY:]))

    def _unlike_lately(self) -> list[list[str]]:
        return [kinds.split() for kinds in self._unlike[-_LATELY:] if kinds]

    def sentence(self) -> str:
        """Say in one sentence what has changed, and whether that is the scene or defects."""
        recent = self._odd[-_LATELY:]
        return sentence_of(
            self.open_alarms(),
            self.effects(),
            parts=self.parts,
            needed=max(self._charts[SCORE].learning, 0),
            odd=sum(recent),
            recent=len(recent),
            odd_rate=self.odd_rate,
            unlike=self._unlike_lately(),
        )

    def accept(self, measure: str) -> None:
        """Take what a measure shows now as usual: its chart learns from the next parts. For a change that was
        meant (another lamp, a new fixture). Raises DataError for a measure that is not watched."""
        chart = self._charts.get(measure)
        if chart is None or measure == ODD:
            raise DataError(f"{measure!r} is not learnt", expected="one of " + ", ".join(self._charts))
        spread = chart.recent or [0.0]
        fresh = _chart(measure, np.asarray(spread, np.float64), told=False)
        self._charts[measure] = replace(fresh, parts=chart.parts)
        self.alarms = [
            replace(alarm, over=True) if alarm.measure == measure else alarm for alarm in self.alarms
        ]

    def _in_burst(self) -> bool:
        """Whether many of the latest parts are odd, and have not been so for long."""
        around = self._odd[-_AROUND:]
        many = sum(around) > max(_MANY, min(0.9, 1.5 * self.odd_rate)) * _AROUND
        self._burst = self._burst + 1 if many else 0
        return 0 < self._burst <= _BURST

    def _pushed(self, name: str, value: float, tau: float) -> list[Alarm]:
        learn = self._open(name) is None
        return self._raised(name, self._charts[name].push(value, self.parts, tau, learn=learn))

    def _raised(self, name: str, statistic: float) -> list[Alarm]:
        if statistic < self.level:
            return []
        chart = self._charts[name]
        since = chart.began
        change = chart.effect(since, self.parts)
        chart.restart()
        if name in LEAST and (change is None or abs(change) < LEAST[name]):
            return []  # measurable, and too little to matter
        if name == "agreement" and change is not None and change > 0:
            return []  # more alike than the calibration is no change of layout
        going_on = self._open(name)
        if going_on is not None:
            self.alarms[self.alarms.index(going_on)] = replace(going_on, last=self.parts, change=change)
            return []
        alarm = Alarm(name, first=self.parts, since=since + 1, last=self.parts, change=change)
        self.alarms.append(alarm)
        return [alarm]

    def _open(self, name: str) -> Alarm | None:
        for alarm in reversed(self.alarms):
            if alarm.measure == name:
                quiet = _QUIET_SCORE if name == SCORE else _QUIET
                return None if alarm.over or self.parts - alarm.last > quiet else alarm
        return None

    def to_json(self) -> Json:
        """Return the whole state as JSON."""
        return {
            "version": VERSION,
            "limit": self.limit,
            "odd_rate": self.odd_rate,
            "run_length": self.run_length,
            "seed": self.seed,
            "parts": self.parts,
            "odd": self._odd,
            "unlike": self._unlike,
            "burst": self._burst,
            "charts": [chart.to_json() for chart in self._charts.values()],
            "alarms": [alarm.to_json() for alarm in self.alarms],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Watch:
        """Read what `to_json` wrote. Raises DataError for another version or a state that does not fit."""
        if values.get("version") != VERSION:
            raise DataError(
                "The state of the watch is of another version",
                expected=f"version {VERSION}",
                found=repr(values.get("version")),
                remedy="Begin anew without it",
            )
        try:
            charts = {str(one["name"]): Chart(**one) for one in values["charts"]}
            watch = cls(
                charts,
                limit=float(values["limit"]),
                odd_rate=float(values["odd_rate"]),
                run_length=int(values["run_length"]),
                seed=int(values["seed"]),
            )
            watch.parts = int(values["parts"])
            watch._odd = [bool(one) for one in values["odd"]]
            watch._burst = int(values["burst"])
            watch._unlike = [str(one) for one in values["unlike"]]
            watch.alarms = [Alarm.from_json(one) for one in values["alarms"]]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError("The state of the watch does not fit", found=str(error)) from error
        return watch


def unlike(looks: Mapping[str, float], usual: Mapping[str, Array]) -> tuple[Effect, ...]:
    """Return in what one photograph lies outside all that the calibration showed, by more than what matters:
    six robust deviations from the median and LEAST. So a lamp that failed is not taken for a flaw."""
    found = []
    for name in LOOKS:
        value, known = looks.get(name), np.asarray(usual.get(name, ()), np.float64)
        known = known[np.isfinite(known)]
        if value is None or not math.isfinite(value) or len(known) < FEWEST:
            continue
        change = value - float(np.median(known))
        if _is_unlike(name, change, _spread(known)):
            found.append(Effect(name, change, True))
    return tuple(found)


def _is_unlike(name: str, change: float, spread: float) -> bool:
    if name == "agreement" and change > 0:  # more alike than usual is no other layout
        return False
    return abs(change) > max(LEAST[name], _FAR * spread)


def _spread(values: Array) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _chart(name: str, known: Array, *, told: bool) -> Chart:
    """Return a chart with bins by the quantiles of values; `told` says that these are what is usual."""
    quantiles = np.quantile(known, np.linspace(0, 1, _BINS + 1))
    reach = max(float(quantiles[-1] - quantiles[0]), 1e-9) * _BEYOND
    edges = np.unique(np.concatenate([quantiles[0] - reach, quantiles, quantiles[-1] + reach]))
    counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
    return Chart(
        name=name,
        edges=edges.tolist(),
        counts=counts.astype(float).tolist() if told else [0.0] * (len(edges) + 1),
        centre=float(np.median(known)) if told else None,
        learning=0 if told else _LEARNING,
        bets=[0.0] * len(densities(0.5)),
        spread=_spread(known) if told else 0.0,
    )
