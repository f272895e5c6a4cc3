"""The page in a real browser: nothing is wider than a phone or a desktop."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flawscope.core.types import Report
from flawscope.report.page import render
from flawscope.report.picture import Picture, choose

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()
MEASURE = """
<body><iframe style="border:0;width:{width}px;height:900px" srcdoc="{page}"
 onload="document.title = 'width ' + this.contentDocument.documentElement.scrollWidth"></iframe></body>
"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_no_wider_than_the_window(tested: Report, tmp_path: Path, width: int) -> None:
    assert CHROMIUM is not None
    pictures = [Picture(judged, b"", b"") for judged in choose(tested)]
    page = tmp_path / "frame.html"
    page.write_text(
        MEASURE.format(width=width, page=html.escape(render(tested, pictures=pictures))), encoding="utf-8"
    )
    command = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    found = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=True)
    measured = re.search(r"<title>width (\d+)</title>", found.stdout)
    assert measured is not None, found.stderr[-2000:]
    assert int(measured[1]) == width
