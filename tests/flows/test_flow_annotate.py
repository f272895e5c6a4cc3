"""Annotating: what is marked, how sure, resumed after a stop, written whole, and taught from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from flawscope.core.errors import DataError, UsageError
from flawscope.core.types import GOOD, Role, Verdict
from flawscope.data.annotations.journal import Entry
from flawscope.data.layouts import read_dataset
from flawscope.data.manifest import read_manifest, write_manifest
from flawscope.flows import annotate as flow
from flawscope.flows.annotate import annotate
from flawscope.flows.marking import AnnotateSettings, Marker
from flawscope.flows.train import Trained
from flawscope.imaging.marking import Reach
from flawscope.imaging.read import read_mask
from flawscope.imaging.refine import Refine
from flawscope.runtime.inspector import Inspector

Parts = Callable[..., Path]
ALL = AnnotateSettings()


@pytest.fixture
def inspector(train_tiny: Callable[..., Trained], parts: Parts, tmp_path: Path) -> Inspector:
    """A bundle taught from 24 good parts."""
    taught = train_tiny(parts(24, folder=tmp_path / "taught"), out=tmp_path / "bundle")
    return Inspector.open(taught.bundle.path, threads=1)


@pytest.fixture
def folder(mixed: Callable[..., Path], tmp_path: Path) -> Path:
    """Good parts, scratched and blotted ones, and a file that is no image."""
    place = mixed(4, 3, folder=tmp_path / "new", start=50)
    shutil.rmtree(place / "ground_truth")
    (place / "notes.txt").write_text("no image")
    return place


def journal(out: Path) -> dict[str, Entry]:
    lines = (out / flow.JOURNAL).read_text(encoding="utf-8").splitlines()
    return {entry.name: entry for entry in (Entry.from_json(json.loads(line)) for line in lines[1:])}


def test_what_is_not_ok_is_marked_and_the_rest_is_counted(inspector: Inspector, folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    summary = annotate(inspector, folder, out, ALL)
    entries = journal(out)
    assert summary.photographs == 11 == sum(summary.verdicts.values()) + 1
    assert [(name, fault.code) for name, fault in summary.not_judged] == [("notes.txt", "not_an_image")]
    verdicts = {name: inspector(folder / name).verdict for name in entries}
    assert {name: entry.verdict for name, entry in entries.items()} == verdicts
    for entry in entries.values():
        assert bool(entry.annotations) == (entry.verdict in (Verdict.NG, Verdict.REVIEW))
    marked = [entry for entry in entries.values() if entry.annotations]
    assert marked and summary.annotated == len(marked)
    assert summary.places == sum(len(entry.annotations) for entry in marked)
    assert summary.labels == {"defect": [summary.annotated, summary.places]}
    assert json.loads((out / flow.SUMMARY).read_text()) == summary.to_json()
    for name, place in summary.written.items():
        listed = read_dataset(place)
        assert {Path(s.path).resolve() for s in listed.samples} == {
            (folder / entry.name).resolve() for entry in marked
        }, name
        assert {sample.label for sample in listed.samples} == {"defect"}


def test_marks_lie_on_the_flaws_and_say_where_they_come_from(
    inspector: Inspector, mixed: Callable[..., Path], tmp_path: Path
):
    folder = mixed(0, 6, folder=tmp_path / "bad", start=70)
    truth = folder.parent / "truth"
    shutil.move(folder / "ground_truth", truth)
    out = tmp_path / "out"
    annotate(inspector, folder, out, ALL)
    hits = []
    for name, entry in journal(out).items():
        if not entry.annotations:
            continue
        true = read_mask(truth / Path(name).parent / f"{Path(name).stem}_mask.png")
        near = cv2.dilate(true.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        hits.append(bool((entry.annotated.mask() & near).any()))
        inspection = inspector(folder / name)
        assert entry.p_value == inspection.p_value and inspection.map is not None
        best = max(one.confidence for one in entry.annotations)
        for one in entry.annotations:
            assert one.provenance is not None and one.confidence is not None
            known = one.provenance.to_json()
            assert known["bundle_id"] == inspector.bundle.id and known["method"] == "patchcore"
            assert (
                known["peak"] > known["level"]
                and known["refine"] in ("none", "grabcut")
                and known["by"] == "flawscope"
            )
            assert 0 <= one.confidence <= 1 - inspection.p_value + 1e-6
            assert one.confidence <= best
    assert len(hits) >= 8 and np.mean(hits) > 0.8


def test_a_run_that_was_stopped_goes_on_and_ends_as_if_it_had_not(
    inspector: Inspector, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = tmp_path / "whole"
    annotate(inspector, folder, whole, ALL)
    out = tmp_path / "out"
    seen: list[str] = []
    own = Marker.entry

    def stopping(self: Any, found: Any, *rest: Any, **named: Any) -> Entry:
        if len(seen) == 5:
            raise KeyboardInterrupt
        seen.append(found.name.as_posix())
        return own(self, found, *rest, **named)

    monkeypatch.setattr(Marker, "entry", stopping)
    with pytest.raises(KeyboardInterrupt):
        annotate(inspector, folder, out, ALL)
    assert not (out / flow.SUMMARY).exists() and not (out / "coco").exists()
    with (out / flow.JOURNAL).open("a") as stream:
        stream.write('{"image": "cut off')
    monkeypatch.setattr(Marker, "entry", own)
    first = sorted(folder.rglob("*.png"))[0]
    first.write_bytes(sorted(folder.rglob("*.png"))[-1].read_bytes())  # changed meanwhile
    summary = annotate(inspector, folder, out, ALL)
    assert summary.resumed == 4 and summary.photographs == 11
    first_name = first.relative_to(folder).as_posix()
    ours, theirs = journal(out), journal(whole)
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {first_name}:
        assert ours[name].score == theirs[name].score
    assert ours[first_name].score != theirs[first_name].score
    listed = read_dataset(summary.written["coco"]).samples
    assert len(listed) == summary.annotated == len({sample.path for sample in listed})


def test_finished_or_foreign_folders_are_left_alone(inspector: Inspector, folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    annotate(inspector, folder, out, ALL)
    listed = out / "coco" / "instances.json"
    listed.write_text("corrected by hand")
    with pytest.raises(UsageError, match="holds finished annotations"):
        annotate(inspector, folder, out, ALL)
    assert listed.read_text() == "corrected by hand"
    (out / flow.SUMMARY).unlink()
    with pytest.raises(UsageError, match="is of another run"):
        annotate(inspector, folder, out, replace(ALL, label="scratch"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(UsageError, match="is not empty"):
        annotate(inspector, folder, tmp_path / "full", ALL)
    with pytest.raises(UsageError, match="Nothing can be written"):
        annotate(inspector, folder, tmp_path / "full" / "x", ALL)


def test_parts_that_are_ok_are_listed_or_marked_on_wish(inspector: Inspector, folder: Path, tmp_path: Path):
    def labels(settings: AnnotateSettings, name: str) -> tuple[dict[str, str | None], Any]:
        summary = annotate(inspector, folder, tmp_path / name, settings)
        listed = read_dataset(summary.written["coco"]).samples
        return {sample.id: sample.label for sample in listed}, summary

    only = replace(ALL, formats=("coco",))
    bad, _ = labels(only, "bad")
    listed, summary = labels(replace(only, ok_as_good=True), "listed")
    assert summary.verdicts["OK"] >= 2 and len(listed) == sum(summary.verdicts.values())
    assert {name for name, label in listed.items() if label == "defect"} == bad.keys()
    everything, _ = labels(replace(only, everything=True), "everything")
    assert everything.keys() == listed.keys()
    entries = journal(tmp_path / "everything")
    for name, label in everything.items():
        heat, limits = inspector(folder / name).map, inspector.thresholds
        assert heat is not None
        over = entries[name].verdict is not Verdict.OK or heat.max() > limits.pixel
        assert label == ("defect" if over else GOOD)


@pytest.mark.parametrize("refine", [Refine.GRABCUT, Refine.WALKER])
def test_refined_places_say_so(inspector: Inspector, folder: Path, tmp_path: Path, refine: Refine):
    out = tmp_path / "out"
    settings = replace(ALL, formats=("png",), refine=refine, reach=Reach.RISE, label="stain", overlays=True)
    summary = annotate(inspector, folder, out, settings)
    origins = [one.provenance for entry in journal(out).values() for one in entry.annotations]
    told = [origin.refine for origin in origins if origin is not None]
    assert summary.refined == told.count(refine.value) > 0
    assert set(told) <= {refine.value, "none"}
    assert {origin.reach for origin in origins if origin is not None} == {"rise"}
    overlays = sorted((out / "overlays").rglob("*.jpg"))
    assert len(overlays) == summary.annotated
    assert (
        cv2.imread(str(overlays[0])).shape[:2]
        == journal(out)[overlays[0].relative_to(out / "overlays").as_posix().removesuffix(".jpg")].size_hw
    )


def test_a_list_leaves_its_test_part_out_and_keeps_parts(inspector: Inspector, folder: Path, tmp_path: Path):
    (folder / "notes.txt").unlink()
    samples = read_dataset(folder).samples
    roles = [Role.TEST, Role.SELECT, Role.FIT]
    dealt = [
        replace(sample, role=roles[i % 3], part=f"SN{i}", group="lot1", label=None)
        for i, sample in enumerate(samples)
    ]
    write_manifest(tmp_path / "list.jsonl", dealt)
    only = replace(ALL, formats=("png",), everything=True)
    summary = annotate(inspector, tmp_path / "list.jsonl", tmp_path / "out", only)
    kept = read_manifest(summary.written["png"])
    expected = {sample.id: sample for sample in dealt if sample.role is not Role.TEST}
    assert summary.left_out == len(dealt) - len(expected)
    assert {s.id: (s.part, s.group, s.role) for s in kept} == {
        name: (s.part, s.group, s.role) for name, s in expected.items()
    }
    chosen = annotate(inspector, tmp_path / "list.jsonl", tmp_path / "fit", replace(only, role=Role.FIT))
    assert chosen.photographs == sum(sample.role is Role.FIT for sample in dealt)
    with pytest.raises(DataError, match="lists no photograph to annotate"):
        annotate(inspector, tmp_path / "list.jsonl", tmp_path / "none", replace(only, role=Role.CALIBRATE))
    with pytest.raises(UsageError, match="--role needs a list"):
        annotate(inspector, folder, tmp_path / "none", replace(only, role=Role.FIT))


@pytest.mark.parametrize("label", ["good", "OK", "a/b", "a:b", ".hidden", "dot.", "nul\x00"])
def test_labels_that_cannot_name_a_defect_are_refused(label: str):
    with pytest.raises(UsageError, match="cannot name a defect"):
        AnnotateSettings(label=label)


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(UsageError, match="no annotation format named 'coko'"):
        AnnotateSettings(formats=("coko",))
    with pytest.raises(UsageError, match="No format"):
        AnnotateSettings(formats=())
    with pytest.raises(UsageError, match="marks nothing"):
        AnnotateSettings(share=1.0)


def test_several_classes_name_the_defect_themselves(
    train_tiny: Callable[..., Trained], mixed: Callable[..., Path], tmp_path: Path
):
    taught = train_tiny(
        mixed(24, 12, folder=tmp_path / "taught"),
        out=tmp_path / "b",
        method="linear",
        settings={"classes": "all"},
    )
    inspector = Inspector.open(taught.bundle.path, threads=1)
    summary = annotate(inspector, tmp_path / "taught" / "scratch", tmp_path / "out", ALL)
    assert inspector.bundle.contents.classes == (GOOD, "blob", "scratch")
    assert summary.annotated > 0 and set(summary.labels) <= {"scratch", "blob"}
    found = [one for entry in journal(tmp_path / "out").values() for one in entry.annotations]
    assert {one.provenance.map for one in found if one.provenance} == {"evidence"}
    named = annotate(inspector, tmp_path / "taught" / "scratch", tmp_path / "n", replace(ALL, label="dent"))
    assert set(named.labels) == {"dent"}


def test_what_was_annotated_teaches_a_supervised_model(
    inspector: Inspector, train_tiny: Callable[..., Trained], mixed: Callable[..., Path], tmp_path: Path
):
    folder = mixed(20, 10, folder=tmp_path / "pool", start=100)
    shutil.rmtree(folder / "ground_truth")
    summary = annotate(inspector, folder, tmp_path / "out", replace(ALL, ok_as_good=True))
    taught = train_tiny(summary.written["coco"], out=tmp_path / "second", method="linear", settings={})
    second = Inspector.open(taught.bundle.path, threads=1)
    good = [second(path).score for path in sorted((folder / "good").iterdir())]
    bad = [second(path).score for path in sorted((folder / "blob").iterdir())]
    assert np.median([score for score in bad if score is not None]) > np.median(
        [score for score in good if score is not None]
    )
