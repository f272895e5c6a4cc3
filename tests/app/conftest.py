"""A station that listens on a free port of 127.0.0.1, with a bundle taught from drawn chips."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from looking import CHROMIUM, OPTIONS
from worlds import World

pytest.importorskip("fastapi", reason="needs flawscope[app]")

import httpx
import uvicorn

from flawscope.app.server import create_app, listening
from flawscope.app.settings import StationSettings
from flawscope.app.station import Station
from flawscope.store.reviews import Said


class Client(httpx.Client):
    """A client of a station that runs in a thread of this process."""

    def __init__(self, settings: StationSettings) -> None:
        self._socket = listening(settings)
        listener = self._socket.__enter__()
        self.station = Station(settings)
        app = create_app(settings, station=self.station)
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],))
        self._thread.start()
        super().__init__(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60, trust_env=False
        )
        while not self._server.started:
            threading.Event().wait(0.01)

    def stop(self) -> None:
        """Stop the station as a signal would; nothing happens the second time."""
        if self.is_closed:
            return
        self.close()
        self.station.leave()
        self._server.should_exit = True
        self._thread.join()
        self.station.close()
        self._socket.__exit__(None, None, None)


@pytest.fixture
def open_station(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Return a function that opens a station with settings of its own; all are stopped at the end."""
    opened: list[Client] = []

    def start(**settings: Any) -> Client:
        values = {"store": str(tmp_path / "station"), "workers": 1, "port": 0} | settings
        opened.append(Client(StationSettings(**values)))
        return opened[-1]

    yield start
    for client in opened:
        client.stop()


@pytest.fixture
def client(open_station: Callable[..., Client], world: World) -> Client:
    """A local station with one bundle on the line."""
    return open_station(models=(world.model,))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window; skips where it or playwright is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if not CHROMIUM.is_file():
        pytest.skip("Chromium is not installed")
    playwright.expect.set_options(timeout=30_000)  # a busy machine is slow, not wrong
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=str(CHROMIUM), args=OPTIONS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def demo(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A station that many tests look at: sixteen inspected parts of two lots, half of them answered by two
    reviewers. Tests that change more than they look at open a station of their own."""
    folder = tmp_path_factory.mktemp("demo") / "station"
    station = Client(
        StationSettings(store=str(folder), models=(world.model,), workers=1, port=0, station="Line 1")
    )
    for number, path in enumerate(world.pictures()):
        params = {"lot": f"A{number % 2 + 1}", "part": path.stem, "name": path.name}
        data = station.post("/api/inspect", content=path.read_bytes(), params=params).json()["data"]
        if number % 2:
            answer = "good" if path.parent.name == "good" else "bad"
            defect = "" if answer == "good" else path.parent.name
            station.station.store.reviews.answer(data["id"], "kim", Said(answer, defect))
    yield station
    station.stop()
