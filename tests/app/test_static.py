"""What the station ships: everything from here, nothing that a strict policy forbids, licences beside it."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

import flawscope
from flawscope.imaging import overlay

APP = Path(flawscope.__file__).parent / "app"
STATIC, TEMPLATES = APP / "static", APP / "templates"
OURS = sorted(STATIC.glob("js/*.js"))


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_templates_keep_to_a_strict_policy(path: Path):
    html = path.read_text(encoding="utf-8")
    assert not re.search(r"\sstyle=", html), "styles stand in the style sheet"
    assert not re.search(r"\son\w+=|hx-on|javascript:|hx-vals=.js:", html)
    for script in re.findall(r"<script[^>]*>", html):
        assert "src=" in script
    assert not re.search(r"https?://(?!www\.w3\.org)", html), "nothing comes from elsewhere"


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_scripts_evaluate_nothing_and_fetch_nothing_from_elsewhere(path: Path):
    script = path.read_text(encoding="utf-8")
    assert not re.search(r"\beval\(|new Function|insertAdjacentHTML|document\.write", script)
    assert not re.search(r"https?://(?!www\.w3\.org)", script)


@pytest.mark.parametrize("name", ["htmx", "uplot", "panzoom"])
def test_a_library_has_its_licence_beside_it(name: str):
    folder = STATIC / "vendor" / name
    assert len((folder / "LICENSE").read_text(encoding="utf-8")) > 300
    for script in folder.glob("*.js"):
        assert "sourceMappingURL" not in script.read_text(encoding="utf-8")


def test_the_browser_colours_a_map_as_reports_do():
    script = (STATIC / "js" / "colours.js").read_text(encoding="utf-8")
    values = [int(one) for one in re.search(r"FIRST = \[([^]]+)\]", script).group(1).split(",")]
    for letter in "".join(re.findall(r'"([a-z]+)"', script)):
        values.append(values[-3] + ord(letter) - ord("m"))
    assert bytes(values) == overlay._colours().tobytes()


def test_sizes_stay_small():
    """Gzip, as the brief budgets: styles 14 kB, scripts of every page 30 kB with the libraries."""
    styles = sum(len(gzip.compress(path.read_bytes())) for path in STATIC.glob("css/*.css"))
    always = [*(STATIC / "vendor" / "htmx").glob("*.js"), *(STATIC / "vendor" / "panzoom").glob("*.js")]
    always += [STATIC / "js" / name for name in ("station.js", "keys.js", "view.js", "colours.js", "api.js")]
    scripts = sum(len(gzip.compress(path.read_bytes())) for path in always)
    assert styles <= 14_000 and scripts <= 30_000, (styles, scripts)
