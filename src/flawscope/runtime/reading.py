"""Photographs read ahead of their use, in threads, in order, in bounded memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from flawscope.core.errors import ImageError
from flawscope.core.types import Image, Preprocess
from flawscope.imaging.preprocess import Canvases, iter_canvases
from flawscope.imaging.read import read

TILE_BATCH = 8  # canvases of one image in memory at a time


@dataclass(frozen=True, eq=False)
class Loaded:
    """One photograph, or why there is none."""

    index: int
    path: str
    image: Image | None
    error: ImageError | None
    read_ms: float

    def required(self) -> Image:
        """Return the image. Raises the ImageError of one that is not there."""
        if self.image is None:
            assert self.error is not None
            raise self.error
        return self.image

    def chunks(self, preprocess: Preprocess) -> Iterator[Canvases]:
        """Yield the image's canvases, a few at a time. Raises the ImageError of an image that is not
        there."""
        yield from iter_canvases(self.required(), preprocess, batch=TILE_BATCH)


def load(path: str, preprocess: Preprocess, *, index: int = 0) -> Loaded:
    """Read one photograph with the levels of `preprocess`; a fault is kept, not raised."""
    start = time.perf_counter()
    try:
        image, error = read(path, levels=preprocess.levels), None
    except ImageError as fault:
        image, error = None, fault
    return Loaded(index, path, image, error, (time.perf_counter() - start) * 1000)


def read_ahead(paths: Sequence[str], preprocess: Preprocess, *, workers: int = 2) -> Iterator[Loaded]:
    """Yield every photograph in order while the next ones are read by `workers` threads, at most twice as
    many ahead as there are workers."""
    with ThreadPoolExecutor(workers, thread_name_prefix="read") as pool:
        pending: deque[Future[Loaded]] = deque()
        upcoming = iter(enumerate(paths))
        try:
            for index, path in upcoming:
                pending.append(pool.submit(load, path, preprocess, index=index))
                if len(pending) >= 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
