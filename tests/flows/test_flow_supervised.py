"""Supervised methods through the whole flow, and one model for several products."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flawscope
from flawscope import Inspector
from flawscope.core.errors import DataError, UsageError
from flawscope.core.types import GOOD, CalibrationMode, Report, Role
from flawscope.data.manifest import read_manifest
from flawscope.flows.train import Trained
from flawscope.imaging.read import read
from flawscope.runtime.bundle import open_bundle, seal
from flawscope.runtime.session import GraphSession

Train = Callable[..., Trained]
Write = Callable[..., Path]
METRICS_PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md"
LINEAR: dict[str, Any] = {"method": "linear", "settings": {"views": 2}}


@pytest.fixture
def labelled(train_tiny: Train, mixed: Write, tmp_path: Path) -> tuple[Trained, Path]:
    """A linear head taught with two kinds of defects, and the folder."""
    data = mixed(60, 15)
    trained = train_tiny(data, out=tmp_path / "run", method="linear", settings={"views": 2, "classes": "all"})
    return trained, data


def test_bad_parts_teach_choose_and_test_but_never_calibrate(train_tiny: Train, mixed: Write) -> None:
    trained = train_tiny(mixed(40, 10), calibrate="split", calibrate_share=0.3, **LINEAR)
    counts = {
        role: (sum(s.is_good for s in members), sum(s.is_bad for s in members))
        for role in Role
        for members in [trained.prepared.of(role)]
    }
    assert all(counts[role][0] > 0 for role in Role)
    assert counts[Role.CALIBRATE][1] == 0
    assert all(counts[role][1] > 0 for role in (Role.FIT, Role.SELECT, Role.TEST))
    assert counts[Role.FIT][1] > counts[Role.TEST][1] > 0
    assert trained.promise.mode is CalibrationMode.SPLIT
    assert trained.bundle.contents.calibration.parts == counts[Role.CALIBRATE][0]


def test_a_bundle_knows_its_classes_and_gives_probabilities(labelled: tuple[Trained, Path]) -> None:
    trained, _ = labelled
    names = ("good", "blob", "scratch")
    opened = open_bundle(trained.bundle.path)
    assert opened.id == trained.bundle.id and opened.contents.classes == names
    inspector = Inspector.open(opened.path, threads=1)
    manifest = read_manifest(opened.path.parent / "manifest.jsonl")
    session = GraphSession(opened.contents.graph, threads=1)
    assert session.classes == names
    for sample in [sample for sample in manifest if sample.role is Role.TEST][::4]:
        found = inspector(sample.path)
        assert found.probabilities is not None and tuple(found.probabilities) == names
        assert sum(found.probabilities.values()) == pytest.approx(1)
        assert found.score is not None
        odds = (1 - found.probabilities[GOOD]) / found.probabilities[GOOD]
        assert found.score == pytest.approx(np.log(odds), abs=1e-4)
        assert json.loads(json.dumps(found.to_json()))["probabilities"] == dict(found.probabilities)
    assert trained.promise.mode is CalibrationMode.FOLDS
    good = sum(s.is_good for s in trained.prepared.of(Role.FIT))
    assert trained.promise.parts == good  # every good part is ranked by heads that had not seen it
    assert "classes good, blob, scratch" in opened.contents.card


def test_a_test_measures_probabilities_and_classes(labelled: tuple[Trained, Path], tmp_path: Path) -> None:
    trained, data = labelled
    report = flawscope.evaluate(trained.bundle.path, data, out=tmp_path / "evaluation")
    assert report.metrics["image"]["auroc"].value == pytest.approx(1, abs=0.1)
    bad = np.array([1 - one.inspection.probabilities[GOOD] for one in report.judged])  # type: ignore[index]
    truth = np.array([one.sample.is_bad for one in report.judged])
    assert report.metrics["probability"]["brier"].value == pytest.approx(((bad - truth) ** 2).mean())
    assert set(report.metrics["class"]) == {"accuracy", "macro_f1"}
    documented = re.findall(r"^### metrics\.(\w+)\.(\w+)$", METRICS_PAGE.read_text("utf-8"), re.MULTILINE)
    assert {(group, name) for group, row in report.metrics.items() for name in row} == set(documented)
    assert set(report.class_confusion) == {"good", "blob", "scratch"}
    assert sum(sum(row.values()) for row in report.class_confusion.values()) == len(report.judged)
    page = (tmp_path / "evaluation" / "report.html").read_text("utf-8")
    assert "Calibration error" in page and 'id="classes"' in page and 'id="products"' not in page
    assert report.per_product == {} and report.worst_product == ""


def test_a_one_class_bundle_has_no_classes(train_tiny: Train, mixed: Write) -> None:
    data = mixed(24, 4)
    trained = train_tiny(data)
    assert trained.bundle.contents.classes == ()
    found = Inspector.open(trained.bundle.path, threads=1)(next(data.glob("blob/*.png")))
    assert found.probabilities is None
    assert "probability" not in flawscope.evaluate(trained.bundle.path, data).metrics


def test_too_few_defects_are_refused_with_what_would_serve(
    train_tiny: Train, mixed: Write, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        train_tiny(mixed(30, 1), **LINEAR)
    text = str(caught.value)
    assert "at least 4 bad parts" in text and "patchcore" in text and "svm" not in text
    assert not (tmp_path / "run").exists()


def test_good_parts_alone_are_refused(train_tiny: Train, parts: Write) -> None:
    with pytest.raises(DataError, match="too few to teach"):
        train_tiny(parts(22), **LINEAR)


def test_a_one_class_method_passes_over_defects_that_a_manifest_gives_to_fit(
    train_tiny: Train, mixed: Write, tmp_path: Path
) -> None:
    """The manifest of a supervised run serves a one-class run: same graph as without the defects."""
    data = mixed(30, 8)
    train_tiny(data, out=tmp_path / "linear", **LINEAR)
    manifest = tmp_path / "linear" / "manifest.jsonl"
    assert any(s.is_bad and s.role is Role.FIT for s in read_manifest(manifest))
    rows = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    kept = [row for row in rows if not (row.get("role") == "fit" and row.get("label") not in (GOOD, None))]
    assert len(kept) < len(rows)
    (tmp_path / "good.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), "utf-8")
    both = train_tiny(manifest, out=tmp_path / "both")
    good = train_tiny(tmp_path / "good.jsonl", out=tmp_path / "alone")
    assert both.bundle.contents.graph == good.bundle.contents.graph


def test_the_line_asks_for_what_it_needs(labelled: tuple[Trained, Path]) -> None:
    trained, data = labelled
    inspector = Inspector.open(trained.bundle.path, threads=1)
    image = read(str(next(data.glob("blob/*.png"))))
    usual, _ = inspector._scorer(image)
    assert set(usual.extras) == {"logits"}
    ((more, _),) = inspector._scorer.many([image], names=["evidence"])
    assert set(more.extras) == {"logits", "evidence"} and more.score == usual.score
    assert more.extras["evidence"].shape == (3, 8, 8)


def test_tiles_answer_with_their_oddest(train_tiny: Train, mixed: Write) -> None:
    data = mixed(24, 8)
    trained = train_tiny(data, fit="tiles", size=[32, 32], **LINEAR)
    inspector = Inspector.open(trained.bundle.path, threads=1)
    raw, _ = inspector._scorer(read(str(next(data.glob("scratch/*.png")))))
    assert raw.extras["logits"].shape == (2,)
    assert raw.score == pytest.approx(float(raw.extras["logits"][1] - raw.extras["logits"][0]), abs=1e-5)


# --- several products --------------------------------------------------------------------------------------


@pytest.fixture
def plant(golden_maker: Any, parts: Write, tmp_path: Path) -> Path:
    """Products a and b with 20 good parts to teach from, c with 5; 6 good and 4 bad ones to test each."""
    folder = tmp_path / "plant"
    for number, (product, good) in enumerate((("a", 20), ("b", 20), ("c", 5))):
        start = 1000 * (number + 1)
        parts(good, folder=folder / product / "train" / "good", start=start)
        parts(6, folder=folder / product / "test" / "good", start=start + 100)
        for i in range(4):
            pixels = golden_maker.part(start + 200 + i, "blob")
            golden_maker.write_png(folder / product / "test" / "blob" / f"{i}.png", pixels)
    return folder


@pytest.fixture
def several(train_tiny: Train, plant: Path, tmp_path: Path) -> Trained:
    """One model on all of them."""
    return train_tiny(plant, out=tmp_path / "several", product="all")


def test_several_products_have_limits_of_their_own(several: Trained) -> None:
    contents = open_bundle(several.bundle.path).contents
    assert sorted(contents.calibrations) == ["a", "b"]
    assert contents.calibration.parts == 45
    assert [contents.calibrations[name].parts for name in "ab"] == [20, 20]
    assert any("c has 5 good parts" in warning and "19 are needed" in warning for warning in several.warnings)
    both = np.concatenate([contents.calibrations[name].scores for name in "ab"])
    assert set(both.tolist()) <= set(contents.calibration.scores.tolist())


def test_an_inspector_takes_the_limits_of_the_product_named(several: Trained, plant: Path) -> None:
    path = several.bundle.path
    pooled, one = Inspector.open(path, threads=1), Inspector.open(path, threads=1, product="a")
    assert one.calibration.parts == 20 and pooled.calibration.parts == 45
    assert one.thresholds != pooled.thresholds
    photograph = next((plant / "a").glob("test/blob/*.png"))
    assert one(photograph).score == pooled(photograph).score
    assert one(photograph).thresholds == one.thresholds
    assert pooled.of_product("a").thresholds == one.thresholds
    assert pooled.of_product("c") is pooled  # too few parts for limits of its own
    with pytest.raises(UsageError, match="no limits for a product 'x'") as caught:
        Inspector.open(path, threads=1, product="x")
    assert "one of a, b" in str(caught.value)


def test_a_test_of_several_products_judges_each_by_its_own_limits(
    several: Trained, plant: Path, tmp_path: Path
) -> None:
    report: Report = flawscope.evaluate(several.bundle.path, plant, out=tmp_path / "evaluation")
    calibrations = several.bundle.contents.calibrations
    for entry in report.judged:
        expected = Inspector.open(
            several.bundle.path,
            threads=1,
            check=False,
            product=entry.sample.product if entry.sample.product in calibrations else "",
        )
        assert entry.inspection.thresholds == expected.thresholds
    assert list(report.per_product) == ["a", "b", "c"]
    assert all(metrics["auroc"].n == 10 for metrics in report.per_product.values())
    worst = min(metrics["auroc"].value or 0 for metrics in report.per_product.values())
    assert report.per_product[report.worst_product]["auroc"].value == worst
    assert report.to_json()["worst_product"] == report.worst_product
    page = (tmp_path / "evaluation" / "report.html").read_text("utf-8")
    assert 'id="products"' in page and "Worst:" in page
    alone = flawscope.evaluate(several.bundle.path, plant, settings={"product": "b"})
    assert {entry.sample.product for entry in alone.judged} == {"b"}


def test_several_products_are_refused_unless_all_are_meant(train_tiny: Train, plant: Path) -> None:
    with pytest.raises(DataError, match="several products") as caught:
        train_tiny(plant)
    assert "--product all" in str(caught.value)


def test_a_bundle_of_one_product_refuses_others(train_tiny: Train, parts: Write) -> None:
    trained = train_tiny(parts(22))
    assert trained.bundle.contents.calibrations == {}
    with pytest.raises(UsageError, match="no limits for a product"):
        Inspector.open(trained.bundle.path, threads=1, product="a")


# --- old bundles -------------------------------------------------------------------------------------------


def test_an_old_bundle_opens_and_keeps_its_identity(tmp_path: Path) -> None:
    place = Path(__file__).resolve().parents[1] / "golden" / "tiny.flaw"
    old = open_bundle(place)
    assert old.contents.classes == () and old.contents.calibrations == {}
    again = seal(tmp_path / "again.flaw", old.contents)
    assert again.id == old.id and again.path.read_bytes() == place.read_bytes()
