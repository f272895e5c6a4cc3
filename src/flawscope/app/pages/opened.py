"""Bundles that judged earlier parts, opened again to explain them."""

from __future__ import annotations

import threading
from collections import OrderedDict

from fastapi import Request

from flawscope.app.station import Station
from flawscope.core.errors import NotFoundError
from flawscope.core.types import Image
from flawscope.imaging.read import read_bytes
from flawscope.runtime.inspector import Inspector
from flawscope.store.records import InspectionRecord


class Opened:
    """Bundles opened to explain parts that they judged, a few at a time. Safe from several threads."""

    def __init__(self, station: Station, *, most: int = 3) -> None:
        self._station = station
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Inspector] = OrderedDict()

    def inspector(self, id: str) -> Inspector:
        """Return an inspector of a bundle: the line's own where it is there. Raises NotFoundError."""
        for one in self._station.line.active.on_line():
            if one.record.id == id:
                return one.inspector
        with self._lock:
            if id not in self._known:
                path = self._station.store.bundle_file(id)
                self._known[id] = Inspector.open(path, threads=1, check=False)
                while len(self._known) > self._most:
                    self._known.popitem(last=False)
            self._known.move_to_end(id)
            return self._known[id]


def opened_of(request: Request) -> Opened:
    """Return the bundles that this application has opened to explain."""
    opened: Opened = request.app.state.opened
    return opened


def picture_of(station: Station, opened: Opened, record: InspectionRecord) -> Image:
    """Return the photograph of an inspection, read as its bundle read it. Raises NotFoundError where it
    is not kept, ImageError where it cannot be read."""
    content = station.store.images.read(record.image_sha256)
    try:
        levels = opened.inspector(record.bundle_id).bundle.contents.preprocess.levels
    except NotFoundError:
        levels = None
    return read_bytes(content, name=record.origin.name or record.id, levels=levels)
