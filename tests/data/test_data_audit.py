"""Kinds of findings over measured facts: residuals, copies, labels, fixing; each rule by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flawscope.core.types import GOOD, Image, Role, Sample
from flawscope.data.audit.copies import agreement_of
from flawscope.data.audit.find import TOLD_FIRST, all_kinds
from flawscope.data.audit.findings import Action, Finding, Remedy, Severity
from flawscope.data.audit.fixing import fixed
from flawscope.data.audit.looking import look_at, look_at_mask, part_of, sharpness
from flawscope.data.audit.registry import Kinds, kinds
from flawscope.data.audit.usual import Peers, mad, residuals


def _textured(seed: int, size_hw: tuple[int, int] = (96, 128)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = cv2.GaussianBlur(rng.normal(size=size_hw).astype(np.float32), (0, 0), 3) * 200
    fine = rng.normal(size=size_hw) * 4
    return np.clip(120 + coarse + fine, 0, 255).astype(np.uint8)


def _rgb(grey: np.ndarray) -> Image:
    return Image(np.repeat(grey[..., None], 3, axis=2))


def _peers(count: int, kin: dict[int, list[int]] | None = None) -> Peers:
    rows = tuple(np.array((kin or {}).get(row, []), int) for row in range(count))
    return Peers(np.zeros(count, int), rows, np.full(count, -1))


def test_every_kind_is_in_the_table_once_and_told_in_a_stated_order() -> None:
    assert {kind.name for kind in kinds} == set(TOLD_FIRST)
    assert [kind.name for kind in all_kinds()] == list(TOLD_FIRST)
    table = Kinds()
    table.register("new", title="New", meaning="A new kind.")(lambda measured: [])
    with pytest.raises(ValueError, match="registered already"):
        table.register("new", title="", meaning="")(lambda measured: [])
    assert len(table) == 1 and table["new"].title == "New"


@given(gain=st.floats(0.5, 1.8), seed=st.integers(0, 50))
def test_sharpness_does_not_follow_the_light_but_the_blur(gain: float, seed: int) -> None:
    grey = np.clip(_textured(seed) * 0.5, 0, 140)
    plain = sharpness(grey.astype(np.uint8))
    lit = sharpness(np.clip(grey * gain, 0, 255).astype(np.uint8))
    blurred = sharpness(cv2.GaussianBlur(grey.astype(np.uint8), (0, 0), 1.5))
    assert abs(lit - plain) < 0.15
    assert blurred < plain - 0.3


def test_a_look_tells_grey_from_colour_and_light_from_dark() -> None:
    grey = _textured(1)
    look, small = look_at(_rgb(grey), bits=8)
    assert not look.colour and look.size_hw == (96, 128) and small.shape == (64, 64)
    brighter, _ = look_at(_rgb(np.clip(grey * 1.2, 0, 255).astype(np.uint8)), bits=8)
    assert brighter.light_log - look.light_log == pytest.approx(np.log(1.2), abs=0.02)
    tinted = np.repeat(grey[..., None], 3, axis=2)
    tinted[..., 0] = np.clip(tinted[..., 0] * 1.15, 0, 255)
    red, _ = look_at(Image(tinted), bits=8)
    assert red.colour and red.red_log > 0.1


@given(st.lists(st.floats(-1, 1), min_size=12, max_size=40), st.floats(-5, 5))
def test_residuals_do_not_depend_on_what_all_share(values: list[float], offset: float) -> None:
    found = residuals(np.array(values), _peers(len(values)))
    moved = residuals(np.array(values) + offset, _peers(len(values)))
    np.testing.assert_allclose(found.values, moved.values, atol=1e-9)
    np.testing.assert_allclose(found.spread, moved.spread, atol=1e-9)


def test_kin_tell_what_is_usual_better_than_all_do() -> None:
    rng = np.random.default_rng(0)
    part = np.repeat(np.arange(20), 5)
    values = rng.normal(size=20)[part] + rng.normal(size=100) * 0.01
    values[3] += 0.2
    kin = {
        row: [other for other in range(100) if part[other] == part[row] and other != row]
        for row in range(100)
    }
    assert not residuals(values, _peers(100)).off(least=0.1)[3]
    off = residuals(values, _peers(100, kin)).off(least=0.1)
    assert np.flatnonzero(off).tolist() == [3]


def test_of_two_kin_one_may_be_the_odd_one() -> None:
    part = np.repeat(np.arange(20), 3)
    values = np.arange(20.0)[part]
    values[4] += 0.22
    kin = {
        row: [other for other in range(60) if part[other] == part[row] and other != row] for row in range(60)
    }
    off = residuals(values, _peers(60, kin)).off(least=0.1)
    assert np.flatnonzero(off).tolist() == [4]  # and not the two that were compared with it


def test_too_few_photographs_are_not_compared() -> None:
    found = residuals(np.array([0.0, 0.1, 5.0]), _peers(3))
    assert np.isnan(found.values).all() and not found.off(least=0.1).any()
    assert mad(np.zeros(0)) == 0.0


@pytest.mark.parametrize("how", ["resized", "recompressed", "brighter", "moved"])
def test_the_details_of_copies_agree_and_those_of_others_do_not(tmp_path: Path, how: str) -> None:
    grey, other = _textured(1), _textured(2)
    made = {
        "resized": cv2.resize(grey, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA),
        "recompressed": grey,
        "brighter": np.clip(grey * 1.1 + 4, 0, 255).astype(np.uint8),
        "moved": grey[2:, 2:],
    }[how]
    quality = [cv2.IMWRITE_JPEG_QUALITY, 60 if how == "recompressed" else 92]
    cv2.imwrite(str(tmp_path / "one.png"), grey)
    cv2.imwrite(str(tmp_path / "copy.jpg"), made, quality)
    cv2.imwrite(str(tmp_path / "other.png"), other)
    one = str(tmp_path / "one.png")
    assert agreement_of(one, str(tmp_path / "copy.jpg")) > 0.75
    assert agreement_of(one, str(tmp_path / "other.png")) < 0.4
    assert agreement_of(one, str(tmp_path / "absent.png")) == 0.0


def test_a_mask_beside_the_part_is_measured_as_such(tmp_path: Path) -> None:
    grey = np.full((96, 128), 30, np.uint8)
    cv2.rectangle(grey, (40, 30), (90, 70), 180, -1)
    image = _rgb(grey)
    part = part_of(image)
    assert part is not None and part[50, 60] and not part[5, 5]
    for name, place in (("on", (60, 50)), ("beside", (8, 8))):
        mask = cv2.circle(np.zeros((96, 128), np.uint8), place, 4, 255, -1)
        cv2.imwrite(str(tmp_path / f"{name}.png"), mask)
    assert look_at_mask(str(tmp_path / "on.png"), image).off_part_share == 0
    assert look_at_mask(str(tmp_path / "beside.png"), image).off_part_share == 1
    assert look_at_mask(str(tmp_path / "none.png"), image).fault
    assert part_of(_rgb(_textured(3))) is None  # no even rim, so no part is told apart


def _finding(kind: str, *remedies: Remedy) -> Finding:
    names = tuple(remedy.sample_id for remedy in remedies)
    return Finding(kind, Severity.ERROR, names, "words", "remedy", remedies=remedies)


def test_fixing_leaves_out_moves_and_drops_masks_but_keeps_the_test() -> None:
    samples = [Sample(name, f"{name}.png", GOOD, role=Role.FIT) for name in "abcde"]
    samples[3] = replace(samples[3], role=Role.TEST)
    samples[4] = replace(samples[4], label="scratch", mask_path="e_mask.png")
    kept, changes = fixed(
        samples,
        [
            _finding("leak_part", Remedy("a", Action.MOVE, Role.TEST), Remedy("b", Action.MOVE, Role.TEST)),
            _finding("broken_file", Remedy("b", Action.LEAVE_OUT)),
            _finding("lighting", Remedy("c", Action.LEAVE_OUT)),
            _finding("focus", Remedy("d", Action.LEAVE_OUT)),
            _finding("mask_misfit", Remedy("e", Action.DROP_MASK)),
        ],
    )
    assert [(sample.id, sample.role) for sample in kept] == [
        ("a", Role.TEST), ("d", Role.TEST), ("e", Role.FIT),
    ]  # fmt: skip
    assert kept[2].mask_path is None and kept[2].label == "scratch"
    assert [(change.sample_id, change.action) for change in changes] == [
        ("a", Action.MOVE), ("b", Action.LEAVE_OUT), ("c", Action.LEAVE_OUT), ("e", Action.DROP_MASK),
    ]  # fmt: skip


@given(st.lists(st.sampled_from("abcdef"), max_size=8))
def test_fixing_only_ever_loses_what_it_says(names: list[str]) -> None:
    samples = [Sample(name, name, GOOD) for name in "abcdef"]
    kept, changes = fixed(samples, [_finding("exact_copy", Remedy(name, Action.LEAVE_OUT)) for name in names])
    assert {sample.id for sample in kept} == set("abcdef") - set(names)
    assert {change.sample_id for change in changes} == set(names)
