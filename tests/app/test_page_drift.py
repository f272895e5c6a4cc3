"""Drift: what the line has judged is watched, a change of light is named and told apart from flaws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from looking import LOOKS, faults, is_wider_than_its_panel, panel
from worlds import World

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

Client = Any


def darker(content: bytes, gain: float) -> bytes:
    """Return a photograph as under a weaker lamp."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".png", np.clip(pixels * gain, 0, 255).astype(np.uint8))[1].tobytes()


def inspect(client: Client, contents: list[bytes]) -> None:
    for content in contents:
        assert client.post("/api/inspect", content=content).status_code == 200


@pytest.fixture
def good(world: World) -> list[bytes]:
    """Photographs of good chips, some of them more than once."""
    found = [path.read_bytes() for path in world.pictures("t*/good/*.png")]
    return [found[i % len(found)] for i in range(60)]


def test_a_weaker_lamp_is_named_with_its_part_and_survives_a_restart(
    open_station: Callable[..., Client], world: World, good: list[bytes]
) -> None:
    client = open_station(models=(world.model,))
    inspect(client, good)
    client.station.drift.catch_up()
    assert client.get("/drift.json").json()["data"]["alarms"] == []
    inspect(client, [darker(one, 0.8) for one in good])
    client.station.drift.catch_up()
    data = client.get("/drift.json").json()["data"]
    kinds = {one["kind"] for one in data["alarms"]}
    assert "light" in kinds
    (light,) = [one for one in data["alarms"] if one["detail"]["measure"] == "light"]
    assert light["change"]["share"] == pytest.approx(0.2, abs=0.05) and light["change"]["up"] is False
    assert client.get(f"/api/inspections/{light['detail']['part']}").status_code == 200
    store, parts = client.station.settings.store, data["watch"]["parts"]
    client.stop()
    again = open_station(store=store, models=(world.model,))
    again.station.drift.catch_up()
    after = again.get("/drift.json").json()["data"]
    assert after["watch"]["parts"] == parts and len(after["alarms"]) == len(data["alarms"])


def test_what_was_kept_while_nobody_watched_is_taken_in_once(
    open_station: Callable[..., Client], world: World, good: list[bytes]
) -> None:
    client = open_station(models=(world.model,))
    inspect(client, good[:6])
    client.station.drift.catch_up()
    store = client.station.settings.store
    (path,) = client.station.store.folder_of("watches").iterdir()
    before = path.read_bytes()
    inspect(client, good[6:10])
    client.stop()
    path.write_bytes(before)  # as if it was killed before the state was written
    again = open_station(store=store, models=(world.model,))
    again.station.drift.catch_up()
    assert again.get("/drift.json").json()["data"]["watch"]["parts"] == 10


@pytest.mark.browser
def test_an_alarm_is_acknowledged_with_its_cause_and_taken_as_usual(
    browser: Any, open_station: Callable[..., Client], world: World, good: list[bytes]
) -> None:
    client = open_station(models=(world.model,))
    inspect(client, [*good, *(darker(one, 0.8) for one in good)])
    client.station.drift.catch_up()
    with panel(browser, str(client.base_url)) as page:
        page.goto("/drift")
        expect(page.locator("[data-sentence]")).to_contain_text("Light")
        light = page.get_by_role("listitem").filter(has=page.locator("p.strong", has_text="Light"))
        light.get_by_role("button", name="Acknowledge").last.click()
        dialog = page.locator("dialog[open]")
        dialog.locator("select").select_option("light")
        dialog.locator("input[name=note]").fill("new lamp")
        dialog.locator("input[name=accept]").check()
        dialog.locator(".main").click()
        expect(page.get_by_text("new lamp")).to_be_visible()
    (seen,) = [one for one in client.get("/api/alarms").json()["data"] if one["acknowledged"]]
    assert seen["cause"] == "light"
    measures = [one["measure"] for one in client.get("/drift.json").json()["data"]["watch"]["going_on"]]
    assert seen["detail"]["measure"] not in measures


@pytest.mark.browser
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_charts_lead_to_their_parts_on_any_panel(browser: Any, demo: Client, size: str) -> None:
    with panel(browser, str(demo.base_url), size=size) as page:
        page.goto("/drift")
        assert page.locator(".chart a").first.get_attribute("href").startswith("/i/")
        assert not is_wider_than_its_panel(page)


@pytest.mark.browser
def test_nothing_stands_in_the_way_of_anybody(browser: Any, demo: Client) -> None:
    for theme, language in LOOKS:
        with panel(browser, str(demo.base_url), theme=theme, language=language) as page:
            page.goto("/drift")
            assert not faults(page), (theme, language)
