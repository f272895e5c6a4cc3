"""Relative coordinates and zones: written, read back, laid over grids; errors name file and row."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flawscope.core.errors import ConfigError, DataError, ImageError
from flawscope.core.types import Sample
from flawscope.data.coords import WHOLE, Coords, Outline, box_of, read_coords, write_coords
from flawscope.data.zones import Zones, read_zones

SIDES = st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda pair: pair[0] != pair[1]).map(sorted)
BOXES = st.tuples(SIDES, SIDES).map(lambda sides: (sides[0][0], sides[1][0], sides[0][1], sides[1][1]))
NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\x85"), min_size=1
).map(lambda name: f"{name}.png")
OUTLINES = st.one_of(
    st.lists(BOXES, min_size=1, max_size=3).map(lambda boxes: Outline(tuple(boxes))),
    NAMES.map(lambda name: Outline(mask=name)),
)


@pytest.mark.parametrize("suffix", [".json", ".csv"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(outlines=st.dictionaries(NAMES | st.just("=1+1.png") | st.just("'=x.png"), OUTLINES, min_size=1))
def test_what_is_written_is_read_back(suffix: str, outlines: dict[str, Outline], tmp_path: Path) -> None:
    place = tmp_path / f"coords{suffix}"
    write_coords(place, outlines)
    found = read_coords(place)
    assert dict(found.outlines) == outlines and found.folder == tmp_path
    for line in place.read_text("utf-8").splitlines():
        assert not line.startswith(("=", "+", "-", "@")), "a spreadsheet would take it for a formula"


@settings(max_examples=80, deadline=None)
@given(BOXES, st.integers(1, 40), st.integers(1, 40))
def test_a_cell_is_product_where_its_centre_is(
    box: tuple[float, float, float, float], h: int, w: int
) -> None:
    region = Coords({}).region(Outline((box,)), (h, w))
    left, top, right, bottom = box
    expected = np.zeros((h, w), bool)
    for y in range(h):
        for x in range(w):
            cx, cy = (x + 0.5) / w, (y + 0.5) / h
            expected[y, x] = left <= cx < right and top <= cy < bottom
    if expected.any():
        disagreeing = region ^ expected
        assert disagreeing.sum() <= 2 * (h + w), "only centres on an edge may differ by rounding"
        assert not disagreeing.any() or np.isclose((np.array(box) * [w, h, w, h]) % 1, 0.5, atol=1e-6).any()
    else:
        assert region.any(), "a product is never lost between cells"


def test_boxes_add_up_and_surround_what_they_came_from() -> None:
    region = np.zeros((10, 20), bool)
    region[2:5, 4:18] = True
    box = box_of(region)
    assert box == (0.2, 0.2, 0.9, 0.5)
    assert (Coords({}).region(Outline((box,)), (10, 20)) == region).all()
    both = Coords({}).region(Outline((box, (0.0, 0.9, 0.1, 1.0))), (10, 20))
    assert both.sum() == region.sum() + 2
    assert Coords({}).region(Outline((WHOLE,)), (7, 3)).all()


def test_masks_are_read_beside_the_file(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 15:45] = 255
    cv2.imwrite(str(tmp_path / "part.png"), mask)
    cv2.imwrite(str(tmp_path / "empty.png"), mask * 0)
    write_coords(tmp_path / "c.csv", {"a.png": Outline(mask="part.png"), "b.png": Outline(mask="empty.png")})
    coords = read_coords(tmp_path / "c.csv")
    region = coords.region(coords.outlines["a.png"], (20, 30))
    assert region[5:15, 8:22].all() and region.sum() == pytest.approx(150, abs=30)
    with pytest.raises(DataError, match=r"The mask empty\.png of .*c\.csv is empty"):
        coords.region(coords.outlines["b.png"], (20, 30))
    with pytest.raises(ImageError):
        coords.region(Outline(mask="absent.png"), (20, 30))


def test_samples_are_found_by_id_path_or_the_end_of_their_path() -> None:
    one = Outline((WHOLE,))
    sample = Sample("good/1.png", "/data/set/good/1.png", "good")
    for name in ("good/1.png", "/data/set/good/1.png", "set/good/1.png", "1.png"):
        assert Coords({name: one}).of(sample) is one
    assert Coords({"bad/1.png": one}).of(sample) is None
    with pytest.raises(DataError, match=r"says nothing of good/1\.png.* 1 of 1 images without"):
        Coords({"bad/1.png": one}).refuse_missing([sample])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("c.csv", "image,left\n", "does not say what its columns are"),
        ("c.csv", "image,left,top,right,bottom\na.png,0,0,1\n", "line 2 holds no box"),
        ("c.csv", "image,left,top,right,bottom\na.png,0,0,1,1\nb.png,0,0,2,1\n", "line 3 holds no box"),
        ("c.csv", "image,left,top,right,bottom\na.png,0,0,nan,1\n", "finite numbers"),
        ("c.csv", "image,left,top,right,bottom\n,0,0,1,1\n", "line 2 names no image"),
        ("c.csv", "image,left,top,right,bottom\na,0,0,1,1,m.png,9\n", "line 2 is too long"),
        ("c.csv", "image,left,top,right,bottom,mask\na,0,0,1,1,\na,,,,,m\n", "boxes and a mask"),
        ("c.csv", "image,left,top,right,bottom,mask\na,,,,,m\na,,,,,n\n", "line 3 gives a a second mask"),
        ("c.csv", "image,left,top,right,bottom\n", "holds no coordinates"),
        ("c.json", "[1", "is no JSON"),
        ("c.json", "{}", "holds no coordinates of flawscope"),
        ("c.json", {"a.png": {"boxes": [[0, 0, 1]]}}, "image a.png: box 1 does not fit"),
        ("c.json", {"a.png": {"boxes": [[0, 0, 1, 1], [0, 0, True, 1]]}}, "box 2 does not fit"),
        ("c.json", {"a.png": {"boxes": []}}, "neither boxes nor a mask"),
        ("c.json", {"a.png": 3}, "neither boxes nor a mask"),
        ("c.txt", "", "no ending for coordinates"),
    ],
)
def test_errors_name_file_and_row(name: str, text: str | dict, told: str, tmp_path: Path) -> None:
    if isinstance(text, dict):
        text = json.dumps({"format": "flawscope-coords", "version": 1, "images": text})
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as raised:
        read_coords(tmp_path / name)
    assert told in str(raised.value) and name in str(raised.value)


def test_zones_follow_the_product(tmp_path: Path) -> None:
    values = {"zones": [{"name": "pads", "box": [0, 0, 0.5, 1], "weight": 4}], "elsewhere": 0.5}
    (tmp_path / "z.json").write_text(json.dumps(values), encoding="utf-8")
    zones = read_zones(tmp_path / "z.json")
    region = np.zeros((10, 20), bool)
    region[2:6, 4:12] = True
    weights = zones.over(region)
    assert (weights[2:6, 4:8] == 4).all() and (weights[2:6, 8:12] == 0.5).all()
    assert (weights[~region] == 1).all()
    heavier = {"zones": [*values["zones"], {"box": [0, 0, 0.25, 1], "weight": 9}]}
    (tmp_path / "z.json").write_text(json.dumps(heavier), encoding="utf-8")
    assert read_zones(tmp_path / "z.json").over(region)[3, 4:12].tolist() == [9, 9, 4, 4, 1, 1, 1, 1]


def test_an_image_of_zones_runs_from_usual_to_three_times(tmp_path: Path) -> None:
    grey = np.zeros((2, 4), np.uint8)
    grey[:, 2:] = 255
    cv2.imwrite(str(tmp_path / "z.png"), grey)
    weights = read_zones(tmp_path / "z.png").over(np.ones((8, 8), bool))
    assert (weights[:, :4] == 1).all() and (weights[:, 4:] == 3).all()
    assert Zones(grid=np.full((1, 1), 2.0, np.float32)).over(np.ones((3, 3), bool)).max() == 2


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([], "holds no zones"),
        ({"zones": [], "elsewhere": 1}, "holds no zones"),
        ({"zones": [{"box": [0, 0, 1, 1]}]}, "zone 1 does not fit"),
        (
            {"zones": [{"box": [0, 0, 1, 1], "weight": 1}, {"box": [1, 0, 0, 1], "weight": 1}]},
            "zone 2 has no box",
        ),
        ({"zones": [{"box": [0, 0, 1, 1], "weight": 11}]}, "zone 1 has no weight"),
        ({"zones": [{"box": [0, 0, 1, 1], "weight": 1}], "elsewhere": "x"}, "elsewhere has no weight"),
    ],
)
def test_zone_files_that_do_not_fit_say_where(values: object, told: str, tmp_path: Path) -> None:
    (tmp_path / "z.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        read_zones(tmp_path / "z.json")
