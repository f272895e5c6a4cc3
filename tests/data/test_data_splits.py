"""Splits: every sample dealt with once, nothing joined torn apart, the order of no matter, shares kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flawscope.core.errors import DataError, LeakError, UsageError
from flawscope.core.types import Role, Sample
from flawscope.data.layouts import read_dataset
from flawscope.data.leaks import check_leaks
from flawscope.data.splits import (
    SplitPlan,
    as_given,
    assign_roles,
    by_role,
    folds,
    parse_resplit,
    plan_for,
)

PLAN = SplitPlan(70, 10, 20)


def joined(one: Sample, other: Sample) -> bool:
    """Say whether two samples must share a role, by the plainest reading of the rule."""
    if one.sha256 and one.sha256 == other.sha256:
        return True
    if one.product != other.product:
        return False
    return bool(one.part and one.part == other.part) or bool(one.group and one.group == other.group)


def components(samples: list[Sample]) -> list[set[str]]:
    """Join by brute force: merge until nothing changes."""
    sets = [{sample.id} for sample in samples]
    by_id = {sample.id: sample for sample in samples}
    changed = True
    while changed:
        changed = False
        for one, other in combinations(sets, 2):
            if any(joined(by_id[a], by_id[b]) for a in one for b in other):
                one |= other
                sets.remove(other)
                changed = True
                break
    return sets


@st.composite
def sample_lists(draw: st.DrawFn) -> list[Sample]:
    n = draw(st.integers(1, 24))
    few = st.sampled_from(["", "", "", "1", "2", "3"])
    return [
        Sample(
            id=f"{i:02}",
            path=f"{i:02}.png",
            label=draw(st.sampled_from(["good", "good", "good", "crack", "dent", None])),
            sha256=draw(st.sampled_from(["", "", "a", "b"])),
            product=draw(st.sampled_from(["p", "q"])),
            part=draw(few),
            group=draw(few),
        )
        for i in range(n)
    ]


@settings(deadline=None, max_examples=60)
@given(sample_lists(), st.booleans(), st.sampled_from([0.0, 0.3]), st.randoms(use_true_random=False))
def test_partition_no_straddling_and_order(
    samples: list[Sample], supervised: bool, calibrate: float, random: object
) -> None:
    plan = replace(PLAN, calibrate_share=calibrate, seed=3)
    try:
        split = assign_roles(samples, plan, supervised=supervised)
    except DataError:
        assume(False)
        raise
    assert [replace(s, role=None) for s in split.samples] == samples
    roles = {s.id: s.role for s in split.samples}
    for component in components(samples):
        assert len({roles[key] for key in component} - {None}) <= 1
    for sample in split.samples:
        if sample.label is None:
            assert sample.role is None
        elif sample.is_good:
            assert sample.role is not None
        else:
            assert sample.role is not Role.CALIBRATE
            assert supervised or sample.role is not Role.FIT
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = assign_roles(shuffled, plan, supervised=supervised)
    assert again.digest == split.digest
    assert {s.id: s.role for s in again.samples} == roles


@settings(deadline=None, max_examples=60)
@given(
    st.integers(30, 120),
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(0, 5),
    st.sampled_from([0.0, 0.4]),
)
def test_shares_of_single_parts_are_within_two(
    good: int, crack: int, dent: int, seed: int, share: float
) -> None:
    labels = ["good"] * good + ["crack"] * crack + ["dent"] * dent
    samples = [Sample(str(i), f"{i}.png", label) for i, label in enumerate(labels)]
    counts = Counter(
        (s.role, s.label)
        for s in assign_roles(samples, replace(PLAN, calibrate_share=share, seed=seed)).samples
    )
    wished = {
        (Role.FIT, "good"): 0.7 * (1 - share) * good,
        (Role.CALIBRATE, "good"): 0.7 * share * good,
        (Role.SELECT, "good"): 0.1 * good,
        (Role.TEST, "good"): 0.2 * good,
        (Role.SELECT, "crack"): crack / 3,
        (Role.TEST, "crack"): crack * 2 / 3,
        (Role.SELECT, "dent"): dent / 3,
        (Role.TEST, "dent"): dent * 2 / 3,
    }
    assert set(counts) <= set(wished)
    assert all(abs(counts[key] - n) < 1.5 for key, n in wished.items())


def lots(n: int = 40, *, each: int = 6) -> list[Sample]:
    """Lots of `each` good parts, one bad among every third lot."""
    return [
        Sample(f"{lot}-{k}", f"{lot}-{k}.png", "crack" if k == 0 and lot % 3 == 0 else "good", group=str(lot))
        for lot in range(n)
        for k in range(each)
    ]


def test_shares_of_groups_are_near() -> None:
    samples = lots()
    counts = Counter((s.role, s.is_good) for s in assign_roles(samples, PLAN).samples)
    good = sum(s.is_good for s in samples)
    for role, share in ((Role.FIT, 0.7), (Role.SELECT, 0.1), (Role.TEST, 0.2)):
        assert abs(counts[role, True] / good - share) < 0.06
    assert counts[Role.TEST, False] >= 5


def test_lots_that_all_hold_a_defect_can_still_teach() -> None:
    samples = [replace(s, label="crack" if s.id.endswith("-0") else "good") for s in lots(12)]
    split = assign_roles(samples, PLAN)
    assert by_role(split, Role.FIT)
    aside = [s for s in split.samples if s.role is None]
    assert aside
    assert all(s.is_bad for s in aside)
    assert f"{len(aside)} defective images are set aside" in split.notes[0]
    supervised = assign_roles(samples, PLAN, supervised=True)
    assert any(s.is_bad for s in by_role(supervised, Role.FIT))
    assert all(s.role is not None for s in supervised.samples)


def test_another_seed_is_another_split() -> None:
    one, other = (assign_roles(lots(), replace(PLAN, seed=seed)) for seed in (0, 1))
    assert one.digest != other.digest


def test_digest_follows_id_content_and_role() -> None:
    samples = (Sample("1", "x", "good", sha256="a", role=Role.FIT), Sample("2", "y", "good", role=Role.TEST))
    base = as_given(samples).digest
    assert as_given(samples[::-1]).digest == base
    assert as_given([replace(samples[0], path="z", label="bad"), samples[1]]).digest == base
    for change in ({"id": "3"}, {"sha256": "b"}, {"role": Role.SELECT}, {"role": None}):
        assert as_given([replace(samples[0], **change), samples[1]]).digest != base  # type: ignore[arg-type]


def given_test() -> list[Sample]:
    teach = [Sample(f"train/{i}", "", "good") for i in range(20)]
    bad = [Sample(f"train/bad{i}", "", "crack") for i in range(4)]
    test = [Sample(f"test/{i}", "", "good" if i < 5 else "dent", role=Role.TEST) for i in range(10)]
    return [*teach, *bad, *test]


def test_given_test_is_kept_and_not_added_to() -> None:
    samples = given_test()
    split = assign_roles(samples, plan_for(samples))
    assert {s.id for s in by_role(split, Role.TEST)} == {s.id for s in samples if s.role is Role.TEST}
    assert {s.label for s in by_role(split, Role.FIT)} == {"good"}
    assert sum(s.is_bad for s in by_role(split, Role.SELECT)) == 4
    pooled = assign_roles(samples, PLAN, keep_test=False)
    assert {s.id for s in by_role(pooled, Role.TEST)} != {s.id for s in samples if s.role is Role.TEST}
    assert any(s.id.startswith("test/") for s in by_role(pooled, Role.FIT))


@pytest.mark.parametrize("change", [{"part": "7"}, {"group": "lot 7"}, {"sha256": "ab"}])
def test_a_given_test_that_hangs_together_with_others_is_refused(change: dict[str, str]) -> None:
    samples = [
        replace(s, **change) if s.id in {"train/3", "test/8"} else s  # type: ignore[arg-type]
        for s in given_test()
    ]
    with pytest.raises(LeakError, match=r"test/8.*train/3.*--resplit"):
        assign_roles(samples, PLAN)
    assert assign_roles(samples, PLAN, keep_test=False)


def test_usual_plans() -> None:
    good = [Sample(str(i), "", "good") for i in range(10)]
    split = assign_roles(good, plan_for(good))
    assert {s.role for s in split.samples} == {Role.FIT}
    calibrated = assign_roles(good, plan_for(good, calibrate_share=0.3))
    assert Counter(s.role for s in calibrated.samples) == {Role.FIT: 7, Role.CALIBRATE: 3}
    mixed = [*good, *(Sample(f"b{i}", "", "dent") for i in range(6))]
    assert Counter(s.role for s in assign_roles(mixed, plan_for(mixed)).samples if s.is_bad) == {
        Role.SELECT: 2,
        Role.TEST: 4,
    }


def test_nothing_to_teach_from() -> None:
    with pytest.raises(DataError, match="No good part is left"):
        assign_roles([Sample("1", "", "crack"), Sample("2", "", None)], PLAN)
    with pytest.raises(DataError, match="occurs 2 times"):
        assign_roles([Sample("1", "", "good")] * 2, PLAN)


def test_one_lot_cannot_be_split() -> None:
    split = assign_roles([Sample(str(i), "", "good", group="A") for i in range(9)], PLAN)
    assert {s.role for s in split.samples} == {Role.FIT}
    assert sum("No image became" in note for note in split.notes) == 2


def test_resplit_words() -> None:
    assert parse_resplit("70/20/10", seed=4) == SplitPlan(70, 20, 10, seed=4)
    assert parse_resplit("100/0/0").test == 0
    for text in ("70/20", "a/b/c", "50/20/10", "0/50/50", "120/-10/-10", "nan/0/0", ""):
        with pytest.raises(UsageError, match="is no split"):
            parse_resplit(text)


@settings(deadline=None, max_examples=60)
@given(sample_lists(), st.integers(1, 8), st.randoms(use_true_random=False))
def test_folds(samples: list[Sample], k: int, random: object) -> None:
    found = folds(samples, k, 5)
    whole = components(samples)
    assert sorted(i for fold in found for i in fold) == list(range(len(samples)))
    assert len(found) == min(k, len(whole))
    assert all(found)
    named = {frozenset(samples[i].id for i in fold) for fold in found}
    assert all(sum(not fold.isdisjoint(component) for fold in named) == 1 for component in whole)
    assert max(map(len, found)) - min(map(len, found)) <= max(map(len, whole))
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert {frozenset(shuffled[i].id for i in fold) for fold in folds(shuffled, k, 5)} == named


@pytest.mark.real
def test_real_tiles_are_split_by_tile(magnetic_tiles: Path) -> None:
    samples = read_dataset(magnetic_tiles).samples
    split = assign_roles(samples, plan_for(samples, calibrate_share=0.3))
    assert check_leaks(split.samples, look=False) == ()
    good = [s for s in split.samples if s.is_good]
    assert abs(sum(s.role is Role.TEST for s in good) / len(good) - 0.2) < 0.02
    bad = [s for s in split.samples if s.is_bad]
    assert sum(s.role is None for s in bad) < 0.1 * len(bad)
