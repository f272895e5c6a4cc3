"""A station in a real browser: pages that must not say anything in the console, and axe's word on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

AXE = Path(__file__).with_name("axe") / "axe.min.js"
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
LOOKS = [(theme, language) for theme in ("light", "dark") for language in ("en", "ko", "de")]
CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@contextmanager
def panel(
    browser: Any,
    base: str,
    *,
    size: str = "desktop",
    theme: str = "light",
    language: str = "en",
    refused: int = 0,
) -> Iterator[Any]:
    """Yield a page of a panel of its own; afterwards its console must have been silent, but for the browser's
    own word on so many requests that the station `refused`."""
    phone = size == "phone"
    context = browser.new_context(
        base_url=base,
        viewport=SIZES[size],
        has_touch=phone,
        is_mobile=phone,
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="UTC",
    )
    chosen = {"flawscope_theme": theme, "flawscope_language": language}
    context.add_cookies([{"name": name, "value": value, "url": base} for name, value in chosen.items()])
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    try:
        yield page
        own = [text for text in said if text.startswith("Failed to load resource")]
        assert len(own) == refused and len(said) == len(own), said
    finally:
        context.close()


def held(page: Any, pattern: str, which: int) -> list[Any]:
    """Keep back the station's answer to the request of a pattern that comes as number `which`, as it was when
    it was asked for; the list fills with what lets it go."""
    kept: list[Any] = []
    asked: list[Any] = []

    def handle(route: Any) -> None:
        asked.append(route)
        number = len(asked)  # others may be asked for meanwhile
        response = route.fetch()
        if number == which:
            kept.append(lambda: route.fulfill(response=response))
        else:
            route.fulfill(response=response)

    page.route(pattern, handle)
    return kept


def until(
    page: Any, reached: Callable[[], Any], *, why: str = "it was not reached", seconds: float = 30
) -> None:
    """Let the page go on until something is reached."""
    latest = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < latest, why
        page.wait_for_timeout(20)


def listen(page: Any, selector: str) -> Callable[[], str]:
    """Return what tells all that an element has said from now on, also what stood there for a moment only."""
    page.evaluate(
        """(selector) => {
          const place = document.querySelector(selector);
          window.said = "";
          const hear = () => { window.said += place.textContent + "\\n"; };
          new MutationObserver(hear).observe(place, { childList: true, characterData: true, subtree: true });
        }""",
        selector,
    )
    return lambda: str(page.evaluate("window.said"))


def drop_folder(page: Any, selector: str, folder: Path) -> None:
    """Drag a folder of this machine onto an element and let it go."""
    session = page.context.new_cdp_session(page)
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})


def faults(page: Any) -> list[str]:
    """Return what axe finds serious or critical on the page, with the first place of each."""
    # axe is run by the protocol, which the page's content security policy does not stop
    page.evaluate(AXE.read_text(encoding="utf-8") + "; undefined")
    found = page.evaluate(
        "() => axe.run(document, {resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a',"
        " 'wcag21aa', 'wcag22aa']}).then(result => result.violations)"
    )
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:160]} {one['nodes'][0]['failureSummary'][:300]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def is_wider_than_its_panel(page: Any) -> bool:
    """Whether the page must be scrolled sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1"))
