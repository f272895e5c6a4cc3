"""REST beside inspecting: lists and charts, batch, bundles, reviews, retention, numbers."""

from __future__ import annotations

import base64
import csv
import io
from typing import Any

import cv2
import numpy as np
import pytest
from worlds import World

from flawscope.store.inspections import Filters

Client = Any


@pytest.fixture
def batch(client: Client, world: World) -> list[dict[str, Any]]:
    """All test chips sent as one batch."""
    files = [("files", (path.name, path.read_bytes())) for path in world.pictures()]
    answer = client.post(
        "/api/batch", files=[*files, ("files", ("note.txt", b"no image"))], data={"lot": "L7"}
    )
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["data"]["items"]
    counts = answer.json()["data"]["counts"]
    assert counts["total"] == len(items) == len(files) + 1 and counts["not_judged"] == 1
    assert [one["name"] for one in items] == [name for _, (name, _) in files] + ["note.txt"]
    return items


def test_what_a_batch_sent_is_listed_counted_shown_and_written_out(
    client: Client, batch: list[dict[str, Any]], world: World
) -> None:
    found = client.get("/api/inspections", params={"lot": "L7", "limit": 5}).json()["data"]
    ids = [one["id"] for one in found["inspections"]]
    while found["after"]:
        found = client.get(
            "/api/inspections", params={"lot": "L7", "limit": 5, "after": found["after"]}
        ).json()["data"]
        ids += [one["id"] for one in found["inspections"]]
    assert sorted(ids) == sorted(one["inspection"]["id"] for one in batch)
    counts = client.get("/api/history/counts").json()["data"]
    assert counts["total"] == len(batch)
    (lot,) = client.get("/api/history/by/lot").json()["data"]
    assert lot["name"] == "L7" and lot["counts"] == counts
    (day,) = client.get("/api/history/trend").json()["data"]
    assert day["counts"] == counts
    odd = client.get("/api/history/pareto").json()["data"]
    assert sum(one["count"] for one in odd) == counts["review"] + counts["ng"]
    rows = list(csv.DictReader(io.StringIO(client.get("/api/inspections.csv").text)))
    assert sorted(row["id"] for row in rows) == sorted(ids)
    first = batch[0]["inspection"]
    image = client.get(f"/api/inspections/{first['id']}/image")
    assert image.headers["content-type"] == "image/png" and image.content == world.pictures()[0].read_bytes()
    heat = client.get(f"/api/inspections/{first['id']}/heat")
    assert cv2.imdecode(np.frombuffer(heat.content, np.uint8), cv2.IMREAD_UNCHANGED).ndim == 2
    text = batch[-1]["inspection"]
    assert client.get(f"/api/inspections/{text['id']}/heat").status_code == 404
    assert (
        client.get(f"/api/inspections/{text['id']}/image").headers["content-type"]
        == "application/octet-stream"
    )


@pytest.mark.parametrize(
    "path",
    [
        "/api/inspections?from=2026-02-02&to=2026-01-01",
        "/api/inspections?verdict=GREAT",
        "/api/inspections?after=x",
        "/api/inspections?limit=0",
        "/api/inspections?from=yesterday",
        "/api/history/by/nothing",
        "/api/history/trend?step=second",
    ],
)
def test_questions_that_make_no_sense_are_answered_with_422(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 422 and answer.json()["error"]["message"]


def test_cells_that_a_spreadsheet_would_run_are_text(client: Client, world: World) -> None:
    content = world.pictures()[0].read_bytes()
    kind = {"content-type": "image/png"}
    client.post("/api/inspect", content=content, headers=kind, params={"lot": "=1+1"})
    (row,) = csv.DictReader(io.StringIO(client.get("/api/inspections.csv").text))
    assert row["lot"] == "'=1+1"


def test_bundles_are_added_put_on_the_line_and_taken_back(
    client: Client, world: World, split_world: World
) -> None:
    (first,) = client.get("/api/bundles").json()["data"]
    assert first["state"] == "line"
    added = client.post("/api/bundles", content=split_world.model.read_bytes()).json()["data"]
    assert added["state"] == "kept" and added["id"] != first["id"]
    assert (
        client.post("/api/bundles", content=split_world.model.read_bytes()).json()["data"]["id"]
        == added["id"]
    )
    damaged = client.post("/api/bundles", content=split_world.model.read_bytes()[:-100])
    assert damaged.status_code == 422 and "station" not in damaged.json()["error"]["message"]
    detail = client.get(f"/api/bundles/{added['id']}").json()["data"]
    assert detail["card"].startswith("#") and detail["promise"]["mode"] == "split"
    assert client.get(f"/api/bundles/{added['id']}/file").content == split_world.model.read_bytes()
    reason = {"reason": "better on Monday's parts"}
    assert client.post(f"/api/bundles/{added['id']}/activate", json=reason).json()["data"]["state"] == "line"
    assert judged_by(client, world) == added["id"]
    states = {one["id"]: one["state"] for one in client.get("/api/bundles").json()["data"]}
    assert states == {first["id"]: "kept", added["id"]: "line"}
    back = client.post("/api/bundles/roll-back", json={"product": first["product"]}).json()["data"]
    assert back["id"] == first["id"] and judged_by(client, world) == first["id"]
    log = client.get("/api/bundles/history").json()["data"]
    assert [one["bundle_id"] for one in log] == [first["id"], added["id"], first["id"]]
    assert log[1]["reason"] == reason["reason"] and log[1]["person"].startswith("local:")
    assert client.post("/api/bundles/000000000000/activate", json={}).status_code == 404


def judged_by(client: Client, world: World) -> str:
    content, kind = world.pictures()[0].read_bytes(), {"content-type": "image/png"}
    id: str = client.post("/api/inspect", content=content, headers=kind).json()["data"]["bundle_id"]
    return id


def test_reviews_with_masks_by_two_people(client: Client, batch: list[dict[str, Any]]) -> None:
    queue = client.get("/api/reviews/queue").json()["data"]
    risks = [one["risk"] for one in queue["inspections"]]
    assert queue["waiting"] >= 1 and risks == sorted(risks, reverse=True)
    part = queue["inspections"][0]["id"]
    mask = base64.b64encode(cv2.imencode(".png", np.full((96, 128), 255, np.uint8))[1].tobytes()).decode()
    assert client.post("/api/reviews/claim", json={"inspection_id": part}).status_code == 200
    wish = {"inspection_id": part, "answer": "bad", "defect": "scratch", "mask": mask, "seconds": 3.5}
    given = client.post("/api/reviews", json=wish).json()["data"]
    assert given["defect"] == "scratch" and client.station.store.images.has(given["mask_sha256"])
    assert client.get("/api/reviews/queue").json()["data"]["waiting"] == queue["waiting"] - 1
    assert client.post(f"/api/reviews/{given['id']}/undo").status_code == 200
    assert client.post(f"/api/reviews/{given['id']}/undo").status_code == 404
    assert client.get("/api/reviews/queue").json()["data"]["waiting"] == queue["waiting"]
    assert client.post("/api/reviews", json=wish | {"mask": "aGFsbG8="}).status_code == 400
    assert client.post("/api/reviews", json=wish | {"answer": "perhaps"}).status_code == 422
    assert client.post("/api/reviews", json=wish | {"inspection_id": "x"}).status_code == 404
    assert [one["answer"] for one in client.get("/api/reviews/mine").json()["data"]] == ["bad"]


def test_settings_and_retention(client: Client, batch: list[dict[str, Any]]) -> None:
    assert client.get("/api/settings").json()["data"]["theme"] == "light"
    assert (
        client.patch("/api/settings", json={"theem": "dark"})
        .json()["error"]["remedy"]
        .startswith("Did you mean")
    )
    assert client.patch("/api/settings", json={"keep_free_gb": 0, "keep_ok_days": 1}).status_code == 200
    disk = client.get("/api/retention").json()["data"]
    assert disk["plan"]["images"] == 0 and disk["disk"]["images"] == len(batch)
    assert client.post("/api/retention").json()["data"]["images"] == 0


def test_numbers_for_prometheus(client: Client, batch: list[dict[str, Any]]) -> None:
    text = client.get("/metrics").text
    values = {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"
    }
    assert values["flawscope_accepted_total"] == len(batch) and values["flawscope_unanswered"] == 0
    judged = sum(value for name, value in values.items() if name.startswith("flawscope_inspections_total"))
    assert judged == len(batch)
    assert any('route="/api/batch"' in name for name in values)
    ready = client.get("/readyz").json()["data"]
    assert ready["bundles"] == [one.record.id for one in client.station.line.active.on_line()]


def test_events_tell_what_happens(client: Client, world: World) -> None:
    with client.stream("GET", "/api/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": hello"
        judged_by(client, world)
        kinds = []
        for line in lines:
            if line.startswith("event: "):
                kinds.append(line)
                break
    assert kinds == ["event: inspection"]
    (record,) = client.station.store.inspections.page(Filters()).records
    assert record.verdict
