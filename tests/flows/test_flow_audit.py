"""Every kind of fault planted among drawn chips is found, and chips as they are give no error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from flawscope.core.digest import of_file
from flawscope.core.errors import UsageError
from flawscope.core.types import GOOD, Role, Sample
from flawscope.data.audit.findings import Audit, Severity, concerned
from flawscope.data.layouts import Dataset, read_dataset
from flawscope.data.manifest import read_manifest
from flawscope.flows.audit import audit, audit_dataset, write_audit, write_fixed
from flawscope.flows.audit_reading import AuditSettings, settings_of
from flawscope.synth.write import write_chips

Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 good chips to teach from, 16 good and 16 bad ones under test/. 128x96."""
    folder = tmp_path_factory.mktemp("audit") / "chips"
    write_chips(folder, good=48, bad=16, size_wh=(128, 96), seed=0)
    return folder


@pytest.fixture(scope="module")
def clean(chips: Path) -> Audit:
    """The audit of the chips as they are drawn."""
    return audit(chips)


@pytest.fixture(scope="module")
def spoilt(chips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Audit, dict[str, set[str]]]:
    """The chips with a fault of every kind, the audit of them, and what was planted."""
    folder = tmp_path_factory.mktemp("spoilt") / "chips"
    shutil.copytree(chips, folder)
    dataset = read_dataset(folder, group_by=r"(?P<group>lot[A-Z]\d+)")
    samples = {sample.id: sample for sample in dataset.samples}
    good = sorted(name for name in samples if name.startswith("train/good"))
    bad = sorted(name for name, sample in samples.items() if sample.is_bad)
    planted: dict[str, set[str]] = {}

    def change(kind: str, name: str, how: Change) -> None:
        path = folder / name
        pixels = cv2.imread(str(path))
        cv2.imwrite(str(path), how(np.asarray(pixels)))
        planted.setdefault(kind, set()).add(name)

    change("lighting", good[0], lambda p: np.clip(p * 0.45, 0, 255).astype(np.uint8))
    change("focus", good[1], lambda p: cv2.GaussianBlur(p, (0, 0), 1.5))
    change("size_mix", good[2], lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    change("depth_mix", good[3], lambda p: cv2.cvtColor(p, cv2.COLOR_BGR2GRAY))
    change("framing", good[4], _moved)
    (folder / good[5]).write_bytes((folder / good[5]).read_bytes()[:900])
    planted["broken_file"] = {good[5]}
    for source, kind, name in (
        (good[8], "exact_copy", "train/good/again.png"),
        (good[9], "leak_copy", "test/good/leak.png"),
    ):
        shutil.copyfile(folder / source, folder / name)
        planted[kind] = {name, source}
        samples[name] = replace(samples[source], id=name, path=str(folder / name), group="")
    samples["test/good/leak.png"] = replace(samples["test/good/leak.png"], role=Role.TEST)
    cv2.imwrite(str(folder / "train/good/near.jpg"), cv2.imread(str(folder / good[10])))
    samples["train/good/near.jpg"] = replace(
        samples[good[10]], id="train/good/near.jpg", path=str(folder / "train/good/near.jpg"), group=""
    )
    planted["near_copy"] = {"train/good/near.jpg", good[10]}
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    stripes = np.repeat(np.indices((96, 128)).sum(0)[..., None] % 16 * 16, 3, axis=2).astype(np.uint8)
    cv2.imwrite(str(folder / "train/good/stranger.png"), stripes // 2 + noise // 2)
    samples["train/good/stranger.png"] = Sample(
        "train/good/stranger.png", str(folder / "train/good/stranger.png"), GOOD
    )
    planted["stranger"] = {"train/good/stranger.png"}
    mask = samples[bad[0]].mask_path
    assert mask is not None
    cv2.imwrite(mask, np.zeros((10, 10), np.uint8))
    planted["mask_misfit"] = {bad[0]}
    samples[good[20]] = replace(samples[good[20]], part="P1")
    test_good = sorted(name for name in samples if name.startswith("test/good/lot"))
    samples[test_good[0]] = replace(samples[test_good[0]], part="P1")
    planted["leak_part"] = {good[20], test_good[0]}
    samples[test_good[1]] = replace(samples[test_good[1]], group=samples[good[30]].group)
    planted["leak_group"] = {test_good[1]}
    return folder, audit_dataset(replace(dataset, samples=tuple(samples.values()))), planted


def _moved(pixels: np.ndarray) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D((64, 48), 9, 1.0)
    matrix[0, 2] += 14
    return np.asarray(cv2.warpAffine(pixels, matrix, (128, 96), borderMode=cv2.BORDER_REPLICATE))


def test_chips_as_they_are_give_no_error(clean: Audit) -> None:
    assert clean.counts()[Severity.ERROR] == 0
    assert len(clean.samples) == 80 and all(sample.sha256 for sample in clean.samples)
    named = {name for finding in clean.findings for name in finding.samples[:1]}
    assert len(named) <= 4  # of 80 that are drawn with all their variety
    assert not {finding.kind for finding in clean.findings} & {"lighting", "focus", "exact_copy", "size_mix"}


@pytest.mark.parametrize(
    "kind",
    [
        "lighting", "focus", "size_mix", "depth_mix", "framing", "broken_file", "exact_copy", "leak_copy",
        "near_copy", "stranger", "mask_misfit", "leak_part", "leak_group",
    ],
)  # fmt: skip
def test_each_kind_is_found_where_it_was_planted(
    spoilt: tuple[Path, Audit, dict[str, set[str]]], kind: str
) -> None:
    _, found, planted = spoilt
    named = concerned(found.findings, kind)
    assert named & planted[kind], [finding.words for finding in found.of_kind(kind)]
    if kind in ("focus", "size_mix", "depth_mix", "broken_file", "exact_copy", "mask_misfit", "leak_part"):
        assert named <= planted[kind]


def test_faults_are_told_apart(spoilt: tuple[Path, Audit, dict[str, set[str]]]) -> None:
    _, found, planted = spoilt
    scene = ("lighting", "focus", "framing", "stranger", "layout")
    for kind in ("lighting", "focus", "stranger"):
        for other in scene:
            if other != kind:
                assert not concerned(found.findings, other) & planted[kind], (kind, other)
    flawed = {sample.id for sample in found.samples if sample.is_bad}
    assert not concerned(found.findings, "lighting") & flawed  # a flaw is not another light


def test_wrong_labels_come_first_among_the_suspects(chips: Path, tiny_dark: Dataset) -> None:
    found = audit_dataset(tiny_dark)
    suspects = [finding.samples[0] for finding in found.of_kind("suspect_label")]
    assert suspects and suspects[0] == "good/wrong.png"


@pytest.fixture()
def tiny_dark(tmp_path: Path) -> Dataset:
    """30 plain and 30 plainly blotted pictures, one of each labelled as the other."""
    samples = []
    for i in range(60):
        rng = np.random.default_rng(i)
        pixels = np.clip(rng.normal(128, 6, (64, 64)), 0, 255).astype(np.uint8)
        bad = i >= 30
        if bad or i == 0:
            cv2.circle(pixels, (int(rng.integers(16, 48)), int(rng.integers(16, 48))), 9, 20, -1)
        name = "good/wrong.png" if i == 0 else f"{'blot' if bad else 'good'}/{i:02d}.png"
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), pixels)
        samples.append(Sample(name, str(path), "blot" if bad else GOOD))
    return Dataset(tmp_path, "class_folders", tuple(samples))


def test_too_few_parts_are_said_for_the_alpha_asked_for(chips: Path) -> None:
    (finding,) = audit(chips, settings=AuditSettings(alpha=0.01)).of_kind("few_parts")
    assert finding.numbers == {"parts": 48, "needed": 99}
    with pytest.raises(UsageError):
        AuditSettings(alpha=0)


def test_fix_writes_a_manifest_and_touches_no_file(
    spoilt: tuple[Path, Audit, dict[str, set[str]]], tmp_path: Path
) -> None:
    folder, found, planted = spoilt
    before = _digests(folder)
    made = write_fixed(found, tmp_path)
    write_audit(found, tmp_path)
    assert _digests(folder) == before
    kept = {sample.id: sample for sample in read_manifest(made.manifest)}
    assert len(kept) == made.kept
    assert not set(kept) & planted["broken_file"]
    assert len(set(kept) & planted["exact_copy"]) == 1
    (fit, test) = sorted(planted["leak_part"], reverse=True)
    assert kept[fit].role == kept[test].role
    again = audit(made.manifest)
    assert again.counts()[Severity.ERROR] == 0, [f.words for f in again.findings]
    listed = made.changes_csv.read_text(encoding="utf-8")
    assert all(
        change.sample_id in listed and change.why in listed.replace('""', '"') for change in made.changes
    )


def test_the_page_shows_the_pictures_and_reaches_for_nothing(
    spoilt: tuple[Path, Audit, dict[str, set[str]]], tmp_path: Path
) -> None:
    _, found, planted = spoilt
    page = write_audit(found, tmp_path).read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/jpeg;base64,") > 10
    for names in planted.values():
        assert any(name in page for name in names)
    values = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert values["images"] == len(found.samples) and len(values["findings"]) == len(found.findings)
    lines = (tmp_path / "audit.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(found.findings) + 1


def test_settings_are_read_from_the_ids() -> None:
    samples = [Sample(name, name, GOOD) for name in ("a_exp1.png", "b_exp2.png", "c.png")]
    assert settings_of(samples, r"exp(\d)") == ("1", "2", "")
    assert settings_of(samples, "") == ("", "", "")
    with pytest.raises(UsageError, match="matches no image"):
        settings_of(samples, "day")
    with pytest.raises(UsageError, match="no regular expression"):
        settings_of(samples, "(")


def test_the_same_facts_whatever_the_number_of_threads(chips: Path, clean: Audit) -> None:
    other = audit(chips, settings=AuditSettings(workers=1))
    assert [finding.to_json() for finding in other.findings] == [f.to_json() for f in clean.findings]


def _digests(folder: Path) -> dict[str, str]:
    return {path.as_posix(): of_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_part_lying_the_other_way_is_no_light_and_no_blur(chips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "chips"
    shutil.copytree(chips, folder)
    turned = sorted((folder / "train" / "good").iterdir())[7]
    cv2.imwrite(str(turned), np.asarray(cv2.imread(str(turned)))[::-1, ::-1])
    found = audit(folder)
    name = f"train/good/{turned.name}"
    named = {finding.kind for finding in found.findings if finding.samples[:1] == (name,)}
    assert named & {"layout", "stranger"} and not named & {"lighting", "focus", "framing"}


@pytest.mark.real
def test_a_fifth_more_or_less_light_is_seen_among_real_tiles(magnetic_tiles: Path, tmp_path: Path) -> None:
    """Tiles differ and were taken at six exposures; their like tells a change of 20 % even so."""
    parts: dict[str, list[Sample]] = {}
    for sample in read_dataset(magnetic_tiles).samples:
        parts.setdefault(sample.part, []).append(sample)
    taken = [members for members in parts.values() if len(members) == 6][:20]
    samples, lit = [], set()
    for number, members in enumerate(taken):
        for place, sample in enumerate(members):
            if place == number % 6 and number % 3 == 0:
                pixels = np.asarray(cv2.imread(sample.path)) * (0.8 if number % 2 else 1.2)
                path = tmp_path / sample.id.replace("/", "_")
                cv2.imwrite(str(path), np.clip(pixels, 0, 255).astype(np.uint8))
                sample = replace(sample, path=str(path), mask_path=None)
                lit.add(sample.id)
            samples.append(sample)
    dataset = Dataset(tmp_path, "magnetic_tile", tuple(samples))
    found = audit_dataset(dataset, settings=AuditSettings(setting=r"(exp\d)"))
    named = concerned(found.findings, "lighting")
    assert len(named & lit) >= 0.8 * len(lit) and len(named - lit) <= 2
    assert not concerned(found.findings, "focus")
