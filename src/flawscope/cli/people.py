"""`flawscope people`: who may log in to a station; the way to its first admin."""

from __future__ import annotations

import getpass
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flawscope.cli import words
from flawscope.cli.options import AsJson
from flawscope.cli.serve import Files, Store
from flawscope.core.extras import require_all

if TYPE_CHECKING:
    from flawscope.store.store import Store as Opened

people = typer.Typer(help="Say who may log in to a station.", no_args_is_help=True, rich_markup_mode=None)


class Role(StrEnum):
    """What a person may do; each may what the ones before may."""

    OPERATOR = "operator"
    ENGINEER = "engineer"
    ADMIN = "admin"


Name = Annotated[str, typer.Argument(help="The person's name.", show_default=False)]


@people.callback()
def group() -> None:
    """Say who may log in to a station."""


@people.command()
def add(
    name: Name,
    role: Annotated[Role, typer.Option("--role", help="What they may do.")] = Role.OPERATOR,
    store: Store = "station",
    files: Files = None,
) -> None:
    """Add a person. The password is asked for, or read as a line from stdin where that is no terminal."""
    hashed = _hashed()
    from flawscope.store.records import RoleName

    with _opened(store, files) as opened:
        opened.people.add(name, password=hashed, role=RoleName(role.value), who=_who())
    words.say(f"{name} may log in as {role.value}.")


@people.command()
def password(name: Name, store: Store = "station", files: Files = None) -> None:
    """Set another password; every session of theirs ends."""
    hashed = _hashed()
    with _opened(store, files) as opened:
        opened.people.change(name, who=_who(), password=hashed, disabled=False)
    words.say(f"{name} has another password.")


@people.command("list")
def list_(store: Store = "station", files: Files = None, as_json: AsJson = False) -> None:
    """List everybody."""
    require_all("app", purpose="flawscope people")
    with _opened(store, files) as opened:
        everybody = opened.people.all()
    if as_json:
        words.say_json_line([one.to_json() for one in everybody])
        return
    for one in everybody:
        words.say(f"{one.role.value:<10}{one.name}{'' if one.disabled_us is None else '   may not log in'}")


def _hashed() -> str:
    require_all("app", purpose="flawscope people")
    from flawscope.app.security.passwords import Passwords

    if sys.stdin.isatty():
        first = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != first:
            from flawscope.core.errors import UsageError

            raise UsageError("The two passwords differ")
    else:
        first = sys.stdin.readline().rstrip("\r\n")
    return Passwords().hash(first)


def _opened(store: str, files: Path | None) -> Opened:
    from flawscope.store.store import Store as Opened

    return Opened(store, folder=files)


def _who() -> str:
    from flawscope.app.station import local_name

    return f"local:{local_name()}"
