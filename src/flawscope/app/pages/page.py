"""What every page shares: who asks and how they want it, one context for HTML and JSON, errors as a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from flawscope.app.envelope import answer, error_answer, error_json, status_of
from flawscope.app.render import Frame, Renderer, Viewer
from flawscope.app.security.access import Who, station_of
from flawscope.app.station import Station
from flawscope.app.wording import LANGUAGES, THEMES, Look
from flawscope.core.errors import FlawscopeError, ForbiddenError, LoginError
from flawscope.core.types import Json
from flawscope.store.records import RoleName

LIVE = "/api/events"
MENU = ("inspect", "review", "history", "teach", "threshold", "drift", "models", "admin")
COOKIES = {"language": "flawscope_language", "theme": "flawscope_theme", "keys": "flawscope_keys"}


@dataclass(frozen=True)
class Asked:
    """A request for a page: the station, who asks, and how they want it shown."""

    request: Request
    station: Station
    who: Who
    look: Look

    def text(self, name: str, *, longest: int = 200) -> str:
        """Return a word of the query, empty where it is not there."""
        return self.request.query_params.get(name, "")[:longest]

    def texts(self, name: str) -> list[str]:
        """Return all words of one name of the query that are not empty."""
        return [value for value in self.request.query_params.getlist(name) if value]

    def number(self, name: str) -> float | None:
        """Return a finite number of the query, None where there is none."""
        try:
            value = float(self.request.query_params.get(name, ""))
        except ValueError:
            return None
        return value if abs(value) < float("inf") else None


Context = Callable[[Asked], Json]
Drawn = Callable[[Asked, Json], Json]


@dataclass(frozen=True)
class PageKind:
    """Which page it is: its name in the menu, its template, and who may see it."""

    name: str
    template: str
    role: RoleName = RoleName.OPERATOR


def add_page(
    router: APIRouter, path: str, kind: PageKind, context: Context, *, drawn: Drawn | None = None
) -> None:
    """Serve a page at `path` and its JSON twin at `path`.json, both from one context; `drawn` adds charts
    that only the page has."""

    async def html(request: Request) -> Response:
        return await show(request, kind, context, drawn=drawn)

    async def twin(request: Request) -> Response:
        try:
            asked = await asked_for(request, kind.role)
            return answer(await run_in_threadpool(context, asked))
        except FlawscopeError as error:
            return error_answer(error)

    name = kind.template.removesuffix(".html").replace("/", "_")
    # the twin first: a name in the path would take the ending for its own
    router.add_api_route(f"{path}.json", twin, methods=["GET"], name=f"twin_{name}", include_in_schema=False)
    router.add_api_route(path, html, methods=["GET"], name=f"page_{name}", include_in_schema=False)


async def asked_for(request: Request, role: RoleName) -> Asked:
    """Return who asks for a page. Raises LoginError and ForbiddenError."""
    station = station_of(request)
    who = await station.access.who(request)
    if not who.may(role):
        raise ForbiddenError(
            f"This page takes the role {role.value}", found=f"{who.name} is {who.role.value}", code="role"
        )
    return Asked(request, station, who, look_of(request))


async def show(request: Request, kind: PageKind, context: Context, *, drawn: Drawn | None = None) -> Response:
    """Return a page; an error becomes a page as well, and who is not known is sent to log in."""
    try:
        asked = await asked_for(request, kind.role)
        values = await run_in_threadpool(context, asked)
        if drawn is not None:
            values = await run_in_threadpool(drawn, asked, values)
        return await run_in_threadpool(rendered, asked, kind, values)
    except LoginError:
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse("/login?" + urlencode({"back": here}), status_code=303)
    except FlawscopeError as error:
        return await run_in_threadpool(_error_page, request, kind, error)


def rendered(asked: Asked, kind: PageKind, values: Json, *, status: int = 200) -> Response:
    """Return a template filled with a context, as an answer."""
    html = renderer_of(asked.request).page(kind.template, _frame(asked, kind.name), values)
    return HTMLResponse(html, status_code=status)


def renderer_of(request: Request) -> Renderer:
    """Return what renders this application's pages, with times in the station's zone."""
    renderer: Renderer = request.app.state.renderer
    zone = station_of(request).options.zone
    if renderer.zone != zone:  # somebody has changed it
        renderer = request.app.state.renderer = Renderer(zone=zone)
    return renderer


def look_of(request: Request) -> Look:
    """Return how this panel wants its pages: by its cookies, its browser's first language that we know, or
    else as the station is set."""
    cookies = {name: request.cookies.get(cookie, "") for name, cookie in COOKIES.items()}
    options = station_of(request).options
    language = cookies["language"] if cookies["language"] in LANGUAGES else _accepted(request)
    theme = cookies["theme"] if cookies["theme"] in THEMES else options.theme
    keys = cookies["keys"] == "on" if cookies["keys"] else options.shortcuts
    return Look(language=language or options.language, theme=theme, keys=keys)


def path_within(path: str) -> str:
    """Return a path of this station; what leads elsewhere becomes Inspect."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/inspect"


def _accepted(request: Request) -> str:
    for one in request.headers.get("accept-language", "").split(","):
        language = one.split(";")[0].strip().split("-")[0].lower()
        if language in LANGUAGES:
            return language
    return ""


def _frame(asked: Asked, page: str) -> Frame:
    request, station = asked.request, asked.station
    session = asked.who.session
    known = bool(asked.who.name)
    on_line = [one.record for one in station.line.active.on_line()] if known else []
    query = request.url.query
    return Frame(
        page=page,
        look=asked.look,
        station_name=station.settings.station or "flawscope",
        bundle=", ".join(f"{one.name} {one.id[:6]}" for one in on_line[:2])
        + ("…" if len(on_line) > 2 else ""),
        viewer=Viewer(asked.who.name, asked.who.role.rank if known else -1, session is not None),
        csrf="" if session is None else station.sessions.csrf(session),
        here=request.url.path + (f"?{query}" if query else ""),
        menu=MENU,
        live=LIVE if known else "",
    )


def _error_page(request: Request, kind: PageKind, error: FlawscopeError) -> Response:
    station = station_of(request)
    frame = Frame(
        page=kind.name,
        look=look_of(request),
        station_name=station.settings.station or "flawscope",
        bundle="",
        viewer=Viewer(rank=0),
        csrf="",
        here=request.url.path,
        menu=MENU,
    )
    html = renderer_of(request).page("error.html", frame, {"error": error_json(error)})
    return HTMLResponse(html, status_code=status_of(error))
