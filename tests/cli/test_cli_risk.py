"""`flawscope risk` and `flawscope data --coords`, end to end, on drawn chips and on two published layouts."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest

from flawscope.data.coords import read_coords

Run = Callable[..., Any]
FILES = ("risk.csv", "risk.html", "risk.json", "risk.xlsx")


@pytest.fixture(scope="module")
def rated(chips: Path, model: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One run of `flawscope risk` on the test part of the chips: its folder and what it printed."""
    out = tmp_path_factory.mktemp("rated") / "out"
    result = run("risk", "--model", model, "--data", chips, "--out", out, "--threads", "1")
    assert result.exit_code == 0, result.stderr
    return out, result.stdout


def read(out: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((out / "risk.json").read_text("utf-8"))
    return values


def test_it_writes_four_files_and_tells_what_to_look_at_first(rated: Any) -> None:
    out, told = rated
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    assert "8 photographs rated" in told and "Look at these first" in told
    assert "qrs as published" in told and "Next: open that page" in told
    found = read(out)
    assert len(found["samples"]) == 8 and found["roles"] == ["test"] and found["seen"] == 0
    for test in ("welch", "mann_whitney"):
        assert 0 <= found["analysis"][test]["p"] <= 1 and 0 <= found["analysis"]["qrs"][test]["p"] <= 1
    assert 0 <= found["analysis"]["auroc"]["value"] <= 1
    assert set(found["analysis"]["auroc"]) >= {"value", "low", "high", "n"}
    for sample in found["samples"]:
        points = [factor["points"] for factor in sample["risk"]["factors"]]
        assert sum(points) == pytest.approx(sample["risk"]["value"])
        assert sample["region"] == "whole picture" and "scaled in each image" in sample["qrs_rests_on"]
        assert "lot" in sample["group"] or not found["analysis"]["per_lot"]


def test_csv_and_spreadsheet_hold_the_same_rows(rated: Any) -> None:
    out, _ = rated
    rows = list(csv.DictReader((out / "risk.csv").read_text("utf-8").splitlines()))
    risks = [float(row["risk"]) for row in rows]
    assert risks == sorted(risks, reverse=True) and [row["rank"] for row in rows] == list("12345678")
    book = openpyxl.load_workbook(out / "risk.xlsx")
    assert book.sheetnames == ["scores", "weights over threshold", "analysis"]
    scores = list(book["scores"].values)
    assert list(scores[0]) == list(rows[0]) and len(scores) == 9
    assert [row[9] for row in scores[1:]] == pytest.approx(risks)
    weights = list(book["weights over threshold"].values)[1:]
    assert weights and all(0 < x < 1 and 0 < y < 1 and w > 0.9 for _, x, y, w in weights)
    listed = {row["id"]: int(row["weights_listed"]) for row in rows}
    assert all(sum(entry[0] == name for entry in weights) == count for name, count in listed.items())
    told = {row[0]: row[1] for row in book["analysis"].values}
    assert told["AUROC"] == pytest.approx(read(out)["analysis"]["auroc"]["value"])
    book.close()


def test_json_leaves_the_samples_to_the_file(chips: Path, model: Path, run: Run, tmp_path: Path) -> None:
    result = run("risk", "-m", model, "-d", chips, "-o", tmp_path / "o", "--threshold", "0.5", "--json")
    assert result.exit_code == 0
    values = json.loads(result.stdout)
    assert "samples" not in values and values["threshold"] == 0.5
    assert values["analysis"]["welch"].keys() >= {"statistic", "p", "n"}


def test_coordinates_are_written_and_used(chips: Path, model: Path, run: Run, tmp_path: Path) -> None:
    place = tmp_path / "coords.csv"
    told = run("data", chips, "--coords", place)
    assert told.exit_code == 0 and f"Written: {place}" in told.stdout
    coords = read_coords(place)
    assert len(coords.outlines) == 24
    result = run("risk", "-m", model, "-d", chips, "-o", tmp_path / "o", "--coords", place, "--json")
    assert result.exit_code == 0, result.stderr
    for sample in read(tmp_path / "o")["samples"]:
        ((left, top, right, bottom),) = coords.outlines[sample["id"]].boxes
        assert sample["region"] == "coordinates given"
        assert sample["region_share"] == pytest.approx((right - left) * (bottom - top), abs=0.05)
    short = tmp_path / "short.csv"
    short.write_text("image,left,top,right,bottom\nx.png,0,0,1,1\n", encoding="utf-8")
    result = run("risk", "-m", model, "-d", chips, "-o", tmp_path / "o", "--coords", short)
    assert result.exit_code == 4 and "8 of 8 images without" in result.stderr
    values = json.loads(
        run("data", chips, "--coords", tmp_path / "m.json", "--coords-of", "masks", "--json").stdout
    )
    assert values["coords"] == str(tmp_path / "m.json")


def test_foreground_and_zones(chips: Path, model: Path, run: Run, tmp_path: Path) -> None:
    zones = tmp_path / "zones.json"
    zones.write_text('{"zones": [{"box": [0, 0, 1, 1], "weight": 5}]}', encoding="utf-8")
    command = ("risk", "-m", model, "-d", chips, "-o", tmp_path / "o", "--region", "foreground")
    assert run(*command, "--zones", zones).exit_code == 0
    weighed = {one["id"]: one for one in read(tmp_path / "o")["samples"]}
    assert run(*command).exit_code == 0
    plain = read(tmp_path / "o")["samples"]
    assert any(one["region"] == "foreground" and one["region_share"] < 1 for one in plain)
    for one in plain:
        heavy = weighed[one["id"]]["risk"]
        assert heavy["value"] >= one["risk"]["value"] and one["risk"]["factors"][4]["measured"] is None
        assert heavy["factors"][4]["points"] == pytest.approx(heavy["value"] - one["risk"]["value"])
    assert run(*command[:-1], "elsewhere").exit_code == 2


def test_other_roles_are_marked_as_seen(chips: Path, model: Path, run: Run, tmp_path: Path) -> None:
    command = ("risk", "-m", model, "-d", chips, "-o", tmp_path / "o")
    result = run(*command, "--roles", "fit,test")
    assert result.exit_code == 0, result.stderr
    assert "looks better than new parts will" in result.stderr
    found = read(tmp_path / "o")
    assert found["seen"] == 16 and len(found["samples"]) == 24
    assert run(*command, "--roles", "select").exit_code == 4
    assert run(*command, "--roles", "tset").exit_code == 2
    seen = run("risk", "-m", model, "-d", chips / "train", "-o", tmp_path / "o")
    assert seen.exit_code == 4 and "were seen" in seen.stderr


def test_what_cannot_be_judged_has_no_risk_and_exit_code_3(
    chips: Path, model: Path, run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    (folder / "good").mkdir(parents=True)
    source = min((chips / "test" / "good").iterdir())
    (folder / "good" / "whole.png").write_bytes(source.read_bytes())
    (folder / "good" / "half.png").write_bytes(source.read_bytes()[:900])
    result = run("risk", "-m", model, "-d", folder, "-o", tmp_path / "o")
    assert result.exit_code == 3 and "NOT JUDGED" in result.stdout
    found = read(tmp_path / "o")
    (broken,) = [one for one in found["samples"] if one["risk"] is None]
    assert broken["error"]["code"] and broken["band"] is None and broken["qrs"] is None
    assert found["analysis"]["welch"]["p"] is None and "defective" in found["analysis"]["welch"]["reason"]
    assert found["analysis"]["auroc"]["value"] is None
    assert "Not one of them counts as low" in (tmp_path / "o" / "risk.html").read_text("utf-8")


def learn(run: Run, data: Path, out: Path, backbone: str, *more: object, size: str = "96x64") -> Path:
    result = run(
        "train", "--data", data, "--method", "linear", "--out", out, "--backbone", backbone,
        "--size", size, "--alpha", "0.1", "--set", "settings.views=2", "--threads", "1", *more,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return out / "model.flaw"


def test_kolektor_sdd2_from_its_published_layout(
    run: Run, tiny_settings: dict[str, Any], golden_maker: Any, tmp_path: Path
) -> None:
    """Upright pictures, 1 : 2.7 as published; every one has its _GT.png, all zero where it is good."""
    rng = np.random.default_rng(2)
    folder = tmp_path / "KSDD2"
    for split, count in (("train", 44), ("test", 16)):
        for i in range(count):
            pixels = np.clip(rng.normal(110, 6, (158, 58, 3)), 0, 255).astype(np.uint8)
            mask = np.zeros((158, 58, 3), np.uint8)
            if i % 3 == 0:
                top = int(rng.integers(10, 110))
                pixels[top : top + 30, 20:40] = 225
                mask[top : top + 30, 20:40] = 40  # any grey that is not zero is a defect
            number = 10000 * (split == "train") + i
            golden_maker.write_png(folder / split / f"{number:05d}.png", pixels)
            golden_maker.write_png(folder / split / f"{number:05d}_GT.png", mask)
    model = learn(run, folder, tmp_path / "run", tiny_settings["backbone"], size="64x160")
    result = run("risk", "-m", model, "-d", folder, "-o", tmp_path / "o", "--threads", "1")
    assert result.exit_code == 0, result.stderr
    found = read(tmp_path / "o")
    assert len(found["samples"]) == 16 and found["analysis"]["bad"] == 6
    assert all(one["id"].startswith("test/") for one in found["samples"])
    assert found["analysis"]["auroc"]["value"] > 0.9
    assert {one["qrs_rests_on"] for one in found["samples"]} != {""}


def test_sensum_sodf_from_its_published_layout_with_a_split_of_the_users_own(
    run: Run, tiny_settings: dict[str, Any], golden_maker: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "SensumSODF"
    for base, product in ((0, "capsule"), (2000, "softgel")):
        rows = ["path,split"]
        for kind, count in (("negative", 36), ("positive", 18)):
            for i in range(count):
                number = base + i + 700 * (kind == "positive")
                sound = golden_maker.part(number)
                pixels = golden_maker.part(number, "blob") if kind == "positive" else sound
                name = f"{kind}/data/{i:03d}.png"
                golden_maker.write_png(folder / product / name, pixels)
                if kind == "positive":
                    changed = np.abs(pixels.astype(int) - sound).max(2) > 30
                    mask = np.dstack([changed.astype(np.uint8) * 255] * 3)
                    golden_maker.write_png(
                        folder / product / "positive" / "annotation" / f"{i:03d}.png", mask
                    )
                rows.append(f"{name},{'test' if i % 3 == 0 else 'train'}")
        (folder / product / "split.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    backbone = tiny_settings["backbone"]
    for product in ("capsule", "softgel"):
        out = tmp_path / product
        model = learn(run, folder, out, backbone, "--product", product)
        command = ("risk", "-m", model, "-d", folder, "-o", out / "o", "--product", product)
        result = run(*command, "--threads", "1")
        assert result.exit_code == 0, result.stderr
        found = read(out / "o")
        assert (found["analysis"]["good"], found["analysis"]["bad"]) == (12, 6)
        assert all(f"{product}/" in one["id"] for one in found["samples"])
        assert found["analysis"]["auroc"]["value"] > 0.8
        assert set(found["analysis"]["per_defect"]) == {"defect"}
