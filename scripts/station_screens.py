"""Take the pictures of the station's pages that docs/station.md shows, from a station that runs.

    flawscope serve --model model.flaw --store demo &
    python scripts/station_screens.py http://127.0.0.1:8000 test/*/*.png

The photographs given are inspected first; one is cut off, so that NOT JUDGED is there as well. A third of the
good ones is reviewed and learnt, and the others test what was learnt; so the model must be calibrated by
folds. Pictures are JPEG under 150 kB. Needs Debian's Chromium and playwright.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
from playwright.sync_api import sync_playwright

from flawscope.imaging.write import encode

OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "station"
CHROMIUM = "/usr/bin/chromium"
MOST_BYTES = 150_000
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


@dataclass(frozen=True)
class Screen:
    """One picture: which page, for whom, and what is done there before it is taken."""

    name: str
    path: str
    size: str = "desktop"
    theme: str = "light"
    language: str = "en"
    waits: str = ""


def send(address: str, content: bytes, name: str) -> dict[str, Any]:
    """Have a photograph judged."""
    lot = name.partition("_")[0]
    query = f"name={name}&lot={lot}&part={Path(name).stem}"
    request = urllib.request.Request(f"{address}/api/inspect?{query}", content, {"content-type": "image/png"})
    with urllib.request.urlopen(request) as answer:
        return dict(json.load(answer)["data"])


def teaching_set(address: str, paths: list[str]) -> str:
    """Make a teaching set of some of the photographs and return its id."""
    with httpx.Client(base_url=address, timeout=60) as client:
        id = str(client.post("/api/sets", json={}).json()["data"]["id"])
        for path in paths[:24]:
            client.post(f"/api/sets/{id}/images", files={"files": (Path(path).name, Path(path).read_bytes())})
    return id


def before_and_after(address: str, judged: list[dict[str, Any]], paths: list[str]) -> tuple[str, str]:
    """Have a third of the good parts learnt, measure on the others; return the ids of test set and look."""
    places = [Path(path) for path in paths]
    good = [i for i, place in enumerate(places) if place.parent.name == "good"]
    learnt = set(good[::3])
    with httpx.Client(base_url=address, timeout=60) as client:

        def done(job: str) -> dict[str, Any]:
            while (state := client.get(f"/api/jobs/{job}").json()["data"])["state"] in ("waiting", "running"):
                time.sleep(0.5)
            return dict(state["result"])

        test = str(client.post("/api/tests", json={"name": "March, all shifts"}).json()["data"]["id"])
        for i, place in enumerate(places):
            if i in learnt:
                continue
            files = [("files", (place.name, place.read_bytes()))]
            mask = place.parents[2] / "ground_truth" / place.parent.name / f"{place.stem}_mask.png"
            if mask.is_file():
                files.append(("masks", (mask.name, mask.read_bytes())))
            client.post(f"/api/tests/{test}/images", files=files, data={"label": place.parent.name})
        for i in learnt:
            client.post("/api/reviews", json={"inspection_id": judged[i]["id"], "answer": "good"})
        made = done(client.post("/api/reviews/learn", json={}).json()["data"]["job_id"])["bundle_id"]
        job = client.post("/api/trials", json={"test": test, "bundle": made}).json()["data"]["id"]
        return test, str(done(job)["trial_id"])


def screens(judged: list[dict[str, Any]], teaching: str, measured: tuple[str, str]) -> list[Screen]:
    """Return every picture, with parts of each verdict where a page shows one; `teaching` is the query of a
    teaching set, `measured` a test set and a look at it."""
    test, trial = measured
    by_verdict: dict[str | None, dict[str, Any]] = {}
    for one in sorted(judged, key=lambda part: len(part["regions"]), reverse=True):
        by_verdict.setdefault(one["verdict"], one)
    ng, none = by_verdict["NG"]["id"], by_verdict[None]["id"]
    heat = "canvas[data-coloured=yes]"
    found = [
        Screen("inspect", f"/inspect?id={ng}", waits=heat),
        Screen("inspect_dark_ko", f"/inspect?id={ng}", theme="dark", language="ko", waits=heat),
        Screen("inspect_not_judged_de", f"/inspect?id={none}", language="de"),
        Screen("inspect_phone", f"/inspect?id={ng}", size="phone", waits=heat),
        Screen("threshold", "/threshold", waits="[data-ready=yes]"),
        Screen("threshold_phone", "/threshold", size="phone", waits="[data-ready=yes]"),
        Screen("models", "/models"),
        Screen("models_phone", "/models", size="phone"),
        Screen("before_after", f"/trials/{trial}"),
        Screen("before_after_phone", f"/trials/{trial}", size="phone"),
        Screen("test_set", f"/tests/{test}"),
        Screen("teach", "/teach" + teaching),
        Screen("teach_phone", "/teach" + teaching, size="phone"),
        Screen("history", "/history"),
        Screen("history_phone", "/history", size="phone"),
        Screen("review", "/review"),
        Screen("review_phone", "/review", size="phone"),
        Screen("drift", "/drift"),
        Screen("drift_phone", "/drift", size="phone"),
        Screen("admin", "/admin"),
        Screen("admin_phone", "/admin", size="phone"),
    ]
    return found


@contextmanager
def panel(browser: Any, address: str, screen: Screen) -> Iterator[Any]:
    """Yield a page of a panel as a screen wants it."""
    phone = screen.size == "phone"
    context = browser.new_context(
        base_url=address,
        viewport=SIZES[screen.size],
        has_touch=phone,
        is_mobile=phone,
        reduced_motion="reduce",
        timezone_id="UTC",
    )
    chosen = {"flawscope_theme": screen.theme, "flawscope_language": screen.language}
    context.add_cookies([{"name": name, "value": value, "url": address} for name, value in chosen.items()])
    page = context.new_page()
    try:
        yield page
    finally:
        context.close()


def take(browser: Any, address: str, screen: Screen) -> str:
    """Take one picture and return what became of it."""
    with panel(browser, address, screen) as page:
        answer = page.goto(screen.path)
        if answer is None or answer.status != 200:
            return f"{screen.name}: {screen.path} is not there"
        if screen.waits:
            page.wait_for_selector(screen.waits, timeout=20_000)
        page.wait_for_load_state("load")
        page.wait_for_timeout(1500)  # pieces that come later
        for quality in (82, 70, 55, 40):
            content = page.screenshot(type="jpeg", quality=quality)
            if len(content) < MOST_BYTES:
                break
        OUT.mkdir(parents=True, exist_ok=True)
        (OUT / f"{screen.name}.jpg").write_bytes(content)
        return f"{screen.name}: {len(content) / 1000:.0f} kB"


def take_strips(browser: Any, address: str, judged: list[dict[str, Any]], sight: str) -> str:
    """Take the strips of all verdicts under each other, as somebody sees them."""
    ids = {one["verdict"]: one["id"] for one in judged}
    strips = []
    with panel(browser, address, Screen("strips", "/")) as page:
        session = page.context.new_cdp_session(page)
        session.send("Emulation.setEmulatedVisionDeficiency", {"type": sight})
        for verdict in ("OK", "REVIEW", "NG", None):
            page.goto(f"/i/{ids[verdict]}")
            png = page.locator(".verdict").screenshot()
            strips.append(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR))
    gap = np.full((12, strips[0].shape[1], 3), 255, np.uint8)
    rows = [piece for strip in strips for piece in (strip, gap)][:-1]
    content = encode(np.concatenate(rows)[..., ::-1], ".jpg")
    (OUT / f"strips_{sight}.jpg").write_bytes(content)
    return f"strips_{sight}: {len(content) / 1000:.0f} kB"


def main() -> None:
    """Inspect the photographs named and take every picture."""
    address, *paths = sys.argv[1:]
    judged = [send(address, Path(path).read_bytes(), Path(path).name) for path in paths]
    judged.append(send(address, Path(paths[0]).read_bytes()[:2000], "cut_off.png"))
    measured = before_and_after(address, judged, paths)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for screen in screens(judged, f"?set={teaching_set(address, paths)}", measured):
            print(take(browser, address, screen))
        for sight in ("achromatopsia", "deuteranopia"):
            print(take_strips(browser, address, judged, sight))
        browser.close()


if __name__ == "__main__":
    main()
