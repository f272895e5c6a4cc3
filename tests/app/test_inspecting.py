"""`POST /api/inspect`: every way to send a photograph, what comes back, what is kept, what is refused."""

from __future__ import annotations

import base64
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from worlds import World

import flawscope
from flawscope.app.settings import Limits
from flawscope.core import digest
from flawscope.core.errors import BusyError
from flawscope.store.inspections import Filters
from flawscope.store.records import Origin

Client = Any


def sent_as(way: str, picture: Path) -> dict[str, Any]:
    content = picture.read_bytes()
    if way == "form":
        return {"files": {"file": (picture.name, content)}, "data": {"lot": "L1"}}
    if way == "raw":
        return {"content": content, "headers": {"content-type": "image/png"}, "params": {"lot": "L1"}}
    return {"json": {"image": base64.b64encode(content).decode(), "lot": "L1"}}


@pytest.mark.parametrize("way", ["form", "raw", "base64"])
def test_a_photograph_gets_the_verdict_of_the_inspector_and_is_kept(
    client: Client, world: World, way: str
) -> None:
    picture = world.pictures("test/scratch/*.png")[0]
    response = client.post("/api/inspect", **sent_as(way, picture))
    assert response.status_code == 200, response.text
    data = response.json()["data"]
    expected = flawscope.Inspector.open(world.model, threads=1)(picture).to_json()
    for name in ("verdict", "score", "p_value", "thresholds"):
        assert data[name] == expected[name]
    assert [one["box_xyxy"] for one in data["regions"]] == [one["box_xyxy"] for one in expected["regions"]]
    store = client.station.store
    record = store.inspections.get(data["id"])
    assert (
        record.to_json() == data and record.origin.lot == "L1" and record.origin.person.startswith("local:")
    )
    assert store.images.read(data["image_sha256"]) == picture.read_bytes()
    assert (store.inspections.heat(data["id"]) or b"").startswith(b"\x89PNG")


def test_what_cannot_be_judged_is_kept_without_a_verdict(client: Client, world: World) -> None:
    cut = world.pictures()[0].read_bytes()[:500]
    response = client.post("/api/inspect", content=cut, headers={"content-type": "image/png"})
    data = response.json()["data"]
    assert response.status_code == 200 and data["verdict"] is None and data["error"]["code"] == "truncated"
    assert client.station.store.inspections.get(data["id"]).verdict == "NOT JUDGED"


def test_a_photograph_sent_twice_is_judged_and_kept_once(client: Client, world: World) -> None:
    first, second = world.pictures()[:2]
    id = str(uuid.uuid4())
    answers = [client.post("/api/inspect", **sent_as("raw", first) | {"params": {"id": id}})]
    answers.append(client.post("/api/inspect", **sent_as("raw", first) | {"params": {"id": id.upper()}}))
    assert answers[0].json() == answers[1].json()
    other = client.post("/api/inspect", **sent_as("raw", second) | {"params": {"id": id}})
    assert other.status_code == 409 and other.json()["error"]["code"] == "conflict"
    assert len(client.station.store.inspections.page(Filters()).records) == 1


@pytest.mark.parametrize(
    "request_, status, code",
    [
        ({"content": b"", "headers": {"content-type": "image/png"}}, 400, "empty"),
        ({"content": b"x", "headers": {"content-type": "text/html"}}, 415, "media_type"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "bad_request"),
        ({"json": {"image": "!!!"}}, 400, "bad_request"),
        ({"json": {"image": "aGFsbG8=", "path": "/etc/passwd"}}, 400, "bad_request"),
        ({"data": {"lot": "L1"}, "files": {"other": b"x"}}, 400, "empty"),
        ({"json": {"image": "aGFsbG8=", "id": "7"}}, 400, "bad_request"),
        ({"json": {"image": "aGFsbG8=", "lot": "x" * 101}}, 400, "bad_request"),
        ({"json": {"image": "aGFsbG8=", "lot": "a\nb"}}, 400, "bad_request"),
        ({"json": {"image": "aGFsbG8=", "lot": 7}}, 400, "bad_request"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_the_envelope(
    client: Client, request_: dict[str, Any], status: int, code: str
) -> None:
    response = client.post("/api/inspect", **request_)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert response.json()["ok"] is False and error["code"] == code
    assert set(error) == {"code", "message", "expected", "found", "remedy"}
    assert not client.station.store.inspections.page(Filters()).records


def test_limits_count_bytes_and_pixels(open_station: Callable[..., Client], world: World) -> None:
    picture = world.pictures()[0]
    size = len(picture.read_bytes())
    client = open_station(models=(world.model,), limits=Limits(image_bytes=size - 1, image_pixels=1000))
    assert client.post("/api/inspect", **sent_as("raw", picture)).status_code == 413
    big = client.post("/api/inspect", content=b"x" * (size * 4), headers={"content-type": "image/png"})
    assert big.status_code == 413 and big.json()["error"]["code"] == "too_much"
    small = open_station(models=(world.model,), limits=Limits(image_pixels=1000))
    data = small.post("/api/inspect", **sent_as("raw", picture)).json()["data"]
    assert data["verdict"] is None and data["error"]["code"] == "too_large"


def test_a_full_station_says_when_to_come_back_and_loses_nothing(
    open_station: Callable[..., Client], world: World
) -> None:
    client = open_station(models=(world.model,), waiting=3)
    pictures = world.pictures()
    gate, hold = threading.Event(), threading.Event()
    line = client.station.line
    judge = line._judge

    def slowly(works: Any) -> None:
        gate.set()
        hold.wait(20)
        judge(works)

    line._judge = slowly
    with ThreadPoolExecutor(8) as pool:
        first = [pool.submit(client.post, "/api/inspect", **sent_as("raw", pictures[i])) for i in range(3)]
        gate.wait(20)
        while line.state().unanswered < 3:
            threading.Event().wait(0.01)
        refused = client.post("/api/inspect", **sent_as("raw", pictures[3]))
        hold.set()
        answers = [one.result() for one in first]
    assert refused.status_code == 503 and refused.json()["error"]["code"] == "busy"
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert [one.status_code for one in answers] == [200] * 3
    kept = {one.id for one in client.station.store.inspections.all(Filters())}
    assert kept == {one.json()["data"]["id"] for one in answers}
    state = line.state()
    assert state.refused == 1 and state.unanswered == 0


def test_under_load_images_share_a_run_of_the_graph(
    open_station: Callable[..., Client], world: World
) -> None:
    client = open_station(models=(world.model,), waiting=64)
    pictures = [world.pictures()[i % 16] for i in range(24)]
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda one: client.post("/api/inspect", **sent_as("raw", one)), pictures))
    scores = {one["image_sha256"]: one["score"] for one in (answer.json()["data"] for answer in answers)}
    inspector = flawscope.Inspector.open(world.model, threads=1)
    for picture in set(pictures):
        assert scores[digest.of_file(picture)] == pytest.approx(inspector(picture).score, rel=1e-6)
    state = client.station.line.state()
    assert state.judged == 24 and state.runs < 24


def test_a_product_that_no_bundle_serves_is_refused(client: Client, open_station: Any, world: World) -> None:
    empty = open_station(store=str(client.station.store.folder) + "2")
    response = empty.post("/api/inspect", **sent_as("raw", world.pictures()[0]))
    assert response.status_code == 404 and response.json()["error"]["code"] == "no_bundle"


def test_closing_finishes_what_was_accepted(open_station: Callable[..., Client], world: World) -> None:
    client = open_station(models=(world.model,))
    line = client.station.line
    origin = Origin()
    waiting = [line.submit(path.read_bytes(), origin) for path in world.pictures()[:6]]
    client.station.close()
    assert all(one.done() and one.result().verdict for one in waiting)
    with pytest.raises(BusyError):
        line.submit(b"x", origin)
