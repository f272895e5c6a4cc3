"""Gather the station's sentences from its pages into words/LANGUAGE.po; translations that are there stay.

Run it after changing words, then fill the entries it names: python scripts/words.py
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po

APP = Path(__file__).resolve().parents[1] / "src" / "flawscope" / "app"
TEMPLATES = APP / "templates"
PLURALS = {"ko": "nplurals=1; plural=0;", "de": "nplurals=2; plural=(n != 1);"}


def gather() -> Catalog:
    """Return every sentence of the templates and of calls of `say`, in order of files and lines."""
    found = Catalog(charset="utf-8")
    options = {"trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"}
    for path in sorted(TEMPLATES.rglob("*.html")):
        stream = io.BytesIO(path.read_bytes())
        for _line, message, comments, context in extract("jinja2.ext:babel_extract", stream, options=options):
            found.add(message, None, auto_comments=comments, context=context)
    for path in sorted(APP.rglob("*.py")):
        stream = io.BytesIO(path.read_bytes())
        for _line, message, comments, context in extract("python", stream, keywords={"say": None}):
            found.add(message, None, auto_comments=comments, context=context)
    return found


def merge(language: str) -> list[str]:
    """Bring a language's file up to date and return the sentences that it still lacks."""
    path = APP / "words" / f"{language}.po"
    known = read_po(io.BytesIO(path.read_bytes()), locale=language) if path.is_file() else Catalog(language)
    merged = Catalog(locale=language, charset="utf-8", fuzzy=False, project="flawscope", version="1")
    lacking = []
    for message in gather():
        if not message.id:
            continue
        key = message.id if isinstance(message.id, str) else message.id[0]
        before = known.get(key)
        words = before.string if before is not None else ""
        words = words if words else ("" if isinstance(message.id, str) else ("",) * merged.num_plurals)
        merged.add(message.id, words)
        if not words or (isinstance(words, tuple | list) and not all(words)):
            lacking.append(key)
    stream = io.BytesIO()
    write_po(stream, merged, width=0, omit_header=True, no_location=True)
    head = (
        f'msgid ""\nmsgstr ""\n"Language: {language}\\n"\n"Content-Type: text/plain; charset=utf-8\\n"\n'
        f'"Content-Transfer-Encoding: 8bit\\n"\n"Plural-Forms: {PLURALS[language]}\\n"\n\n'
    )
    path.write_text(head + stream.getvalue().decode(), encoding="utf-8", newline="\n")
    return lacking


if __name__ == "__main__":
    missing = {language: merge(language) for language in PLURALS}
    for language, sentences in missing.items():
        for sentence in sentences:
            print(f"{language}: {sentence}")
    sys.exit(1 if any(missing.values()) else 0)
