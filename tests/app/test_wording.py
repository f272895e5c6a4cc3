"""Words, numbers and times of the station, in every language."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib import resources

import pytest

pytest.importorskip("babel", reason="needs the [app] extra")

import importlib.util
from pathlib import Path
from types import ModuleType

from flawscope.app.engine_words import problem, problems, stage, stages
from flawscope.app.wording import LANGUAGES, Look, Words, read_catalogue, zone_of

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "words.py"
PLACES = re.compile(r"%\(\w+\)s|\{\w+\}|%%")


@pytest.fixture(scope="module")
def gatherer() -> ModuleType:
    """scripts/words.py, which finds every sentence of the templates."""
    specification = importlib.util.spec_from_file_location("gatherer", SCRIPT)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("language", ["ko", "de"])
def test_every_sentence_is_translated_and_keeps_its_places(gatherer: ModuleType, language: str):
    catalogue = read_catalogue(language)
    lacking, broken = [], []
    for message in gatherer.gather():
        if not message.id:
            continue
        forms = (message.id,) if isinstance(message.id, str) else message.id
        said = [catalogue.gettext(message.id)] if len(forms) == 1 else [catalogue.ngettext(*forms, 2)]
        known = catalogue._catalog  # type: ignore[attr-defined]
        if forms[0] not in known and (forms[0], 0) not in known:
            lacking.append(forms[0])
        if sorted(PLACES.findall(forms[-1])) != sorted(PLACES.findall(said[0])):
            broken.append((forms[0], said[0]))
    assert not lacking, "run scripts/words.py and translate these"
    assert not broken


def test_no_translation_is_left_of_a_sentence_that_is_gone(gatherer: ModuleType):
    there = {m.id if isinstance(m.id, str) else m.id[0] for m in gatherer.gather()}
    for language in ("ko", "de"):
        text = resources.files("flawscope.app").joinpath("words", f"{language}.po").read_text("utf-8")
        written = {eval(line[6:]) for line in text.splitlines() if line.startswith("msgid ")} - {""}
        assert written <= there


def test_every_stage_that_the_engine_names_has_words():
    known = stages(Words("en"))
    named = set()
    for path in (ROOT / "src" / "flawscope").rglob("*.py"):
        named |= set(re.findall(r"""stage\(\s*f?"([A-Z][^"{]*?)(?: by \{|")""", path.read_text("utf-8")))
    assert {"Teaching", "Calibrating", "Judging twice"} <= named
    assert named <= known.keys()
    assert stage(Words("de"), "Calibrating by 5 folds") == "Kalibrieren in Teilen"
    assert stage(Words("de"), "Something new") == "Something new"


def test_every_error_that_a_page_shows_has_words():
    documented = set(
        re.findall(r"^### `(\w+)`", (ROOT / "docs/reference/errors.md").read_text("utf-8"), re.M)
    )
    elsewhere = {"error", "stopped", "not_empty", "missing_backbone", "parity", "no_admin", "audit_chain"}
    elsewhere |= {"method", "media_type", "too_slow"}  # no page of the station asks like that
    assert problems(Words("en")).keys() == documented - elsewhere
    assert problem(Words("en"), "busy") == "", "English errors speak for themselves"
    assert problem(Words("ko"), "busy") == Words("ko").say("The station is full") != "The station is full"


@pytest.mark.parametrize(
    "rate, said",
    [
        (0.002, ("2", "1,000")),
        (0.05, ("5", "100")),
        (0.0019, ("2", "1,000")),
        (0.5, ("5", "10")),
        (0.013, ("13", "1,000")),
    ],
)
def test_a_p_value_is_told_as_a_frequency(rate: float, said: tuple[str, str]):
    assert Words("en").chance(rate) == said


def test_numbers_keep_to_the_language():
    assert Words("en").count(18204) == "18,204" and Words("de").count(18204) == "18.204"
    assert Words("de").score(0.81234) == "0,812" and Words("en").score(None) == "–"
    assert Words("en").percent(0.0481) == "4.8\u202f%" and Words("ko").percent(0.0481) == "4.8%"
    assert Words("en").percent(0.97) == "97\u202f%" and Words("en").percent(0) == "0\u202f%"
    assert Words("en").size(41e9) == "41 GB" and Words("de").size(1.5e6) == "1,5 MB"


def test_times_are_told_in_the_zone_of_the_station():
    moment = datetime(2026, 11, 28, 13, 3, 22, tzinfo=UTC)
    seoul = Words("ko", zone=zone_of("Asia/Seoul"))
    assert "22" in Words("de", zone=zone_of("Asia/Seoul")).clock(moment)
    assert seoul.zone_words(moment) == "GMT+09:00"
    assert "29" not in Words("en").day(moment) and "28" in Words("en").day("2026-11-28T13:03:22+00:00")
    with pytest.raises(ValueError, match="Nowhere"):
        zone_of("Nowhere")


def test_a_look_is_one_of_those_that_there_are():
    assert Look(language="ko", theme="dark").keys
    with pytest.raises(ValueError, match="no such"):
        Look(language="xx")
    assert set(LANGUAGES) == {"en", "ko", "de"}
