"""Before and after on TEST over REST: a kept set, a job that measures two bundles on it, looks counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from worlds import World

from flawscope.app.sets import samples_of

Client = Any


def chips_kept(client: Client, world: World, *, name: str = "Chips of March") -> str:
    """Keep four good chips and one of each defect as a test set, with their masks; return its id."""
    id: str = client.post("/api/tests", json={"name": name}).json()["data"]["id"]
    good = [("files", (one.name, one.read_bytes())) for one in world.pictures("test/good/*.png")[:4]]
    assert client.post(f"/api/tests/{id}/images", files=good).json()["data"]["added"] == 4
    for path in world.pictures("test/*/*.png"):
        label = path.parent.name
        mask = world.data / "ground_truth" / label / f"{path.stem}_mask.png"
        if label != "good":
            files = [("files", (path.name, path.read_bytes())), ("masks", (mask.name, mask.read_bytes()))]
            sent = client.post(f"/api/tests/{id}/images", files=files, data={"label": label}).json()["data"]
            assert sent["added"] == 1 and not sent["refused"], sent
    return id


def moved(client: Client, *, reason: str = "stricter") -> tuple[str, str]:
    """Save limits that call everything NG as a new version, and put the old one back on the line."""
    (line,) = [one for one in client.get("/api/bundles").json()["data"] if one["state"] == "line"]
    limits = {"limit_ng": 0.0, "limit_review": 0.0, "reason": reason, "version": 1}
    made = client.post(f"/api/bundles/{line['id']}/limits", json=limits).json()["data"]["bundle_id"]
    client.post(f"/api/bundles/{line['id']}/activate", json={})
    return line["id"], made


def ended(client: Client, job: dict[str, Any]) -> dict[str, Any]:
    until = time.monotonic() + 120
    while (state := client.get(f"/api/jobs/{job['id']}").json()["data"])["state"] in ("waiting", "running"):
        assert time.monotonic() < until, client.get(f"/api/jobs/{job['id']}/log").text
        time.sleep(0.1)
    found: dict[str, Any] = state
    return found


def test_a_candidate_is_measured_beside_the_line_and_every_look_is_counted(
    open_station: Callable[..., Client], world: World
) -> None:
    client = open_station(models=(world.model,))
    test = chips_kept(client, world)
    kept = client.get(f"/api/tests/{test}").json()["data"]
    assert kept["counts"]["good"] == 4 and len(kept["counts"]) == 9, kept["counts"]
    assert kept["masks"] == 8 and kept["looks"] == 0
    line, made = moved(client)
    job = ended(client, client.post("/api/trials", json={"test": test, "bundle": made}).json()["data"])
    assert job["state"] == "done", client.get(f"/api/jobs/{job['id']}/log").text
    assert set(job["result"]) == {"trial_id", "words"}
    (found,) = client.get("/api/trials", params={"bundle": made}).json()["data"]
    assert found["against"] == line and found["looks"] == 1 and found["id"] == job["result"]["trial_id"]
    result = found["result"]
    # the limits call everything NG: nothing new is missed, and each good part that was not NG is now
    assert result["images"] == 12 and result["bad"]["worse"] == 0 and result["auroc_gain"]["value"] == 0
    newly = sum(row["count"] for row in result["table"] if row["before"] != "NG")
    assert len(result["changed"]) == result["changed_all"] == newly > 0
    assert all(one["after"]["verdict"] == "NG" for one in result["changed"])
    assert {"auroc", "escape", "overkill", "aupro_30"} <= {one["name"] for one in result["figures"]}
    assert client.get(f"/api/tests/{test}/images/{result['changed'][0]['name']}").status_code == 200

    # looked at: the set stays as it is, and the audit log names who looked with what
    picture = [("files", ("x.png", world.pictures("test/good/*.png")[5].read_bytes()))]
    assert client.post(f"/api/tests/{test}/images", files=picture).json()["error"]["code"] == "looked_at"
    name = kept["images"][0]["name"]
    assert client.delete(f"/api/tests/{test}/images/{name}").status_code == 409
    looked = [one for one in client.get("/api/audit").json()["data"] if one["action"] == "test.look"]
    assert [one["subject"] for one in looked] == [test] and made in looked[0]["detail"]

    # a limit that was just saved is on the line itself: it is measured against the version before it
    client.post(f"/api/bundles/{made}/activate", json={})
    job = ended(client, client.post("/api/trials", json={"test": test, "bundle": made}).json()["data"])
    again = client.get(f"/api/trials/{job['result']['trial_id']}").json()["data"]
    assert again["against"] == line and again["looks"] == 2
    assert client.delete(f"/api/tests/{test}").status_code == 204
    assert client.get(f"/api/tests/{test}").status_code == 404
    assert client.get(f"/api/trials/{again['id']}").json()["data"]["test_name"] == "Chips of March"


def test_what_a_bundle_has_seen_does_not_test_it(client: Client, world: World) -> None:
    test = client.post("/api/tests", json={"name": "seen"}).json()["data"]["id"]
    taught = world.pictures("train/good/*.png")[0]
    client.post(f"/api/tests/{test}/images", files=[("files", (taught.name, taught.read_bytes()))])
    _, made = moved(client)
    job = ended(client, client.post("/api/trials", json={"test": test, "bundle": made}).json()["data"])
    assert job["state"] == "failed" and job["error"]["code"] == "leak", job
    assert job["error"]["remedy"] and client.get(f"/api/tests/{test}").json()["data"]["looks"] == 0


def test_what_tests_never_teaches(client: Client, world: World) -> None:
    chips_kept(client, world)
    shown = world.pictures("test/good/*.png")[0]
    set_ = client.post("/api/sets").json()["data"]["id"]
    client.post(f"/api/sets/{set_}/images", files=[("files", (shown.name, shown.read_bytes()))])
    refused = client.post("/api/jobs", json={"kind": "train", "set": set_})
    assert refused.status_code == 422 and refused.json()["error"]["code"] == "leak"
    part = client.post("/api/inspect", content=shown.read_bytes()).json()["data"]["id"]
    client.post("/api/reviews", json={"inspection_id": part, "answer": "good"})
    assert client.post("/api/reviews/learn", json={}).status_code == 422, "the only answer is on a test part"
    other = client.post("/api/inspect", content=world.pictures("test/good/*.png")[6].read_bytes())
    seen = client.get("/threshold.json").json()["data"]
    assert not seen["reviewed"], "no limit is placed by it"
    assert [one["id"] for one in seen["recent"]] == [other.json()["data"]["id"]]
    assert "flawscope 0." in client.get("/threshold").text


def test_what_is_asked_wrongly_is_refused_with_a_reason(client: Client, world: World, tmp_path: Path) -> None:
    test = client.post("/api/tests", json={"name": "empty"}).json()["data"]["id"]
    assert client.post("/api/tests", json={"name": "empty"}).status_code == 409
    (line,) = client.get("/api/bundles").json()["data"]
    for wish, status in (
        ({"test": test, "bundle": "nobody"}, 404),
        ({"test": "nobody", "bundle": line["id"]}, 404),
        ({"test": test, "bundle": line["id"]}, 422),  # nothing came before it
        ({"test": test, "bundle": line["id"], "against": line["id"]}, 422),
    ):
        assert client.post("/api/trials", json=wish).status_code == status, wish
    _, made = moved(client)
    answer = client.post("/api/trials", json={"test": test, "bundle": made})
    assert answer.status_code == 422 and "empty" in answer.json()["error"]["message"]
    (photograph,) = world.pictures("test/scratch/*.png")
    files = [("files", ("a.png", photograph.read_bytes())), ("masks", ("a.png", b"no image"))]
    sent = client.post(f"/api/tests/{test}/images", files=files, data={"label": "scratch"}).json()["data"]
    assert sent["added"] == 1 and sent["refused"][0]["error"]["code"] == "not_an_image"
    (sample,) = samples_of(client.station.tests.folder(test), product="chips")
    assert sample.mask_path is None and sample.label == "scratch" and sample.product == "chips"


@pytest.mark.parametrize("path", ["/api/tests", "/api/trials"])
def test_operators_have_no_part_in_it(open_station: Callable[..., Client], world: World, path: str) -> None:
    client = open_station(models=(world.model,))
    from flawscope.store.records import RoleName

    store = client.station.store
    _, token = store.people.add_token(
        "cell", person="kim", role=RoleName.OPERATOR, expires_us=None, who="kim"
    )
    assert client.get(path, headers={"authorization": f"Bearer {token}"}).status_code == 403
