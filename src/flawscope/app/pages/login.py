"""Login: who stands before this panel. On localhost a name is enough, for the audit log."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from flawscope.app.pages.page import Asked, PageKind, look_of, path_within, rendered
from flawscope.app.security.access import Who, station_of
from flawscope.store.records import RoleName

router = APIRouter(include_in_schema=False)
_KIND = PageKind("login", "login.html")


@router.get("/login")
async def login(request: Request) -> Response:
    """Return the page that asks who is there, and where it goes on afterwards (`back`)."""
    station = station_of(request)
    nobody = Who("", RoleName.OPERATOR)
    asked = Asked(request, station, nobody, look_of(request))
    values = {
        "back": path_within(asked.text("back", longest=2000)),
        "is_local": station.settings.is_local,
        "local_name": station.local_name if station.settings.is_local else "",
    }
    return await run_in_threadpool(rendered, asked, _KIND, values)
