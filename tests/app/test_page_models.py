"""Models in a real browser: what is on the line, a shadow, the way back, two side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from looking import LOOKS, faults, is_wider_than_its_panel, panel
from worlds import World

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect
pytestmark = pytest.mark.browser

Client = Any


def test_another_model_is_tried_compared_put_on_the_line_and_taken_back(
    browser: Any, open_station: Callable[..., Client], world: World, split_world: World
) -> None:
    client = open_station(models=(world.model,))
    for path in world.pictures()[:6]:
        client.post("/api/inspect", content=path.read_bytes())
    first = client.get("/models.json").json()["data"]["on_line"][0]["id"]
    with panel(browser, str(client.base_url)) as page:
        page.goto("/models")
        page.set_input_files("#bundle-file", str(split_world.model))
        page.get_by_role("button", name="Add and check").click()
        expect(page.locator("tbody tr")).to_have_count(2)
        for box in page.locator("[data-compare]").all():
            box.check()
        page.locator("body").press("c")
        page.wait_for_url("**/models/compare?*")
        assert "latest 6 parts" in page.locator("h1").inner_text()
        page.go_back()
        page.get_by_role("button", name="Put on the line").click()
        page.locator("dialog[open] input[name=reason]").fill("better on the trial")
        page.locator("dialog[open] .main").click()
        expect(page.get_by_text("better on the trial")).to_be_visible()
        now = client.get("/models.json").json()["data"]["on_line"]
        assert [one["id"] for one in now] != [first]
        page.get_by_role("button", name="Go back to").click()
        page.locator("dialog[open] .main").click()
        expect(page.locator("dialog[open]")).to_have_count(0)
    assert [one["id"] for one in client.get("/models.json").json()["data"]["on_line"]] == [first]


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_cards_and_versions_are_read_on_any_panel(browser: Any, demo: Client, size: str) -> None:
    with panel(browser, str(demo.base_url), size=size) as page:
        page.goto("/models")
        expect(page.get_by_role("link", name="16 parts")).to_be_visible()
        assert not is_wider_than_its_panel(page)


def test_nothing_stands_in_the_way_of_anybody(browser: Any, demo: Client) -> None:
    for theme, language in LOOKS:
        with panel(browser, str(demo.base_url), theme=theme, language=language) as page:
            page.goto("/models")
            assert not faults(page), (theme, language)
