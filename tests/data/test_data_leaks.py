"""Planted leaks are found: copies, parts, lots, re-encoded photographs, and what a bundle has seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from flawscope.core import digest
from flawscope.core.errors import DataError, LeakError
from flawscope.core.types import Role, Sample
from flawscope.data.leaks import Seen, check_leaks, refuse_seen
from flawscope.data.near import near_duplicates


def sample(name: str, role: Role | None, **known: str) -> Sample:
    return Sample(**{"id": name, "path": name, "label": "good", "role": role, "sha256": name * 8, **known})  # type: ignore[arg-type]


@pytest.mark.parametrize("known", [{"sha256": "ab"}, {"part": "7"}, {"group": "lot 7"}])
def test_the_same_in_two_roles_is_refused(known: dict[str, str]) -> None:
    leak = [sample("a", Role.FIT, **known), sample("b", Role.SELECT), sample("c", Role.TEST, **known)]
    with pytest.raises(LeakError, match=r"a and c are .* in two roles.*FIT and TEST"):
        check_leaks(leak, look=False)
    fine = [replace(s, role=s.role and Role.FIT) for s in leak]
    assert len(check_leaks(fine, look=False)) == ("sha256" in known)
    assert check_leaks([replace(leak[0], role=None), *leak[1:]], look=False) == ()
    if "sha256" not in known:  # part 7 of another product is another part
        assert check_leaks([replace(leak[0], product="p"), *leak[1:]], look=False) == ()


def test_one_content_with_two_labels_is_refused() -> None:
    samples = [sample("a", None, sha256="ab"), sample("b", None, sha256="ab", label="crack")]
    with pytest.raises(DataError, match=r"a and b.*two labels.*good and crack"):
        check_leaks(samples, look=False)


def texture(seed: int, *, common: float = 6.0) -> np.ndarray:
    """One product's photograph: much that all have in common, and fine grain and blotches of its own."""
    size = (96, 128)
    shared, own = np.random.default_rng(0), np.random.default_rng(1000 + seed)
    picture = common * cv2.GaussianBlur(shared.normal(size=size), None, 9)
    picture += cv2.GaussianBlur(own.normal(size=size), None, 4)
    scaled = 128 + 60 * picture / np.abs(picture).max() + own.normal(0, 2, size)
    return np.clip(scaled, 0, 255).astype(np.uint8)


def write(path: Path, pixels: np.ndarray, role: Role, *, quality: int = 95) -> Sample:
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else []
    done, content = cv2.imencode(path.suffix, pixels, settings)
    assert done
    path.write_bytes(content.tobytes())
    return Sample(path.name, path.as_posix(), "good", sha256=digest.of_file(path), role=role)


@pytest.fixture
def product(tmp_path: Path) -> list[Sample]:
    return [write(tmp_path / f"{i}.png", texture(i), Role.FIT if i < 30 else Role.TEST) for i in range(40)]


def test_different_photographs_of_one_product_are_no_copies(product: list[Sample]) -> None:
    assert check_leaks(product, strict=True) == ()


@pytest.mark.parametrize("kind", ["encoded", "scaled", "exposed", "noisy"])
def test_copies_in_disguise_are_found(product: list[Sample], tmp_path: Path, kind: str) -> None:
    pixels = texture(3)
    disguised = {
        "encoded": pixels,
        "scaled": cv2.resize(pixels, (90, 68), interpolation=cv2.INTER_AREA),
        "exposed": cv2.convertScaleAbs(pixels, alpha=0.7, beta=15),
        "noisy": cv2.add(pixels, np.random.default_rng(0).integers(0, 8, pixels.shape, np.uint8)),
    }
    name = tmp_path / ("copy.jpg" if kind == "encoded" else "copy.png")
    copy = write(name, disguised[kind], Role.TEST, quality=40)
    warnings = check_leaks([*product, copy])
    assert len(warnings) == 1
    assert "3.png (FIT)" in warnings[0]
    assert f"{copy.id} (TEST)" in warnings[0]
    with pytest.raises(LeakError, match="near-duplicates stand in two roles"):
        check_leaks([*product, copy], strict=True)
    assert check_leaks([*product, replace(copy, role=Role.FIT)], strict=True) == ()


def test_the_search_by_buckets_finds_what_comparing_all_finds(product: list[Sample], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    copies = [
        write(
            tmp_path / f"copy{i}.png", cv2.add(texture(i), rng.integers(0, 4, (96, 128), np.uint8)), Role.TEST
        )
        for i in range(0, 30, 2)
    ]
    samples = [*product, *copies]
    pairs, unread = near_duplicates(samples, [str(s.role) for s in samples])
    small = np.stack(
        [
            cv2.resize(
                cv2.imread(s.path, cv2.IMREAD_GRAYSCALE), (32, 32), interpolation=cv2.INTER_AREA
            ).ravel()
            for s in samples
        ]
    ).astype(np.float64)
    small = (small - small.mean(1, keepdims=True)) / small.std(1, keepdims=True)
    correlation = np.corrcoef(small - np.median(small, axis=0))
    every = {
        (i, j)
        for i in range(len(samples))
        for j in range(i + 1, len(samples))
        if correlation[i, j] >= 0.96 and samples[i].role is not samples[j].role
    }
    assert len(every) == 15
    assert set(pairs) == every
    assert unread == []


def test_few_blank_and_unreadable_images(tmp_path: Path) -> None:
    blank = np.full((40, 40), 90, np.uint8)
    samples = [
        write(tmp_path / "1.png", blank, Role.FIT),
        write(tmp_path / "2.png", blank + 1, Role.TEST),
        write(tmp_path / "3.png", texture(1), Role.FIT),
        write(tmp_path / "4.png", texture(2), Role.TEST),
        write(tmp_path / "5.jpg", texture(1), Role.TEST),
    ]
    (tmp_path / "6.png").write_bytes(b"no image")
    samples.append(replace(samples[0], id="6.png", path=(tmp_path / "6.png").as_posix(), sha256="6"))
    warnings = check_leaks(samples)
    assert [warning.split()[0] for warning in warnings] == ["3.png", "1"]
    assert "5.jpg (TEST)" in warnings[0]
    assert "could not be read" in warnings[1]


def test_many_warnings_are_shortened() -> None:
    samples = [sample(str(i), Role.FIT, sha256="ab") for i in range(50)]
    warnings = check_leaks(samples, look=False)
    assert len(warnings) == 21
    assert "29 more" in warnings[-1]


def test_seen() -> None:
    taught = [
        sample("train/000.png", Role.FIT, part="S1", group="lot 1"),
        sample("train/001.png", Role.CALIBRATE),
        sample("train/002.png", Role.SELECT, group="lot 2", product="q"),
        sample("test/000.png", Role.TEST, part="S9"),
    ]
    seen = Seen.of(taught)
    assert Seen.from_json(json.loads(json.dumps(seen.to_json()))) == seen
    refuse_seen([taught[3]], seen)
    refuse_seen([sample("train/001.png", None, sha256="other")], seen)  # a name that occurs everywhere
    refuse_seen([sample("x", None, group="lot 2")], seen)  # of another product
    refuse_seen([sample("S1", None, sha256="other")], seen)  # a file's name is not a part's name
    fresh = sample("fresh", Role.TEST, part="S2", group="lot 3")
    for leak, reason in (
        (sample("x", Role.TEST, sha256=taught[1].sha256), "its content served as CALIBRATE"),
        (sample("x", Role.TEST, part="S1"), "its part S1 served as FIT"),
        (sample("x", None, group="lot 1"), "its group lot 1 served as FIT"),
    ):
        with pytest.raises(LeakError, match=f"1 of 2 test images were seen.*x: {reason}"):
            refuse_seen([fresh, leak], seen)


def test_seen_needs_digests_and_an_old_enough_form() -> None:
    bare = sample("a", Role.FIT, sha256="")
    with pytest.raises(ValueError, match="no digest"):
        Seen.of([bare])
    with pytest.raises(ValueError, match="no digest"):
        refuse_seen([bare], Seen.of([]))
    with pytest.raises(DataError, match="newer flawscope"):
        Seen.from_json({**Seen.of([]).to_json(), "version": 2})


@pytest.mark.real
def test_real_tiles_at_two_exposures_are_near_duplicates(magnetic_tiles: Path) -> None:
    place = magnetic_tiles / "MT_Free" / "Imgs"
    names = [*sorted(place.glob("*.jpg"))[:100], place / "exp1_num_53011.jpg", place / "exp6_num_65067.jpg"]
    samples = [Sample(p.name, p.as_posix(), "good") for p in dict.fromkeys(names)]
    pairs, _ = near_duplicates(samples, [s.id for s in samples])
    found = {frozenset((samples[i].id, samples[j].id)) for i, j in pairs}
    assert frozenset(("exp1_num_53011.jpg", "exp6_num_65067.jpg")) in found
