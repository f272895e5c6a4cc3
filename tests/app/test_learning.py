"""Learning from reviews over REST: a job teaches what people called good, and marks it as learnt."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from worlds import World

Client = Any


def test_what_people_called_good_makes_a_new_bundle(
    open_station: Callable[..., Client], world: World
) -> None:
    client = open_station(models=(world.model,))
    refused = client.post("/api/reviews/learn", json={})
    assert refused.status_code == 422 and "nothing to learn" in refused.json()["error"]["message"]
    for path in world.pictures("test/good/*.png")[:3]:
        id = client.post("/api/inspect", content=path.read_bytes()).json()["data"]["id"]
        client.post("/api/reviews", json={"inspection_id": id, "answer": "good"})
    job = client.post("/api/reviews/learn", json={}).json()["data"]
    assert job["parts"] == 3
    until = time.monotonic() + 300
    while (state := client.get(f"/api/jobs/{job['job_id']}").json()["data"])["state"] in (
        "waiting",
        "running",
    ):
        assert time.monotonic() < until, (state, client.get(f"/api/jobs/{job['job_id']}/log").text)
        time.sleep(0.5)
    assert state["state"] == "done", state
    page = client.get(f"/jobs/{job['job_id']}")
    assert page.status_code == 200 and "Look at the model" in page.text
    made = client.get(f"/api/bundles/{state['result']['bundle_id']}").json()["data"]
    assert made["parent"] and made["state"] == "kept"
    assert client.post("/api/reviews/learn", json={}).status_code == 422, "it was learnt"
