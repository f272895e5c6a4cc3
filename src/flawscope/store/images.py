"""Image files by their content's sha256: `images/ab/cd…`, the same content once.

Durability without a wait for the disk for every file: images of one group are appended to one journal, which
is synced once; the files themselves are written at the same time but synced later, by `settle`. A journal is
removed only when all its files are safe. Opening a folder after a power cut reads the journals left behind
and mends what is missing.
"""

from __future__ import annotations

import logging
import os
import re
import struct
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from flawscope.core import digest
from flawscope.core.errors import NotFoundError, StoreError

_log = logging.getLogger(__name__)
_HEAD = struct.Struct("<4s32sQ")
_MAGIC = b"FSi1"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FULL = 64 << 20  # bytes after which a journal is closed
_MANY = 32  # files from which on one sync of the whole system is cheaper


class ImageFiles:
    """Images on disk. Safe to call from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open a folder of images, made where missing; what a power cut left half-done is mended."""
        self.folder = folder
        self._journals = folder / "journal"
        self._journals.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._settling = threading.Lock()
        self._open: BinaryIO | None = None
        self._made: set[str] = set()
        self._number = 1 + max((int(path.stem) for path in self._old()), default=0)
        for path in self._old():
            self._replay(path)

    def add_all(self, contents: Sequence[tuple[str, bytes]]) -> None:
        """Keep contents under their sha256 digests, given as (sha256, content); when this returns, a power
        cut does not lose them."""
        with self._lock:
            missing = [
                (name, content) for name, content in dict(contents).items() if not self._path(name).is_file()
            ]
            if not missing:
                return
            journal = self._journal()
            for name, content in missing:
                journal.write(_HEAD.pack(_MAGIC, bytes.fromhex(name), len(content)))
                journal.write(content)
                self._write(name, content)
            journal.flush()
            os.fsync(journal.fileno())

    def add(self, content: bytes) -> str:
        """Keep one content and return its sha256."""
        name = digest.of_bytes(content)
        self.add_all([(name, content)])
        return name

    def read(self, sha256: str) -> bytes:
        """Return a kept content. Raises NotFoundError where it is not kept (any more)."""
        try:
            return self._path(sha256).read_bytes()
        except FileNotFoundError:
            raise NotFoundError(
                f"The image {sha256[:12]} is not kept", remedy="Retention rules may have freed its place"
            ) from None

    def has(self, sha256: str) -> bool:
        """Whether a content is kept."""
        return self._path(sha256).is_file()

    def remove(self, sha256: str) -> int:
        """Remove a content and return the bytes that are free now; 0 where it was not there."""
        path = self._path(sha256)
        with self._lock:
            try:
                size = path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                return 0
        return size

    def used_bytes(self) -> int:
        """Return the bytes of all images together; looks at every file."""
        return sum(path.stat().st_size for path in self.folder.glob("??/*"))

    def journal_bytes(self) -> int:
        """Return the bytes in journals that are not settled yet."""
        return sum(path.stat().st_size for path in self._old())

    def settle(self) -> int:
        """Sync the files of all journals that are full (or of the open one where it is not empty) and remove
        those; return how many journals went. May take seconds; meant for a thread of its own."""
        with self._settling:
            with self._lock:
                if self._open is not None and self._open.tell():
                    self._open.close()
                    self._open = None
                closed = [path for path in self._old() if self._open is None or path != Path(self._open.name)]
            for path in closed:
                self._sync([name for name, _, _ in self._entries(path)])
                path.unlink()
            return len(closed)

    def close(self) -> None:
        """Settle what is open."""
        self.settle()

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):  # nothing that a client sends becomes part of a path unchecked
            raise NotFoundError("This is no digest of an image", expected="64 hexadecimal digits")
        return self.folder / sha256[:2] / sha256[2:]

    def _journal(self) -> BinaryIO:
        if self._open is not None and self._open.tell() >= _FULL:
            self._open.close()
            self._open = None
        if self._open is None:
            path = self._journals / f"{self._number:08d}.log"
            self._number += 1
            self._open = path.open("ab")
            _sync_folder(self._journals)
        return self._open

    def _old(self) -> list[Path]:
        return sorted(self._journals.glob("*.log"))

    def _write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all, not synced."""
        path = self._path(name)
        if name[:2] not in self._made:
            path.parent.mkdir(exist_ok=True)
            self._made.add(name[:2])
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _entries(self, journal: Path) -> Iterator[tuple[str, int, int]]:
        """Yield (sha256, where its content begins, its length) of every whole entry."""
        size = journal.stat().st_size
        with journal.open("rb") as stream:
            while len(head := stream.read(_HEAD.size)) == _HEAD.size:
                magic, name, length = _HEAD.unpack(head)
                begin = stream.tell()
                if magic != _MAGIC or begin + length > size:
                    return
                yield name.hex(), begin, length
                stream.seek(begin + length)

    def _replay(self, journal: Path) -> None:
        """Mend what a power cut took from the files of a journal. What its end lacks was never answered."""
        mended = 0
        entries = list(self._entries(journal))
        with journal.open("rb") as stream:
            for name, begin, length in entries:
                path = self._path(name)
                if path.is_file() and path.stat().st_size == length and digest.of_file(path) == name:
                    continue
                stream.seek(begin)
                content = stream.read(length)
                if digest.of_bytes(content) != name:
                    raise StoreError(
                        f"The image journal {journal} contradicts itself",
                        remedy="The disk may be failing; restore the store from a backup",
                    )
                self._write(name, content)
                mended += 1
        self._sync([name for name, _, _ in entries])
        journal.unlink()
        if mended:
            _log.info("%d images were mended from %s", mended, journal)

    def _sync(self, names: Sequence[str]) -> None:
        if len(names) > _MANY and sys.platform == "linux":  # elsewhere sync() only asks
            os.sync()
            return
        paths = [self._path(name) for name in names]
        for path in paths:
            try:
                with path.open("rb") as stream:
                    os.fsync(stream.fileno())
            except FileNotFoundError:  # retention was here
                continue
        for folder in {path.parent for path in paths}:
            _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there; NTFS keeps its own journal of names
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
