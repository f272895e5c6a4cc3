"""A station on PostgreSQL: judged, reviewed, restarted, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stations import Postgres, postgres_at
from worlds import World

from flawscope.store.inspections import Filters

pytestmark = pytest.mark.services
Client = Any


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server of this module's own."""
    with postgres_at(tmp_path_factory.mktemp("postgres")) as server:
        yield server


def test_a_station_keeps_everything_in_postgresql(
    open_station: Callable[..., Client], postgres: Postgres, world: World, tmp_path: Path
) -> None:
    place = {"store": postgres.new_database(), "files": tmp_path / "files"}
    client = open_station(models=(world.model,), **place)
    files = [("files", (path.name, path.read_bytes())) for path in world.pictures()]
    counts = client.post("/api/batch", files=files, data={"lot": "L1"}).json()["data"]["counts"]
    assert counts["total"] == len(files) and client.get("/api/history/counts").json()["data"] == counts
    queue = client.get("/api/reviews/queue").json()["data"]["inspections"]
    answer = {"inspection_id": queue[0]["id"], "answer": "good"}
    assert client.post("/api/reviews", json=answer).status_code == 200
    assert client.get("/readyz").status_code == 200
    client.stop()
    again = open_station(**place)
    assert again.get("/api/history/counts").json()["data"] == counts
    (bundle,) = again.get("/api/bundles").json()["data"]
    assert bundle["state"] == "line"
    assert again.station.store.audit.verify().entries > 4
    record = again.station.store.inspections.page(Filters()).records[0]
    assert again.get(f"/api/inspections/{record.id}/image").status_code == 200


def test_a_database_that_is_gone_is_said_and_nothing_is_lost(
    open_station: Callable[..., Client],
    tmp_path_factory: pytest.TempPathFactory,
    world: World,
    tmp_path: Path,
) -> None:
    with postgres_at(tmp_path_factory.mktemp("short")) as server:
        client = open_station(models=(world.model,), store=server.new_database(), files=tmp_path / "files")
        content, kind = world.pictures()[0].read_bytes(), {"content-type": "image/png"}
        assert client.post("/api/inspect", content=content, headers=kind).status_code == 200
    answer = client.post("/api/inspect", content=content, headers=kind)
    assert answer.status_code == 503 and answer.json()["error"]["code"] == "store"
    assert client.get("/readyz").status_code == 503 and client.get("/healthz").status_code == 200
