"""The web application: routes, error answers, the guard around them, and how it starts and stops."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

import cv2
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from flawscope import __version__
from flawscope.app import pages
from flawscope.app.api import (
    admin,
    batch,
    bundles,
    events,
    health,
    inspect,
    inspections,
    jobs,
    learn,
    limits,
    reviews,
    session,
    trials,
)
from flawscope.app.envelope import error_answer, plain_error
from flawscope.app.security.guard import App, Guard, Message, Receive, Scope, Send
from flawscope.app.settings import StationSettings
from flawscope.app.station import Station
from flawscope.core.errors import FlawscopeError, UsageError

_log = logging.getLogger(__name__)
_CODES = {404: "not_found", 405: "method", 413: "too_much", 415: "media_type", 400: "bad_request"}
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_STOP_S = 60


def create_app(settings: StationSettings, *, station: Station | None = None) -> FastAPI:
    """Return the application; the station (a given one, or one of these settings) opens and closes with it
    and stands at `app.state.station`."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        opened = station if station is not None else await run_in_threadpool(Station, settings)
        app.state.station = opened
        pages.open_pages(app, opened)
        try:
            yield
        finally:
            await run_in_threadpool(opened.close)

    app = FastAPI(
        title="flawscope station",
        version=__version__,
        lifespan=life,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(health.router)
    for module in (
        inspect,
        batch,
        inspections,
        bundles,
        limits,
        reviews,
        learn,
        jobs,
        trials,
        session,
        admin,
        events,
    ):
        app.include_router(module.router, prefix="/api")
    pages.attach(app)
    _answer_errors(app)
    app.add_middleware(_Counted)
    app.add_middleware(
        Guard,
        limits=settings.limits,
        names=(*_LOCAL_NAMES, settings.host, *settings.allowed_hosts),
        any_name=not settings.is_local and not settings.allowed_hosts,
    )
    return app


def serve(settings: StationSettings, *, ready: Callable[[Station, str], None]) -> None:
    """Serve until a signal comes, then finish what was accepted. `ready` is told the station and its address
    once it takes requests. Raises what `Station` does where it cannot be opened, UsageError where the address
    cannot be had."""
    cv2.setNumThreads(1)  # a worker is one thread; more would take the others' cores
    with listening(settings) as sockets:
        station = Station(settings)
        config = uvicorn.Config(
            create_app(settings, station=station),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_STOP_S,
            lifespan="on",
        )
        try:
            host, port = sockets.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            _Server(config, station, lambda: ready(station, f"http://{shown}:{port}")).run([sockets])
        finally:
            station.close()


@contextmanager
def listening(settings: StationSettings) -> Iterator[socket.socket]:
    """Yield a socket at the station's address; port 0 takes a free one. Raises UsageError where it cannot be
    had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    if os.name != "nt":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        try:
            listener.bind((settings.host.strip("[]"), settings.port))
        except OSError as error:
            raise UsageError(
                f"The address {settings.host} port {settings.port} cannot be had",
                found=error.strerror or str(error),
                remedy="Choose another one with --port",
            ) from error
        yield listener
    finally:
        listener.close()


class _Server(uvicorn.Server):
    """Uvicorn, which tells the station when it is up and when a signal asks it to stop."""

    def __init__(self, config: uvicorn.Config, station: Station, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._station = station
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop well at the first signal: end the streams of events, which would never end by themselves, and
        finish what was accepted. A second Ctrl-C does not wait. Uvicorn's own way ends in the signal."""
        self._station.leave()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


class _Counted:
    """Counts requests and their seconds by route, and sees to it that nothing is answered outside the
    envelope."""

    def __init__(self, inside: App) -> None:
        self._inside = inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on and count its answer."""
        if scope["type"] != "http":
            await self._inside(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                route = _route(scope)
                metrics = scope["app"].state.station.metrics
                metrics.requests.labels(scope["method"], route, str(status)).inc()
                metrics.request_seconds.labels(route).observe(time.perf_counter() - start)
            await send(message)

        await self._inside(scope, receive, sending)


def _route(scope: Scope) -> str:
    """Return the route of a request as it is declared: what stands in its path is put back to the names."""
    if scope.get("route") is None:
        return "none"
    path: str = scope["path"]
    for name, value in scope.get("path_params", {}).items():
        path = path.replace(f"/{value}", f"/{{{name}}}", 1)
    return path


def _answer_errors(app: FastAPI) -> None:
    """Have every error answered in the envelope."""

    @app.exception_handler(FlawscopeError)
    async def ours(request: Request, error: FlawscopeError) -> Response:
        return error_answer(error)

    @app.exception_handler(RequestValidationError)
    async def does_not_fit(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(piece) for piece in first["loc"])
        return plain_error(422, "does_not_fit", f"{place}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, FlawscopeError):  # raised while a body was being read
            return error_answer(error.__cause__)
        response = plain_error(error.status_code, _CODES.get(error.status_code, "refused"), str(error.detail))
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        return response

    @app.exception_handler(Exception)
    async def internal(request: Request, error: Exception) -> Response:
        _log.error("a request failed: %s %s", request.method, request.url.path, exc_info=error)
        return plain_error(500, "internal", "Something is wrong inside flawscope; its log says what")
