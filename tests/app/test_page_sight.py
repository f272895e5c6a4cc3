"""Verdicts tell apart without colours and without green, by shape, word and paint together."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
import pytest
from looking import panel
from worlds import World

pytestmark = pytest.mark.browser

Client = Any
SIZE = (96, 96)


@pytest.mark.parametrize("sight", ["none", "achromatopsia", "deuteranopia"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_shapes_and_paint_tell_verdicts_apart(
    browser: Any, demo: Client, world: World, sight: str, theme: str
) -> None:
    shown = {one["verdict"]: one["id"] for one in demo.get("/history.json").json()["data"]["rows"]}
    cut = demo.post("/api/inspect", content=world.pictures()[0].read_bytes()[:500]).json()["data"]
    shown = {verdict: id for verdict, id in shown.items() if verdict} | {None: cut["id"]}
    assert len(shown) >= 3, "the demo has parts of several verdicts"
    seen: dict[str | None, np.ndarray] = {}
    with panel(browser, str(demo.base_url), theme=theme) as page:
        session = page.context.new_cdp_session(page)
        session.send("Emulation.setEmulatedVisionDeficiency", {"type": sight})
        for verdict, id in shown.items():
            page.goto(f"/i/{id}")
            png = page.locator(".verdict .shape").screenshot()
            pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
            seen[verdict] = cv2.resize(pixels, SIZE, interpolation=cv2.INTER_AREA).astype(np.float64)
    for one, other in itertools.combinations(seen, 2):
        # not the paint alone: with both brought to the same brightness and contrast, the shapes still differ
        first, second = (_standard(seen[verdict]) for verdict in (one, other))
        assert np.abs(first - second).mean() > 0.4, (sight, theme, one, other)


def _standard(pixels: np.ndarray) -> np.ndarray:
    centred = np.abs(pixels - np.median(pixels))  # whether the mark is light or dark does not count
    return np.asarray(centred / (centred.std() + 1e-9))
