"""The store's tests run on SQLite and on a real PostgreSQL that they start themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stations import Postgres, postgres_at

pytest.importorskip("sqlalchemy", reason="needs flawscope[app]")

from flawscope.store.store import Store


class Clock:
    """A clock that tests set; every look moves it by a millisecond."""

    def __init__(self) -> None:
        self.at_us = 1_800_000_000_000_000

    def __call__(self) -> int:
        self.at_us += 1000
        return self.at_us


@pytest.fixture
def clock() -> Clock:
    """A clock of the test's own."""
    return Clock()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server on a free port; skips where PostgreSQL is not installed."""
    with postgres_at(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a fresh store goes: a folder, or the URL of a new database."""
    if request.param == "sqlite":
        return str(tmp_path / "store")
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def store(place: str, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """An empty store."""
    with Store(place, folder=tmp_path / "store", clock=clock) as opened:
        yield opened
