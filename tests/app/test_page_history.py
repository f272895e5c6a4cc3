"""History in a real browser: parts are found by filters that stand in the URL; every number is a link."""

from __future__ import annotations

import re
from typing import Any

import pytest
from looking import LOOKS, faults, is_wider_than_its_panel, panel

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect
pytestmark = pytest.mark.browser

Client = Any


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_every_number_leads_to_its_parts(browser: Any, demo: Client, size: str) -> None:
    twin = demo.get("/history.json").json()["data"]
    assert twin["counts"]["total"] == 16 and sum(lot["total"] for lot in twin["lots"]) == 16
    with panel(browser, str(demo.base_url), size=size) as page:
        page.goto("/history")
        assert not is_wider_than_its_panel(page)
        page.get_by_role("link", name="A1", exact=True).first.click()
        expect(page).to_have_url(re.compile("lot=A1"))
        expect(page.locator("h1")).to_contain_text("8 parts")
        expect(page.locator("[data-row]")).to_have_count(8)
        page.get_by_role("link", name=re.compile("Remove Lot")).click()
        expect(page.locator("h1")).to_contain_text("16 parts")
        page.go_back()
        expect(page.locator("h1")).to_contain_text("8 parts")


def test_rows_are_walked_and_opened_by_keys(browser: Any, demo: Client) -> None:
    with panel(browser, str(demo.base_url)) as page:
        page.goto("/history?lot=A2")
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("k")
        expect(page.locator("[data-row][aria-selected=true]")).to_have_count(1)
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("/i/"))
        page.keyboard.press("Escape")
        expect(page).to_have_url(re.compile("lot=A2"))
        page.keyboard.press("g")
        expect(page).to_have_url(re.compile("view=pictures"))


def test_no_match_says_which_filter_to_remove(browser: Any, demo: Client) -> None:
    with panel(browser, str(demo.base_url)) as page:
        page.goto("/history?lot=A1&part=nothing")
        expect(page.get_by_text("No part matches")).to_be_visible()
        page.locator(".state").get_by_role("link", name="Remove Part nothing").click()
        expect(page.locator("h1")).to_contain_text("8 parts")


def test_a_time_that_ends_before_it_begins_is_said_on_the_page(demo: Client) -> None:
    answer = demo.get("/history?from=2026-02-01&to=2026-01-01")
    assert answer.status_code == 422 and "From is after To" in answer.text and "<html" in answer.text


def test_nothing_stands_in_the_way_of_anybody(browser: Any, demo: Client) -> None:
    for theme, language in LOOKS:
        with panel(browser, str(demo.base_url), theme=theme, language=language) as page:
            page.goto("/history")
            assert not faults(page), (theme, language)
