"""Manifests come back as they were, and say which line is broken."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flawscope.core.errors import DataError
from flawscope.core.progress import Silent
from flawscope.core.types import Role, Sample
from flawscope.data.digests import with_digests
from flawscope.data.layouts import read_dataset
from flawscope.data.manifest import read_manifest, write_manifest

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\:"), min_size=1).filter(
    lambda name: name.strip(". ") == name and bool(name)
)


@st.composite
def sample_lists(draw: st.DrawFn) -> list[tuple[list[str], Sample]]:
    """Samples whose paths stand below (pieces given) the manifest's folder."""
    ids = draw(
        st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True, max_size=6)
    )
    return [
        (
            draw(st.lists(NAME, min_size=1, max_size=3)),
            Sample(
                id=key,
                path="",
                label=draw(st.none() | TEXT),
                sha256=draw(st.sampled_from(["", "ab" * 32])),
                product=draw(TEXT),
                mask_path=draw(st.none() | st.just("masks/1.png")),
                part=draw(TEXT),
                group=draw(TEXT),
                role=draw(st.none() | st.sampled_from(Role)),
            ),
        )
        for key in ids
    ]


@settings(deadline=None, max_examples=40)
@given(sample_lists(), st.booleans())
def test_round_trip(listed: list[tuple[list[str], Sample]], elsewhere: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        root = folder / "elsewhere" if elsewhere else folder
        samples = tuple(
            Sample(
                **{
                    **vars(sample),
                    "path": root.joinpath(*pieces).as_posix(),
                    "mask_path": sample.mask_path and (root / sample.mask_path).as_posix(),
                }
            )
            for pieces, sample in listed
        )
        path = folder / "out" / "manifest.jsonl" if elsewhere else folder / "manifest.jsonl"
        write_manifest(path, samples)
        assert read_manifest(path) == samples


def test_a_folder_moves_with_its_manifest(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "images").mkdir(parents=True)
    (old / "images" / "1.png").write_bytes(b"x")
    write_manifest(old / "manifest.jsonl", [Sample("1", (old / "images" / "1.png").as_posix(), "good")])
    old.rename(new)
    assert read_manifest(new / "manifest.jsonl")[0].path == (new / "images" / "1.png").as_posix()


def test_a_folder_with_a_manifest_is_read_by_it(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"x")
    samples = (Sample("one", (tmp_path / "1.png").as_posix(), "good", role=Role.CALIBRATE),)
    write_manifest(tmp_path / "manifest.jsonl", samples)
    assert read_dataset(tmp_path).samples == samples
    assert read_dataset(tmp_path / "manifest.jsonl").samples == samples
    assert read_dataset(tmp_path).layout == read_dataset(tmp_path / "manifest.jsonl").layout == "manifest"


GOOD_LINE = '{"id": "1", "path": "1.png", "label": "good"}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"flawscope_manifest": 2}\n', "newer flawscope.*version 2.*Update"),
        ('{"flawscope_manifest": "x"}\n', "line 1 has no version"),
        ("", "is no manifest"),
        (GOOD_LINE + "\n", "is no manifest"),
        ('{"flawscope_manifest": 1}\n' + GOOD_LINE + "\n{oops\n", "line 3 is no JSON"),
        ('{"flawscope_manifest": 1}\n[1]\n', "line 2 does not fit"),
        ('{"flawscope_manifest": 1}\n{"id": "1"}\n', "line 2 does not fit"),
        ('{"flawscope_manifest": 1}\n{"id": 1, "path": "1.png", "label": "good"}\n', "texts only"),
        ('{"flawscope_manifest": 1}\n' + GOOD_LINE[:-1] + ', "role": "train"}\n', "unknown role"),
        ('{"flawscope_manifest": 1}\n' + GOOD_LINE[:-1] + ', "lot": "A"}\n', "unknown fields.*lot"),
        ('{"flawscope_manifest": 1}\n' + GOOD_LINE + "\n\n" + GOOD_LINE, "line 4 repeats.*line 2"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=f"(?s){message}"):
        read_manifest(path)


def test_digests_keep_the_order_and_notice_changes(tmp_path: Path) -> None:
    samples = []
    for i in range(20):
        path = tmp_path / f"{i}.bin"
        path.write_bytes(bytes([i]) * (1 + (i * 37) % 11) * 1000)
        samples.append(Sample(str(i), path.as_posix(), None))
    hashed = with_digests(samples, progress=Silent())
    assert [s.id for s in hashed] == [s.id for s in samples]
    assert [s.sha256 for s in hashed] == [
        hashlib.sha256(Path(s.path).read_bytes()).hexdigest() for s in samples
    ]
    assert with_digests(hashed, progress=Silent()) == hashed
    (tmp_path / "3.bin").write_bytes(b"other")
    with pytest.raises(DataError, match="has changed"):
        with_digests(hashed, progress=Silent())
    (tmp_path / "3.bin").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        with_digests(samples, progress=Silent())
