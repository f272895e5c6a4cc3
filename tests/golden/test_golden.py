"""The golden bundle still opens and answers as it did: old versions stay readable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flawscope import Inspector
from flawscope.core.types import Inspection

HERE = Path(__file__).resolve().parent
EXPECTED = json.loads((HERE / "expected.json").read_text("utf-8"))
BUNDLES = sorted(HERE.glob("*.flaw"))  # bundles of older formats stay beside the newest


@pytest.fixture(scope="module", params=BUNDLES, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest) -> Inspector:
    return Inspector.open(request.param, threads=1)


def _differences(found: Inspection, expected: dict) -> list[str]:
    """Return what differs from the answer expected, scores within the tolerance."""
    near = EXPECTED["score_tolerance"]
    values = found.to_json()
    error = values["error"] and values["error"]["code"]
    wrong = [
        f"{name} {value} instead of {expected[name]}"
        for name, value in (("verdict", values["verdict"]), ("error", error), ("p_value", values["p_value"]))
        if value != expected[name]
    ]
    peak = None if found.map is None else float(found.map.max())
    for name, value in (("score", found.score), ("peak", peak)):
        if value != expected[name] and not value == pytest.approx(expected[name], rel=near):
            wrong.append(f"{name} {value} instead of {expected[name]}")
    boxes = [list(region.box_xyxy) for region in found.regions]
    fits = len(boxes) == len(expected["regions"]) and all(
        abs(a - b) <= 1
        for one, other in zip(boxes, expected["regions"], strict=True)
        for a, b in zip(one, other, strict=True)
    )
    return wrong if fits else [*wrong, f"regions {boxes} instead of {expected['regions']}"]


@pytest.mark.parametrize("name", sorted(EXPECTED["answers"]))
def test_answers_stay(golden: Inspector, name: str) -> None:
    assert _differences(golden(HERE / name), EXPECTED["answers"][name]) == []


def test_limits_stay(golden: Inspector) -> None:
    found = golden.thresholds.to_json()
    assert found == pytest.approx(EXPECTED["thresholds"], rel=EXPECTED["score_tolerance"])


def test_the_pictures_show_every_kind_of_answer() -> None:
    verdicts = {answer["verdict"] for answer in EXPECTED["answers"].values()}
    assert verdicts == {"OK", "REVIEW", "NG", None}


def test_another_answer_would_be_noticed(golden: Inspector) -> None:
    expected = EXPECTED["answers"]
    assert _differences(golden(HERE / "blob.png"), expected["good_2.png"])
    moved = expected["blob.png"] | {"score": expected["blob.png"]["score"] * 1.01}
    assert _differences(golden(HERE / "blob.png"), moved)


def test_nothing_of_a_machine_is_in_the_committed_bundle(golden: Inspector) -> None:
    contents = golden.bundle.contents
    assert set(contents.environment) == {"versions", "seed"}
    assert golden.bundle.size_bytes < 1 << 20
