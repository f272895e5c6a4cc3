"""Before and after on TEST in a real browser: a set is kept, a candidate measured, then put on the line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from looking import LOOKS, drop_folder, faults, is_wider_than_its_panel, panel, until
from worlds import World

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect
pytestmark = pytest.mark.browser

Client = Any


@pytest.fixture
def waiting(open_station: Callable[..., Client], world: World) -> tuple[Client, str]:
    """A station with a candidate beside the line that calls everything NG; and the candidate's id."""
    client = open_station(models=(world.model,))
    (line,) = client.get("/api/bundles").json()["data"]
    limits = {"limit_ng": 0.0, "limit_review": 0.0, "reason": "stricter", "version": 1}
    made = client.post(f"/api/bundles/{line['id']}/limits", json=limits).json()["data"]["bundle_id"]
    client.post(f"/api/bundles/{line['id']}/activate", json={})
    return client, made


def test_a_candidate_is_measured_on_a_kept_set_before_it_goes_on_the_line(
    browser: Any, waiting: tuple[Client, str], world: World, tmp_path: Path
) -> None:
    client, made = waiting
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    good = [str(path) for path in world.pictures("test/good/*.png")[:5]]
    scratch = world.pictures("test/scratch/*.png")[0]
    mask = world.data / "ground_truth" / "scratch" / f"{scratch.stem}_mask.png"
    with panel(browser, str(client.base_url)) as page:
        page.goto(f"/models?bundle={made}")
        page.get_by_role("button", name="Put on the line").last.click()
        expect(page.locator("dialog[open]")).to_contain_text("No before and after on TEST was made")
        assert page.locator("dialog[open] input[name=reason]").get_attribute("required") is not None
        page.keyboard.press("Escape")
        page.get_by_role("link", name="Begin a test set").click()
        page.get_by_label("Name").fill("March")
        page.get_by_role("button", name="Begin").click()
        expect(page).to_have_url(re.compile("/tests/[0-9a-f-]+"))
        page.locator("[data-ready=yes]").wait_for()
        page.set_input_files("#good-files", [*good, str(broken)])
        expect(page.locator("[data-images=good] [data-image]")).to_have_count(5)
        expect(page.locator("[data-left-out]")).to_contain_text("broken.png was left out")
        page.locator("[data-images=good] [data-image]").first.press("Delete")
        expect(page.locator("[data-images=good] [data-image]")).to_have_count(4)
        page.fill("#test-label", "scratch")
        page.set_input_files("#bad-files", [str(scratch), str(mask)])
        expect(page.get_by_role("heading", name="scratch 1")).to_be_visible()
        expect(page.get_by_role("heading", name="Bad")).to_contain_text("1 mask")
        page.goto(f"/models?bundle={made}")
        page.get_by_role("button", name="Measure on TEST").click()
        expect(page.locator("[data-job-state=done]")).to_be_visible(timeout=120_000)
        page.get_by_role("link", name="Before and after on TEST").click()
        expect(page.get_by_text("Looked at once.").first).to_be_visible()
        newly = int(page.locator('.tally a[href="#alarm"] .big').inner_text())
        assert newly > 0 and page.locator("#alarm li").count() == newly
        expect(page.locator("#alarm img").first).to_have_js_property("complete", True)
        page.goto(f"/models?bundle={made}")
        page.get_by_role("button", name="Put on the line").last.click()
        expect(page.locator("dialog[open]")).to_contain_text(f"newly called NG: {newly}")
        page.locator("dialog[open] .main").click()
        expect(page.locator("dialog[open]")).to_have_count(0)
        page.goto("/threshold")
        expect(page.get_by_text("With this version once so far.")).to_be_visible()
    assert [one["id"] for one in client.get("/models.json").json()["data"]["on_line"]] == [made]
    for path in ("/tests.json", "/models.json", "/threshold.json"):
        assert client.get(path).json()["ok"]


def test_a_dropped_folder_names_defects_and_brings_masks(
    browser: Any, client: Client, world: World, tmp_path: Path
) -> None:
    made = tmp_path / "chips"
    for kind in ("scratch", "ground_truth/scratch"):
        (made / kind).mkdir(parents=True)
    scratch = world.pictures("test/scratch/*.png")[0]
    mask = world.data / "ground_truth" / "scratch" / f"{scratch.stem}_mask.png"
    (made / "scratch" / scratch.name).write_bytes(scratch.read_bytes())
    (made / "ground_truth" / "scratch" / mask.name).write_bytes(mask.read_bytes())
    id = client.post("/api/tests", json={"name": "May"}).json()["data"]["id"]
    with panel(browser, str(client.base_url)) as page:
        page.goto(f"/tests/{id}")
        page.locator("[data-ready=yes]").wait_for()
        drop_folder(page, '[data-drop="bad"]', made)
        expect(page.get_by_role("heading", name="scratch 1")).to_be_visible()
        expect(page.get_by_role("heading", name="Bad")).to_contain_text("1 mask")


def test_photographs_dropped_while_others_are_sent_are_not_lost(
    browser: Any, client: Client, world: World
) -> None:
    id = client.post("/api/tests", json={"name": "June"}).json()["data"]["id"]
    with panel(browser, str(client.base_url)) as page:
        page.goto(f"/tests/{id}")
        page.locator("[data-ready=yes]").wait_for()
        kept: list[Any] = []  # requests: what `held` fetches goes without its files
        uploads = "**/api/tests/*/images"
        page.route(uploads, lambda route: route.continue_() if kept else kept.append(route))
        page.set_input_files("#good-files", [str(path) for path in world.pictures("test/good/*.png")[:3]])
        page.fill("#test-label", "scratch")
        page.set_input_files("#bad-files", [str(world.pictures("test/scratch/*.png")[0])])
        page.fill("#test-label", "dent")
        until(page, lambda: kept)
        page.wait_for_timeout(300)
        kept[0].continue_()
        expect(page.get_by_role("heading", name="scratch 1")).to_be_visible()
        expect(page.locator("[data-images=good] [data-image]")).to_have_count(3)
        known = page.locator("#test-labels option").evaluate_all("(all) => all.map((one) => one.value)")
        assert known == ["scratch"]


def test_its_pages_fit_any_panel_and_stand_in_nobodys_way(
    browser: Any, waiting: tuple[Client, str], world: World
) -> None:
    client, made = waiting
    store = client.station.store
    test = client.post("/api/tests", json={"name": "March"}).json()["data"]["id"]
    files = [("files", (one.name, one.read_bytes())) for one in world.pictures("test/*/*.png")[:6]]
    client.post(f"/api/tests/{test}/images", files=files, data={"label": "dent"})
    name = client.get(f"/api/tests/{test}").json()["data"]["images"][0]["name"]
    number = {"value": 0.9, "low": 0.85, "high": 0.95, "n": 6}
    none = {"value": None, "low": None, "high": None, "n": 0, "reason": "it needs good and bad test parts"}
    result = {
        "images": 6,
        "good": {"images": 0, "better": 0, "worse": 0, "p": 1.0},
        "bad": {"images": 6, "better": 1, "worse": 0, "p": 1.0},
        "auroc_gain": none,
        "figures": [
            {"name": "auroc", "before": none, "after": none},
            {"name": "escape", "before": number, "after": number},
        ],
        "table": [{"before": "OK", "after": "NG", "count": 1}, {"before": "NG", "after": "NG", "count": 5}],
        "changed": [
            {
                "name": name,
                "label": "dent",
                "before": {"verdict": "OK", "p_value": 0.4},
                "after": {"verdict": "NOT JUDGED", "p_value": None},
            }
        ],
        "changed_all": 1,
        "words": ["One."],
    }
    line = client.get("/models.json").json()["data"]["on_line"][0]["id"]
    for id in ("one", "two"):
        store.trials.add(id, test_id=test, bundle_id=made, against=line, person="kim", result=result)
    paths = ("/tests", f"/tests/{test}", "/trials/one", f"/models?bundle={made}")
    with panel(browser, str(client.base_url), size="phone") as page:
        for path in paths:
            page.goto(path)
            assert not is_wider_than_its_panel(page), path
        page.goto("/trials/one")
        expect(page.get_by_text("Looked at 2 times: the more often")).to_be_visible()
    for theme, language in LOOKS:
        with panel(browser, str(client.base_url), theme=theme, language=language) as page:
            for path in paths:
                page.goto(path)
                assert not faults(page), (path, theme, language)
