"""How the commands write: plain lines, aligned columns, JSON; results on stdout, remarks on stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import typer

_COLOURS = {"NG": "red", "REVIEW": "yellow", "NOT JUDGED": "magenta"}
_SHOWN = 5  # remarks of one kind that are spelled out

NOT_JUDGED = "NOT JUDGED"
FAULTS = {
    "missing": "cannot be opened",
    "empty": "is empty",
    "not_an_image": "is no image",
    "truncated": "is cut off",
    "corrupt": "is damaged",
    "too_large": "is too large",
    "unsupported": "is of an unsupported kind",
    "too_dark": "is too dark",
    "too_bright": "is too bright",
    "featureless": "shows nothing",
}


def say(text: str = "") -> None:
    """Print a line of the result."""
    typer.echo(text)


def sentence(text: str, *, indent: int = 0) -> None:
    """Print prose: broken between words at a terminal's width, one line elsewhere."""
    if sys.stdout.isatty():
        width = max(40, shutil.get_terminal_size().columns - 1)
        text = textwrap.fill(
            text.replace(" %", "\u00a0%"),  # a number and its unit stay together
            width,
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
        typer.echo(plain(text))
    else:
        typer.echo(" " * indent + text)


def remark(text: str) -> None:
    """Print a line beside the result, on stderr."""
    typer.echo(text, err=True)


def remarks(lines: Sequence[str], *, what: str) -> None:
    """Print the first few of many remarks of one kind, and how many there are."""
    for line in lines[:_SHOWN]:
        remark(f"{what}: {line}")
    if len(lines) > _SHOWN:
        remark(f"... and {len(lines) - _SHOWN} more of {len(lines)}.")


def say_json(value: Any) -> None:
    """Print a JSON value for people and programs: indented, ASCII only, no NaN."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def say_json_line(value: Any) -> None:
    """Print a JSON value on one line."""
    typer.echo(json.dumps(value, allow_nan=False))


def columns(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset(), indent: int = 2) -> str:
    """Align rows of cells in columns, two spaces apart; columns in `right` are numbers. The first row is the
    head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((" " * indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def plain(text: str) -> str:
    """Return a number as the report writes it, with spaces that every terminal can show."""
    return text.replace("\u00a0", " ").replace("\u202f", ",")


def counted(number: int, one: str, many: str = "") -> str:
    """Return `1 region`, `3 regions`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def quoted(path: object) -> str:
    """Return a path as it can be typed into a shell."""
    text = str(path)
    return f'"{text}"' if any(sign in text for sign in " &()'") else text


def coloured(verdict: str, *, width: int = 0) -> str:
    """Return a verdict with its colour where stdout is a terminal that shows colours; the word stays."""
    text = verdict.ljust(width)
    colour = _COLOURS.get(verdict)
    if colour is None or not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return typer.style(text, fg=colour, bold=True)
