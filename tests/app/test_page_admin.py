"""Login and Admin in a real browser: people, tokens, settings, the audit log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from looking import LOOKS, faults, is_wider_than_its_panel, panel
from worlds import World

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect
pytestmark = pytest.mark.browser

Client = Any


def test_people_come_in_with_the_role_that_an_admin_gave_them(
    browser: Any, open_station: Callable[..., Client]
) -> None:
    client = open_station()
    with panel(browser, str(client.base_url)) as page:
        page.goto("/admin")
        expect(page.get_by_text("Only localhost may enter")).to_be_visible()
        for name, role in (("mia", "admin"), ("omar", "operator")):
            page.locator("#person-name").fill(name)
            page.locator("#person-password").fill("long enough")
            page.locator("#person-role").select_option(role)
            page.locator("form[data-call='POST /api/people'] button").click()
            expect(page.get_by_role("cell", name=name, exact=True).first).to_be_visible()
            page.locator("summary", has_text="Add person").click()
        with page.expect_navigation():
            page.locator("#role-2").select_option("engineer")
        page.get_by_role("button", name="Shut out").nth(1).click()
        expect(page.get_by_text("may not sign in")).to_be_visible()
    people = {one["name"]: one for one in client.get("/api/people").json()["data"]}
    assert people["omar"]["role"] == "engineer" and people["omar"]["disabled"]


def test_a_token_is_shown_once_works_and_is_revoked(
    browser: Any, open_station: Callable[..., Client]
) -> None:
    client = open_station()
    with panel(browser, str(client.base_url)) as page:
        page.goto("/admin")
        page.get_by_text("Make a token").first.click()
        page.locator("#token-name").fill("press 4")
        page.locator("[data-token] button").click()
        shown = page.locator("[data-made-token]")
        expect(shown).to_contain_text("flaw_")
        token = shown.inner_text()
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get("/api/session", headers=headers).json()["data"]["name"].endswith("press 4")
        page.get_by_role("link", name="I have copied it").click()
        row = page.locator("section[aria-labelledby=tokens] tbody tr")
        expect(row).to_contain_text("press 4")
        assert token not in page.content()
        page.get_by_role("button", name="Revoke").click()
        page.locator("dialog[open] .danger").click()
        expect(row).to_have_count(0)
    assert client.get("/api/session", headers=headers).status_code == 401


def test_settings_change_what_other_panels_see(browser: Any, open_station: Callable[..., Client]) -> None:
    client = open_station()
    with panel(browser, str(client.base_url), refused=1) as page:
        page.context.clear_cookies()
        page.goto("/admin")
        assert page.locator("html").get_attribute("data-theme") == "light"
        page.locator("#setting-theme").select_option("dark")
        page.locator("#setting-zone").fill("Asia/Seoul")
        page.locator("#setting-keep_ok_days").fill("30")
        page.get_by_role("button", name="Save settings").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        assert page.locator("#setting-keep_ok_days").input_value() == "30"
        page.locator("#setting-zone").fill("Middle/Earth")
        page.get_by_role("button", name="Save settings").click()
        expect(page.get_by_text("The setting zone does not fit")).to_be_visible()
        assert page.locator("#setting-zone").input_value() == "Middle/Earth"
        page.goto("/admin?action=settings.change")
        expect(page.locator("section[aria-labelledby=audit] tbody tr")).to_have_count(1)
        page.get_by_role("button", name="Check the chain").click()
        expect(page.get_by_text("The chain is whole")).to_be_visible()
    assert client.get("/api/settings").json()["data"]["zone"] == "Asia/Seoul"


def test_on_this_machine_a_name_is_enough_and_stands_in_the_log(
    browser: Any, open_station: Callable[..., Client]
) -> None:
    client = open_station()
    with panel(browser, str(client.base_url)) as page:
        page.goto("/login?back=%2F%2Felsewhere.example%2F")
        page.locator("#login-name").fill("kim")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/inspect")
        page.goto("/admin")
        page.locator("#setting-keep_ok_days").fill("31")
        page.get_by_role("button", name="Save settings").click()
        expect(page.get_by_role("cell", name="local:kim").first).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/login")


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_admin_fits_any_panel(browser: Any, demo: Client, size: str) -> None:
    with panel(browser, str(demo.base_url), size=size) as page:
        for path in ("/admin", "/login"):
            page.goto(path)
            assert not is_wider_than_its_panel(page), path


def test_nothing_stands_in_the_way_of_anybody(browser: Any, demo: Client) -> None:
    for theme, language in LOOKS:
        with panel(browser, str(demo.base_url), theme=theme, language=language) as page:
            for path in ("/admin", "/login"):
                page.goto(path)
                assert not faults(page), (theme, language, path)


def test_who_is_not_known_is_sent_to_log_in(open_station: Callable[..., Client], world: World) -> None:
    client = open_station()
    client.post("/api/people", json={"name": "mia", "role": "admin", "password": "long enough"})
    client.post("/api/people", json={"name": "omar", "role": "operator", "password": "long enough"})
    store = client.station.settings.store
    client.stop()
    opened = open_station(store=store, host="0.0.0.0", allowed_hosts=("127.0.0.1",))
    answer = opened.get("/admin")
    assert answer.status_code == 303 and answer.headers["location"] == "/login?back=%2Fadmin"
    asked = opened.get("/login?back=/admin")
    assert asked.status_code == 200 and "login-password" in asked.text and "/history" not in asked.text
    assert opened.post("/api/session", json={"name": "omar", "password": "long enough"}).status_code == 200
    assert opened.get("/admin").status_code == 403
    assert opened.get("/admin.json").json()["error"]["code"] == "role"
