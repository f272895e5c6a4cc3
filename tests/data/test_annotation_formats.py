"""Every format through its own reader library, and back through ours: the same places on the same
photographs."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import supervision
from drawn_masks import masks
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from flawscope.core.errors import DataError, UsageError
from flawscope.core.types import GOOD, Sample
from flawscope.data.annotations import Annotated, Annotation, Provenance, Target, formats
from flawscope.data.annotations.coco import read_coco
from flawscope.data.annotations.voc import read_voc
from flawscope.data.annotations.yolo import LabelFile, names_in
from flawscope.data.layouts import read_dataset
from flawscope.imaging.read import read_mask
from flawscope.imaging.write import encode

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of pycocotools
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),  # of supervision
]
LABELS = ("crack", "scratch é")
NAMES = ("plain.png", "lot 7/part ä.png", "lot 7/Ω (2).jpg", "deep/er/a b.c.png")
ORIGIN = Provenance(by="flawscope", bundle_id="b1", method="padim", level=0.5, peak=0.75, refine="grabcut")
confidences = st.one_of(st.none(), st.integers(0, 1000).map(lambda value: value / 1000))


@st.composite
def photographs(draw: Callable[..., Any]) -> tuple[Annotated, ...]:
    """Draw one to three photographs of their own sizes with none to three places each."""
    found = []
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)):
        first = draw(masks(most=12))
        drawn = [first, *draw(st.lists(_of_size(first.shape), max_size=2))]
        places = tuple(
            Annotation.of_mask(
                mask,
                draw(st.sampled_from(LABELS)),
                confidence=draw(confidences),
                provenance=draw(st.sampled_from([None, ORIGIN])),
            )
            for mask in drawn
            if mask.any()
        )
        found.append(Annotated(name, (first.shape[0], first.shape[1]), places))
    return tuple(found)


def _of_size(size_hw: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    def cut(mask: np.ndarray) -> np.ndarray:
        full = np.zeros(size_hw, bool)
        part = mask[: size_hw[0], : size_hw[1]]
        full[: part.shape[0], : part.shape[1]] = part
        return full

    return masks(most=12).map(cut)


@contextmanager
def written(given_photographs: Sequence[Annotated], name: str, *, copy: bool = True) -> Iterator[Path]:
    """Write photographs and their annotations; yield the format's folder."""
    with tempfile.TemporaryDirectory() as place:
        source, folder = Path(place) / "photo graphs", Path(place) / "out" / name
        for photograph in given_photographs:
            path = source / photograph.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(np.zeros((*photograph.size_hw, 3), np.uint8), path.suffix))
        labels = tuple(sorted({one.label for p in given_photographs for one in p.annotations}))
        target = Target(folder, source, labels, "2026-01-02T03:04:05+00:00", "test b1", copy)
        formats[name].write(target, given_photographs)
        yield folder


def never(name: str) -> tuple[int, int]:
    raise AssertionError(f"the size of {name} is written down")


def same(found: Annotated, expected: Annotated, *, exact: bool = True) -> None:
    assert (found.name, found.size_hw) == (expected.name, expected.size_hw)
    assert [one.label for one in found.annotations] == [one.label for one in expected.annotations]
    for ours, theirs in zip(found.annotations, expected.annotations, strict=True):
        assert (ours.confidence, ours.provenance) == (theirs.confidence, theirs.provenance)
        if exact:
            assert ours.box_xyxy == theirs.box_xyxy and np.array_equal(ours.mask, theirs.mask)
        else:
            a, b = ours.full_mask(found.size_hw), theirs.full_mask(found.size_hw)
            assert np.count_nonzero(a & b) >= 0.9 * np.count_nonzero(a | b)


@given(photographs())
@settings(max_examples=60, deadline=None)
def test_coco_is_what_pycocotools_reads_and_comes_back(given_photographs: tuple[Annotated, ...]):
    with written(given_photographs, "coco") as folder:
        for file, exact in (("instances_rle.json", True), ("instances.json", False)):
            back = list(read_coco(folder / file, never))
            for found, expected in zip(back, given_photographs, strict=True):
                same(found, expected, exact=exact)
            with redirect_stdout(io.StringIO()):
                theirs = COCO(str(folder / file))
            assert {c["name"] for c in theirs.loadCats(theirs.getCatIds())} == {
                one.label for p in given_photographs for one in p.annotations
            }
            for key, expected in enumerate(given_photographs, 1):
                (image,) = theirs.loadImgs([key])
                assert image["file_name"] == expected.name
                assert (image["height"], image["width"]) == expected.size_hw
                assert (folder / "images" / expected.name).is_file()
                rows = theirs.loadAnns(theirs.getAnnIds([key]))
                for row, one in zip(rows, expected.annotations, strict=True):
                    left, top, right, bottom = one.box_xyxy
                    assert row["bbox"] == [left, top, right - left, bottom - top]
                    assert row["area"] == one.mask.sum() and row["iscrowd"] == 0
                    if not exact:  # Label Studio's converter takes the first polygon and fails on none
                        assert [len(ring) >= 6 for ring in row["segmentation"]] == [True]
                    drawn, truth = theirs.annToMask(row).astype(bool), one.full_mask(expected.size_hw)
                    if exact:
                        assert np.array_equal(drawn, truth)
                    else:
                        either = np.count_nonzero(drawn | truth)
                        assert np.count_nonzero(drawn & truth) >= 0.8 * either or either < 12


@given(photographs())
@settings(max_examples=60, deadline=None)
def test_yolo_comes_back_to_the_pixel_as_segments_and_to_the_box_as_boxes(
    given_photographs: tuple[Annotated, ...],
):
    with written(given_photographs, "yolo") as folder:
        for kind in ("segments", "boxes"):
            if not any(photograph.annotations for photograph in given_photographs):
                assert (folder / kind / "classes.txt").read_text() == ""
                continue
            names = names_in(folder / kind / "data.yaml")
            assert names == names_in(folder / kind / "classes.txt")
            for expected in given_photographs:
                file = (folder / kind / "labels" / expected.name).with_suffix(".txt")
                back = LabelFile(file, names).read(expected.name, expected.size_hw)
                for ours, theirs in zip(back.annotations, expected.annotations, strict=True):
                    assert ours.label == theirs.label
                    assert ours.box_xyxy == pytest.approx(theirs.box_xyxy, abs=1e-6)
                    assert (ours.mask is None) == (kind == "boxes")
                    if ours.mask is not None:
                        assert np.array_equal(ours.mask, theirs.mask)


@given(photographs())
@settings(max_examples=40, deadline=None)
def test_yolo_is_what_supervision_reads(given_photographs: tuple[Annotated, ...]):
    flat = tuple(
        Annotated(Path(photograph.name).name, photograph.size_hw, photograph.annotations)
        for photograph in given_photographs
    )
    if not any(photograph.annotations for photograph in flat):
        return
    with written(flat, "yolo") as folder:
        for kind in ("segments", "boxes"):
            place = folder / kind
            theirs = supervision.DetectionDataset.from_yolo(
                str(place / "images"), str(place / "labels"), str(place / "data.yaml")
            )
            assert tuple(theirs.classes) == names_in(place / "data.yaml")
            for expected in flat:
                found = theirs.annotations[str(place / "images" / expected.name)]
                labels = [theirs.classes[i] for i in found.class_id] if len(found) else []
                assert labels == [one.label for one in expected.annotations]
                for box, one in zip(found.xyxy, expected.annotations, strict=True):
                    assert box == pytest.approx(one.box_xyxy, abs=1 if kind == "segments" else 1e-3)


def test_segments_are_the_masks_that_supervision_draws():
    """Its polygons are filled through the middle of the pixels, so an outline gains up to a pixel."""
    rows, columns = np.mgrid[:120, :160]
    mask = np.hypot(rows - 60, columns - 70) < 40
    mask &= np.hypot(rows - 60, columns - 70) > 15
    photograph = Annotated("a.png", (120, 160), (Annotation.of_mask(mask, "crack"),))
    with written([photograph], "yolo") as folder:
        place = folder / "segments"
        theirs = supervision.DetectionDataset.from_yolo(
            str(place / "images"), str(place / "labels"), str(place / "data.yaml"), force_masks=True
        )
        (found,) = theirs.annotations.values()
        drawn = found.mask[0].astype(bool)
        wider = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert not (drawn & ~wider).any() or np.count_nonzero(drawn & ~wider) < 20  # the bridge to the hole
        assert np.count_nonzero(drawn & mask) > 0.95 * mask.sum()
        assert not drawn[60, 70], "the hole stays a hole"


@given(photographs())
@settings(max_examples=40, deadline=None)
def test_pascal_voc_is_what_supervision_reads_and_comes_back(given_photographs: tuple[Annotated, ...]):
    flat = tuple(
        Annotated(Path(photograph.name).name, photograph.size_hw, photograph.annotations)
        for photograph in given_photographs
    )
    with written(flat, "voc") as folder:
        theirs = supervision.DetectionDataset.from_pascal_voc(
            str(folder / "JPEGImages"), str(folder / "Annotations")
        )
        for expected in flat:
            file = read_voc((folder / "Annotations" / expected.name).with_suffix(".xml"))
            assert file.filename == expected.name and file.annotated.size_hw == expected.size_hw
            assert Path(file.path).is_file()
            found = theirs.annotations[str(folder / "JPEGImages" / expected.name)]
            for i, (ours, one) in enumerate(
                zip(file.annotated.annotations, expected.annotations, strict=True)
            ):
                assert (ours.label, ours.box_xyxy, ours.mask) == (one.label, one.box_xyxy, None)
                assert ours.confidence == one.confidence
                assert found.xyxy[i].tolist() == list(one.box_xyxy)
                assert theirs.classes[found.class_id[i]] == one.label


@given(photographs())
@settings(max_examples=40, deadline=None)
def test_masks_as_pictures_hold_every_marked_pixel(given_photographs: tuple[Annotated, ...]):
    with written(given_photographs, "png") as folder:
        samples = {sample.id: sample for sample in read_dataset(folder).samples}
        assert samples.keys() == {photograph.name for photograph in given_photographs}
        for photograph in given_photographs:
            sample = samples[photograph.name]
            assert sample.label == (photograph.label or GOOD) and Path(sample.path).is_file()
            if photograph.annotations:
                assert sample.mask_path is not None and sample.mask_path.endswith("_mask.png")
                assert np.array_equal(read_mask(sample.mask_path), photograph.mask())
            else:
                assert sample.mask_path is None


@given(photographs(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_what_was_written_teaches(given_photographs: tuple[Annotated, ...], copy: bool):
    """Every format read as a data set: photographs, labels, and masks where the format has them."""
    some = any(photograph.annotations for photograph in given_photographs)
    for name, inside in (("coco", "instances_rle.json"), ("yolo", "segments"), ("voc", ""), ("png", "")):
        if name == "yolo" and not some:
            continue
        with written(given_photographs, name, copy=copy) as folder:
            dataset = read_dataset(folder / inside)
            assert dataset.layout == {"png": "manifest"}.get(name, name)
            # a copy beside a picture of a mask has its folders in its name
            by_name = {Path(sample.path).name.split("__")[-1]: sample for sample in dataset.samples}
            assert len(by_name) == len(given_photographs)
            for photograph in given_photographs:
                sample = by_name[Path(photograph.name).name]
                assert sample.label == (photograph.label or GOOD) and Path(sample.path).is_file()
                if name != "voc" and photograph.annotations:
                    assert sample.mask_path is not None
                    assert np.array_equal(read_mask(sample.mask_path), photograph.mask())
                else:
                    assert sample.mask_path is None


def test_masks_are_drawn_once_and_anew_where_they_were_corrected(tmp_path: Path):
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:9] = True
    photograph = Annotated("a.png", (10, 12), (Annotation.of_mask(mask, "crack"),))
    with written([photograph], "coco") as folder:
        listed = folder / "instances_rle.json"
        (first,) = read_dataset(listed).samples
        assert first.mask_path is not None
        drawn = Path(first.mask_path)
        assert drawn.parent == folder / ".flawscope" / "masks"
        before = drawn.stat().st_mtime_ns
        assert read_dataset(listed).samples[0].mask_path == first.mask_path
        assert drawn.stat().st_mtime_ns == before
        values = json.loads(listed.read_text())
        values["annotations"][0]["segmentation"] = [[0, 0, 4, 0, 4, 4, 0, 4]]
        listed.write_text(json.dumps(values))
        (second,) = read_dataset(listed).samples
        assert second.mask_path != first.mask_path
        assert read_mask(str(second.mask_path)).sum() == 16
        assert "masks" in " ".join(read_dataset(listed).notes)


def test_a_photograph_with_a_box_among_its_outlines_has_no_mask():
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:9] = True
    places = (Annotation.of_mask(mask, "crack"), Annotation("crack", (0.5, 1.0, 4.0, 6.5)))
    with written([Annotated("a.png", (10, 12), places)], "coco") as folder:
        dataset = read_dataset(folder / "instances.json")
        assert dataset.samples[0].label == "crack" and dataset.samples[0].mask_path is None
        assert "box only" in dataset.notes[-1]


@pytest.mark.parametrize("name", ["yolo", "voc"])
def test_names_that_differ_in_their_ending_only_are_refused_without_copies(name: str):
    mask = np.ones((2, 2), bool)
    twins = [
        Annotated("a.png", (4, 4), (Annotation.of_mask(mask, "crack"),)),
        Annotated("A.jpg", (6, 4), (Annotation.of_mask(mask, "dent"),)),
    ]
    with pytest.raises(DataError, match=r"A\.jpg and a\.png differ in their endings only"):
        with written(twins, name, copy=False):
            pass
    with written(twins, name) as folder:
        samples = read_dataset(folder / "segments" if name == "yolo" else folder).samples
        assert {Path(sample.path).name: sample.label for sample in samples} == {
            "a.png": "crack",
            "A-2.jpg": "dent",
        }


def test_a_manifest_keeps_what_a_list_knew(tmp_path: Path):
    source = tmp_path / "photographs"
    source.mkdir()
    (source / "a.png").write_bytes(encode(np.zeros((4, 4, 3), np.uint8), ".png"))
    known = {"a.png": Sample("lot/a", "x", None, part="SN1", group="lot7", product="tile")}
    target = Target(tmp_path / "png", source, (), "2026-01-02", "s", False, known)
    formats["png"].write(target, [Annotated("a.png", (4, 4))])
    (sample,) = read_dataset(tmp_path / "png").samples
    assert (sample.id, sample.part, sample.group, sample.product) == ("lot/a", "SN1", "lot7", "tile")


def test_an_unknown_format_is_named_with_those_that_are_known():
    with pytest.raises(UsageError, match="one of coco, png, voc, yolo"):
        formats["labelme"]
