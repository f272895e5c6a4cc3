"""Settings of a station that may change while it runs; each with its bounds, changed in the audit log."""

from __future__ import annotations

import zoneinfo
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sqlalchemy import delete, insert, select

from flawscope.core.errors import ConfigError
from flawscope.core.registry import did_you_mean
from flawscope.core.types import Json
from flawscope.store.audit import AuditLog
from flawscope.store.clock import Clock
from flawscope.store.database import Database
from flawscope.store.tables import settings

_YEARS = 36_500  # days


@dataclass(frozen=True)
class Options:
    """A station's settings."""

    theme: str = "light"  # light, dark
    language: str = "en"  # en, ko, de
    zone: str = "UTC"  # IANA name; days, shifts and lots are shown in it
    sample_rate: float = 0.02  # share of passed parts drawn for later calibrations
    review_needed: int = 1  # people who settle a part
    known_share: float = 0.0  # of what a person judges in Review: settled parts, shown again blind; 0: none
    keep_ok_days: int = 90  # images of OK parts; 0: for ever
    keep_review_days: int = 365
    keep_ng_days: int = 365
    keep_not_judged_days: int = 30
    keep_free_gb: float = 2.0  # below this much free disk the oldest OK images go early; 0: never
    shortcuts: bool = True  # one-key shortcuts
    sound: bool = False
    cost_false_alarm: float = 1.0  # of calling a good part NG, in any unit
    cost_missed: float = 10.0  # of calling a bad part OK, in the same

    def to_json(self) -> Json:
        """Return every setting as JSON."""
        return asdict(self)


_CHOICES: dict[str, tuple[str, ...]] = {"theme": ("light", "dark"), "language": ("en", "ko", "de")}
_BOUNDS: dict[str, tuple[float, float]] = {
    "sample_rate": (0.0, 1.0),
    "review_needed": (1, 3),
    "known_share": (0.0, 0.5),
    "keep_ok_days": (0, _YEARS),
    "keep_review_days": (0, _YEARS),
    "keep_ng_days": (0, _YEARS),
    "keep_not_judged_days": (0, _YEARS),
    "keep_free_gb": (0.0, 1e6),
    "cost_false_alarm": (0.0, 1e12),
    "cost_missed": (0.0, 1e12),
}


class OptionStore:
    """Reads and changes the settings of one store."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    def get(self) -> Options:
        """Return the settings; what was never set, or no longer fits, has its default."""
        with self._database.reading() as connection:
            rows = connection.execute(select(settings.c.key, settings.c.value)).all()
        known = {one.name for one in fields(Options)}
        options = Options()
        for key, value in rows:
            if key in known:
                try:
                    options = replace(options, **{key: checked(key, value)})
                except ConfigError:
                    continue
        return options

    def set(self, values: Json, *, who: str) -> Options:
        """Change settings, all or none. Raises ConfigError for an unknown one (with the nearest name) or a
        value that does not fit."""
        before = self.get().to_json()
        changed = {key: checked(key, value) for key, value in values.items()}
        changed = {key: value for key, value in changed.items() if value != before[key]}
        if changed:
            with self._database.writing() as connection:
                connection.execute(delete(settings).where(settings.c.key.in_(list(changed))))
                rows = [
                    {"key": key, "value": value, "at_us": self._clock(), "person": who}
                    for key, value in changed.items()
                ]
                connection.execute(insert(settings), rows)
                told = {key: [before[key], value] for key, value in changed.items()}
                self._audit.add_within(connection, who, "settings.change", detail=told)
        return self.get()


def checked(key: str, value: Any) -> Any:
    """Return a setting's value in its own type. Raises ConfigError."""
    defaults = Options().to_json()
    if key not in defaults:
        raise ConfigError(f"There is no setting {key[:40]!r}", remedy=did_you_mean(key, list(defaults)))
    kind = type(defaults[key])
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise _does_not_fit(key, kind.__name__, value)
    if key in _CHOICES and value not in _CHOICES[key]:
        raise _does_not_fit(key, "one of " + ", ".join(_CHOICES[key]), value)
    if key in _BOUNDS:
        low, high = _BOUNDS[key]
        if not low <= value <= high:
            raise _does_not_fit(key, f"{low:g} to {high:g}", value)
    if key == "zone" and value not in zoneinfo.available_timezones():
        raise _does_not_fit(key, "a time zone such as Europe/Berlin", value)
    return value


def _does_not_fit(key: str, expected: str, value: Any) -> ConfigError:
    return ConfigError(f"The setting {key} does not fit", expected=expected, found=repr(value)[:60])
