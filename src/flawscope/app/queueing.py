"""What a person is shown in Review: the parts that wait, and now and then a known one among them, blind."""

from __future__ import annotations

from dataclasses import replace

from flawscope.app.station import Station
from flawscope.store.records import InspectionRecord, QueueState

_AMONG = 5  # a known part comes among so many of the first


def waiting_for(
    station: Station, person: str, *, product: str | None = None, limit: int = 20
) -> tuple[int, list[InspectionRecord]]:
    """Return how many parts wait for a person, and the first of them, by risk. A known part stands among them
    as if it waited too."""
    store = station.store
    found = store.reviews.queue(person, product=product, limit=limit)
    waiting = store.reviews.waiting(person, product=product)
    known = store.checks.due(person, station.options.known_share) if found else None
    if known is None:
        return waiting, found
    part = store.inspections.get(known.inspection_id)
    if part.image_bytes == 0:
        store.checks.forget(person)
    elif product in (None, part.origin.product):
        place = int(known.id[:8], 16) % (min(len(found), _AMONG) + 1)
        found.insert(place, replace(part, queue=QueueState.WAITING))
        waiting += 1
    return waiting, found[:limit]
