"""Stand-ins of every layout, with the published folders and names; the labels known by construction."""

from __future__ import annotations

import json
import os
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from flawscope.core.errors import DataError, UsageError
from flawscope.core.types import Role, Sample
from flawscope.data.layouts import Dataset, layouts, read_dataset

Draw = Callable[..., Path]


def by_id(dataset: Dataset) -> dict[str, Sample]:
    found = {sample.id: sample for sample in dataset.samples}
    assert len(found) == len(dataset.samples)
    for sample in dataset.samples:
        assert Path(sample.path).is_file()
        assert sample.mask_path is None or Path(sample.mask_path).is_file()
    return found


def labels(dataset: Dataset) -> dict[str, str | None]:
    return {key: sample.label for key, sample in by_id(dataset).items()}


def test_normal_abnormal(draw: Draw) -> None:
    root = draw(
        "train/normal/a.png",
        "train/abnormal/b.png",
        "test/normal/c.JPG",
        "test/Abnormal/d.bmp",
        "val/OK/e.tif",
    )
    (root / "train/normal/Thumbs.db").write_bytes(b"x")
    (root / "train/normal/.hidden.png").write_bytes(b"x")
    dataset = read_dataset(root)
    assert dataset.layout == "normal_abnormal"
    assert labels(dataset) == {
        "train/normal/a.png": "good",
        "train/abnormal/b.png": "abnormal",
        "test/normal/c.JPG": "good",
        "test/Abnormal/d.bmp": "abnormal",
        "val/OK/e.tif": "good",
    }
    tested = {key for key, sample in by_id(dataset).items() if sample.role is Role.TEST}
    assert tested == {"test/normal/c.JPG", "test/Abnormal/d.bmp"}
    assert all(sample.role is None for key, sample in by_id(dataset).items() if key not in tested)
    assert any("validation" in note for note in dataset.notes)


@pytest.mark.parametrize(("good", "bad"), [("good", "bad"), ("ok", "ng"), ("OK", "NG"), ("Good", "Scratch")])
def test_normal_abnormal_by_other_words(draw: Draw, good: str, bad: str) -> None:
    root = draw(f"train/{good}/1.png", f"train/{bad}/2.png", f"test/{good}/3.png", f"test/{bad}/4.png")
    dataset = read_dataset(root)
    assert dataset.layout == "normal_abnormal"
    found = by_id(dataset)
    assert all(found[name].is_good for name in (f"train/{good}/1.png", f"test/{good}/3.png"))
    assert all(found[name].is_bad for name in (f"train/{bad}/2.png", f"test/{bad}/4.png"))


def mvtec(draw: Draw, root: str = "") -> Path:
    return draw(
        *(f"{root}train/good/{i:03}.png" for i in range(3)),
        f"{root}test/good/000.png",
        f"{root}test/broken_large/000.png",
        f"{root}test/contamination/000.png",
        f"{root}ground_truth/broken_large/000_mask.png",
        f"{root}ground_truth/contamination/000_mask.png",
    )


def test_mvtec(draw: Draw) -> None:
    dataset = read_dataset(mvtec(draw))
    found = by_id(dataset)
    assert dataset.layout == "mvtec"
    assert len(found) == 6
    assert {sample.label for sample in found.values()} == {"good", "broken_large", "contamination"}
    bad = found["test/contamination/000.png"]
    assert bad.role is Role.TEST
    assert bad.mask_path is not None
    assert bad.mask_path.endswith("ground_truth/contamination/000_mask.png")
    assert found["test/good/000.png"].mask_path is None


def test_several_products(draw: Draw) -> None:
    mvtec(draw, "bottle/")
    root = mvtec(draw, "cable/")
    (root / "license.txt").write_text("words")
    dataset = read_dataset(root)
    assert dataset.layout == "mvtec"
    assert dataset.products == ("bottle", "cable")
    assert len(dataset.samples) == 12
    assert by_id(dataset)["cable/test/good/000.png"].product == "cable"


def test_a_folder_in_an_archive_is_looked_into(draw: Draw) -> None:
    root = draw("archive/kos01/Part0.jpg")
    draw("archive/kos01/Part0_label.bmp", value=0)
    assert labels(read_dataset(root)) == {"archive/kos01/Part0.jpg": "good"}


def test_the_test_folder_given_alone_is_test(draw: Draw) -> None:
    dataset = read_dataset(mvtec(draw) / "test")
    found = by_id(dataset)
    assert dataset.layout == "class_folders"
    assert all(sample.role is Role.TEST for sample in found.values())
    assert found["broken_large/000.png"].mask_path is not None
    assert found["good/000.png"].is_good


def test_mvtec_ad_2(draw: Draw) -> None:
    root = draw(
        "can/train/good/000_regular.png",
        "can/train/good/000_overexposed.png",
        "can/train/good/001_shift_1.png",
        "can/validation/good/000_regular.png",
        "can/test_public/good/000_regular.png",
        "can/test_public/bad/000_regular.png",
        "can/test_public/bad/000_underexposed.png",
        "can/test_public/ground_truth/bad/000_regular_mask.png",
        "can/test_public/ground_truth/bad/000_underexposed_mask.png",
        "can/test_private/000_regular.png",
        "can/test_private_mixed/000_mixed.png",
    )
    dataset = read_dataset(root)
    found = by_id(dataset)
    assert dataset.layout == "mvtec"
    assert len(found) == 9
    assert found["can/test_private/000_regular.png"].label is None
    assert found["can/test_private/000_regular.png"].role is Role.TEST
    assert found["can/validation/good/000_regular.png"].role is None
    assert found["can/test_public/bad/000_regular.png"].mask_path is not None
    one, other = found["can/train/good/000_regular.png"], found["can/train/good/000_overexposed.png"]
    assert one.part_key == other.part_key != found["can/train/good/001_shift_1.png"].part_key
    assert one.part_key != found["can/test_public/good/000_regular.png"].part_key


def visa(draw: Draw) -> Path:
    root = draw(
        "candle/Data/Images/Normal/0000.JPG",
        "candle/Data/Images/Normal/0001.JPG",
        "candle/Data/Images/Anomaly/000.JPG",
        "candle/Data/Masks/Anomaly/000.png",
        "pcb1/Data/Images/Normal/0000.JPG",
    )
    (root / "candle/image_anno.csv").write_text(
        "image,label,mask\n"
        "candle/Data/Images/Normal/0000.JPG,normal,\n"
        "candle/Data/Images/Normal/0001.JPG,normal,\n"
        "candle/Data/Images/Anomaly/000.JPG,chunk of wax missing,candle/Data/Masks/Anomaly/000.png\n"
    )
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text(
        "object,split,label,image,mask\n"
        "candle,train,normal,candle/Data/Images/Normal/0000.JPG,\n"
        "candle,test,normal,candle/Data/Images/Normal/0001.JPG,\n"
        "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png\n"
        "pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,\n"
    )
    return root


def test_visa(draw: Draw) -> None:
    dataset = read_dataset(visa(draw))
    found = by_id(dataset)
    assert dataset.layout == "visa"
    assert dataset.products == ("candle", "pcb1")
    bad = found["candle/Data/Images/Anomaly/000.JPG"]
    assert (bad.label, bad.role) == ("chunk of wax missing", Role.TEST)
    assert bad.mask_path is not None
    assert found["candle/Data/Images/Normal/0001.JPG"].role is Role.TEST
    assert found["candle/Data/Images/Normal/0000.JPG"].role is None


def test_visa_by_its_list_and_by_one_product(draw: Draw) -> None:
    root = visa(draw)
    listed = read_dataset(root / "split_csv" / "1cls.csv")
    assert listed.layout == "csv"
    assert {key: (s.is_good, s.role, s.mask_path) for key, s in by_id(listed).items()} == {
        key: (s.is_good, s.role, s.mask_path) for key, s in by_id(read_dataset(root)).items()
    }
    alone = read_dataset(root / "candle")
    assert alone.layout == "visa"
    assert labels(alone)["Data/Images/Anomaly/000.JPG"] == "chunk of wax missing"


def test_btad(draw: Draw) -> None:
    root = draw(
        "01/train/ok/0000.bmp",
        "01/test/ok/0010.bmp",
        "01/test/ko/0000.bmp",
        "01/ground_truth/ko/0000.png",
        "02/train/ok/0000.png",
        "02/test/ko/0000.png",
        "02/ground_truth/ko/0000.png",
    )
    dataset = read_dataset(root)
    found = by_id(dataset)
    assert dataset.layout == "btad"
    assert dataset.products == ("01", "02")
    assert found["01/test/ko/0000.bmp"].label == "ko"
    assert found["01/test/ko/0000.bmp"].mask_path is not None
    assert found["01/train/ok/0000.bmp"].role is None
    assert len(found) == 5


def test_ksdd(draw: Draw) -> None:
    root = draw("kos01/Part0.jpg", "kos01/Part1.jpg", "kos02/Part0.jpg", "kos03/Part5.jpg")
    draw("kos01/Part0_label.bmp", "kos02/Part0_label.bmp", value=0)
    draw("kos01/Part1_label.bmp", value=255)
    dataset = read_dataset(root)
    found = by_id(dataset)
    assert dataset.layout == "ksdd"
    assert labels(dataset) == {
        "kos01/Part0.jpg": "good",
        "kos01/Part1.jpg": "defect",
        "kos02/Part0.jpg": "good",
        "kos03/Part5.jpg": None,
    }
    assert found["kos01/Part0.jpg"].part_key == found["kos01/Part1.jpg"].part_key
    assert found["kos01/Part0.jpg"].mask_path is None
    assert found["kos01/Part1.jpg"].mask_path is not None
    assert any("1 images have no readable mask" in note for note in dataset.notes)


def test_ksdd2(draw: Draw) -> None:
    root = draw("train/10000.png", "train/10001.png", "test/20000.png")
    draw("train/10000_GT.png", "test/20000_GT.png", value=0)
    draw("train/10001_GT.png", value=1)  # any value but zero is a defect
    dataset = read_dataset(root)
    assert dataset.layout == "ksdd2"
    assert labels(dataset) == {
        "train/10000.png": "good",
        "train/10001.png": "defect",
        "test/20000.png": "good",
    }
    assert [sample.role for sample in dataset.samples] == [Role.TEST, None, None]


def test_sodf(draw: Draw) -> None:
    root = draw(
        "capsule/negative/data/1.png",
        "capsule/positive/data/1.png",
        "capsule/positive/annotation/1.png",
        "softgel/negative/data/1.png",
        "softgel/positive/data/7.png",
    )
    dataset = read_dataset(root)
    found = by_id(dataset)
    assert dataset.layout == "sodf"
    assert len(found) == 4
    assert found["capsule/positive/data/1.png"].mask_path is not None
    assert found["softgel/positive/data/7.png"].is_bad
    assert dataset.products == ("capsule", "softgel")
    assert labels(read_dataset(root / "capsule")) == {
        "negative/data/1.png": "good",
        "positive/data/1.png": "defect",
    }


def test_dagm(draw: Draw) -> None:
    root = draw(
        "Class1/Train/0001.PNG",
        "Class1/Train/0576.PNG",
        "Class1/Train/Label/0576_label.PNG",
        "Class1/Test/0002.PNG",
        "Class2/Test/0003.PNG",
        "Class2/Test/Label/0003_label.PNG",
    )
    (root / "Class1/Train/Label/Labels.txt").write_text("1\n")
    dataset = read_dataset(root)
    found = by_id(dataset)
    assert dataset.layout == "dagm"
    assert labels(dataset) == {
        "Class1/Train/0001.PNG": "good",
        "Class1/Train/0576.PNG": "defect",
        "Class1/Test/0002.PNG": "good",
        "Class2/Test/0003.PNG": "defect",
    }
    assert found["Class2/Test/0003.PNG"].role is Role.TEST
    assert found["Class1/Train/0576.PNG"].mask_path is not None


@pytest.mark.parametrize(
    "names",
    [
        ("IMAGES/crazing_1.jpg", "IMAGES/rolled-in_scale_12.jpg", "IMAGES/pitted_surface_3.jpg"),
        ("Cr_1.bmp", "RS_12.bmp", "PS_3.bmp"),
        ("train/images/crazing/crazing_1.jpg", "train/images/rolled-in_scale/x9.jpg", "pitted_surface/1.jpg"),
    ],
)
def test_neu(draw: Draw, names: tuple[str, ...]) -> None:
    dataset = read_dataset(draw(*names))
    assert dataset.layout == "neu"
    assert list(map(labels(dataset).get, names)) == ["crazing", "rolled-in_scale", "pitted_surface"]
    assert any("defects only" in note for note in dataset.notes)


def test_deeppcb(draw: Draw) -> None:
    place = "PCBData/group00041/00041"
    root = draw(*(f"{place}/0004100{i}_{kind}.jpg" for i in range(3) for kind in ("test", "temp")))
    boxes = root / f"{place}_not"
    boxes.mkdir()
    (boxes / "00041000.txt").write_text("466 441 493 470 3\n454 300 493 396 3\n")
    (boxes / "00041001.txt").write_text("10,10,20,20,1\n30,30,40,40,2\n")
    (root / "PCBData/test.txt").write_text(
        "group00041/00041/00041001.jpg group00041/00041_not/00041001.txt\n"
    )
    dataset = read_dataset(root)
    found = {Path(key).stem: sample for key, sample in by_id(dataset).items()}
    assert dataset.layout == "deeppcb"
    assert found["00041000_test"].label == "mousebite"
    assert found["00041001_test"].label == "several"
    assert found["00041002_test"].label is None
    assert all(found[f"0004100{i}_temp"].is_good for i in range(3))
    assert found["00041000_test"].part_key == found["00041000_temp"].part_key
    assert found["00041001_test"].role is found["00041001_temp"].role is Role.TEST
    assert found["00041000_test"].role is None


def test_magnetic_tile(draw: Draw) -> None:
    root = draw(
        "MT_Free/Imgs/exp1_num_100.jpg",
        "MT_Free/Imgs/exp2_num_200.jpg",
        "MT_Free/Imgs/exp2_num_200.png",
        "MT_Blowhole/Imgs/exp1_num_300.jpg",
        "MT_Blowhole/Imgs/exp1_num_300.png",
        "MT_Crack/Imgs/exp1_num_401.jpg",
        "MT_Crack/Imgs/exp1_num_401.png",
    )
    dataset = read_dataset(root)
    found = {Path(key).stem[-3:]: sample for key, sample in by_id(dataset).items()}
    assert dataset.layout == "magnetic_tile"
    assert [found[n].label for n in ("100", "200", "300", "401")] == ["good", "good", "blowhole", "crack"]
    assert found["100"].part == found["200"].part == found["300"].part != found["401"].part
    assert found["300"].mask_path is not None
    assert found["200"].mask_path is None


def test_elpv(draw: Draw) -> None:
    root = draw(*(f"images/cell000{i}.png" for i in range(1, 5)))
    (root / "labels.csv").write_text(
        "images/cell0001.png    1.0                   mono\n"
        "images/cell0002.png    0.3333333333333333    mono\n"
        "images/cell0003.png    0.6666666666666666    poly\n"
        "images/cell0004.png    0.0                   poly\n"
    )
    dataset = read_dataset(root)
    assert dataset.layout == "elpv"
    assert [sample.label for sample in dataset.samples] == ["defective", None, "defective", "good"]
    assert dataset.products == ("mono", "poly")


def test_lookout(draw: Draw) -> None:
    root = draw(
        "training-images/normal-1.jpg",
        "training-images/anomaly-1.jpg",
        "test-images/normal-2.jpg",
        "mask-images/anomaly-1.png",
    )
    dataset = read_dataset(root)
    found = by_id(dataset)
    assert dataset.layout == "lookout"
    assert len(found) == 3
    assert found["training-images/anomaly-1.jpg"].mask_path is not None
    assert found["test-images/normal-2.jpg"].role is Role.TEST


def test_flat(draw: Draw) -> None:
    dataset = read_dataset(draw("1.png", "2.pgm", "3.webp"))
    assert dataset.layout == "flat"
    assert all(sample.is_good and sample.role is None for sample in dataset.samples)
    assert "taken as good" in dataset.notes[0]


def test_class_folders(draw: Draw) -> None:
    root = draw("good/1.png", "scratch/1.png", "Bent Lead/1.png", "masks/scratch/1.png")
    dataset = read_dataset(root)
    assert dataset.layout == "class_folders"
    assert labels(dataset) == {
        "good/1.png": "good",
        "scratch/1.png": "scratch",
        "Bent Lead/1.png": "Bent Lead",
    }
    assert by_id(dataset)["scratch/1.png"].mask_path is not None


def test_folders_without_a_good_one_need_a_word(draw: Draw) -> None:
    root = draw("2024-05-01/1.png", "2024-05-02/1.png")
    with pytest.raises(DataError) as caught:
        read_dataset(root)
    assert "2024-05-02 (1 images)" in str(caught.value)
    assert all(layout.name in str(caught.value) for layout in layouts)
    forced = read_dataset(root, layout="class_folders")
    assert set(labels(forced).values()) == {"2024-05-01", "2024-05-02"}
    assert "counts as a defect" in forced.notes[0]
    assert all(sample.is_good for sample in read_dataset(root, layout="flat").samples)


def test_csv(draw: Draw) -> None:
    root = draw("a/1.png", "a/2.png", "b/3.png", "m/2.png")
    (root / "list.csv").write_text(
        "\ufeffPath;Label;Mask;Split;Product;Serial;Lot\n"
        "a/1.png;OK;;train;chip;S1;L1\na\\2.png;scratch;m/2.png;test;chip;S2;L1\nb/3.png;;;val;chip;;\n",
        encoding="utf-8",
    )
    dataset = read_dataset(root)
    found = by_id(dataset)
    assert dataset.layout == "csv"
    assert {key: (s.label, s.role, s.part, s.group) for key, s in found.items()} == {
        "a/1.png": ("good", None, "S1", "L1"),
        "a/2.png": ("scratch", Role.TEST, "S2", "L1"),
        "b/3.png": (None, None, "", ""),
    }
    assert found["a/2.png"].mask_path == (root / "m/2.png").as_posix()
    assert read_dataset(root / "list.csv").samples == dataset.samples


def test_csv_with_numbers_and_with_faults(draw: Draw) -> None:
    root = draw("1.png", "2.png")
    listed = root / "list.csv"
    listed.write_text("filename,label\n1.png,0\n2.png,1\n")
    dataset = read_dataset(listed)
    assert [sample.label for sample in dataset.samples] == ["good", "defective"]
    assert "0 is good" in dataset.notes[0]
    listed.write_text("filename,label\n1.png,0\n\nnone.png,1\n")
    with pytest.raises(DataError, match=r"line 4: there is no image 'none.png'.*1 of 2 lines"):
        read_dataset(listed)
    listed.write_text("name,label\n1.png,0\n")
    with pytest.raises(DataError, match="no column of image paths"):
        read_dataset(listed)
    listed.write_text("filename,label\n1.png,good\n1.png,good\n")
    with pytest.raises(DataError, match=r"lists 1.png 2 times"):
        read_dataset(listed)


def test_json_lines(draw: Draw) -> None:
    root = draw("1.png", "2.png")
    rows = [{"image": "1.png", "label": "good"}, {"image": "2.png", "label": "crack", "part": 7}]
    (root / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dataset = read_dataset(root)
    assert dataset.layout == "jsonl"
    assert [(s.label, s.part) for s in dataset.samples] == [("good", ""), ("crack", "7")]
    (root / "list.jsonl").write_text(json.dumps(rows[0]) + "\n{broken\n")
    with pytest.raises(DataError, match="line 2 is no JSON"):
        read_dataset(root / "list.jsonl")


def test_coco(draw: Draw) -> None:
    root = draw("train/1.jpg", "train/2.jpg", "test/3.jpg")

    def write(folder: str, images: dict[int, str], kinds: list[tuple[int, int]]) -> None:
        values = {
            "images": [{"id": key, "file_name": name} for key, name in images.items()],
            "annotations": [{"image_id": image, "category_id": kind} for image, kind in kinds],
            "categories": [{"id": 1, "name": "scratch"}, {"id": 2, "name": "crack"}],
        }
        (root / folder / "_annotations.coco.json").write_text(json.dumps(values))

    write("train", {1: "1.jpg", 2: "2.jpg"}, [(2, 1), (2, 2), (2, 2)])
    write("test", {1: "3.jpg"}, [(1, 1)])
    dataset = read_dataset(root)
    assert dataset.layout == "coco"
    assert labels(dataset) == {"train/1.jpg": "good", "train/2.jpg": "crack", "test/3.jpg": "scratch"}
    assert by_id(dataset)["test/3.jpg"].role is Role.TEST
    assert by_id(dataset)["train/2.jpg"].role is None
    alone = read_dataset(root / "train" / "_annotations.coco.json")
    assert labels(alone) == {"1.jpg": "good", "2.jpg": "crack"}
    write("train", {1: "9.jpg"}, [])
    with pytest.raises(DataError, match=r"no image '9.jpg'"):
        read_dataset(root)


def test_group_by(draw: Draw) -> None:
    root = draw(*(f"lot{lot}_part{part}_{k}.png" for lot in (1, 2) for part in (1, 2) for k in (0, 1)))
    named = read_dataset(root, group_by=r"(?P<group>lot\d)_(?P<part>part\d)")
    assert {(s.group, s.part) for s in named.samples} == {
        (f"lot{lot}", f"part{part}") for lot in (1, 2) for part in (1, 2)
    }
    first = read_dataset(root, group_by=r"(lot\d_part\d)_")
    assert len({s.part_key for s in first.samples}) == 4
    assert all(s.part == s.group for s in first.samples)
    some = read_dataset(root, group_by=r"(lot1)")
    assert "4 of 8 images ungrouped" in some.notes[-1]
    with pytest.raises(DataError, match=r"lot1_part1_0.png"):
        read_dataset(root, group_by="camera(\\d)")
    with pytest.raises(UsageError, match="no regular expression"):
        read_dataset(root, group_by="(")


def test_named_layouts(draw: Draw) -> None:
    root = mvtec(draw)
    assert read_dataset(root, layout="normal_abnormal").layout == "normal_abnormal"
    with pytest.raises(UsageError, match=r"Did you mean 'mvtec'"):
        read_dataset(root, layout="mvtek")
    with pytest.raises(DataError, match="no images of the layout dagm"):
        read_dataset(root, layout="dagm")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="no folder or list"):
        read_dataset(tmp_path / "none")
    (tmp_path / "words.txt").write_text("words")
    with pytest.raises(DataError, match="none of them an image"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="is no list"):
        read_dataset(tmp_path / "words.txt")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_followed_once(draw: Draw, tmp_path: Path) -> None:
    draw("set/good/1.png", "set/scratch/1.png")
    (tmp_path / "set" / "good" / "loop").symlink_to(tmp_path / "set", target_is_directory=True)
    assert len(read_dataset(tmp_path / "set").samples) == 2


@pytest.mark.real
def test_real_tiles_are_grouped_as_the_protocol_groups(magnetic_tiles: Path) -> None:
    protocol = runpy.run_path(str(magnetic_tiles.parent / "protocol.py"))
    dataset = read_dataset(magnetic_tiles)
    grouped: dict[str, set[str]] = {}
    for sample in dataset.samples:
        grouped.setdefault(sample.part, set()).add(sample.id)
    assert {frozenset(part) for part in grouped.values()} == {
        frozenset(name.replace("\\", "/") for name in part) for part in protocol["parts"]()
    }
    assert sum(sample.is_good for sample in dataset.samples) == 952
    assert all((sample.mask_path is not None) == sample.is_bad for sample in dataset.samples)


@pytest.mark.real
def test_real_cookies(cookies: Path) -> None:
    dataset = read_dataset(cookies)
    assert dataset.layout == "lookout"
    good, bad = (
        {path.name for path in (cookies / "training-images").glob(f"{kind}-*")}
        for kind in ("normal", "anomaly")
    )
    assert {Path(sample.id).name for sample in dataset.samples if sample.is_good} == good
    assert {Path(sample.id).name for sample in dataset.samples if sample.is_bad} == bad
    assert all((sample.mask_path is not None) == sample.is_bad for sample in dataset.samples)
