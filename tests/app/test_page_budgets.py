"""Pages stay light, and nothing on them moves once it is there."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from looking import panel

import flawscope

Client = Any
STATIC = Path(flawscope.__file__).parent / "app" / "static"
PAGES = (
    "/inspect", "/inspect?id={id}", "/i/{id}", "/review", "/history", "/history?view=pictures", "/teach",
    "/threshold", "/drift", "/models", "/admin", "/login",
)  # fmt: skip
HTML, STYLES, SCRIPTS, REVIEW, CHARTS = 30_000, 14_000, 30_000, 12_000, 23_000
WATCH = """
window.shift = [];
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) {
    const moved = one.sources.map((place) => place.node?.outerHTML?.slice(0, 80) ?? place.node?.textContent);
    if (!one.hadRecentInput) window.shift.push([one.value, ...moved]);
  }
}).observe({ type: "layout-shift", buffered: true });
"""


def zipped(content: bytes) -> int:
    return len(gzip.compress(content))


def with_imports(script: Path, found: set[Path]) -> set[Path]:
    """Return a module with all that it imports before it runs."""
    if script not in found:
        found.add(script)
        for name in re.findall(r'^import [^(]*?"\./([\w.]+)";', script.read_text(encoding="utf-8"), re.M):
            with_imports(script.parent / name, found)
    return found


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_light(demo: Client, path: str) -> None:
    """HTML 30 kB, styles 14, scripts 30 with the libraries, all zipped; Review's mask editor may take 12 more
    and pages with charts that scripts draw 23."""
    html = demo.get(path.format(id=demo.get("/history.json").json()["data"]["rows"][0]["id"])).text
    styles = [STATIC / name for name in re.findall(r'href="/static/([^"?]+\.css)', html)]
    scripts: set[Path] = set()
    for name in re.findall(r'<script[^>]* src="/static/([^"?]+)', html):
        with_imports(STATIC / name, scripts)
    allowed = SCRIPTS + (REVIEW if path == "/review" else 0) + (CHARTS if "uplot" in html else 0)
    assert len(styles) >= 3 and len(scripts) >= 5
    assert zipped(html.encode()) <= HTML
    assert sum(zipped(one.read_bytes()) for one in styles) <= STYLES
    assert sum(zipped(one.read_bytes()) for one in scripts) <= allowed, sorted(one.name for one in scripts)


@pytest.mark.browser
@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("path", PAGES)
def test_nothing_moves_once_it_is_there(browser: Any, demo: Client, path: str, size: str) -> None:
    rows = demo.get("/history.json").json()["data"]["rows"]
    worst = next(one["id"] for one in rows if one["verdict"] == "NG")
    with panel(browser, str(demo.base_url), size=size) as page:
        page.add_init_script(WATCH)
        page.goto(path.format(id=worst))
        page.wait_for_timeout(600)
        if "{id}" in path:
            page.wait_for_selector(".near img")
            page.wait_for_timeout(200)
        moved = page.evaluate("window.shift")
        assert sum(one[0] for one in moved) < 0.001, moved
        first = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        assert 0 < first < 20_000  # half a second on a machine of its own: see benchmarks/station_pages.py
