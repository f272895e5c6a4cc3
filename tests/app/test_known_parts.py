"""Known parts in Review over REST: among those that wait, not told apart, and without effect on the part."""

from __future__ import annotations

from typing import Any

from stations import content_of, record

from flawscope.store.records import QueueState
from flawscope.store.reviews import Said

Client = Any


def test_a_settled_part_is_mixed_in_and_its_record_stays(client: Client) -> None:
    store = client.station.store
    numbers = range(12)
    records = [record(n, queue=QueueState.WAITING, verdict="REVIEW") for n in numbers]
    store.keep(records, [content_of(n) for n in numbers])
    for n in (0, 1):
        store.reviews.answer(record(n).id, "kim", Said("bad", "scratch"))
    assert client.patch("/api/settings", json={"known_share": 0.9}).status_code == 422
    client.patch("/api/settings", json={"known_share": 0.5})
    for n in (2, 3):
        client.post("/api/reviews", json={"inspection_id": record(n).id, "answer": "good"})
    queue = client.get("/api/reviews/queue").json()["data"]
    (known,) = [one for one in queue["inspections"] if one["id"] in (record(0).id, record(1).id)]
    assert known["queue"] == "waiting" and queue["waiting"] == 9 == len(queue["inspections"])
    shown = client.get("/review.json", params={"id": known["id"]}).json()["data"]
    assert shown["part"]["reviews"] == [] and shown["left"] == 9 and known["id"] in shown["queue"]
    before = [one.to_json() for one in store.reviews.of(known["id"], seen_by="kim")]
    said = client.post("/api/reviews", json={"inspection_id": known["id"], "answer": "good"}).json()["data"]
    assert said["answer"] == "good" and said["inspection_id"] == known["id"]
    undone = client.post(f"/api/reviews/{said['id']}/undo", json={})
    assert undone.status_code == 200 and undone.json()["data"]["undone"]
    client.post("/api/reviews", json={"inspection_id": known["id"], "answer": "bad"})
    assert [one.to_json() for one in store.reviews.of(known["id"], seen_by="kim")] == before
    (one,) = client.get("/api/reviews/known").json()["data"]
    assert (one["known"], one["agreed"]) == (1, 1)
    assert "1 of 1 as they were settled" in client.get("/review").text
