"""Words, numbers and times for people, in the language of the panel: one gettext catalogue, CLDR's formats.

English is what stands in the templates; `words/LANGUAGE.po` has the rest. Catalogues are read as text when
the station opens, so that there is nothing to compile and nothing to forget.
"""

from __future__ import annotations

import gettext
import io
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from importlib import resources
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale, dates, numbers
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LANGUAGES = {"en": "English", "ko": "한국어", "de": "Deutsch"}
THEMES = ("light", "dark")
_SECONDS = (("second", 1.0), ("minute", 60.0), ("hour", 3600.0), ("day", 86400.0))


@dataclass(frozen=True)
class Look:
    """How a panel wants its pages: all of it is kept in cookies of that panel."""

    language: str = "en"
    theme: str = "light"
    keys: bool = True  # one-key shortcuts (WCAG 2.1.4 asks that they can be turned off)

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES or self.theme not in THEMES:
            raise ValueError(f"no such language or theme: {self.language}, {self.theme}")


def read_catalogue(language: str) -> gettext.NullTranslations:
    """Return the words of a language; English needs none."""
    if language == "en":
        return gettext.NullTranslations()
    text = resources.files("flawscope.app").joinpath("words", f"{language}.po").read_bytes()
    compiled = io.BytesIO()
    write_mo(compiled, read_po(io.BytesIO(text), locale=language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def zone_of(name: str) -> tzinfo:
    """Return the time zone of that name (`Europe/Berlin`); UTC for an empty one. Raises ValueError for one
    that nobody knows."""
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"no time zone is called {name!r}") from error


class Words:
    """The words of one language and its way to write numbers and times. Safe from several threads."""

    def __init__(self, language: str, *, zone: tzinfo = UTC) -> None:
        """Take one of LANGUAGES; times are told in `zone`."""
        self.language = language
        self.catalogue = read_catalogue(language)
        self._locale = Locale.parse(language)
        self._zone = zone

    def say(self, message: str) -> str:
        """Return a sentence in this language."""
        return self.catalogue.gettext(message)

    def count(self, number: float, places: int = 0) -> str:
        """Write a number with this language's separators: 1,234 or 1.234."""
        shown = round(float(number), places)
        return str(
            numbers.format_decimal(
                shown, format="#,##0" + ("." + "0" * places if places else ""), locale=self._locale
            )
        )

    def score(self, value: float | None, digits: int = 3) -> str:
        """Write a score with that many significant digits; a dash for none."""
        if value is None:
            return "–"
        if value == 0:
            return "0"
        places = max(0, digits - 1 - _magnitude(value))
        return self.count(value, places=min(places, 8))

    def percent(self, rate: float | None, digits: int = 2) -> str:
        """Write a rate (0 to 1) with that many significant digits, at least one place below 10 %."""
        if rate is None:
            return "–"
        value = 100.0 * rate
        places = 0 if value == 0 or value >= 99.95 else max(0, digits - 1 - _magnitude(value))
        text = self.count(value, places=min(places, 6))
        return f"{text}\u202f%" if self.language != "ko" else f"{text}%"

    def chance(self, rate: float | None) -> tuple[str, str]:
        """Write a probability as `n` times in `of` parts: (2, 1,000), with the smallest of 10, 100, 1,000 ...
        that makes n at least 1."""
        if rate is None or rate <= 0:
            return "0", "1"
        of = 10
        while rate * of < 0.95 and of < 1_000_000:
            of *= 10
        times = rate * of
        places = 1 if times < 9.5 and abs(times - round(times)) >= 0.15 else 0
        if places and of < 1_000_000:  # 1.3 in 10 reads worse than 13 in 100
            of, times, places = of * 10, times * 10, 0
        return self.count(times, places=places), self.count(of)

    def size(self, bytes_: float) -> str:
        """Write bytes as kB, MB or GB."""
        for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if bytes_ >= factor:
                return f"{self.count(bytes_ / factor, places=1 if bytes_ < 10 * factor else 0)} {unit}"
        return f"{self.count(bytes_)} B"

    def milliseconds(self, value: float | None) -> str:
        """Write milliseconds."""
        return "–" if value is None else f"{self.count(value, places=0 if value >= 10 else 1)} ms"

    def seconds(self, value: float | None) -> str:
        """Write a duration in the largest unit that gives at least one: 4 min, 2 h."""
        if value is None:
            return "–"
        unit, factor = next((one for one in reversed(_SECONDS) if value >= one[1]), _SECONDS[0])
        return str(numbers_with_unit(value / factor, unit, self._locale))

    def when(self, moment: datetime | str | None, form: str = "medium") -> str:
        """Write a moment (UTC, or ISO text) as day and time in the station's zone; a dash for none."""
        known = _moment(moment)
        if known is None:
            return "–"
        day = dates.format_date(known.astimezone(self._zone), form, locale=self._locale)
        return f"{day} {self.clock(known)}"

    def clock(self, moment: datetime | str | None) -> str:
        """Write a moment as the time of day in the station's zone, 24 hours, as a shop floor counts them."""
        known = _moment(moment)
        return "–" if known is None else known.astimezone(self._zone).strftime("%H:%M:%S")

    def day(self, moment: datetime | date | str | None) -> str:
        """Write a day in the station's zone."""
        if isinstance(moment, date) and not isinstance(moment, datetime):
            return str(dates.format_date(moment, "medium", locale=self._locale))
        known = _moment(moment)
        if known is None:
            return "–"
        return str(dates.format_date(known.astimezone(self._zone), "medium", locale=self._locale))

    def zone_words(self, moment: datetime) -> str:
        """Write the zone's offset at a moment: GMT+01:00."""
        return str(dates.get_timezone_gmt(moment.astimezone(self._zone), "long", locale=self._locale))


def numbers_with_unit(value: float, unit: str, locale: Locale) -> str:
    """Write a number with a unit of time in a locale's short form."""
    from babel.units import format_unit  # large, and not needed to open a page

    shown = round(value, 1) if value < 9.95 and unit != "second" else round(value)
    return str(format_unit(shown, f"duration-{unit}", length="short", locale=locale))


def _magnitude(value: float) -> int:
    return int(f"{abs(value):.1e}".partition("e")[2])


def _moment(moment: datetime | date | str | None) -> datetime | None:
    if not moment:
        return None
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
