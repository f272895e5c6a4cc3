"""`flawscope audit-log`: whether the station's audit log is whole."""

from __future__ import annotations

from typing import Annotated

import typer

from flawscope.cli import words
from flawscope.cli.options import AsJson
from flawscope.cli.serve import Files, Store
from flawscope.core.extras import require_all

audit_log = typer.Typer(help="Check the station's audit log.", no_args_is_help=True, rich_markup_mode=None)


@audit_log.callback()
def group() -> None:
    """Check the station's audit log."""


@audit_log.command()
def verify(
    store: Store = "station",
    files: Files = None,
    head: Annotated[
        str, typer.Option("--head", help="A digest noted earlier, which must still be in the chain.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check every entry against the one before: nothing altered, removed or slipped in.

    Exit code 8 where the chain breaks. Note the digest down elsewhere: with --head a later check also finds
    entries that were cut off at the end.
    """
    require_all("app", purpose="flawscope audit-log")
    from flawscope.store.audit import AuditLog
    from flawscope.store.clock import now_us
    from flawscope.store.database import Database, database_url

    with Database(database_url(store), create=False) as database:
        state = AuditLog(database, now_us).verify(head=head)
        wrong = database.check()
    if as_json:
        words.say_json_line(
            {"ok": not wrong, "entries": state.entries, "head": state.head, "database": wrong}
        )
    else:
        words.say(f"Audit chain holds: {words.counted(state.entries, 'entry', 'entries')}.")
        words.say(f"Its end, to note down elsewhere: {state.head}")
        for line in wrong:
            words.say(f"The database file is damaged: {line}")
    if wrong:
        raise typer.Exit(8)
