"""Jobs: a set of photographs becomes a bundle; log, progress, cancel; a server that stops and comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from worlds import SMALL, World

from flawscope.app.jobs.folder import JobFolder, JobProgress
from flawscope.app.jobs.scheduler import Jobs
from flawscope.app.jobs.work import FileProgress, run
from flawscope.core.errors import ConflictError, UsageError
from flawscope.store.store import Store

Client = Any


def wait_for(condition: Callable[[], Any], *, seconds: float = 120) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)
    return found


@pytest.fixture
def filled_set(client: Client, world: World) -> str:
    """A set of 24 good chips, sent twice, with two bad ones and a file that is no image."""
    id: str = client.post("/api/sets").json()["data"]["id"]
    good = [("files", (path.name, path.read_bytes())) for path in world.pictures("train/good/*.png")]
    first = client.post(f"/api/sets/{id}/images", files=[*good, ("files", ("x.png", b"no image"))])
    added = first.json()["data"]
    assert added["added"] == len(good) and added["refused"][0]["error"]["code"] == "not_an_image"
    assert client.post(f"/api/sets/{id}/images", files=good[:3]).json()["data"]["copies"] == 3
    bad = [("files", (path.name, path.read_bytes())) for path in world.pictures("test/scratch/*.png")]
    counts = client.post(f"/api/sets/{id}/images", files=bad, data={"label": "scratch"}).json()["data"][
        "counts"
    ]
    assert counts == {"good": len(good), "scratch": len(bad)}
    return id


def test_a_set_is_taught_in_a_process_of_its_own_and_becomes_a_bundle(
    client: Client, filled_set: str
) -> None:
    settings = {"method": "padim", "budget": SMALL["budget"], "alpha": 0.1, "folds": 2}
    wish = {"kind": "train", "set": filled_set, "title": "Chips", "settings": settings}
    job = client.post("/api/jobs", json=wish).json()["data"]
    assert job["state"] == "waiting" and str(client.station.store.folder) not in str(job)
    done = wait_for(lambda: (one := state_of(client, job["id"]))["state"] in ("done", "failed") and one)
    assert done["state"] == "done", client.get(f"/api/jobs/{job['id']}/log").text
    assert done["progress"]["total"] > 0 and "model" not in done["result"]
    (bundle,) = [
        one for one in client.get("/api/bundles").json()["data"] if one["id"] == done["result"]["bundle_id"]
    ]
    assert bundle["method"] == "padim" and bundle["state"] == "kept"
    assert "in" in client.get(f"/api/jobs/{job['id']}/log").text
    page = client.get(f"/api/jobs/{job['id']}/report")
    assert page.headers["content-security-policy"].startswith("sandbox") and "<html" in page.text
    assert client.post(f"/api/jobs/{job['id']}/cancel").status_code == 409
    assert client.post(f"/api/bundles/{bundle['id']}/activate", json={}).status_code == 200


def state_of(client: Client, id: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/api/jobs/{id}").json()["data"]
    return found


def test_what_a_client_chooses_reaches_no_file(client: Client, filled_set: str) -> None:
    for settings in (
        {"backbone": "/etc/passwd"},
        {"data": "/etc"},
        {"roi": "/etc/passwd"},
        {"method": "../x"},
        {"settings": {"x": "/etc"}},
    ):
        answer = client.post("/api/jobs", json={"kind": "train", "set": filled_set, "settings": settings})
        assert answer.status_code == 422, settings
    for path in ("..%2f..", "%2e%2e", "x"):
        assert client.get(f"/api/sets/{path}").status_code in (404, 405)
    assert client.get(f"/api/sets/{filled_set}/images/..%2f..%2fstation.db").status_code == 404
    files = [("files", ("../../evil.png", b"x"))]
    assert client.post(f"/api/sets/{filled_set}/images", files=files, data={"label": "../up"}).json()["data"][
        "refused"
    ]


def test_a_job_that_cannot_be_done_says_why(client: Client) -> None:
    id = client.post("/api/sets").json()["data"]["id"]
    job = client.post("/api/jobs", json={"kind": "train", "set": id}).json()["data"]
    done = wait_for(lambda: (one := state_of(client, job["id"]))["state"] == "failed" and one)
    assert done["error"]["code"] == "data" and done["result"] is None


SLOW = """
import signal, sys, time
from pathlib import Path
from flawscope.app.jobs import kinds, work

def slow(context):
    with context.progress.stage("Sleeping", 1000) as stage:
        for _ in range(1000):
            time.sleep(0.02)
            stage.advance()
            if Path(sys.argv[1], "enough").exists():
                return {"slept": True}
    return {}

kinds.KINDS["train"] = slow
signal.signal(signal.SIGINT, signal.SIG_IGN)  # so the job of a station in the background begins
work.main()
"""


@pytest.fixture
def slow_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Jobs over a store, whose processes sleep instead of teaching; stopped with the test."""
    real = subprocess.Popen
    started: list[Any] = []

    def start(command: list[str], **values: Any) -> Any:
        process = real([sys.executable, "-c", SLOW, command[-1]], **values)
        started.append(process)
        return process

    monkeypatch.setattr("flawscope.app.jobs.scheduler.subprocess.Popen", start)
    with Store(tmp_path / "store") as store:
        told: list[tuple[str, str]] = []

        def make() -> Jobs:
            return Jobs(
                store,
                finish=lambda record, result: result,
                tell=lambda record, progress: told.append((record.state, progress.stage)),
            )

        made: list[Jobs] = []
        yield store, lambda: made.append(make()) or made[-1], started, told
        for jobs in made:
            jobs.close()
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_one_job_runs_the_next_one_waits_and_both_can_be_cancelled(slow_jobs: Any) -> None:
    store, make, started, told = slow_jobs
    jobs = make()
    first = jobs.add("train", "first", {}, who="kim")
    second = jobs.add("train", "second", {}, who="kim")
    wait_for(lambda: jobs.progress(first.id).done > 2)
    assert store.jobs.get(second.id).state == "waiting" and [one.id for one in jobs.before(second.id)] == [
        first.id
    ]
    assert jobs.progress(first.id).stage == "Sleeping" and jobs.progress(first.id).seconds_left is not None
    assert jobs.cancel(second.id, who="lee").state == "cancelled"
    jobs.cancel(first.id, who="lee")
    wait_for(lambda: store.jobs.get(first.id).state == "cancelled")
    assert started[0].wait(20) == 130 and len(started) == 1
    with pytest.raises(ConflictError):
        jobs.cancel(first.id, who="lee")
    assert ("running", "Sleeping") in told and told[-1][0] == "cancelled"
    with pytest.raises(UsageError):
        jobs.add("format the disk", "x", {}, who="kim")


def test_a_job_goes_on_without_its_server_and_the_next_one_finds_it(slow_jobs: Any) -> None:
    store, make, _, _ = slow_jobs
    jobs = make()
    job = jobs.add("train", "long", {}, who="kim")
    wait_for(lambda: jobs.progress(job.id).done > 2)
    jobs.close()
    folder = JobFolder(store.folder_of("jobs") / job.id)
    before = folder.progress().done
    wait_for(lambda: folder.progress().done > before)
    assert folder.is_alive and store.jobs.get(job.id).state == "running"
    again = make()
    (folder.path / "enough").touch()
    wait_for(lambda: store.jobs.get(job.id).state == "done")
    assert store.jobs.get(job.id).result == {"slept": True} and not folder.is_alive
    assert again.before(job.id) == []


def test_a_job_that_is_killed_is_noticed(slow_jobs: Any) -> None:
    store, make, started, _ = slow_jobs
    jobs = make()
    job = jobs.add("train", "doomed", {}, who="kim")
    wait_for(lambda: jobs.progress(job.id).done > 2)
    os.killpg(started[0].pid, signal.SIGKILL)
    wait_for(lambda: store.jobs.get(job.id).state == "failed")
    assert store.jobs.get(job.id).error["code"] == "stopped"
    jobs.forget(job.id)
    assert not (store.folder_of("jobs") / job.id).exists()


def test_progress_is_told_in_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = JobFolder(tmp_path / "job")
    folder.path.mkdir()
    progress = FileProgress(folder)
    with progress.stage("Reading", 3) as stage:
        assert folder.progress() == JobProgress("Reading", 0, 3, None, "")
        for _ in range(3):
            stage.advance()
    progress.note("Nearly done.")
    assert capsys.readouterr().out.startswith("Reading: 3/3 in ")
    held = folder.lock()
    assert held is not None and folder.is_alive and run(folder) == 0  # another process has it
    held.close()
    assert not folder.is_alive
