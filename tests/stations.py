"""What tests of the station share: records made by hand, and servers of their own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flawscope.core import digest
from flawscope.store.records import InspectionRecord, Origin, QueueState


@dataclass(frozen=True)
class Postgres:
    """A running server with a superuser that needs no password, on loopback only."""

    port: int

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        import psycopg

        name = f"t{uuid.uuid4().hex}"
        base = f"host=127.0.0.1 port={self.port} user=flaw dbname=postgres"
        with psycopg.connect(base, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://flaw@127.0.0.1:{self.port}/{name}"


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def postgres_at(folder: Path) -> Iterator[Postgres]:
    """Run a PostgreSQL server in a folder. Skips where none is installed; it refuses to run as root, and then
    runs as the user postgres."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    control = shutil.which("pg_ctl") or (str(found[-1]) if found else None)
    if control is None:
        pytest.skip("PostgreSQL is not installed")
    tools = Path(control).resolve().parent
    prefix: list[str] = []
    if os.getuid() == 0:
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        if shutil.which("runuser") is None:
            pytest.skip("PostgreSQL does not run as root, and there is no runuser")
        prefix = ["runuser", "-u", "postgres", "--"]
        for parent in [folder, *folder.parents]:  # the folders above let only root through
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o111)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    port, data = free_port(), folder / "data"

    def run(*command: str) -> None:
        subprocess.run([*prefix, *command], check=True, capture_output=True, cwd="/", timeout=120)

    run(
        str(tools / "initdb"), "-D", str(data), "-U", "flaw", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    start = [str(tools / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start"]
    subprocess.run(
        [*prefix, *start],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        timeout=120,
    )
    try:
        yield Postgres(port)
    finally:
        run(str(tools / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop")


def record(number: int = 0, **changes: Any) -> InspectionRecord:
    """Return a record as the line makes one, told apart by its number."""
    content = f"image {number}".encode()
    values: dict[str, Any] = {
        "id": str(uuid.UUID(int=number + 1)),
        "at_us": 1_700_000_000_000_000 + number,
        "origin": Origin("cell 1", "tile", f"L{number % 3}", f"P{number}", f"{number}.png", "local:kim"),
        "bundle_id": "0123456789ab",
        "verdict": "OK",
        "score": 0.5,
        "p_value": 0.4,
        "risk": 12.5,
        "defect": "",
        "error_code": "",
        "image_sha256": digest.of_bytes(content),
        "image_bytes": len(content),
        "queue": QueueState.NO,
        "detail": {"warnings": [], "regions": []},
        "heat_png": b"\x89PNG heat",
    }
    origin = {name: changes.pop(name) for name in ("station", "product", "lot", "part") if name in changes}
    values |= changes
    if origin:
        import dataclasses

        values["origin"] = dataclasses.replace(values["origin"], **origin)
    return InspectionRecord(**values)


def content_of(number: int) -> bytes:
    """Return the image that `record(number)` names."""
    return f"image {number}".encode()
