"""Threshold in a real browser: limits are dragged, their effect is told, a version is saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from looking import LOOKS, faults, is_wider_than_its_panel, panel
from worlds import World

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect
pytestmark = pytest.mark.browser

Client = Any
HANDLE = "svg.wide-only [data-mark=ng]"


def test_a_drag_tells_what_it_does_and_a_version_is_saved(
    browser: Any, open_station: Callable[..., Client], world: World
) -> None:
    client = open_station(models=(world.model,))
    for path in world.pictures():
        client.post("/api/inspect", content=path.read_bytes())
    before = client.get("/threshold.json").json()["data"]
    with panel(browser, str(client.base_url)) as page:
        page.goto("/threshold")
        page.wait_for_selector("[data-ready=yes]")
        save = page.get_by_role("button", name="Save version 2")
        expect(save).to_be_disabled()
        box = page.locator(f"{HANDLE} .grip").bounding_box()
        page.mouse.move(box["x"] + 5, box["y"] + 5)
        page.mouse.down()
        page.mouse.move(box["x"] + 260, box["y"] + 8, steps=6)
        page.mouse.up()
        expect(save).to_be_enabled()
        assert "ends the promise" in page.locator("[data-promise]").inner_text()
        changed = page.locator("[data-changed] .tile")
        words = page.locator("[data-change-words]").inner_text()
        assert words.startswith(str(changed.count())) or words.startswith("No part")
        page.locator(HANDLE).press("ArrowRight")
        page.locator("#threshold-reason").fill("too many false alarms")
        page.keyboard.press("Control+s")
        page.wait_for_url("**saved=1")
        expect(page.get_by_text("version 2", exact=False).first).to_be_visible()
    after = client.get("/threshold.json").json()["data"]
    assert after["limits"]["ng"] > before["limits"]["ng"] and after["version"] == 2
    assert after["bundle"]["id"] != before["bundle"]["id"], "the new version is on the line"
    assert after["versions"][0]["reason"] == "too many false alarms"
    late = {"limit_ng": 1.0, "reason": "late", "version": 1}
    answer = client.post(f"/api/bundles/{before['bundle']['id']}/limits", json=late)
    assert answer.status_code == 409 and "meanwhile" in answer.json()["error"]["message"]


def test_steps_are_parts_and_test_parts_have_no_place(browser: Any, demo: Client) -> None:
    twin = demo.get("/threshold.json").json()["data"]
    assert {one["answer"] for one in twin["reviewed"]} == {"good", "bad"}
    assert len(twin["reviewed"]) + len(twin["recent"]) == 16
    with panel(browser, str(demo.base_url), size="phone") as page:
        page.goto("/threshold")
        page.wait_for_selector("[data-ready=yes]")
        value = page.locator("[data-limit=ng] [data-value]")
        first = value.inner_text()
        page.locator("[data-limit=ng] [data-step='1']").click()
        expect(value).not_to_have_text(first)
        assert "not known" in page.locator("[data-escape]").inner_text(), "four bad parts say nothing"
        page.get_by_role("button", name="Reset").click()
        expect(value).to_have_text(first)
        assert not is_wider_than_its_panel(page)


def test_a_bar_leads_to_its_parts(browser: Any, demo: Client) -> None:
    with panel(browser, str(demo.base_url)) as page:
        page.goto("/threshold")
        link = page.locator("svg.wide-only a").first.get_attribute("href")
    assert link.startswith("/history?bundle=") and "score_from=" in link


def test_nothing_stands_in_the_way_of_anybody(browser: Any, demo: Client) -> None:
    for theme, language in LOOKS:
        with panel(browser, str(demo.base_url), theme=theme, language=language) as page:
            page.goto("/threshold")
            page.wait_for_selector("[data-ready=yes]")
            assert not faults(page), (theme, language)
