"""Review in a real browser, by keys alone: answers, defects, masks, undo; and learning from what was said."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from looking import LOOKS, faults, held, is_wider_than_its_panel, listen, panel, until
from test_learning import kept_and_reviewed, say
from worlds import World

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect
pytestmark = pytest.mark.browser

Client = Any
PART = "[data-part]"


@pytest.fixture
def waiting(open_station: Callable[..., Client], world: World) -> Client:
    """A station with five parts that wait for review."""
    client = open_station(models=(world.model,))
    pictures = world.pictures("test/good/*.png")[:2] + world.pictures("test/scratch/*.png")
    pictures += world.pictures("test/crack/*.png") + world.pictures("test/contamination/*.png")
    ids = [client.post("/api/inspect", content=one.read_bytes()).json()["data"]["id"] for one in pictures[:5]]
    client.station.store.reviews.ask_for(ids, who="test")
    return client


def standing(client: Client) -> list[dict[str, Any]]:
    """The answers that count, first one first."""
    mine = client.get("/api/reviews/mine").json()["data"]
    return [one for one in reversed(mine) if one["undone"] is None]


def test_parts_are_answered_by_keys_alone(browser: Any, waiting: Client) -> None:
    queue = waiting.get("/review.json").json()["data"]["queue"]
    assert len(queue) == 5
    with panel(browser, str(waiting.base_url)) as page:
        page.goto("/review")
        page.wait_for_selector("[data-ready=yes]")
        expect(page.locator(PART)).to_have_attribute("data-part", queue[0])
        expect(page.locator("[data-model]")).to_be_hidden()
        page.keyboard.press("h")
        expect(page.locator("[data-model]")).to_be_visible()
        page.keyboard.press("1")
        expect(page.locator(PART)).to_have_attribute("data-part", queue[1])
        page.keyboard.press("2")
        expect(page.locator(PART)).to_have_attribute("data-part", queue[2])
        page.keyboard.press("0")
        expect(page.locator(PART)).to_have_attribute("data-part", queue[3])
        expect(page.locator("[data-said]")).to_contain_text("skipped")
        page.keyboard.press("Backspace")
        expect(page.locator(PART)).to_have_attribute("data-part", queue[2])
        page.locator("#review-other").fill("dent")
        page.keyboard.press("Enter")
        expect(page.locator(PART)).to_have_attribute("data-part", queue[3])
        expect(page.locator("[data-said]")).to_contain_text("dent")
        expect(page.locator("[data-left]")).to_have_text("2 left")
    said = [(one["inspection_id"], one["answer"], one["defect"]) for one in standing(waiting)]
    assert said == [(queue[0], "good", None), (queue[1], "bad", None), (queue[2], "bad", "dent")]
    assert "dent" in waiting.get("/review/" + queue[4] + "/piece").text, "what was named is offered by a key"


def test_a_mask_is_drawn_at_the_resolution_of_the_picture(browser: Any, waiting: Client) -> None:
    with panel(browser, str(waiting.base_url)) as page:
        page.goto("/review")
        page.wait_for_selector("[data-ready=yes]")
        part = page.locator(PART).get_attribute("data-part")
        page.keyboard.press("m")
        page.locator("[data-zoom=in]").click()  # zoom must not distort what is drawn
        box = page.locator(".view-stage").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x - 40, y)
        page.mouse.down()
        page.mouse.move(x + 40, y, steps=5)
        page.mouse.up()
        expect(page.locator("[data-mask-area]")).not_to_have_text("0 px marked")
        page.keyboard.press("p")
        for dx, dy in ((0, 40), (30, 80), (-30, 80)):
            page.mouse.click(x + dx, y + dy)
        page.keyboard.press("b")  # another tool closes the polygon
        two = page.locator("[data-mask-area]").inner_text()
        page.keyboard.press("Control+z")
        expect(page.locator("[data-mask-area]")).not_to_have_text(two)
        page.keyboard.press("m")
        page.keyboard.press("2")
        expect(page.locator(PART)).not_to_have_attribute("data-part", str(part))
        expect(page.locator("[data-said]")).to_contain_text("NG")
    kept = standing(waiting)[0]
    store = waiting.station.store
    mask = cv2.imdecode(np.frombuffer(store.images.read(kept["mask_sha256"]), np.uint8), cv2.IMREAD_GRAYSCALE)
    height, width = store.inspections.get(str(part)).to_json()["size_hw"]
    assert mask.shape == (height, width) and set(np.unique(mask)) == {0, 255}
    rows, columns = np.nonzero(mask)
    assert abs(columns.mean() - width / 2) < 4 and abs(rows.mean() - height / 2) < 4, "where it was drawn"


def test_an_answer_that_cannot_be_saved_is_kept_and_sent_again(browser: Any, waiting: Client) -> None:
    with panel(browser, str(waiting.base_url), refused=1) as page:
        page.goto("/review")
        page.wait_for_selector("[data-ready=yes]")
        tries: list[str] = []

        def refuse(route: Any) -> None:
            tries.append(route.request.post_data)
            route.fulfill(status=503, body="{}") if len(tries) == 1 else route.continue_()

        page.route("**/api/reviews", refuse)
        said = listen(page, "[data-problem]")
        page.keyboard.press("1")
        until(page, lambda: standing(waiting))
        expect(page.locator("[data-problem]")).to_be_hidden()
        assert "Not saved. Kept here" in said()
        assert len(tries) == 2 and tries[0] == tries[1], "the same answer under the same id"
    assert len(standing(waiting)) == 1


@pytest.mark.parametrize(("late", "which"), [("**/api/reviews/queue*", 1), ("**/api/reviews", 2)])
def test_what_is_left_is_right_when_the_station_answers_late(
    browser: Any, waiting: Client, late: str, which: int
) -> None:
    """The number of parts that wait must neither count an answer twice nor forget one. Both requests are made
    while the second answer is sent."""
    with panel(browser, str(waiting.base_url)) as page:
        page.goto("/review")
        page.wait_for_selector("[data-ready=yes]")
        kept = held(page, late, which)
        seen = str(page.locator(PART).get_attribute("data-part"))
        for key in ("1", "2", "1"):
            page.keyboard.press(key)
            expect(page.locator(PART)).not_to_have_attribute("data-part", seen)
            seen = str(page.locator(PART).get_attribute("data-part"))
        until(page, lambda: kept)
        page.wait_for_timeout(500)  # all that is not kept back is here
        kept[0]()
        until(page, lambda: len(standing(waiting)) == 3)
        page.wait_for_timeout(500)
        expect(page.locator("[data-left]")).to_have_text("2 left")


def test_a_key_says_nothing_of_a_part_that_is_not_seen_yet(browser: Any, waiting: Client) -> None:
    with panel(browser, str(waiting.base_url)) as page:
        page.route("**/piece", lambda route: None)  # the next part does not come
        page.goto("/review")
        page.wait_for_selector("[data-ready=yes]")
        first = page.locator(PART).get_attribute("data-part")
        page.keyboard.press("1")
        expect(page.locator("[data-said]")).to_contain_text("OK")
        page.keyboard.press("2")
        page.wait_for_timeout(300)
        expect(page.locator("[data-left]")).to_have_text("4 left")
        assert [(one["inspection_id"], one["answer"]) for one in standing(waiting)] == [(first, "good")]


def test_a_part_that_does_not_come_is_asked_for_until_it_does(browser: Any, waiting: Client) -> None:
    with panel(browser, str(waiting.base_url), refused=4) as page:
        ahead = 3
        page.route("**/piece", lambda route: route.fulfill(status=503, body=""), times=ahead + 1)
        page.goto("/review")
        page.wait_for_selector("[data-ready=yes]")
        first = page.locator(PART).get_attribute("data-part")
        kept = held(page, "**/api/reviews", which=1)
        said = listen(page, "[data-problem]")
        page.keyboard.press("1")
        until(page, lambda: kept and "HTTP 503" in said())
        kept[0]()
        expect(page.locator("[data-said]")).to_contain_text("OK")
        told, shown = page.evaluate(
            """() => [document.querySelector("[data-problem]").textContent,
              document.querySelector("[data-part]").dataset.part]"""
        )
        assert "HTTP 503" in told or shown != first, "that the answer is saved does not bring the part"
        expect(page.locator(PART)).not_to_have_attribute("data-part", str(first))
        expect(page.locator("[data-problem]")).to_be_hidden()


def test_what_people_called_good_is_learnt_by_a_job(browser: Any, waiting: Client) -> None:
    with panel(browser, str(waiting.base_url)) as page:
        page.goto("/review")
        page.wait_for_selector("[data-ready=yes]")
        page.keyboard.press("1")
        expect(page.locator("[data-left]")).to_have_text("4 left")
        expect(page.locator("[data-said]")).to_contain_text("OK")
        page.goto("/review")
        page.get_by_role("button", name="Learn this one").dblclick()
        expect(page).to_have_url(re.compile("/jobs/"))
        assert len(waiting.get("/api/jobs").json()["data"]) == 1, "a double click is one wish"
        expect(page.locator("[data-job-state=done], [data-job-state=failed]")).to_be_visible(timeout=300_000)


def test_a_phone_has_answers_only(browser: Any, waiting: Client) -> None:
    with panel(browser, str(waiting.base_url), size="phone") as page:
        page.goto("/review")
        page.wait_for_selector("[data-ready=yes]")
        expect(page.locator("[data-mask-tools]")).to_be_hidden()
        first = page.locator(PART).get_attribute("data-part")
        box = page.locator(".answer.ng").bounding_box()
        assert box["height"] >= 56 and box["y"] + box["height"] <= 844
        page.locator(".answer.ng").tap()
        expect(page.locator(PART)).not_to_have_attribute("data-part", str(first))
        assert not is_wider_than_its_panel(page)


def test_nothing_stands_in_the_way_of_anybody(browser: Any, waiting: Client) -> None:
    for theme, language in LOOKS:
        with panel(browser, str(waiting.base_url), theme=theme, language=language) as page:
            page.goto("/review")
            page.wait_for_selector("[data-ready=yes]")
            page.keyboard.press("m")
            assert not faults(page), (theme, language)


def test_a_training_is_begun_with_the_defects(browser: Any, client: Client, world: World) -> None:
    _, _, bad = kept_and_reviewed(client, world)
    with panel(browser, str(client.base_url)) as page:
        page.goto("/review")
        expect(page.get_by_text("It takes 4 bad parts or more")).to_be_visible()
        say(client, bad[3], "bad")
        page.reload()
        expect(page.get_by_text("Reviewed: 3 OK, 4 NG, 0 with a mask.")).to_be_visible()
        page.get_by_label("Method").select_option("linear")
        page.get_by_role("button", name="Train anew").click()
        page.wait_for_url("**/jobs/*")
        expect(page.get_by_role("heading", name="linear + 3 OK + 4 NG")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("stopped")).to_be_visible()
    with panel(browser, str(client.base_url), size="phone") as page:
        page.goto("/review")
        assert not is_wider_than_its_panel(page)
