"""Changes of a scene in words: light, colour, focus, position, layout; and what is defects, not drift."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flawscope.core.types import Json
from flawscope.decision.calibration import percent

SCORE, ODD = "score", "odd"
KINDS: Mapping[str, str] = {
    "agreement": "layout",
    "right": "position",
    "down": "position",
    "light": "light",
    "red": "colour",
    "blue": "colour",
    "sharpness": "focus",
    SCORE: "score",
    ODD: "odd",
}
_SCENE_SHARE = 0.3  # of the odd parts, from which on they are not taken for defects
_ORDER = list(KINDS)  # another layout shifts light and colour too, so it is named first


@dataclass(frozen=True)
class Effect:
    """How far a measure lies from the calibration's median: logarithms for light, colour and sharpness,
    shares of a side for places, a correlation for the layout."""

    measure: str
    change: float
    open: bool  # whether that is worth an alarm

    @property
    def kind(self) -> str:
        """light, colour, focus, position or layout."""
        return KINDS[self.measure]

    @property
    def order(self) -> int:
        """The place in which it is told."""
        return _ORDER.index(self.measure)

    @property
    def words(self) -> str:
        """The change for people."""
        return in_words(self.measure, self.change)

    def to_json(self) -> Json:
        """Return everything as JSON."""
        return {
            "measure": self.measure,
            "kind": self.kind,
            "change": self.change,
            "words": self.words,
            "open": self.open,
        }


@dataclass(frozen=True)
class Alarm:
    """A change: `first` is the part at which it was noticed, `since` the part from which on it is estimated
    to be there, `last` the latest at which it was noticed again."""

    measure: str
    first: int
    since: int
    last: int
    change: float | None
    over: bool = False

    @property
    def kind(self) -> str:
        """light, colour, focus, position, layout, score or odd. Odd parts are no drift."""
        return KINDS[self.measure]

    @property
    def is_drift(self) -> bool:
        """Whether the scene or the ordinary parts have changed; many odd parts alone are defects."""
        return self.measure != ODD

    @property
    def words(self) -> str:
        """The alarm for people."""
        return f"{in_words(self.measure, self.change)}, since about part {self.since}"

    def to_json(self) -> Json:
        """Return everything as JSON."""
        return {
            "measure": self.measure,
            "kind": self.kind,
            "drift": self.is_drift,
            "first": self.first,
            "since": self.since,
            "last": self.last,
            "change": self.change,
            "over": self.over,
            "words": self.words,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Alarm:
        """Read what `to_json` wrote."""
        change = values["change"]
        return cls(
            str(values["measure"]),
            int(values["first"]),
            int(values["since"]),
            int(values["last"]),
            None if change is None else float(change),
            bool(values["over"]),
        )


def in_words(measure: str, change: float | None) -> str:
    """Say what a change of a measure means."""
    if measure == SCORE:
        if change is None:
            return "Ordinary parts look otherwise than before"
        return f"Ordinary parts look {'more' if change > 0 else 'less'} odd than before"
    if measure == ODD or change is None:
        return "Many odd parts"
    share = percent(abs(math.expm1(change)))
    if measure == "light":
        return f"Light {share} {'brighter' if change > 0 else 'darker'}"
    if measure in ("red", "blue"):
        return f"Colour: {share} {'more' if change > 0 else 'less'} {measure} against green"
    if measure == "sharpness":
        return f"Focus: {share} {'more' if change > 0 else 'less'} fine detail"
    if measure == "right":
        return f"Position: {percent(abs(change))} of the width to the {'right' if change > 0 else 'left'}"
    if measure == "down":
        return f"Position: {percent(abs(change))} of the height {'down' if change > 0 else 'up'}"
    return f"Layout: agrees {percent(abs(change))} less with the calibration's"


def scene_kinds(unlike: Sequence[Sequence[str]], *, odd: int) -> list[str]:
    """Return in what odd parts differ from all that calibrated, where so many of them do that they are not
    taken for defects: light, colour, focus, position, layout."""
    if not unlike or len(unlike) < _SCENE_SHARE * odd:
        return []
    return [kind for kind in dict.fromkeys(KINDS.values()) if any(kind in one for one in unlike)]


def sentence_of(
    alarms: Sequence[Alarm],
    effects: Sequence[Effect],
    *,
    parts: int,
    needed: int,
    odd: int,
    recent: int,
    odd_rate: float,
    unlike: Sequence[Sequence[str]] = (),
) -> str:
    """Say in one sentence what has changed: the scene, the ordinary parts, or no more than defects. `unlike`
    says of odd parts in what they differ from all that calibrated, where they do."""
    scene = sorted(
        (alarm for alarm in alarms if alarm.measure not in (SCORE, ODD)),
        key=lambda alarm: _ORDER.index(alarm.measure),
    )
    moved = any(alarm.measure == SCORE for alarm in alarms)
    many = any(alarm.measure == ODD for alarm in alarms)
    shares = f"{odd} of the last {recent} parts are odd, {percent(odd_rate)} would be usual at most"
    if scene:
        words = "; ".join(dict.fromkeys(alarm.words for alarm in scene))
        follows = "; the scores have moved with it" if moved or many else ""
        return f"{words}{follows}."
    watched = ", nor has light, colour, focus or position" if effects else ""
    if moved:
        alarm = next(alarm for alarm in alarms if alarm.measure == SCORE)
        unchanged = (
            " Light, colour, focus and position have not changed: look at the parts themselves."
            if effects
            else ""
        )
        return f"{alarm.words}.{unchanged}"
    if many:
        if kinds := scene_kinds(unlike, odd=odd):
            return f"{shares}; {len(unlike)} of them differ in {', '.join(kinds)} from all that calibrated."
        if recent and odd >= 0.9 * recent:
            return f"{shares}: too few ordinary ones to tell defects from a change."
        return f"{shares}; the ordinary ones have not changed{watched}: defects, not drift."
    if not parts:
        return "Nothing was seen yet."
    if needed:
        return f"Learning what is usual: {needed} more ordinary parts are needed."
    return f"No change in {parts} parts."
