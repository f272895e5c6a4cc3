"""References of good parts inside a bundle: features that cover what good looks like, and whence they come.

A few hundred vectors picked from the good photographs that were taught, each with its place there, and small
pictures of those photographs. They say which good patch a place resembles most, and they are the bank of
`ifm-bank`. Stored as `references.npz` (no pickle), sealed by its digest like every other member.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flawscope.core.types import Array

_BLOCK = 4096  # queries compared at a time
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes
_UNIX = 3


@dataclass(frozen=True, eq=False)
class References:
    """Features of good patches, unnormalised, with their places and their photographs."""

    vectors: Array  # float16 (n, C), of the graph's `features`, all levels on the finest one's grid
    images: Array  # int32 (n,), whose they are: the place in `names`
    boxes_xyxy: Array  # float32 (n, 4), the patch relative to its whole photograph, 0..1
    names: tuple[str, ...]  # of the training photographs, by their ids
    sizes_hw: Array  # int32 (m, 2), of the photographs
    thumbnails: tuple[bytes, ...]  # JPEG of each photograph; empty bytes where the budget left none

    def __post_init__(self) -> None:
        count = len(self.vectors)
        if self.vectors.ndim != 2 or not count or self.vectors.dtype != np.float16:
            raise ValueError(f"references need vectors float16 (n, C), not {self.vectors.shape}")
        if self.images.shape != (count,) or self.boxes_xyxy.shape != (count, 4):
            raise ValueError("each reference needs an image and a place")
        if not len(self.names) == len(self.sizes_hw) == len(self.thumbnails):
            raise ValueError("names, sizes and thumbnails of references differ in number")
        if self.images.min() < 0 or self.images.max() >= len(self.names):
            raise ValueError("a reference names a photograph that is not there")
        if not np.isfinite(self.vectors).all():
            raise ValueError("references must be finite")

    @cached_property
    def unit(self) -> Array:
        """The vectors scaled to unit length, float32 (n, C); a vector of nothing stays one."""
        vectors = self.vectors.astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        return np.asarray(vectors / np.maximum(lengths, 1e-12)[:, None])

    @cached_property
    def usual_distance(self) -> float:
        """How far a reference usually lies from the nearest one of another photograph: the median over at
        most 500 of them; 0 where all are of one photograph."""
        chosen = np.linspace(0, len(self.vectors) - 1, min(len(self.vectors), 500)).astype(int)
        vectors = self.vectors.astype(np.float32)
        squares = np.einsum("ij,ij->i", vectors, vectors)
        gaps = squares[chosen, None] + squares - 2 * (vectors[chosen] @ vectors.T)
        gaps[self.images[chosen, None] == self.images] = np.inf
        least = gaps.min(1)
        known = least[np.isfinite(least)]
        return float(np.sqrt(np.maximum(np.median(known), 0))) if len(known) else 0.0

    def best_cosine(self, queries: Array) -> Array:
        """Return each query's highest cosine similarity to a reference: (m, C) to float32 (m,), -1 to 1."""
        lengths = np.sqrt(np.einsum("ij,ij->i", queries, queries))
        found = np.empty(len(queries), np.float32)
        for start in range(0, len(queries), _BLOCK):
            place = slice(start, start + _BLOCK)
            found[place] = (queries[place] @ self.unit.T).max(1)
        return np.asarray(found / np.maximum(lengths, 1e-12), np.float32)

    def nearest(self, query: Array, count: int) -> tuple[Array, Array, Array]:
        """Return the `count` references nearest to a vector (C,), each from another photograph where there
        are enough: their places int64, distances and cosine similarities, nearest first."""
        query = query.astype(np.float32)
        vectors = self.vectors.astype(np.float32)
        distances = np.sqrt(np.square(vectors - query).sum(1))
        cosines = self.unit @ query / max(float(np.sqrt(query @ query)), 1e-12)
        order = np.argsort(distances, kind="stable")
        _, first = np.unique(self.images[order], return_index=True)
        leaders = np.sort(first)[:count]
        rest = np.setdiff1d(np.arange(len(order)), leaders)[: max(0, count - len(leaders))]
        chosen = order[np.sort(np.concatenate([leaders, rest]))]
        return chosen, distances[chosen], cosines[chosen]

    def to_bytes(self) -> bytes:
        """Return the member's content; the same references give the same bytes."""
        lengths = np.array([len(one) for one in self.thumbnails], np.int64)
        arrays = {
            "vectors": self.vectors,
            "images": self.images,
            "boxes_xyxy": self.boxes_xyxy,
            "sizes_hw": self.sizes_hw,
            "names": _bytes(json.dumps(list(self.names)).encode()),
            "lengths": lengths,
            "thumbnails": _bytes(b"".join(self.thumbnails)),
        }
        return npz_bytes(arrays)

    @classmethod
    def from_bytes(cls, content: bytes) -> References:
        """Read what `to_bytes` wrote. Raises ValueError or KeyError for anything else."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            ends = np.cumsum(arrays["lengths"]).tolist()
            pictures = arrays["thumbnails"].tobytes()
            return cls(
                arrays["vectors"],
                arrays["images"],
                arrays["boxes_xyxy"],
                tuple(json.loads(arrays["names"].tobytes())),
                arrays["sizes_hw"],
                tuple(pictures[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)),
            )


def npz_bytes(arrays: dict[str, Array], *, packed: Sequence[str] = ()) -> bytes:
    """Return arrays as an NPZ file without the time of day; those named in `packed` are deflated."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", _FIXED_TIME)
            entry.create_system = _UNIX
            how = zipfile.ZIP_DEFLATED if name in packed else zipfile.ZIP_STORED
            archive.writestr(entry, content.getvalue(), how)
    return stream.getvalue()


def _bytes(content: bytes) -> Array:
    return np.frombuffer(content, np.uint8)
