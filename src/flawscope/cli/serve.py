"""`flawscope serve`: the station, with pages and REST."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flawscope.cli import words
from flawscope.core.extras import require_all

if TYPE_CHECKING:
    from flawscope.app.station import Station

Store = Annotated[
    str, typer.Option("--store", help="The station's folder, or the URL of a PostgreSQL database.")
]
Files = Annotated[
    Path | None,
    typer.Option("--files", help="The folder for images and bundles, where --store is a URL."),
]


def serve(
    model: Annotated[
        list[Path] | None,
        typer.Option("--model", "-m", help="A bundle to put on the line; may repeat, one a product."),
    ] = None,
    store: Store = "station",
    files: Files = None,
    host: Annotated[
        str, typer.Option("--host", help="Where to listen; anything but localhost needs a login.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8000,
    station: Annotated[
        str, typer.Option("--station", help="This station's name in records, where clients give none.")
    ] = "",
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Threads that judge; 0: one a usable core.")
    ] = 0,
    waiting: Annotated[
        int, typer.Option("--queue", min=1, help="Images accepted and not yet answered; more are refused.")
    ] = 64,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="A further name by which the station is called; may repeat."),
    ] = None,
    https: Annotated[
        bool, typer.Option("--https", help="Cookies over HTTPS only, for a station behind a TLS proxy.")
    ] = False,
) -> None:
    """Open the station: pages for people, REST for programs, everything kept.

    On localhost nobody logs in. Anywhere else everybody does, and it takes an admin first: flawscope people
    add NAME --role admin. Ctrl-C finishes what was accepted, then stops.
    """
    require_all("app", purpose="flawscope serve")
    from flawscope.app.server import serve as run
    from flawscope.app.settings import StationSettings

    settings = StationSettings(
        store=store,
        models=tuple(model or ()),
        files=files,
        host=host,
        port=port,
        station=station,
        workers=workers,
        waiting=waiting,
        allowed_hosts=tuple(allow_host or ()),
        secure_cookies=https,
    )
    run(settings, ready=_ready)
    words.remark("Stopped. Everything that was accepted is kept.")


def _ready(station: Station, address: str) -> None:
    for opened in station.line.active.on_line():
        record = opened.record
        words.say(f"On the line: {record.name} {record.id} ({record.method}), product {record.product!r}")
    if not station.line.active.on_line():
        words.say("No model is on the line yet. Teach one, or add a .flaw file.")
    words.say(f"Station: {address}   REST: {address}/api/openapi.json   Ctrl-C stops")
