"""Learning from reviews over REST: a job teaches what people called good, or trains anew with what they
called bad."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from worlds import World

from flawscope.core import digest
from flawscope.core.types import Role
from flawscope.data.manifest import read_manifest

Client = Any


def ended(client: Client, job: str) -> dict[str, Any]:
    until = time.monotonic() + 300
    while (state := client.get(f"/api/jobs/{job}").json()["data"])["state"] in ("waiting", "running"):
        assert time.monotonic() < until, (state, client.get(f"/api/jobs/{job}/log").text)
        time.sleep(0.5)
    found: dict[str, Any] = state
    return found


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
    state = ended(client, job["job_id"])
    assert state["state"] == "done", state
    page = client.get(f"/jobs/{job['job_id']}")
    assert page.status_code == 200 and "Look at the model" in page.text
    made = client.get(f"/api/bundles/{state['result']['bundle_id']}").json()["data"]
    assert made["parent"] and made["state"] == "kept"
    assert client.post("/api/reviews/learn", json={}).status_code == 422, "it was learnt"


def say(client: Client, path: Path, answer: str, **more: str) -> None:
    id = client.post("/api/inspect", content=path.read_bytes()).json()["data"]["id"]
    said = {"inspection_id": id, "answer": answer} | more
    assert client.post("/api/reviews", json=said).status_code == 200


def kept_and_reviewed(client: Client, world: World) -> tuple[dict[str, str], list[Path], list[Path]]:
    """Give a station a set that was taught from, and answers that are too few; return the wish to train from
    it, the good parts that were reviewed and all bad ones."""
    station = client.station
    kept = client.post("/api/sets").json()["data"]["id"]
    good = [("files", (path.name, path.read_bytes())) for path in world.pictures("train/good/*.png")]
    client.post(f"/api/sets/{kept}/images", files=good)
    wish = {"set": kept, "method": "linear"}
    assert client.post("/api/reviews/train", json=wish).status_code == 404, "nobody has taught from it"
    settings = {"budget": 96, "alpha": 0.1, "review_alpha": 0.3, "folds": 2, "settings": {"bank": 100}}
    taught = station.store.jobs.add(
        "train",
        "chips",
        {"data": str(station.sets.folder(kept).resolve()), "settings": settings},
        person="kim",
    )
    station.store.jobs.start(taught.id)
    station.store.jobs.end(taught.id, "done", result={})

    bad = [path for path in world.pictures("test/*/*.png") if path.parent.name != "good"]
    good_ones = [world.pictures("train/good/*.png")[0], *world.pictures("test/good/*.png")[:2]]
    for path in good_ones:  # the first is in the kept set too
        say(client, path, "good")
    for path in bad[:3]:
        say(client, path, "bad", defect=path.parent.name)
    return wish, good_ones, bad


def test_reviewed_parts_teach_anew_and_never_calibrate(client: Client, world: World) -> None:
    wish, good, bad = kept_and_reviewed(client, world)
    station = client.station
    # one of the kept set tests by now
    tests = client.post("/api/tests", json={"name": "March"}).json()["data"]["id"]
    held = world.pictures("train/good/*.png")[5]
    client.post(f"/api/tests/{tests}/images", files=[("files", (held.name, held.read_bytes()))])
    few = client.post("/api/reviews/train", json=wish).json()["error"]
    assert few["found"] == "3" and "too few" in few["message"]
    assert client.post("/api/reviews/train", json=wish | {"method": "padim"}).status_code == 422
    mask = world.data / "ground_truth" / bad[3].parent.name / f"{bad[3].stem}_mask.png"
    say(client, bad[3], "bad", defect="긁힘 / scratch", mask=base64.b64encode(mask.read_bytes()).decode())
    begun = client.post("/api/reviews/train", json=wish).json()["data"]
    assert (begun["good"], begun["bad"], begun["masks"]) == (3, 4, 1)

    arguments = station.store.jobs.get(begun["job_id"]).arguments
    samples = read_manifest(Path(arguments["data"]))
    digests = {digest.of_file(Path(one.path)): one for one in samples}
    shown = [*good, *bad[:4]]
    for path in shown:
        assert digests[digest.of_file(path)].role is Role.FIT, path
    assert digest.of_file(held) not in digests
    others = [one for key, one in digests.items() if key not in {digest.of_file(path) for path in shown}]
    held_out = [one for one in others if one.role is Role.CALIBRATE]
    assert len(held_out) == begun["calibrate"] >= 9 and all(one.is_good for one in held_out)
    marked = digests[digest.of_file(bad[3])]
    assert marked.label == "긁힘 / scratch" and marked.mask_path and Path(marked.mask_path).is_file()

    client.post(f"/api/jobs/{begun['job_id']}/cancel")
    assert ended(client, begun["job_id"])["state"] == "cancelled"


@pytest.mark.slow
def test_bad_answers_make_a_new_bundle_whose_material_is_kept(client: Client, world: World) -> None:
    wish, _, bad = kept_and_reviewed(client, world)
    station = client.station
    say(client, bad[3], "bad")
    begun = client.post("/api/reviews/train", json=wish).json()["data"]
    state = ended(client, begun["job_id"])
    assert state["state"] == "done", client.get(f"/api/jobs/{begun['job_id']}/log").text
    made = client.get(f"/api/bundles/{state['result']['bundle_id']}").json()["data"]
    assert made["method"] == "linear" and made["state"] == "kept"
    assert made["counts"]["calibrate"] == begun["calibrate"] and made["promise"]["mode"] == "split"
    assert all(said.learnt_by == made["id"] for said, _ in station.store.reviews.learnable(learnt=True))
    # its own material is a kept set now, whose roles stay
    first = Path(station.store.jobs.get(begun["job_id"]).arguments["data"])
    wish = {"set": first.parent.name, "method": "linear"}
    again = client.post("/api/reviews/train", json=wish).json()["data"]
    client.post(f"/api/jobs/{again['job_id']}/cancel")
    second = Path(station.store.jobs.get(again["job_id"]).arguments["data"])
    found = [
        {digest.of_file(Path(one.path)): one.role for one in read_manifest(place)}
        for place in (first, second)
    ]
    assert found[0] == found[1]
    assert ended(client, again["job_id"])["state"] == "cancelled"
