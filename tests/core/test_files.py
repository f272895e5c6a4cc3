"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from flawscope.core.files import replacing, write_bytes, write_text


def test_writes_and_replaces_and_makes_the_folder(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, fault):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(fault), replacing(path) as temporary:
        temporary.write_bytes(b"half of the n")
        assert path.read_bytes() == b"old"
        raise fault
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_the_temporary_file_is_a_neighbour_so_that_renaming_is_atomic(tmp_path):
    with replacing(tmp_path / "a.bin") as temporary:
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"x")


@pytest.mark.skipif(sys.platform == "win32", reason="file modes are POSIX")
def test_others_may_read_as_the_file_mode_mask_says(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
        assert os.umask(0o027) == 0o027  # and the mask is as it was
    finally:
        os.umask(before)


def test_a_folder_in_the_way_is_an_error_and_stays(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    with pytest.raises(OSError):
        write_bytes(folder, b"x")
    assert [p for p in tmp_path.iterdir() if p != folder] == [] and Path(folder).is_dir()
