"""Bundles: what is sealed comes back, and what was changed on the way is noticed and named."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flawscope import Inspector
from flawscope.core import digest
from flawscope.core.errors import BundleError
from flawscope.core.types import Area
from flawscope.runtime.bundle import VERSION, Bundle, Contents, open_bundle, seal

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "tiny.flaw"
MEMBERS = ("manifest.json", "graph.onnx", "calibration.json", "seen.json", "golden.npz", "card.md")


@pytest.fixture(scope="module")
def opened() -> Bundle:
    return open_bundle(GOLDEN)


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _write(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Write the golden bundle with a changed manifest."""
    members = _members(GOLDEN)
    manifest = json.loads(members["manifest.json"])
    change(manifest)
    return _write(path, members | {"manifest.json": json.dumps(manifest).encode()})


def _with_member(path: Path, name: str, content: bytes) -> Path:
    """Write the golden bundle with another member and the digest that belongs to it, as a forger would."""
    members = _members(GOLDEN) | {name: content}
    manifest = json.loads(members["manifest.json"])
    manifest["members"][name] = digest.of_bytes(content)
    return _write(path, members | {"manifest.json": json.dumps(manifest).encode()})


def _values(contents: Contents) -> dict[str, Any]:
    """Return contents as values that can be compared."""
    golden = contents.golden
    plain = {
        name: getattr(contents, name)
        for name in ("name", "method", "settings", "backbone", "graph", "card", "product", "min_area_px")
    }
    return plain | {
        "created": contents.created,
        "parent": contents.parent,
        "environment": contents.environment,
        "counts": dict(contents.counts),
        "preprocess": contents.preprocess.to_json(),
        "calibration": contents.calibration.to_json(),
        "seen": contents.seen.to_json(),
        "scene": contents.scene,
        "golden": (golden.pixels.tolist(), golden.content_xyxy.tolist(), golden.score, golden.peak),
    }


def test_what_is_sealed_comes_back(tmp_path: Path, opened: Bundle) -> None:
    area = Area(np.arange(35).reshape(5, 7) % 3 > 0)
    contents = replace(
        opened.contents,
        name="Teil \u00e4 \udcff",  # a folder's name may hold bytes that are no text
        product="plate",
        min_area_px=12,
        parent="0123456789ab",
        preprocess=replace(opened.contents.preprocess, area=area),
        calibration=replace(opened.contents.calibration, limit_ng=1 / 3, limit_reason="by hand"),
    )
    sealed = seal(tmp_path / "new" / "model.flaw", contents)
    found = open_bundle(sealed.path)
    assert _values(found.contents) == _values(contents)
    assert (found.id, found.size_bytes) == (sealed.id, sealed.size_bytes)
    assert [path.name for path in sealed.path.parent.iterdir()] == ["model.flaw"]


def test_the_same_contents_give_the_same_bytes_and_others_another_identity(
    tmp_path: Path, opened: Bundle
) -> None:
    one = seal(tmp_path / "one.flaw", opened.contents)
    other = seal(tmp_path / "other.flaw", opened.contents)
    assert one.path.read_bytes() == other.path.read_bytes()
    assert one.id == other.id == opened.id
    assert seal(tmp_path / "third.flaw", replace(opened.contents, min_area_px=1)).id != one.id


def test_a_failed_seal_leaves_the_old_bundle(tmp_path: Path, opened: Bundle) -> None:
    place = seal(tmp_path / "model.flaw", opened.contents).path
    before = place.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        seal(place, replace(opened.contents, environment={"seconds": float("nan")}))
    with pytest.raises(ValueError, match="Object arrays"):
        golden = replace(opened.contents.golden, pixels=np.array([{}], object))
        seal(place, replace(opened.contents, golden=golden))
    assert place.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.flaw"]


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.98])
def test_one_bit_of_a_member_is_noticed_and_the_member_named(tmp_path: Path, name: str, part: float) -> None:
    content = bytearray(GOLDEN.read_bytes())
    with zipfile.ZipFile(GOLDEN) as archive:
        entry = archive.getinfo(name)
        start = entry.header_offset + 30 + len(name)
        content[start + int(part * entry.compress_size)] ^= 4
    damaged = tmp_path / "damaged.flaw"
    damaged.write_bytes(content)
    with pytest.raises(BundleError, match=name) as caught:
        open_bundle(damaged)
    assert "damaged.flaw" in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("name", MEMBERS[1:])
def test_a_member_exchanged_whole_is_noticed(tmp_path: Path, name: str) -> None:
    members = _members(GOLDEN)
    changed = bytes([*members[name][:-1], members[name][-1] ^ 1])
    with pytest.raises(BundleError, match=f"{name}.*another digest"):
        open_bundle(_write(tmp_path / "changed.flaw", members | {name: changed}))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "model.flaw"


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_harmless_or_a_bundle_error(
    data: st.DataObject, scratch: Path, opened: Bundle
) -> None:
    content = bytearray(GOLDEN.read_bytes())
    ends = st.one_of(st.integers(0, len(content) - 1), st.integers(len(content) - 600, len(content) - 1))
    content[data.draw(ends)] ^= 1 << data.draw(st.integers(0, 7))
    scratch.write_bytes(content)
    try:
        found = open_bundle(scratch)
    except BundleError:
        return
    assert _values(found.contents) == _values(opened.contents)


@settings(max_examples=40, deadline=None)
@given(length=st.integers(0, GOLDEN.stat().st_size - 1))
def test_a_file_cut_off_anywhere_is_a_bundle_error(length: int, scratch: Path) -> None:
    scratch.write_bytes(GOLDEN.read_bytes()[:length])
    with pytest.raises(BundleError, match="damaged or no bundle"):
        open_bundle(scratch)


def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path) -> None:
    text, strange = tmp_path / "text.flaw", tmp_path / "strange.flaw"
    text.write_text("no zip at all", encoding="utf-8")
    _write(strange, {"readme.txt": b"a zip of something else"})
    for path, said in ((text, "no bundle"), (strange, "no manifest.json"), (tmp_path, "no bundle")):
        with pytest.raises(BundleError, match=said):
            open_bundle(path)
    with pytest.raises(BundleError, match="There is no bundle") as caught:
        open_bundle(tmp_path / "absent.flaw")
    assert "--model" in caught.value.remedy


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values.update(format="somebody-elses"), "no bundle of flawscope"),
        (lambda values: values.update(version=VERSION + 1), "newer flawscope.*upgrade"),
        (lambda values: values.update(version="two"), "version 'two'"),
        (lambda values: values.update(version=0), "version 0"),
        (lambda values: values.pop("version"), "version None"),
        (lambda values: values.pop("members"), "name its members"),
        (lambda values: values.update(members=[]), "name its members"),
        (lambda values: values["members"].pop("graph.onnx"), "names no graph.onnx"),
        (lambda values: values["members"].update({"more.bin": "0"}), "holds no more.bin"),
        (lambda values: values.pop("preprocess"), "preprocess"),
        (lambda values: values.update(preprocess=[]), "TypeError"),
        (lambda values: values["preprocess"].update(size_hw=[8, 8]), "32 to 4096"),
        (lambda values: values["preprocess"].update(area={"size_hw": [2, 2], "bits": "AAAA"}), "damaged"),
        (lambda values: values.update(scene="dark"), "damaged"),
    ],
)
def test_a_manifest_that_does_not_fit_is_a_clear_error(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    with pytest.raises(BundleError, match=f"(?s){said}"):
        open_bundle(_rewritten(tmp_path / "model.flaw", change))


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"{"])
def test_a_manifest_that_is_none_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json"):
        open_bundle(_write(tmp_path / "model.flaw", _members(GOLDEN) | {"manifest.json": content}))


@pytest.mark.parametrize("name", MEMBERS)
def test_a_missing_member_is_named(tmp_path: Path, name: str) -> None:
    members = {other: content for other, content in _members(GOLDEN).items() if other != name}
    with pytest.raises(BundleError, match=f"holds no {name}"):
        open_bundle(_write(tmp_path / "model.flaw", members))


def test_a_member_that_claims_to_be_huge_is_not_unpacked(tmp_path: Path) -> None:
    path = _write(tmp_path / "model.flaw", _members(GOLDEN))
    content = bytearray(path.read_bytes())
    place = content.index(b"graph.onnx", content.index(b"PK\x01\x02"))
    content[place - 22 : place - 18] = (0xF0000000).to_bytes(4, "little")  # its uncompressed size
    path.write_bytes(content)
    with pytest.raises(BundleError, match="claims 4026531840 bytes"):
        open_bundle(path)


def test_a_newer_record_of_what_was_seen_is_a_bundle_error(tmp_path: Path, opened: Bundle) -> None:
    newer = json.dumps(opened.contents.seen.to_json() | {"version": 99}).encode()
    with pytest.raises(BundleError, match="newer flawscope"):
        open_bundle(_with_member(tmp_path / "model.flaw", "seen.json", newer))


def test_no_pickle_is_ever_read(tmp_path: Path) -> None:
    marker = tmp_path / "was_run"

    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (marker,)

    stream = io.BytesIO()
    np.savez(stream, pixels=np.array([Touch()], object), content_xyxy=np.zeros((1, 4)), answer=np.zeros(2))
    with pytest.raises(BundleError, match="Object arrays cannot be loaded"):
        open_bundle(_with_member(tmp_path / "model.flaw", "golden.npz", stream.getvalue()))
    assert not marker.exists()


def test_a_graph_changed_and_sealed_again_fails_its_golden_sample(tmp_path: Path, opened: Bundle) -> None:
    model = onnx.load_model_from_string(opened.contents.graph)
    bank = next(t for t in model.graph.initializer if t.name.startswith("bank"))
    values = onnx.numpy_helper.to_array(bank)
    bank.CopyFrom(onnx.numpy_helper.from_array(values * np.asarray(1.1, values.dtype), bank.name))
    graph = model.SerializeToString()
    changed = seal(tmp_path / "changed.flaw", replace(opened.contents, graph=graph)).path
    with pytest.raises(BundleError, match="does not give its expected answer"):
        Inspector.open(changed, threads=1)
    assert Inspector.open(changed, threads=1, check=False).bundle.contents.graph == graph


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"score": float("nan")}, "expected answer"),
        ({"peak": 0.0}, "expected answer"),
        ({"pixels": np.zeros((1, 32, 32, 3), np.uint8)}, "cannot run the graph"),
        ({"pixels": np.zeros((1, 64, 64, 3), np.float64)}, "cannot run the graph"),
    ],
)
def test_a_golden_sample_that_does_not_fit_is_a_clear_error(
    tmp_path: Path, opened: Bundle, changes: dict[str, Any], said: str
) -> None:
    golden = replace(opened.contents.golden, **changes)
    path = seal(tmp_path / "model.flaw", replace(opened.contents, golden=golden)).path
    with pytest.raises(BundleError, match=said):
        Inspector.open(path, threads=1)


def test_a_graph_that_is_none_is_a_clear_error(tmp_path: Path, opened: Bundle) -> None:
    path = seal(tmp_path / "model.flaw", replace(opened.contents, graph=b"no graph")).path
    with pytest.raises(BundleError, match="cannot open the graph"):
        Inspector.open(path, threads=1)


def test_a_provider_that_is_not_there_is_named() -> None:
    with pytest.raises(BundleError, match=r"NoSuchProvider.*CPUExecutionProvider"):
        Inspector.open(GOLDEN, providers=["NoSuchProvider"])
