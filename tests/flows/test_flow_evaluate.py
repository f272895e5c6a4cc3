"""Evaluation: what is tested, what is refused, and that the numbers are the line's own."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from worlds import World

import flawscope
from flawscope import Inspector
from flawscope.core.errors import ConfigError, DataError, ImageError, LeakError
from flawscope.core.progress import Silent
from flawscope.core.scores import ScoreSet
from flawscope.core.types import GOOD, Judged, Report, Role, Sample, Verdict
from flawscope.data.manifest import read_manifest
from flawscope.decision.calibration import calibrate
from flawscope.decision.costs import choose_by_cost
from flawscope.flows.evaluate import EvaluateSettings, report_of
from flawscope.flows.evaluate import test_samples as samples_to_test
from flawscope.flows.train import Trained
from flawscope.imaging.read import read_mask
from flawscope.metrics import summary

METRICS_PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md"

Train = Callable[..., Trained]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def inspector(world: World) -> Inspector:
    return Inspector.open(world.model, threads=1)


@pytest.fixture(scope="module")
def report(world: World, inspector: Inspector) -> Report:
    return flawscope.evaluate(inspector, world.data)


# --- what is tested ----------------------------------------------------------------------------------------


def test_the_test_folder_alone_gives_the_same_as_the_whole(
    world: World, inspector: Inspector, report: Report
) -> None:
    alone = flawscope.evaluate(inspector, world.data / "test")
    assert len(alone.judged) == len(report.judged) == 16
    one, other = alone.to_json(), report.to_json()
    for part in ("metrics", "per_defect", "confusion", "curves"):
        assert one[part] == other[part]
    scores = [
        {Path(entry.sample.path).name + str(entry.sample.label): entry.inspection.score for entry in judged}
        for judged in (alone.judged, report.judged)
    ]
    assert scores[0] == scores[1]
    assert all(sample["label"] for sample in one["samples"])


def test_a_report_s_scores_are_the_line_s(inspector: Inspector, report: Report) -> None:
    for entry in report.judged:
        found = inspector(entry.sample.path)
        assert (found.score, found.verdict) == (entry.inspection.score, entry.inspection.verdict)


def test_a_mixed_folder_is_tested_by_the_manifest_of_its_run(
    train_tiny: Train, mixed: Write, tmp_path: Path
) -> None:
    data = mixed(30, 6)
    trained = train_tiny(data, resplit="60/20/20")
    expected = {sample.id for sample in trained.prepared.of(Role.TEST)}
    found = flawscope.evaluate(tmp_path / "run" / "model.flaw", data, threads=1)
    assert {entry.sample.id for entry in found.judged} == expected
    assert {entry.sample.label for entry in found.judged} == {GOOD, "scratch", "blob"}
    assert found.metrics["pixel"]["auroc"].value is not None
    # elsewhere, the manifest must be named; without it the folder holds what was taught
    moved = shutil.copy(tmp_path / "run" / "model.flaw", tmp_path / "model.flaw")
    with pytest.raises(LeakError, match="test images were seen"):
        flawscope.evaluate(moved, data, threads=1)
    manifest = tmp_path / "run" / "manifest.jsonl"
    named = flawscope.evaluate(moved, data, settings={"manifest": str(manifest)}, threads=1)
    assert named.to_json()["metrics"] == found.to_json()["metrics"]
    by_itself = flawscope.evaluate(moved, manifest, threads=1)
    assert by_itself.to_json()["metrics"] == found.to_json()["metrics"]


def test_a_folder_dealt_anew_is_tested_by_its_manifest_and_not_by_its_folders(
    train_tiny: Train, parts: Write, mixed: Write, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    parts(20, folder=data / "train/good")
    mixed(10, 4, folder=data / "test", start=40)
    trained = train_tiny(data, resplit="60/20/20")
    expected = {sample.id for sample in trained.prepared.of(Role.TEST)}
    assert any(name.startswith("train/") for name in expected)
    found = flawscope.evaluate(tmp_path / "run" / "model.flaw", data, threads=1)
    assert {entry.sample.id for entry in found.judged} == expected


def test_pictures_that_came_later_into_the_test_folder_are_tested_too(
    train_tiny: Train, parts: Write, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    parts(22, folder=data / "train/good")
    parts(2, folder=data / "test/good", start=50)
    train_tiny(data)
    parts(3, folder=data / "test/good", start=60)
    assert len(flawscope.evaluate(tmp_path / "run" / "model.flaw", data, threads=1).judged) == 5


def test_a_manifest_that_is_not_there_is_an_error(world: World, inspector: Inspector) -> None:
    with pytest.raises(DataError, match="no manifest"):
        flawscope.evaluate(inspector, world.data, settings={"manifest": str(world.data / "no.jsonl")})


def test_unknown_settings_are_refused_with_the_nearest_name(world: World, inspector: Inspector) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'layout'"):
        flawscope.evaluate(inspector, world.data, settings={"layuot": "mvtec"})


# --- what is refused ---------------------------------------------------------------------------------------


def test_a_copy_of_what_was_taught_is_refused_under_any_name(
    world: World, inspector: Inspector, tmp_path: Path
) -> None:
    data = tmp_path / "new"
    (data / "good").mkdir(parents=True)
    for i, path in enumerate(world.pictures("test/good/*.png")):
        shutil.copy(path, data / "good" / f"{i}.png")
    assert len(flawscope.evaluate(inspector, data).judged) == 8
    shutil.copy(world.pictures("train/good/*.png")[3], data / "good" / "brand_new.png")
    with pytest.raises(LeakError, match=r"1 of 9 test images.*brand_new\.png: its content served as FIT"):
        flawscope.evaluate(inspector, data)


@pytest.mark.parametrize(
    ("pattern", "said"), [(r"(?P<part>part_\d\d)", "its part part_00"), (r"(?P<group>p)art", "its group p")]
)
@pytest.mark.parametrize("repeated", [True, False])
def test_a_part_or_group_that_was_taught_is_refused(
    train_tiny: Train, parts: Write, tmp_path: Path, pattern: str, said: str, repeated: bool
) -> None:
    """Whether or not --group-by is given again: the bundle keeps the pattern of its training."""
    taught = parts(22) if "<part>" in pattern else _two_groups(parts, tmp_path)
    model = train_tiny(taught, group_by=pattern if "<part>" in pattern else r"(?P<group>[pq])art")
    new = parts(2, folder=tmp_path / "new/good", start=300)
    (new / "part_300.png").rename(new / "part_009.png")
    settings = {"group_by": pattern} if repeated else None
    with pytest.raises(LeakError, match=said):
        flawscope.evaluate(model.bundle.path, new.parent, settings=settings, threads=1)


def _two_groups(parts: Write, tmp_path: Path) -> Path:
    folder = parts(12)
    for path in parts(12, folder=tmp_path / "others", start=100).iterdir():
        path.rename(folder / path.name.replace("part", "qart"))
    return folder


def test_parts_of_one_of_several_products_are_known_again(
    train_tiny: Train, parts: Write, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for product, start in (("bottle", 0), ("cap", 200)):
        parts(22, folder=data / product / "train/good", start=start)
        parts(3, folder=data / product / "test/good", start=start + 50)
    trained = train_tiny(data, product="bottle", group_by=r"(?P<part>part_\d+)")
    with pytest.raises(DataError, match="several products"):
        flawscope.evaluate(trained.bundle.path, data, threads=1)
    with pytest.raises(LeakError, match="its part part_003"):
        new = parts(1, folder=tmp_path / "new/good", start=300)
        (new / "part_300.png").rename(new / "part_003.png")
        group_by = {"group_by": r"(?P<part>part_\d+)"}
        flawscope.evaluate(trained.bundle.path, new.parent, settings=group_by, threads=1)
    alone = flawscope.evaluate(trained.bundle.path, data / "bottle", threads=1)
    named = flawscope.evaluate(trained.bundle.path, data, settings={"product": "bottle"}, threads=1)
    assert len(alone.judged) == len(named.judged) == 3 and named.product == "bottle"


def test_no_use_gets_scores_meant_for_another(world: World) -> None:
    sample = Sample(id="a", path="a.png", label=GOOD, role=Role.TEST)
    bad = Sample(id="b", path="b.png", label="scratch", role=Role.CALIBRATE)
    scores = {
        role: ScoreSet.of([replace(sample, role=role)], [1.0], maxima=[1.0], role=role) for role in Role
    }
    for role in Role:
        if role is not Role.CALIBRATE:
            with pytest.raises(LeakError, match=f"serve for {role}"):
                calibrate(scores[role])
        if role is not Role.SELECT:
            with pytest.raises(LeakError, match=f"serve for {role}"):
                choose_by_cost(scores[role], cost_escape=1, cost_overkill=1)
        if role is not Role.TEST:
            with pytest.raises(LeakError, match=f"serve for {role}"):
                summary.report_image_metrics(scores[role])
            with pytest.raises(LeakError, match="serves for test"):
                ScoreSet.of([sample], [1.0], maxima=[1.0], role=role)
    with pytest.raises(DataError, match="cannot calibrate"):
        calibrate(ScoreSet.of([bad], [1.0], maxima=[1.0], role=Role.CALIBRATE))
    assert calibrate(scores[Role.CALIBRATE]).parts == 1


# --- numbers -----------------------------------------------------------------------------------------------


def test_names_are_those_of_the_documentation(report: Report) -> None:
    page = METRICS_PAGE.read_text("utf-8")
    documented = set(re.findall(r"^### metrics\.(\w+\.\w+)$", page, re.MULTILINE))
    values = report.to_json()
    measured = {f"{group}.{name}" for group, row in values["metrics"].items() for name in row}
    supervised = {"probability.ece", "probability.brier", "class.accuracy", "class.macro_f1"}
    assert measured == documented - supervised and len(measured) == 19
    per_defect = set(re.findall(r"^### per_defect\.(\w+)$", page, re.MULTILINE))
    assert len(report.per_defect) == 8
    assert all(set(row) == per_defect for row in values["per_defect"].values())
    for metric in [metric for row in values["metrics"].values() for metric in row.values()]:
        assert set(metric) == {"value", "low", "high", "n"} | (
            {"reason"} if metric["value"] is None else set()
        )
        if metric["value"] is not None and metric["low"] is not None:
            assert metric["low"] <= metric["value"] <= metric["high"]
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_counts_add_up(report: Report) -> None:
    assert sum(sum(row.values()) for row in report.confusion.values()) == 16
    assert sum(report.confusion[GOOD].values()) == 8
    ng = report.confusion[GOOD][Verdict.NG.value]
    assert report.metrics["verdict"]["overkill"].value == ng / 8
    assert set(report.timings_ms) == {"read", "preprocess", "graph", "map", "decide", "total"}
    assert report.peak_memory_mb is None or 50 < report.peak_memory_mb < 20_000


def test_a_teachable_flaw_is_told_apart_and_placed(train_tiny: Train, mixed: Write, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.move(mixed(24, 0) / "good", data / "train" / "good")
    trained = train_tiny(data)
    mixed(20, 10, folder=data / "test", start=700)
    found = flawscope.evaluate(trained.bundle.path, data, threads=1)
    auroc = found.metrics["image"]["auroc"]
    assert auroc.value is not None and auroc.value > 0.9 and auroc.n == 40
    pixel = found.metrics["pixel"]["auroc"]
    assert pixel.value is not None and pixel.value > 0.7


def test_shuffled_labels_give_chance(inspector: Inspector, report: Report) -> None:
    """What is measured is the labels' doing: dealt out by chance they are not to be guessed."""
    labels = [entry.sample.label for entry in report.judged]
    values, covered = [], 0
    for seed in range(40):
        random.Random(seed).shuffle(labels)
        shuffled = [
            Judged(replace(entry.sample, label=label, mask_path=None), entry.inspection)
            for entry, label in zip(report.judged, labels, strict=True)
        ]
        auroc = report_of(
            inspector, shuffled, EvaluateSettings(data=Path(), pixels=False), progress=Silent()
        ).metrics["image"]["auroc"]
        assert auroc.value is not None and auroc.low is not None and auroc.high is not None
        values.append(auroc.value)
        covered += auroc.low <= 0.5 <= auroc.high
    assert abs(np.mean(values) - 0.5) < 0.08 and min(values) < 0.5 < max(values)
    assert covered >= 34


# --- maps and masks ----------------------------------------------------------------------------------------


def test_maps_are_compared_at_the_photographs_size(
    report: Report, world: World, inspector: Inspector
) -> None:
    """By hand: every map enlarged to 128x96, all pixels in one list."""
    values, marked = [], []
    for entry in report.judged:
        found = inspector(entry.sample.path)
        assert found.map is not None and found.size_hw == (96, 128)
        values.append(cv2.resize(found.map, (128, 96), interpolation=cv2.INTER_LINEAR).ravel())
        mask = entry.sample.mask_path
        marked.append(np.zeros(96 * 128, bool) if mask is None else read_mask(mask).ravel())
    score, truth = np.concatenate(values), np.concatenate(marked)
    over = score > inspector.thresholds.pixel
    seg_f1 = 2 * (over & truth).sum() / (over.sum() + truth.sum())
    assert truth.sum() > 100
    assert report.metrics["pixel"]["seg_f1"].value == pytest.approx(seg_f1, abs=2e-3)
    order = np.argsort(score, kind="stable")
    ranks = np.empty(len(score))
    ranks[order] = np.arange(len(score))
    bad = truth.sum()
    auroc = (ranks[truth].sum() - bad * (bad - 1) / 2) / (bad * (len(score) - bad))
    assert report.metrics["pixel"]["auroc"].value == pytest.approx(auroc, abs=2e-3)


@pytest.fixture
def with_masks(train_tiny: Train, mixed: Write, tmp_path: Path) -> tuple[Path, Path]:
    """A tiny run, and a folder to test on; returns the bundle and the folder."""
    data = tmp_path / "data"
    shutil.move(mixed(22, 0) / "good", data / "train" / "good")
    model = train_tiny(data).bundle.path
    shutil.move(mixed(4, 2, folder=tmp_path / "m", start=700) / "ground_truth", data / "ground_truth")
    shutil.move(tmp_path / "m", data / "test")
    return model, data


def test_a_mask_that_is_no_image_is_named(with_masks: tuple[Path, Path]) -> None:
    model, data = with_masks
    broken = sorted(data.glob("ground_truth/*/*.png"))[1]
    broken.write_bytes(b"no image")
    with pytest.raises(ImageError, match=broken.name):
        flawscope.evaluate(model, data, threads=1)
    out = data.parent / "evaluation"
    found = flawscope.evaluate(model, data, settings={"pixels": False}, out=out, threads=1)
    assert "pixel" not in found.metrics and (out / "report.html").is_file()


def test_a_mask_of_another_size_is_named_before_anything_is_judged(with_masks: tuple[Path, Path]) -> None:
    model, data = with_masks
    wrong = sorted(data.glob("ground_truth/*/*.png"))[1]
    wrong.write_bytes(cv2.imencode(".png", np.zeros((20, 30), np.uint8))[1].tobytes())

    class Judging(Silent):
        def stage(self, name: str, total: int) -> Any:
            assert name != "Judging"
            return super().stage(name, total)

    with pytest.raises(DataError, match="30x20 px") as caught:
        flawscope.evaluate(model, data, threads=1, progress=Judging())
    assert wrong.name in str(caught.value) and "64x48 px" in str(caught.value)
    out = data.parent / "evaluation"
    assert flawscope.evaluate(model, data, settings={"pixels": False}, out=out, threads=1).judged


def test_a_defect_without_a_mask_is_left_out_of_the_pixels_alone(with_masks: tuple[Path, Path]) -> None:
    model, data = with_masks
    before = flawscope.evaluate(model, data, threads=1).metrics
    sorted(data.glob("ground_truth/*/*.png"))[1].unlink()
    after = flawscope.evaluate(model, data, threads=1).metrics
    assert after["pixel"]["auroc"].n == before["pixel"]["auroc"].n - 1
    assert after["image"] == before["image"]


def test_broken_test_pictures_are_counted_and_not_scored(with_masks: tuple[Path, Path]) -> None:
    model, data = with_masks
    sorted(data.glob("test/scratch/*.png"))[0].write_bytes(b"")
    sorted(data.glob("test/good/*.png"))[0].write_bytes(b"text")
    found = flawscope.evaluate(model, data, out=data.parent / "evaluation", threads=1)
    assert found.confusion["scratch"]["not_judged"] == found.confusion[GOOD]["not_judged"] == 1
    assert found.metrics["verdict"]["not_judged_share"].value == 2 / 8
    assert found.metrics["image"]["auroc"].n == found.metrics["verdict"]["accuracy"].n == 6


def test_large_photographs_are_measured_within_the_limit(
    train_tiny: Train, mixed: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a limit of a quarter of the pixels the metrics stay, but for the coarser grid."""
    data = tmp_path / "data"
    shutil.move(mixed(22, 0) / "good", data / "train" / "good")
    model = train_tiny(data).bundle.path
    mixed(6, 6, folder=data / "test", start=700)
    whole = flawscope.evaluate(model, data, threads=1).metrics["pixel"]
    monkeypatch.setattr("flawscope.flows.masks._LARGEST_MAP_PX", 48 * 64 // 4)
    small = flawscope.evaluate(model, data, threads=1).metrics["pixel"]
    assert small["auroc"].value == pytest.approx(whole["auroc"].value, abs=0.05)
    assert small["auroc"].value != whole["auroc"].value


def test_pictures_and_tables_are_written(world: World, inspector: Inspector, tmp_path: Path) -> None:
    out = tmp_path / "evaluation"
    found = flawscope.evaluate(inspector, world.data, out=out)
    names = ["metrics.csv", "report.html", "report.json", "samples.csv"]
    assert sorted(path.name for path in out.iterdir()) == names
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg") >= 16
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert len((out / "samples.csv").read_text("utf-8").strip().splitlines()) == 17
    values = json.loads((out / "report.json").read_text("utf-8"))
    assert values == json.loads(json.dumps(found.to_json()))


def test_unlabelled_pictures_are_judged_and_not_counted(
    train_tiny: Train, parts: Write, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    parts(22, folder=data / "train/good")
    parts(3, folder=data / "test", start=50)  # in no folder that would name them
    model = train_tiny(data).bundle.path
    found = flawscope.evaluate(model, data, out=tmp_path / "evaluation", threads=1)
    assert len(found.judged) == 3 and not found.metrics and not found.confusion
    assert all(entry.inspection.verdict is not None for entry in found.judged)


def test_what_is_tested_has_the_role_test(world: World, inspector: Inspector) -> None:
    samples = samples_to_test(inspector.bundle, EvaluateSettings(data=world.data), progress=Silent())
    assert {sample.role for sample in samples} == {Role.TEST} and all(sample.sha256 for sample in samples)
    listed = [sample for sample in read_manifest(world.run / "manifest.jsonl") if sample.role is Role.TEST]
    assert [sample.path for sample in samples] == [sample.path for sample in listed]
