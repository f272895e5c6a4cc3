"""Teach in a real browser: photographs in, copies named, a job in its own process, a model at the end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from looking import LOOKS, drop_folder, faults, held, is_wider_than_its_panel, panel, until
from worlds import World

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect
pytestmark = pytest.mark.browser

Client = Any


def test_photographs_become_a_model(browser: Any, client: Client, world: World, tmp_path: Path) -> None:
    good = [str(path) for path in world.pictures("train/good/*.png")]
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(good[0]).read_bytes()[:300])
    with panel(browser, str(client.base_url)) as page:
        page.goto("/teach")
        expect(page.locator("[data-go]")).to_be_disabled()
        page.set_input_files("#good-files", [*good[:4], good[0], str(broken)])
        expect(page.locator("[data-images=good] [data-image]")).to_have_count(4)
        expect(page.locator("[data-left-out]")).to_contain_text("1 are copies")
        expect(page.locator("[data-left-out]")).to_contain_text("broken.png was left out")
        expect(page.locator("[data-promise]")).to_contain_text("cannot promise below 20\u202f%")
        page.set_input_files("#good-files", good)
        expect(page.locator("[data-images=good] [data-image]")).to_have_count(24)
        expect(page.locator("[data-promise]")).to_contain_text("Estimate: 5.0\u202f%")
        page.locator("[data-images=good] [data-image]").first.press("Delete")
        expect(page.locator("[data-images=good] [data-image]")).to_have_count(23)
        page.reload()
        expect(page.locator("[data-images=good] [data-image]")).to_have_count(23)
        page.locator("summary", has_text="More").click()
        page.fill("#teach-budget", "96")
        page.fill("#teach-name", "chips again")
        page.locator("[data-go]").dblclick()
        expect(page).to_have_url(re.compile("/jobs/"))
        assert len(client.get("/api/jobs").json()["data"]) == 1, "a double click is one wish"
        expect(page.locator("[data-job-state=done]")).to_be_visible(timeout=180_000)
        page.get_by_role("link", name="Look at the model").click()
        expect(page.get_by_role("heading", name="Card of chips again")).to_be_visible()


def test_a_dropped_folder_is_taken_as_its_photographs(browser: Any, client: Client, world: World) -> None:
    count = len(world.pictures("train/good/*.png"))
    with panel(browser, str(client.base_url)) as page:
        page.goto("/teach")
        drop_folder(page, '[data-drop="good"]', world.data / "train")
        expect(page.locator("[data-images=good] [data-image]")).to_have_count(count)
        assert not page.locator("[data-left-out]").is_visible()


def test_photographs_dropped_while_others_are_sent_are_one_set(
    browser: Any, client: Client, world: World
) -> None:
    good = [str(path) for path in world.pictures("train/good/*.png")[:3]]
    with panel(browser, str(client.base_url)) as page:
        kept = held(page, "**/api/sets", which=1)  # the answer that names the set
        page.goto("/teach")
        page.set_input_files("#good-files", good)
        page.set_input_files("#bad-files", [str(world.pictures("test/scratch/*.png")[0])])
        until(page, lambda: kept)
        page.wait_for_timeout(300)
        kept[0]()
        for reloaded in (False, True):
            if reloaded:
                page.reload()
            expect(page.locator("[data-images=good] [data-image]")).to_have_count(3)
            expect(page.locator("[data-images=bad] [data-image]")).to_have_count(1)


def test_a_photograph_that_the_station_keeps_stays_on_the_page(
    browser: Any, client: Client, world: World
) -> None:
    id = client.post("/api/sets", json={}).json()["data"]["id"]
    path = world.pictures("train/good/*.png")[0]
    client.post(f"/api/sets/{id}/images", files={"files": (path.name, path.read_bytes())})
    with panel(browser, str(client.base_url), refused=1) as page:
        page.route("**/images/*", lambda route: route.fulfill(status=503, body="{}"))
        page.goto(f"/teach?set={id}")
        page.locator("[data-image]").press("Delete")
        expect(page.locator("[data-problem]")).to_be_visible()
        expect(page.locator("[data-image]")).to_have_count(1)


def test_the_page_fits_a_phone_and_stands_in_nobodys_way(browser: Any, client: Client, world: World) -> None:
    id = client.post("/api/sets", json={}).json()["data"]["id"]
    for path in world.pictures("train/good/*.png")[:3]:
        client.post(f"/api/sets/{id}/images", files={"files": (path.name, path.read_bytes())})
    with panel(browser, str(client.base_url), size="phone") as page:
        page.goto(f"/teach?set={id}")
        assert not is_wider_than_its_panel(page)
    for theme, language in LOOKS:
        with panel(browser, str(client.base_url), theme=theme, language=language) as page:
            page.goto(f"/teach?set={id}")
            assert not faults(page), (theme, language)
