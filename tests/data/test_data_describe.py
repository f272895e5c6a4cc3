"""The table of a data set counts what is there."""

from __future__ import annotations

import json
from pathlib import Path

from flawscope.core.types import Role, Sample
from flawscope.data.describe import describe

SAMPLES = [
    Sample("1", "1.png", "good", product="p", part="A", group="L1", role=Role.FIT),
    Sample("2", "2.JPG", "good", product="p", part="A", group="L1", role=Role.FIT),
    Sample("3", "3.png", "good", product="p", role=Role.TEST),
    Sample("4", "4.png", "crack", product="p", mask_path="m.png"),
    Sample("5", "5.png", None, product="p"),
    Sample("6", "6.png", "crack", product="a", group="L1"),
]
SIZES = {
    "1.png": (10, 90),
    "2.JPG": (20, 80),
    "3.png": (30, 70),
    "4.png": None,
    "5.png": (5, 5),
    "6.png": (7, 7),
}


def test_counts() -> None:
    table = describe(SAMPLES)
    assert [(row.product, row.label, row.images) for row in table.rows] == [
        ("a", "crack", 1),
        ("p", "good", 3),
        ("p", "crack", 1),
        ("p", None, 1),
    ]
    good = table.rows[1]
    assert (good.parts, good.groups, good.masks) == (2, 1, 0)
    assert good.formats == {"jpg": 1, "png": 2}
    assert good.roles == {"fit": 2, "test": 1}
    assert good.size is None
    assert (table.total.images, table.total.parts, table.total.groups, table.total.masks) == (6, 5, 2, 1)
    assert table.total.roles == {"fit": 2, "test": 1, "none": 3}


def test_sizes() -> None:
    table = describe(SAMPLES, size_of=lambda path: SIZES[path.name])
    size = table.rows[1].size
    assert size is not None
    assert (size.least_hw, size.median_hw, size.greatest_hw) == ((10, 70), (20, 80), (30, 90))
    assert table.rows[2].size is None
    assert table.total.size is not None
    assert table.total.size.unreadable == 1
    written = json.loads(json.dumps(table.to_json()))
    assert written["rows"][1]["size"]["median_hw"] == [20, 80]
    assert written["total"]["images"] == 6


def test_nothing() -> None:
    assert describe([], size_of=lambda path: None).rows == ()
    assert describe([Sample("1", str(Path("1")), None)]).total.formats == {"": 1}
