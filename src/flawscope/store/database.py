"""The database: SQLite in WAL mode as the embedded default, PostgreSQL by URL; opened, migrated, closed.

Reading takes a connection of a pool. Writing is one transaction at a time within a process: SQLite has one
writer anyway, and taking turns here is fairer than its waiting. What `writing` leaves without an error is
durable: SQLite runs with `synchronous=FULL`, PostgreSQL with its default `synchronous_commit`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from flawscope.core.errors import StoreError

FILE = "station.db"
_BUSY_MS = 10_000
_MIGRATING = 0x666C6177  # the advisory lock under which PostgreSQL is migrated
_POOL = 8
_MORE = 40


class Database:
    """A database with the newest tables. Safe to call from several threads."""

    def __init__(self, place: str, *, create: bool = True) -> None:
        """Open the database at a URL (`sqlite:///...`, `postgresql://...`) and bring its tables up to date.
        With `create` False a database that is not there is not made. Raises StoreError where it cannot be
        opened."""
        self.url = _url(place)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            file = Path(self.url.database or "")
            if not create and not file.is_file():
                raise StoreError(
                    f"There is no store at {file.parent}",
                    expected=f"a folder with {FILE}",
                    remedy="Check --store; flawscope serve makes it",
                )
            file.parent.mkdir(parents=True, exist_ok=True)
        self._turn = threading.RLock()
        self._reader = self._engine("BEGIN")
        # a writer that begins with BEGIN IMMEDIATE never fails in the middle because another one was faster
        self._writer = self._engine("BEGIN IMMEDIATE") if self.is_sqlite else self._reader
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that sees one state of the database. Raises StoreError where it is lost."""
        with self._words(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that is durable once this is left, or undone by any error.
        Raises StoreError where the database is lost or full."""
        with self._turn, self._words(), self._writer.begin() as connection:
            yield connection

    def check(self) -> list[str]:
        """Return what is wrong with the database file, in its own words; nothing where it is sound."""
        with self.reading() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT 1"))
                return []
            found = [str(row[0]) for row in connection.execute(text("PRAGMA quick_check"))]
        return [] if found == ["ok"] else found

    def close(self) -> None:
        """Close every connection."""
        self._reader.dispose()
        if self._writer is not self._reader:
            self._writer.dispose()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _engine(self, begin: str) -> Engine:
        if not self.is_sqlite:
            return create_engine(self.url, pool_size=_POOL, max_overflow=_MORE, pool_pre_ping=True)
        engine = create_engine(
            self.url,
            connect_args={"check_same_thread": False, "timeout": _BUSY_MS / 1000},
            pool_size=_POOL,
            max_overflow=_MORE,
        )

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # transactions are begun by us, below
            cursor = connection.cursor()
            for pragma in (
                f"busy_timeout={_BUSY_MS}",
                "journal_mode=WAL",
                "synchronous=FULL",
                "foreign_keys=ON",
                "temp_store=MEMORY",
                "cache_size=-32000",  # 32 MB
            ):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        @event.listens_for(engine, "begin")
        def start(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return engine

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.writing() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATING})
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except Exception as error:
                if "Can't locate revision" in str(error):
                    raise StoreError(
                        f"The store at {_shown(self.url)} was written by a newer flawscope",
                        remedy="Update with: pip install --upgrade flawscope",
                    ) from error
                raise

    @contextmanager
    def _words(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if error.connection_invalidated or type(error).__name__ == "OperationalError":
                raise _refused(self.url, error) from error
            raise


def database_url(store: str) -> str:
    """Return the database's URL of a store that is given as a folder or as a URL."""
    return store if "://" in store else f"sqlite:///{(Path(store) / FILE).as_posix()}"


def _url(place: str) -> URL:
    try:
        url = make_url(place)
    except ArgumentError as error:
        raise StoreError(
            f"{place} is no place for a store", expected="a folder, or postgresql://USER:PASSWORD@HOST/NAME"
        ) from error
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(
            f"{_shown(url)} is of a kind that is not supported", expected="sqlite:/// or postgresql://"
        )
    return url


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)


def _refused(url: URL, error: SQLAlchemyError) -> StoreError:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()
    return StoreError(
        f"The database {_shown(url)} refused",
        found=reason[0] if reason else type(error).__name__,
        remedy="Check that it runs, that it may be written and that the disk is not full",
    )
