"""Inspect in a real browser: pictures in, verdicts large and at once, and all that explains them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from looking import CHROMIUM, LOOKS, OPTIONS, drop_folder, faults, held, is_wider_than_its_panel, panel, until
from worlds import World

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect
pytestmark = pytest.mark.browser

Client = Any
SHOWN = "[data-inspection]"


def bad_pictures(world: World, count: int = 4) -> list[Path]:
    return [path for path in world.pictures() if path.parent.name != "good"][:count]


def drop(page: Any, pictures: list[Path]) -> None:
    page.set_input_files("#inspect-files", [str(path) for path in pictures])


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_a_picture_gets_its_verdict_with_what_explains_it(
    browser: Any, client: Client, world: World, size: str
) -> None:
    with panel(browser, str(client.base_url), size=size) as page:
        page.goto("/inspect")
        assert page.locator(".verdict").inner_text().strip() == "Ready"
        drop(page, bad_pictures(world, 1))
        page.wait_for_selector(SHOWN)
        id = page.locator(SHOWN).get_attribute("data-inspection")
        record = client.station.store.inspections.get(id)
        assert page.locator("[data-verdict]").first.get_attribute("data-verdict") == record.verdict
        assert record.verdict in page.locator(".verdict-word").inner_text()
        assert f"id={id}" in page.url, "the URL names what is looked at"
        page.wait_for_selector("canvas[data-coloured=yes]")
        if record.to_json()["regions"]:
            page.wait_for_selector(".near img")
        assert "times in" in page.locator(".meaning").inner_text()
        assert not is_wider_than_its_panel(page)
        word = page.locator(".verdict-word").bounding_box()
        assert word["height"] >= (100 if size == "desktop" else 50)


def test_the_same_url_shows_the_same_part_and_its_json_twin(
    browser: Any, client: Client, world: World
) -> None:
    sent = client.post("/api/inspect", content=bad_pictures(world, 1)[0].read_bytes()).json()["data"]
    with panel(browser, str(client.base_url)) as page:
        page.goto(f"/inspect?id={sent['id']}")
        assert page.locator(SHOWN).get_attribute("data-inspection") == sent["id"]
    twin = client.get(f"/inspect.json?id={sent['id']}").json()["data"]["shown"]
    assert twin["verdict"] == sent["verdict"] and twin["score"] == sent["score"]
    part = client.get(f"/i/{sent['id']}.json").json()["data"]["part"]
    assert part == twin


def test_a_batch_is_judged_and_the_worst_come_first(browser: Any, client: Client, world: World) -> None:
    good = world.pictures("test/good/*.png")[:4]
    with panel(browser, str(client.base_url)) as page:
        page.goto("/inspect")
        drop(page, [*bad_pictures(world, 4), *good])
        expect(page.locator("[data-progress-words]")).to_have_text("8 of 8 judged")
        expect(page.locator("[data-list] .tile")).to_have_count(8)
        worst = [badge.inner_text() for badge in page.locator("[data-list] .badge").all()]
        order = ["NG", "NOT JUDGED", "REVIEW", "OK"]
        assert [order.index(word) for word in worst] == sorted(order.index(word) for word in worst)
        first = page.locator(SHOWN).get_attribute("data-inspection")
        page.keyboard.press("Space")
        expect(page.locator(SHOWN)).not_to_have_attribute("data-inspection", str(first))
        assert page.locator("[data-tally] a").first.get_attribute("href").startswith("/history?from=")
    assert len(list(client.station.store.inspections.all(_everything()))) == 8


def test_a_dropped_folder_gives_the_pictures_in_it_and_below(
    browser: Any, client: Client, world: World, tmp_path: Path
) -> None:
    folder = tmp_path / "lot A12"
    for number, picture in enumerate(bad_pictures(world, 3)):
        below = folder / ("", "tray 1", "tray 1/row 2")[number]
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{number}{picture.suffix}").write_bytes(picture.read_bytes())
    (folder / "notes.txt").write_text("not a picture")
    with panel(browser, str(client.base_url)) as page:
        page.goto("/inspect")
        drop_folder(page, ".verdict", folder)
        expect(page.locator("[data-progress-words]")).to_have_text("3 of 3 judged")
    names = {record.origin.name for record in client.station.store.inspections.all(_everything())}
    assert names == {"0.png", "1.png", "2.png"}


def test_what_cannot_be_judged_is_never_ok(
    browser: Any, client: Client, world: World, tmp_path: Path
) -> None:
    cut = tmp_path / "0077.png"
    cut.write_bytes(bad_pictures(world, 1)[0].read_bytes()[:600])
    with panel(browser, str(client.base_url)) as page:
        page.goto("/inspect")
        drop(page, [cut])
        page.wait_for_selector(SHOWN)
        assert page.locator(".verdict-word").inner_text().strip() == "NOT JUDGED"
        assert "cut off" in page.locator("[role=alert]").first.inner_text()


def test_a_verdict_that_comes_late_is_not_shown_for_another_part(
    browser: Any, client: Client, world: World
) -> None:
    first, second = bad_pictures(world, 2)
    refusal = {"ok": False, "error": {"code": "too_large", "message": "It is too large"}}
    with panel(browser, str(client.base_url), refused=1) as page:
        page.goto("/inspect")
        kept = held(page, "**/i/*/panel", which=1)
        drop(page, [first])
        until(page, lambda: kept)
        page.route("**/api/inspect", lambda route: route.fulfill(status=413, json=refusal))
        drop(page, [second])
        expect(page.locator("[data-problem]")).to_contain_text("It is too large")
        kept[0]()
        page.wait_for_timeout(500)
        expect(page.locator(".verdict-word")).to_have_text("NOT JUDGED")


def test_keys_toggle_layers_zoom_and_can_be_turned_off(browser: Any, client: Client, world: World) -> None:
    sent = client.post("/api/inspect", content=bad_pictures(world, 1)[0].read_bytes()).json()["data"]
    with panel(browser, str(client.base_url)) as page:
        page.goto(f"/inspect?id={sent['id']}")
        page.wait_for_selector("canvas[data-coloured=yes]")
        page.locator(".view").click()  # a click must not deaden the keys
        page.keyboard.press("h")
        assert page.locator("[data-view]").get_attribute("data-heat") == "off"
        assert "layer=" in page.url
        page.keyboard.press("Equal")
        page.wait_for_url("**z=1.*")
        stage = page.locator("[data-stage]").bounding_box()
        for _ in range(9):
            page.keyboard.press("Equal")
        expect(page.locator(".view.magnified")).to_have_count(1)
        assert page.locator("[data-stage]").bounding_box() == stage, "what is zoomed is the picture alone"
        page.keyboard.press("0")
        expect(page).not_to_have_url(re.compile("[?&]z="))
        page.keyboard.press("Shift+Slash")
        page.locator("#help input[name=keys]").uncheck()
        page.get_by_role("button", name="Save for this panel").click()
        page.wait_for_load_state()
        before = page.locator("[data-view]").get_attribute("data-heat")
        page.keyboard.press("h")
        assert page.locator("[data-view]").get_attribute("data-heat") == before


def test_nothing_stands_in_the_way_of_anybody(browser: Any, client: Client, world: World) -> None:
    sent = client.post("/api/inspect", content=bad_pictures(world, 1)[0].read_bytes()).json()["data"]
    for theme, language in LOOKS:
        with panel(browser, str(client.base_url), theme=theme, language=language) as page:
            page.goto(f"/inspect?id={sent['id']}")
            page.wait_for_selector("canvas[data-coloured=yes]")
            assert page.locator("html").get_attribute("lang") == language
            assert not faults(page), (theme, language)
    with panel(browser, str(client.base_url)) as page:
        page.goto("/inspect")
        page.locator("[data-opens=help]").click()
        assert not faults(page)


def test_the_camera_takes_a_picture_by_keys(browser: Any, client: Client) -> None:
    """Chromium's own camera, which shows a moving disc."""
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    opened = browser.browser_type.launch(executable_path=str(CHROMIUM), args=[*OPTIONS, *flags])
    try:
        with panel(opened, str(client.base_url)) as page:
            page.goto("/inspect")
            page.keyboard.press("c")
            expect(page.locator("[data-camera]")).to_be_visible()
            width = "document.querySelector('[data-video]').videoWidth"
            until(page, lambda: page.evaluate(width), why="the camera sends no picture", seconds=20)
            page.keyboard.press("Space")
            page.wait_for_selector(SHOWN)
            record = client.station.store.inspections.get(
                page.locator(SHOWN).get_attribute("data-inspection")
            )
            assert record.verdict in page.locator(".verdict-word").inner_text()
            page.keyboard.press("Escape")
            expect(page.locator("[data-camera]")).to_be_hidden()
    finally:
        opened.close()
    assert record.origin.name.startswith("camera-") and record.image_bytes > 1000


def test_a_lost_connection_is_said_and_what_is_dropped_meanwhile_is_kept(
    browser: Any, open_station: Callable[..., Client], world: World
) -> None:
    station = open_station(models=(world.model,))
    context = browser.new_context(base_url=str(station.base_url))
    page = context.new_page()
    page.goto("/inspect")
    strip = page.locator("[data-lost]")
    page.locator("[data-follow]").check()
    latest = time.monotonic() + 60
    while not page.locator(SHOWN).count():  # until the stream of events has begun
        assert time.monotonic() < latest, "what the line judges is not shown"
        station.post("/api/inspect", content=bad_pictures(world, 3)[2].read_bytes())
        page.wait_for_timeout(2500)
    page.locator("[data-follow]").uncheck()
    expect(strip).to_be_hidden()
    station.stop()
    expect(strip).to_be_visible()
    assert re.search(r"No connection since \d\d:\d\d:\d\d", strip.inner_text())
    drop(page, bad_pictures(world, 2))
    expect(page.locator("[data-problem]")).to_contain_text(re.compile("does not answer.* pictures kept"))
    again = open_station(port=station.base_url.port)
    expect(page.locator("[data-progress-words]")).to_have_text("2 of 2 judged", timeout=60_000)
    expect(strip).to_be_hidden(timeout=60_000)
    expect(page.locator("[data-list] .tile")).to_have_count(2)
    context.close()
    names = [one.origin.name for one in again.station.store.inspections.all(_everything())]
    assert sorted(filter(None, names)) == sorted(path.name for path in bad_pictures(world, 2))


def _everything() -> Any:
    from flawscope.store.inspections import Filters

    return Filters()
