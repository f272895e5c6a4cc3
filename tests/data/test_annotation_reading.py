"""Annotations as tools and people leave them: accepted where they can be understood, refused with place and
remedy where not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from flawscope.core.errors import DataError
from flawscope.core.types import GOOD, Role
from flawscope.data.annotations import Annotated, Annotation, Provenance
from flawscope.data.annotations.coco import read_coco
from flawscope.data.annotations.voc import is_voc, read_voc
from flawscope.data.annotations.yolo import LabelFile, names_in
from flawscope.data.layouts import read_dataset
from flawscope.imaging.read import read_mask
from flawscope.imaging.write import encode


def photograph(path: Path, size_hw: tuple[int, int] = (20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(np.zeros((*size_hw, 3), np.uint8), path.suffix))
    return path


def coco(path: Path, *annotations: dict[str, Any], **image: Any) -> Path:
    values = {
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30} | image],
        "annotations": [{"id": 7, "image_id": 1, "category_id": 1} | one for one in annotations],
        "categories": [{"id": 1, "name": "crack"}],
    }
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def places(path: Path) -> tuple[Annotation, ...]:
    (found,) = read_coco(path, lambda name: (20, 30))
    return found.annotations


def test_coco_as_tools_write_it(tmp_path: Path):
    polygon = {
        "segmentation": [[2, 3, 6, 3, 6, 8, 2, 8], [10, 3, 12, 3, 12, 4, 10, 4]],
        "bbox": [2, 3, 10, 5],
    }
    uncompressed = {"segmentation": {"size": [20, 30], "counts": [40, 3, 557]}}
    box = {"bbox": [1.5, 2.5, 4, 5], "segmentation": []}
    (one, two, three, four) = places(coco(tmp_path / "l.json", polygon, uncompressed, box, {}))
    assert one.mask is not None and one.mask.sum() == 22 and one.box_xyxy == (2, 3, 12, 8)
    assert two.mask is not None and two.box_xyxy == (2, 0, 3, 3)
    assert three.mask is None and three.box_xyxy == (1.5, 2.5, 5.5, 7.5)
    assert four.mask is None and four.box_xyxy == (0, 0, 30, 20), "no place at all: everything, as a box"
    sizeless = coco(tmp_path / "s.json", box, height=None, width=None)
    assert places(sizeless)[0].box_xyxy == (1.5, 2.5, 5.5, 7.5)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ({"segmentation": [[1, 2, 3]]}, "annotation 7 of image 1 has a segmentation that does not fit"),
        ({"segmentation": [[1, 2, 3, 4]]}, "three corners"),
        ({"segmentation": {"size": [20, 30], "counts": "~"}}, "no character of run lengths"),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, r"run lengths of \[9, 9\]"),
        ({"segmentation": {"size": [20, 30], "counts": [1]}}, "add up to 1 pixels"),
        ({"segmentation": "x"}, "segmentation that does not fit"),
        ({"bbox": [40, 0, 5, 5]}, "box that does not fit"),
        ({"bbox": [1, 2]}, r"Expected \[left, top, width, height\] within 30x20 px"),
        ({"bbox": ["a", 0, 1, 1]}, "box that does not fit"),
        ({"category_id": 4}, "category that is not listed. Expected one of 1. Found 4"),
    ],
)
def test_coco_that_does_not_fit_is_refused_with_its_annotation(
    tmp_path: Path, annotation: dict[str, Any], words: str
):
    with pytest.raises(DataError, match=words) as caught:
        places(coco(tmp_path / "list.json", annotation))
    assert "list.json" in str(caught.value)


def test_coco_categories_that_mean_good_are_good(tmp_path: Path):
    photograph(tmp_path / "a.png")
    values = json.loads(coco(tmp_path / "l.json", {"bbox": [1, 1, 3, 3]}).read_text())
    values["categories"][0]["name"] = "OK"
    (tmp_path / "l.json").write_text(json.dumps(values))
    assert read_dataset(tmp_path / "l.json").samples[0].label == GOOD


def label_file(tmp_path: Path, text: str) -> LabelFile:
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    return LabelFile(path, ("crack", "dent"))


def test_yolo_as_tools_write_it(tmp_path: Path):
    text = "1 0.5 0.5 0.2 0.1\n\n0 0.1 0.1 0.4 0.1 0.4 0.6 0.1 0.6\n0 0.5 0.5 1.0005 1 0.87\n"
    box, polygon, sure = label_file(tmp_path, text).read("a.png", (20, 30)).annotations
    assert (box.label, box.box_xyxy, box.mask) == ("dent", (12, 9, 18, 11), None)
    assert polygon.mask is not None and polygon.box_xyxy == (3, 2, 12, 12) and polygon.mask.all()
    assert sure.box_xyxy == (0, 0, 30, 20), "a prediction with its confidence, rounded over the edge"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2 0.5 0.5 0.2 0.2", "there is no class 2. Expected 0 to 1"),
        ("-1 0.5 0.5 0.2 0.2", "there is no class -1"),
        ("crack 0.5 0.5 0.2 0.2", "there is no class crack"),
        ("0 0.5 0.5", "neither a box nor a polygon"),
        ("0 0.1 0.1 0.4 0.1 0.4 0.6 0.1", "Found 7 numbers"),
        ("0 120 80 40 20", "leaves the picture"),
        ("0 0.5 nan 0.2 0.2", "Expected numbers"),
        ("0 0.5 0.5 0 0.2", "box without a size"),
    ],
)
def test_yolo_that_does_not_fit_is_refused_with_its_line(tmp_path: Path, line: str, words: str):
    with pytest.raises(DataError, match=words) as caught:
        label_file(tmp_path, f"0 0.5 0.5 0.2 0.2\n{line}\n").read("a.png", (20, 30))
    assert "a.txt, line 2" in str(caught.value)


@pytest.mark.parametrize("names", [None, [], {1: "a"}, "crack"])
def test_a_data_yaml_without_classes_is_refused(tmp_path: Path, names: Any):
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"names": names}))
    with pytest.raises(DataError, match="names no classes"):
        names_in(tmp_path / "data.yaml")
    (tmp_path / "data.yaml").write_text("names: [a\n")
    with pytest.raises(DataError, match="is no YAML"):
        names_in(tmp_path / "data.yaml")


@pytest.mark.parametrize("order", ["kind/split", "split/kind"])
def test_yolo_folders_of_either_order(tmp_path: Path, order: str):
    for split, name in (("train", "a"), ("train", "b"), ("test", "c")):
        pieces = {"kind": "images", "split": split}
        kinds = order.split("/")
        photograph(tmp_path / pieces[kinds[0]] / pieces[kinds[1]] / f"{name}.png")
        pieces["kind"] = "labels"
        labels = tmp_path / pieces[kinds[0]] / pieces[kinds[1]] / f"{name}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        if name != "b":
            labels.write_text("0 0.1 0.1 0.4 0.1 0.4 0.6 0.1 0.6\n")
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"names": ["crack"]}))
    dataset = read_dataset(tmp_path)
    found = {Path(sample.path).stem: sample for sample in dataset.samples}
    assert dataset.layout == "yolo"
    assert {name: sample.label for name, sample in found.items()} == {"a": "crack", "b": GOOD, "c": "crack"}
    assert found["c"].role is Role.TEST and found["a"].role is None
    assert read_mask(str(found["a"].mask_path)).sum() == 90 and found["b"].mask_path is None
    assert any("1 images have no file of labels" in note for note in dataset.notes)


def test_yolo_labels_without_their_photograph_are_refused(tmp_path: Path):
    photograph(tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "b.txt").write_text("")
    (tmp_path / "classes.txt").write_text("crack\n")
    with pytest.raises(DataError, match=r"labels/b.txt has no image"):
        read_dataset(tmp_path)


VOC = """<annotation><folder>x</folder><filename>{name}</filename>
<size><width>30</width><height>20</height><depth>3</depth></size>{objects}</annotation>"""
_SIDES = "<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
OBJECT = f"<object><name>crack</name><bndbox>{_SIDES}</bndbox></object>\n"


def voc(path: Path, *boxes: tuple[object, ...], name: str = "a.png") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = "".join(OBJECT.format(*box) for box in boxes)
    path.write_text(VOC.format(name=name, objects=objects), encoding="utf-8")
    return path


def test_pascal_voc_counts_from_one_and_its_last_pixel_belongs_to_the_box(tmp_path: Path):
    (one, two) = read_voc(voc(tmp_path / "a.xml", (1, 1, 30, 20), (3.0, 4, 3, 4))).annotated.annotations
    assert one.box_xyxy == (0, 0, 30, 20) and two.box_xyxy == (2, 3, 3, 4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<annotation><filename>a.png</filename>", "broken XML"),
        ("<other><filename>a.png</filename></other>", "Found <other>"),
        ("<annotation></annotation>", "Found no filename"),
        ("<annotation><filename>a.png</filename></annotation>", "<size/width> is no number"),
        (VOC.format(name="a.png", objects="<object><bndbox/></object>"), "object 1 has no <name>"),
        (VOC.format(name="a.png", objects=OBJECT.format(1, 2, "x", 4)), "<bndbox/xmax> is no number"),
        (VOC.format(name="a.png", objects=OBJECT.format(9, 2, 4, 4)), "no box inside the photograph"),
    ],
)
def test_pascal_voc_that_does_not_fit_is_refused(tmp_path: Path, content: str, words: str):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(DataError, match=words) as caught:
        read_voc(tmp_path / "a.xml")
    assert "a.xml" in str(caught.value)


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE a [<!ENTITY x "y">]>',
        '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE annotation SYSTEM "http://example.org/a.dtd">',
    ],
)
def test_entities_and_document_types_are_refused(tmp_path: Path, head: str):
    (tmp_path / "a.xml").write_text(head + VOC.format(name="a.png", objects=""))
    with pytest.raises(DataError, match="declares a document type or entities"):
        read_voc(tmp_path / "a.xml")
    assert not is_voc(tmp_path / "a.xml")


def test_a_pascal_voc_file_beyond_reason_is_refused(tmp_path: Path):
    with (tmp_path / "a.xml").open("wb") as stream:
        stream.truncate((16 << 20) + 1)
    with pytest.raises(DataError, match="too large"):
        read_voc(tmp_path / "a.xml")


def test_a_pascal_voc_folder(tmp_path: Path):
    for name in ("a", "b"):
        photograph(tmp_path / "JPEGImages" / f"{name}.png")
    voc(tmp_path / "Annotations" / "a.xml", (1, 1, 5, 5))
    voc(tmp_path / "Annotations" / "b.xml", name="b.png")
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "voc"
    assert [(Path(s.path).name, s.label, s.mask_path) for s in dataset.samples] == [
        ("a.png", "crack", None),
        ("b.png", GOOD, None),
    ]
    voc(tmp_path / "Annotations" / "c.xml", name="c.png")
    with pytest.raises(DataError, match=r"there is no image 'c.png'"):
        read_dataset(tmp_path)


def test_annotations_are_checked_when_they_are_made():
    mask = np.ones((2, 3), bool)
    for wrong, words in (
        (lambda: Annotation("", (0, 0, 1, 1)), "needs a label"),
        (lambda: Annotation("x", (0, 0, 0, 1)), "left < right"),
        (lambda: Annotation("x", (float("nan"), 0, 1, 1)), "left < right"),
        (lambda: Annotation("x", (0, 0, 1, 1), None, 1.5), "confidence"),
        (lambda: Annotation("x", (0, 0, 2, 2), mask), "fill the box"),
        (lambda: Annotation("x", (0, 0, 3, 3), np.pad(mask, ((0, 1), (0, 0)))), "touch each edge"),
        (lambda: Annotation.of_mask(np.zeros((2, 2), bool), "x"), "empty mask"),
        (lambda: Annotation("x", (0, 0, 1, 1)).full_mask((2, 2)), "box alone"),
        (lambda: Annotated("", (2, 2)), "name and a size"),
        (lambda: Annotated("a", (2, 2), (Annotation("x", (0, 0, 3, 1)),)), "leaves the picture"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()


def test_an_annotation_survives_json():
    origin = Provenance(by="flawscope", bundle_id="b", level=0.25)
    mask = np.array([[True, False], [True, True]])
    one = Annotation.of_mask(mask, "crack", at_xy=(5, 6), confidence=0.75, provenance=origin)
    back = Annotation.from_json(json.loads(json.dumps(one.to_json())))
    assert (back.label, back.box_xyxy, back.confidence, back.provenance) == (
        "crack",
        (5, 6, 7, 8),
        0.75,
        origin,
    )
    assert np.array_equal(back.mask, mask)
    newer = one.to_json()
    newer["provenance"]["something_new"] = 1
    assert Annotation.from_json(newer).provenance == origin


def test_the_label_of_a_photograph_is_its_commonest():
    def of(*labels: str) -> str | None:
        return Annotated("a", (9, 9), tuple(Annotation(label, (0, 0, 1, 1)) for label in labels)).label

    assert (of(), of("a"), of("b", "a", "a"), of("b", "a")) == (None, "a", "a", "b")


def test_where_masks_cannot_be_drawn_the_folder_is_named(tmp_path: Path):
    photograph(tmp_path / "a.png")
    (tmp_path / ".flawscope").write_text("in the way")
    listed = coco(tmp_path / "l.json", {"segmentation": [[2, 3, 6, 3, 6, 8, 2, 8]]})
    with pytest.raises(DataError, match=r"mask of a.png cannot be drawn into .*masks.*Copy the annotations"):
        read_dataset(listed)


def test_two_lists_of_one_photograph_that_disagree_are_refused_with_what_to_do(tmp_path: Path):
    photograph(tmp_path / "a.png")
    coco(tmp_path / "one.json", {"segmentation": [[2, 3, 6, 3, 6, 8, 2, 8]]})
    coco(tmp_path / "two.json", {"segmentation": [[2, 3, 7, 3, 7, 8, 2, 8]]})
    with pytest.raises(DataError, match="Give one of the lists by itself"):
        read_dataset(tmp_path)
