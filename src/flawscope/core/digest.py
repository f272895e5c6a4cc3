"""Digests of bytes, files, arrays and plain values: the names by which content is recognised again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np


def of_bytes(content: bytes) -> str:
    """Return the sha256 of `content` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def of_file(path: Path) -> str:
    """Return the sha256 of a file's content, read in blocks. Raises OSError where it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def of_value(value: Any) -> str:
    """Return the sha256 of a JSON value; the order of keys does not matter. Raises TypeError or ValueError
    for what JSON cannot hold (NaN included)."""
    # names of files may hold bytes that are no text
    return of_bytes(canonical_json(value).encode(errors="surrogatepass"))


def of_array(array: np.ndarray) -> str:
    """Return the sha256 of an array's type, shape and values."""
    head = f"{array.dtype.str}{array.shape}".encode()
    return of_bytes(head + np.ascontiguousarray(array).tobytes())


def canonical_json(value: Any) -> str:
    """Write a JSON value in the one form that digests are taken of: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
