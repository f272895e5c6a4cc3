"""Templates into pages, in the language and with the times of the panel that asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import flawscope
from flawscope.app import engine_words
from flawscope.app.wording import LANGUAGES, Look, Words, zone_of
from flawscope.core.types import Json


@dataclass(frozen=True)
class Viewer:
    """Who looks at a page, as far as the page must know."""

    name: str = ""
    rank: int = 2  # 0 operator, 1 engineer, 2 admin: which pages the menu names; -1: nobody yet
    can_leave: bool = False  # has given a name, with a password or on localhost


@dataclass(frozen=True)
class Frame:
    """What stands around every page."""

    page: str  # its name in the menu
    look: Look
    station_name: str
    bundle: str  # on the line, in words; empty: none
    viewer: Viewer
    csrf: str
    here: str  # path and query of this page
    menu: tuple[str, ...]  # the pages that there are
    live: str = ""  # the stream of events; empty: none


class Renderer:
    """Renders templates; one environment a language, opened once. Safe from several threads."""

    def __init__(self, *, zone: str = "") -> None:
        """Read templates and catalogues; times are told in the zone of that name, UTC for none."""
        self.zone = zone
        self._words = {language: Words(language, zone=zone_of(zone)) for language in LANGUAGES}
        self._environments = {language: _environment(words) for language, words in self._words.items()}

    def words(self, language: str) -> Words:
        """Return the words of one of LANGUAGES."""
        return self._words[language]

    def page(self, template: str, frame: Frame, context: Json) -> str:
        """Return a page or a piece of one as HTML; `context` is what its JSON twin shows."""
        path, question, query = frame.here.partition("?")
        around: dict[str, Any] = {
            "look": frame.look,
            "page": frame.page,
            "station": {"name": frame.station_name, "bundle": frame.bundle},
            "person": asdict(frame.viewer),
            "csrf": frame.csrf,
            "here": frame.here,
            "twin": f"{path}.json{question}{query}",
            "menu": frame.menu,
            "live": frame.live,
            "release": flawscope.__version__,
            "languages": LANGUAGES,
            "keys": (),
        }
        return self._environments[frame.look.language].get_template(template).render(around | context)


def _environment(words: Words) -> Environment:
    environment = Environment(
        loader=PackageLoader("flawscope.app"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    catalogue = words.catalogue
    install: Callable[..., None] = environment.install_gettext_callables  # type: ignore[attr-defined]
    install(catalogue.gettext, catalogue.ngettext, newstyle=True)
    environment.globals["problems"] = {} if words.language == "en" else engine_words.problems(words)
    environment.filters |= _filters(words)
    return environment


def _filters(words: Words) -> Mapping[str, Callable[..., Any]]:
    return {
        "chance": words.chance,
        "score": words.score,
        "percent": words.percent,
        "count": words.count,
        "ms": words.milliseconds,
        "duration": words.seconds,
        "size": words.size,
        "when": words.when,
        "clock": words.clock,
        "day": words.day,
        "stage": lambda name: engine_words.stage(words, name),
        "problem": lambda code: engine_words.problem(words, code),
        "zone": lambda moment: words.zone_words(datetime.fromisoformat(moment)),
    }
