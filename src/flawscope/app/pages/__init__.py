"""Pages: one module a page. Each builds one context, that its HTML and its JSON twin show."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

from flawscope.app.pages import (
    admin,
    drift,
    history,
    inspect,
    login,
    look,
    models,
    pictures,
    review,
    teach,
    threshold,
    trials,
)
from flawscope.app.pages.opened import Opened
from flawscope.app.render import Renderer
from flawscope.app.station import Station


def attach(app: FastAPI) -> None:
    """Add every page and the static files to the application."""
    for page in (
        pictures, inspect, history, look, login, threshold, models, trials, teach, review, admin, drift,
    ):  # fmt: skip
        app.include_router(page.router)
    folder = Path(str(resources.files("flawscope.app").joinpath("static")))
    # here alone: a zipped page that repeats what it was asked gives its secrets away by its length
    app.mount("/static", GZipMiddleware(StaticFiles(directory=folder)), name="static")


def open_pages(app: FastAPI, station: Station) -> None:
    """Prepare what pages need while the station is open."""
    app.state.renderer = Renderer(zone=station.options.zone)
    app.state.opened = Opened(station)
