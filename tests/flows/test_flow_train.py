"""Training: what it leaves, what it refuses, what it never opens, and what it promises."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import World

import flawscope
from flawscope import Inspector
from flawscope.core import digest
from flawscope.core.errors import (
    ConfigError,
    DataError,
    FlawscopeError,
    ImageError,
    LeakError,
    MissingExtraError,
    PromiseError,
    UsageError,
)
from flawscope.core.types import CalibrationMode, Fit, Levels, Role, Verdict
from flawscope.data.manifest import read_manifest, write_manifest
from flawscope.flows.settings import TrainSettings, read_settings
from flawscope.flows.train import Trained
from flawscope.imaging.read import read
from flawscope.imaging.write import encode
from flawscope.runtime.bundle import open_bundle

Train = Callable[..., Trained]
Write = Callable[..., Path]


def _words(trained: Trained) -> str:
    return " ".join(trained.promise.sentences)


# --- what a run leaves -------------------------------------------------------------------------------------


def test_a_run_leaves_bundle_manifest_and_report(world: World) -> None:
    assert sorted(path.name for path in world.run.iterdir()) == [
        "manifest.jsonl",
        "model.flaw",
        "report.html",
        "report.json",
    ]
    report = json.loads((world.run / "report.json").read_text("utf-8"))
    assert report["bundle_id"] == world.trained.bundle.id == open_bundle(world.model).id
    assert report["promise"] == world.trained.promise.to_json()
    page = (world.run / "report.html").read_text("utf-8")
    assert world.trained.bundle.id in page and "24 parts by folds" in page
    roles = [sample.role for sample in read_manifest(world.run / "manifest.jsonl")]
    assert roles.count(Role.FIT) == 24 and roles.count(Role.TEST) == 16


def test_times_are_told_apart(world: World) -> None:
    seconds = world.trained.seconds
    assert set(seconds) == {"teach", "calibrate", "explain", "total"}
    assert 0 < seconds["teach"] < seconds["total"] and 0 < seconds["calibrate"] < seconds["total"]
    parts = [value for name, value in seconds.items() if name != "total"]
    assert min(parts) > 0 and sum(parts) <= seconds["total"]


def test_the_working_size_keeps_the_data_s_aspect(world: World) -> None:
    assert world.trained.bundle.contents.preprocess.size_hw == (64, 96)


def test_a_run_takes_the_place_of_the_last(train_tiny: Train, parts: Write, tmp_path: Path) -> None:
    data = parts(22)
    first = train_tiny(data)
    second = train_tiny(data, min_area=5)
    assert open_bundle(tmp_path / "run" / "model.flaw").id == second.bundle.id != first.bundle.id
    assert second.bundle.contents.min_area_px == 5


def test_settings_given_whole_get_the_folder_that_is_named(
    tiny_settings: dict[str, Any], parts: Write, tmp_path: Path
) -> None:
    values = TrainSettings(
        data=tmp_path / "elsewhere",
        backbone=tiny_settings["backbone"],
        size=(64, 64),
        settings=tiny_settings["settings"],
    )
    trained = flawscope.train(parts(22), out=tmp_path / "run", settings=values, threads=1)
    assert trained.bundle.contents.counts["fit"] == 22


# --- same seed, same bundle --------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_graph_and_calibration(
    train_tiny: Train, parts: Write, tmp_path: Path
) -> None:
    data = parts(24)
    picky = {"settings": {"bank": 40, "candidates": 1000, "components": 8}}

    def digests(name: str, seed: int) -> tuple[str, str]:
        contents = train_tiny(data, out=tmp_path / name, seed=seed, **picky).bundle.contents
        return digest.of_bytes(contents.graph), digest.of_value(contents.calibration.to_json())

    one, again, other = digests("one", 3), digests("again", 3), digests("other", 4)
    assert one == again
    assert one[0] != other[0] and one[1] != other[1]


# --- what a run refuses, leaving nothing -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"metod": "patchcore"}, ConfigError, "Did you mean 'method'"),
        ({"method": "patchcoer"}, UsageError, "Did you mean 'patchcore'"),
        ({"settings": {"banks": 3}}, ConfigError, "Did you mean 'bank'"),
        ({"settings": {"bank": 3}}, ConfigError, "at least 16"),
        ({"backbone": "no/such/file.onnx"}, ConfigError, "not there"),
        ({"size": [31, 64]}, ConfigError, "32 to 4096"),
        ({"size": [64]}, ConfigError, "two numbers"),
        ({"size": [40, 64]}, ConfigError, "multiples of 16"),
        ({"levels": [500, 100]}, ConfigError, "black < white"),
        ({"alpha": 0.2, "review_alpha": 0.1}, ConfigError, "review_alpha is smaller than alpha"),
        ({"cost_escape": 3}, ConfigError, "both cost_escape and cost_overkill"),
        ({"cost_escape": 30, "cost_overkill": 1}, DataError, "needs labelled defects"),
        ({"roi": "no_such_roi.png"}, ImageError, "does not exist"),
        ({"layout": "mvtce"}, UsageError, "Did you mean 'mvtec'"),
        ({"group_by": "("}, UsageError, "no regular expression"),
        ({"resplit": "70/20"}, UsageError, "add up to 100"),
        ({"product": "bottle"}, DataError, "no product 'bottle'"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_is_written(
    train_tiny: Train,
    parts: Write,
    tmp_path: Path,
    settings: dict[str, Any],
    kind: type[FlawscopeError],
    said: str,
) -> None:
    data = parts(8)
    with pytest.raises(kind, match=said) as caught:
        train_tiny(data, **settings)
    assert caught.type is kind
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_not_there_or_empty_is_said_so(train_tiny: Train, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, said in (("absent", "There is no"), ("empty", "is empty")):
        with pytest.raises(DataError, match=said):
            train_tiny(tmp_path / name)
    assert not (tmp_path / "run").exists()


def test_a_file_in_the_way_is_noticed_before_anything_is_taught(
    train_tiny: Train, parts: Write, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UsageError, match="file is a file"):
            train_tiny(parts(8), out=out)
    assert (tmp_path / "file").read_text("utf-8") == "not a folder"


def test_one_part_alone_cannot_calibrate(train_tiny: Train, parts: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least two good parts"):
        train_tiny(parts(4), group_by="(part)_")
    assert not (tmp_path / "run").exists()


def _as_manifest(train_tiny: Train, data: Path, out: Path) -> Path:
    """Split by a first run and return its manifest."""
    train_tiny(data, out=out, resplit="60/20/20")
    return out / "manifest.jsonl"


@pytest.mark.parametrize("what", ["content", "part", "group"])
def test_a_leak_in_a_manifest_is_refused(train_tiny: Train, mixed: Write, tmp_path: Path, what: str) -> None:
    manifest = _as_manifest(train_tiny, mixed(20, 4), tmp_path / "first")
    samples = list(read_manifest(manifest))
    fit = next(i for i, sample in enumerate(samples) if sample.role is Role.FIT)
    test = next(i for i, sample in enumerate(samples) if sample.role is Role.TEST and sample.is_good)
    if what == "content":
        shutil.copy(samples[fit].path, samples[test].path)
        samples[test] = replace(samples[test], sha256=samples[fit].sha256)
    else:
        for i in (fit, test):
            samples[i] = replace(samples[i], **{what: "shared"})
    write_manifest(manifest, samples)
    with pytest.raises(LeakError, match=f"the same {what} in two roles"):
        train_tiny(manifest)
    assert not (tmp_path / "run").exists()


def test_a_part_that_stands_in_train_and_test_is_refused(
    train_tiny: Train, parts: Write, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    parts(10, folder=data / "train/good")
    parts(4, folder=data / "test/good", start=8)  # 008 and 009 are in both
    with pytest.raises(LeakError, match="part_008"):
        train_tiny(data, group_by=r"(part_\d+)")
    assert not (tmp_path / "run").exists()


# --- broken files ------------------------------------------------------------------------------------------


def _break(path: Path, how: str) -> None:
    content = path.read_bytes()
    broken = {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "text": b"no picture",
        # a sound header and sound checksums around pixels that cannot be unfolded
        "pixels": _with_garbage_inside(content),
    }
    path.write_bytes(broken[how])


def _with_garbage_inside(png: bytes) -> bytes:
    start = png.index(b"IDAT")
    length = int.from_bytes(png[start - 4 : start], "big")
    chunk = b"IDAT" + bytes(length)
    end = zlib.crc32(chunk).to_bytes(4, "big")
    return png[:start] + chunk + end + png[start + 4 + length + 4 :]


def test_broken_pictures_are_set_aside_and_named(train_tiny: Train, parts: Write) -> None:
    data = parts(28)
    ways = ("empty", "cut", "text", "pixels")
    for i, how in enumerate(ways):
        _break(data / f"part_{i:03d}.png", how)
    trained = train_tiny(data)
    assert len(trained.prepared.broken) == 4
    for i, line in enumerate(trained.prepared.broken):
        assert f"part_{i:03d}.png" in line
    assert trained.bundle.contents.counts["fit"] == trained.promise.parts == 24


def test_a_broken_picture_makes_the_report_s_warnings(
    train_tiny: Train, parts: Write, tmp_path: Path
) -> None:
    data = parts(22)
    _break(data / "part_003.png", "cut")
    train_tiny(data)
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert any("part_003.png" in line for line in report["warnings"])


def test_nothing_but_broken_pictures_is_an_error_that_names_one(
    train_tiny: Train, parts: Write, tmp_path: Path
) -> None:
    data = parts(3)
    for path in data.iterdir():
        _break(path, "text")
    with pytest.raises(DataError, match=r"part_000\.png"):
        train_tiny(data)
    assert not (tmp_path / "run").exists()


# --- the test part -----------------------------------------------------------------------------------------


def test_the_test_part_is_never_opened(train_tiny: Train, parts: Write, mixed: Write, tmp_path: Path) -> None:
    """Files that nobody can read, and the same run as without them."""
    data = tmp_path / "data"
    parts(24, folder=data / "train/good")
    mixed(6, 3, folder=data / "test")
    alone = train_tiny(data / "train" / "good", out=tmp_path / "alone")
    for path in (data / "test").rglob("*.png"):
        path.write_bytes(b"garbage")
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        for path in (data / "test").rglob("*.png"):
            path.chmod(0)
    trained = train_tiny(data)
    assert trained.bundle.contents.counts == {"fit": 24, "select": 0, "calibrate": 0, "test": 12}
    assert not trained.prepared.broken
    assert trained.promise.to_json() == alone.promise.to_json()
    for path in (data / "test").rglob("*.png"):
        path.chmod(0o644)
    report = flawscope.evaluate(tmp_path / "run" / "model.flaw", data, threads=1)
    not_judged = report.metrics["verdict"]["not_judged_share"]
    assert (not_judged.value, not_judged.n) == (1.0, 12)
    assert report.metrics["image"]["auroc"].value is None and report.metrics["image"]["auroc"].reason
    codes = {entry.inspection.error.code for entry in report.judged if entry.inspection.error}
    assert codes == {"not_an_image"}


def test_a_manifest_s_test_part_is_not_opened_either(train_tiny: Train, mixed: Write, tmp_path: Path) -> None:
    manifest = _as_manifest(train_tiny, mixed(20, 4), tmp_path / "first")
    tested = [sample for sample in read_manifest(manifest) if sample.role is Role.TEST]
    for sample in tested:
        Path(sample.path).unlink()
    trained = train_tiny(manifest)
    assert trained.bundle.contents.counts["test"] == len(tested) > 0
    assert not any("could not be read" in warning for warning in trained.warnings)


# --- roles of a mixed folder -------------------------------------------------------------------------------


def test_resplit_deals_roles_and_writes_them_down(train_tiny: Train, mixed: Write, tmp_path: Path) -> None:
    trained = train_tiny(mixed(30, 6), resplit="60/20/20", seed=5)
    samples = read_manifest(tmp_path / "run" / "manifest.jsonl")
    assert {(sample.id, sample.role) for sample in samples} == {
        (sample.id, sample.role) for sample in trained.prepared.split.samples
    }
    counts = {role: sum(sample.role is role for sample in samples) for role in Role}
    assert counts[Role.FIT] == 18 and sum(counts.values()) == 42
    assert all(sample.is_good for sample in samples if sample.role in (Role.FIT, Role.CALIBRATE))
    assert {sample.label for sample in samples if sample.role is Role.TEST} == {"good", "scratch", "blob"}


def test_a_manifest_s_roles_are_kept(train_tiny: Train, mixed: Write, tmp_path: Path) -> None:
    manifest = _as_manifest(train_tiny, mixed(24, 4), tmp_path / "first")
    first = open_bundle(tmp_path / "first" / "model.flaw").contents
    second = train_tiny(manifest).bundle.contents
    assert second.counts == first.counts and second.seen == first.seen
    assert second.calibration.split_digest == first.calibration.split_digest


# --- promises ----------------------------------------------------------------------------------------------


def test_folds_estimate_and_split_promises(world: World, split_world: World) -> None:
    folds, split = world.trained, split_world.trained
    assert folds.promise.mode is CalibrationMode.FOLDS and folds.promise.bound is None
    assert "Estimate: 5 %" in _words(folds) and "no promise" in _words(folds)
    assert "Promise:" not in _words(folds)
    assert split.promise.mode is CalibrationMode.SPLIT and split.promise.bound is not None
    assert 0.15 < split.promise.bound < 0.5
    assert "Promise: at most 15 % of good parts are called NG, on average" in _words(split)
    assert "12 parts held out" in _words(split)
    assert split.bundle.contents.counts == {"fit": 12, "select": 0, "calibrate": 12, "test": 16}


def test_few_groups_are_warned_of(train_tiny: Train, parts: Write) -> None:
    def said(**settings: str) -> bool:
        return any("come from 2 groups" in warning for warning in train_tiny(parts(20), **settings).warnings)

    assert said(group_by=r"(?P<group>part_0[01])\d") and not said()


def test_a_hundred_parts_calibrate_by_split_without_being_asked() -> None:
    values = TrainSettings()
    assert [values.mode(n) for n in (99, 100)] == [CalibrationMode.FOLDS, CalibrationMode.SPLIT]


def test_split_without_a_part_to_hold_out_is_no_silent_estimate(
    train_tiny: Train, mixed: Write, tmp_path: Path
) -> None:
    manifest = _as_manifest(train_tiny, mixed(20, 4), tmp_path / "first")
    with pytest.raises(PromiseError, match="held out"):
        train_tiny(manifest, calibrate="split")
    assert not (tmp_path / "run").exists()


def test_with_twelve_parts_nothing_is_ever_ng(
    train_tiny: Train, parts: Write, mixed: Write, tmp_path: Path
) -> None:
    trained = train_tiny(parts(12))
    assert not trained.promise.can_say_ng and trained.promise.parts_needed == 19
    assert trained.bundle.contents.calibration.parts == 12
    assert "12 good parts cannot say NG at 5 %: 7 more would allow it (19 needed)" in _words(trained)
    inspector = Inspector.open(tmp_path / "run" / "model.flaw", threads=1)
    assert inspector.thresholds.ng is None
    found = [
        inspector(path) for path in mixed(20, 12, start=200).rglob("part_*.png") if "mask" not in path.name
    ]
    found += [inspector(255 - read(path).pixels) for path in parts(12).iterdir()]
    verdicts = [one.verdict for one in found]
    assert Verdict.NG not in verdicts and verdicts.count(Verdict.REVIEW) > 20
    highest = inspector.bundle.contents.calibration.scores[-1]
    assert all(
        one.verdict is Verdict.REVIEW for one in found if one.score is not None and one.score > highest
    )


def test_a_limit_by_cost_comes_from_select_and_ends_the_promise(
    train_tiny: Train, mixed: Write, tmp_path: Path
) -> None:
    costs = {"cost_escape": 100.0, "cost_overkill": 1.0}
    trained = train_tiny(mixed(40, 8), calibrate="split", calibrate_share=0.5, **costs)
    calibration = trained.bundle.contents.calibration
    assert calibration.limit_ng is not None and "an escape 100, an overkill 1" in calibration.limit_reason
    assert trained.choice_words.startswith("Estimate, no promise")
    assert trained.promise.bound is None and "The limit was moved" in trained.promise.sentences[0]
    inspector = Inspector.open(tmp_path / "run" / "model.flaw", threads=1)
    assert inspector.thresholds.ng == calibration.limit_ng
    select = [sample for sample in trained.prepared.of(Role.SELECT) if sample.is_bad]
    assert select and not any(sample.is_bad for sample in trained.prepared.of(Role.CALIBRATE))
    # where an escape costs a hundred times as much, hardly a defect that was weighed is let through
    verdicts = [inspector(sample.path).verdict for sample in select]
    assert verdicts.count(Verdict.NG) >= 0.9 * len(verdicts)
    cheap = train_tiny(
        tmp_path / "mixed",
        out=tmp_path / "cheap",
        calibrate="split",
        calibrate_share=0.5,
        cost_escape=1.0,
        cost_overkill=100.0,
    )
    limit = cheap.bundle.contents.calibration.limit_ng
    assert limit is not None and limit >= calibration.limit_ng


# --- 16 bits, tiles, areas ---------------------------------------------------------------------------------


def _deep(golden_maker: Any, number: int, *, flaw: str = "") -> np.ndarray:
    """Draw a part in the lower tenth of 16 bits: uint16 (48, 64)."""
    return (golden_maker.part(number, flaw)[..., 0].astype(np.uint16) * 20 + 1000).astype(np.uint16)


def test_levels_of_16_bit_data_are_measured_once_and_kept(
    golden_maker: Any, write_deep: Callable[[Path, np.ndarray], Path], train_tiny: Train, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    pictures = [_deep(golden_maker, number) for number in range(24)]
    for i, pixels in enumerate(pictures):
        write_deep(data / "train/good" / f"{i}.png", pixels)
    # the test part is brighter and must not move the levels
    tested = write_deep(data / "test/good/0.png", _deep(golden_maker, 90) * 3)
    trained = train_tiny(data)
    levels = trained.bundle.contents.preprocess.levels
    values = np.sort(np.concatenate([pixels.ravel() for pixels in pictures]))
    assert levels is not None
    assert levels.black == pytest.approx(values[int(0.001 * len(values))], abs=2)
    assert levels.white == pytest.approx(values[int(0.999 * len(values))], abs=2)
    inspector = Inspector.open(tmp_path / "run" / "model.flaw", threads=1)
    assert inspector.bundle.contents.preprocess.levels == levels
    new = _deep(golden_maker, 91)
    path = write_deep(tmp_path / "new.png", new)
    by_path, by_array = inspector(path), inspector(new)
    assert by_path.score == by_array.score and by_path.verdict is by_array.verdict is not None
    stretched = np.rint(np.clip((new - float(levels.black)) / (levels.white - levels.black), 0, 1) * 255)
    assert inspector(stretched.astype(np.uint8)).score == by_path.score
    assert "lie outside the levels" in " ".join([*inspector(tested).warnings]) or inspector(tested).error


def test_levels_can_be_given(
    golden_maker: Any, write_deep: Callable[[Path, np.ndarray], Path], train_tiny: Train, tmp_path: Path
) -> None:
    for number in range(20):
        write_deep(tmp_path / "data" / f"{number}.png", _deep(golden_maker, number))
    trained = train_tiny(tmp_path / "data", levels=[900, 7000])
    assert trained.bundle.contents.preprocess.levels == Levels(900, 7000)


def test_8_bit_data_has_no_levels(world: World) -> None:
    assert world.trained.bundle.contents.preprocess.levels is None


@pytest.mark.parametrize("fit", list(Fit))
def test_every_fit_teaches_and_judges(train_tiny: Train, parts: Write, tmp_path: Path, fit: Fit) -> None:
    size = [32, 32] if fit is Fit.TILES else [64, 64]
    trained = train_tiny(parts(20), fit=fit.value, size=size)
    assert trained.bundle.contents.preprocess.fit is fit
    inspector = Inspector.open(tmp_path / "run" / "model.flaw", threads=1)
    good = [inspector(path) for path in parts(10, folder=tmp_path / "more", start=300).iterdir()]
    flawed = [inspector(255 - read(Path(one.path)).pixels) for one in good]
    assert np.median([one.score or 0 for one in flawed]) > max(one.score or 0 for one in good)


def test_an_ignored_place_teaches_and_says_nothing(train_tiny: Train, parts: Write, tmp_path: Path) -> None:
    ignore = tmp_path / "ignore.json"
    ignore.write_text(json.dumps([[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]]), encoding="utf-8")
    data = parts(24)
    plain = train_tiny(data, ignore=str(ignore), out=tmp_path / "plain").bundle.contents
    rng = np.random.default_rng(0)
    for path in data.iterdir():
        pixels = read(path).pixels.copy()
        pixels[:, :32] = rng.integers(0, 256, pixels[:, :32].shape, dtype=np.uint8)
        path.write_bytes(encode(pixels, ".png"))
    noisy = train_tiny(data, ignore=str(ignore), out=tmp_path / "noisy").bundle.contents
    assert noisy.graph == plain.graph and noisy.scene == plain.scene
    assert noisy.calibration.to_json()["scores"] == plain.calibration.to_json()["scores"]


# --- names and configuration -------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses such names")
def test_hostile_names_do_no_harm(train_tiny: Train, parts: Write, mixed: Write, tmp_path: Path) -> None:
    data = tmp_path / "data <b>&"
    parts(22, folder=data / "train/good")
    mixed(4, 2, folder=data / "test", start=700)
    names = ["<script>alert(1)<b>.png", "\"quoted\" 'x'.png", "line\nbreak.png", "\u202eright.png"]
    if sys.platform != "darwin":
        names.append(os.fsdecode(b"no\xfftext.png"))
    for name, folder in zip(names * 2, ["train/good"] * len(names) + ["test/good"] * len(names), strict=True):
        source = data / folder / ("part_020.png" if folder.startswith("train") else "part_703.png")
        content = bytearray(source.read_bytes())
        safe = digest.of_bytes(name.encode(errors="surrogatepass") + folder.encode())
        note = b"tEXt" + b"n\0" + safe.encode()  # other content, the same pixels
        chunk = (len(note) - 4).to_bytes(4, "big") + note + zlib.crc32(note).to_bytes(4, "big")
        end = content.rindex(b"IEND") - 4
        (data / folder / name).write_bytes(bytes(content[:end] + chunk + content[end:]))
    train_tiny(data)
    out = tmp_path / "evaluation"
    flawscope.evaluate(tmp_path / "run" / "model.flaw", data, out=out, threads=1)
    for page in (tmp_path / "run" / "report.html", out / "report.html"):
        text = page.read_bytes().decode("utf-8")
        assert "<script>alert" not in text and "<b>&" not in text
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert {Path(sample["path"]).name for sample in report["samples"]} >= set(names)


def test_configuration_files_are_read_with_a_mark_in_front(tmp_path: Path) -> None:
    for name, text in (("a.toml", 'method = "padim"\n'), ("a.yaml", "method: padim\n")):
        path = tmp_path / name
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert read_settings(path) == {"method": "padim"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.toml", "method = ", "not well formed"),
        ("a.yaml", "a: [1", "not well formed"),
        ("a.yaml", "- 1\n", "holds no settings"),
        ("a.ini", "", "no known ending"),
        ("a.toml", "\udcff", "cannot be read"),
    ],
)
def test_a_broken_configuration_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=said) as caught:
        read_settings(path)
    assert name in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed here")
def test_a_network_without_its_extra_is_explained_before_any_work(chips_folder, tmp_path):
    with pytest.raises(MissingExtraError, match="Teaching stfpm needs torch") as caught:
        flawscope.train(chips_folder, out=tmp_path / "run", settings={"method": "stfpm"})
    assert 'pip install "flawscope[train]"' in caught.value.remedy
    assert not (tmp_path / "run").exists()
