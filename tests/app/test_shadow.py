"""Bundles in the shadow, upkeep, and random samples."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from worlds import World

from flawscope.store.inspections import Filters

Client = Any


def send_all(client: Client, world: World) -> None:
    files = [("files", (path.name, path.read_bytes())) for path in world.pictures()]
    assert client.post("/api/batch", files=files).status_code == 200


def test_a_shadow_judges_beside_the_line_and_counts_for_nothing(
    client: Client, world: World, split_world: World
) -> None:
    other = client.post("/api/bundles", content=split_world.model.read_bytes()).json()["data"]["id"]
    on_line = client.station.line.active.on_line()[0].record.id
    assert client.post(f"/api/bundles/{on_line}/shadow", json={}).status_code == 404
    assert client.post(f"/api/bundles/{other}/shadow", json={}).json()["data"]["state"] == "shadow"
    send_all(client, world)
    store = client.station.store
    until = time.monotonic() + 60
    while sum(store.shadows.table(other).values()) < 16 and time.monotonic() < until:
        time.sleep(0.05)
    table = client.get(f"/api/bundles/{other}/disagreements").json()["data"]
    assert sum(one["count"] for one in table["counts"]) == 16
    differing = sum(one["count"] for one in table["counts"] if one["line"] != one["shadow"])
    assert len(table["disagreements"]) == differing
    assert {one.bundle_id for one in store.inspections.all(Filters())} == {on_line}
    assert client.post(f"/api/bundles/{other}/take-off", json={}).json()["data"]["state"] == "kept"
    assert client.station.line.active.shadows("") == []


def test_passed_parts_are_drawn_at_random_and_no_others(
    open_station: Callable[..., Client], world: World
) -> None:
    client = open_station(models=(world.model,))
    client.station.set_options({"sample_rate": 1.0}, who="test")
    send_all(client, world)
    passed = {one.id for one in client.station.store.inspections.all(Filters(verdicts=("OK",)))}
    assert passed and {one.id for one in client.station.store.samples.unused("")} == passed


def test_upkeep_removes_old_sets_that_no_job_needs(client: Client) -> None:
    station = client.station
    old, young, needed = (station.sets.new() for _ in range(3))
    long_ago = time.time() - 40 * 86400
    for id in (old, needed):
        os.utime(station.sets.folder(id), (long_ago, long_ago))
    station.jobs.close()
    station.store.jobs.add("train", "x", {"data": str(station.sets.folder(needed))}, person="kim")
    station.upkeep.once()
    left = {path.name for path in station.store.folder_of("sets").iterdir()}
    assert left == {young, needed}
