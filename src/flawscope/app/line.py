"""The line: a bounded queue, threads that judge, and the bundles they judge with.

A photograph is accepted when it has a place in the queue, and answered when its record and image are durable.
When the queue is full, more are turned away at once, with a time after which to try again. Under load a
worker takes several photographs for the same bundle and runs the graph once for all of them.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace

from flawscope.app.active import ActiveBundles
from flawscope.app.judging import Beside, Read, Work, judge_beside, looks_measured, read_work, record_from
from flawscope.app.recorder import Kept, Recorder, other_image
from flawscope.app.settings import StationSettings
from flawscope.core import digest
from flawscope.core.errors import BusyError, FlawscopeError
from flawscope.decision.bands import Band
from flawscope.store.records import (
    InspectionRecord,
    Origin,
)
from flawscope.store.store import Store

_log = logging.getLogger(__name__)
_LONGEST_RETRY_S = 30
_SHADOWED = 64
_TO_REVIEW = frozenset({Band.HIGH, Band.CRITICAL})


@dataclass(frozen=True)
class LineState:
    """How busy the line is."""

    waiting: int  # accepted and not begun
    unanswered: int  # accepted and not answered
    limit: int
    workers: int
    accepted: int
    refused: int
    judged: int
    runs: int  # of the graph; fewer than judged under load


class Line:
    """Judges what is submitted, with the bundles that are on the line."""

    def __init__(self, store: Store, settings: StationSettings, *, sample_rate: Callable[[], float]) -> None:
        """Start the workers; `sample_rate` gives the share of passed parts that are drawn for later
        calibrations."""
        self.store = store
        self.active = ActiveBundles(store, threads=settings.threads)
        self.recorder = Recorder(store)
        self._settings = settings
        self._sample_rate = sample_rate
        self._draw = random.Random(uuid.uuid4().int)
        self._waiting: deque[Work] = deque()
        self._shadowed: deque[Beside] = deque(maxlen=_SHADOWED)  # the oldest go unjudged where time lacks
        self._by_id: dict[str, Work] = {}
        self._ready = threading.Condition()
        self._closing = False
        self._unanswered = self._accepted = self._refused = self._judged = self._runs = 0
        self._seconds_each = 0.05  # of one worker, as lately measured
        self._workers = [
            threading.Thread(target=self._work, name=f"judge-{i}", daemon=True)
            for i in range(settings.worker_count)
        ]
        for worker in self._workers:
            worker.start()

    def submit(self, content: bytes, origin: Origin, *, id: str | None = None) -> Future[InspectionRecord]:
        """Accept a photograph and return where its record will be. An id that is being worked on gets the
        same answer. Raises BusyError where the queue is full, NotFoundError where no bundle on the line
        serves the product."""
        opened = self.active.of(origin.product)
        origin = replace(
            origin,
            product=origin.product or opened.record.product,
            station=origin.station or self._settings.station,
        )
        with self._ready:
            if self._closing:
                raise _busy("The station is shutting down", 5)
            if id is not None and (known := self._by_id.get(id)) is not None:
                if known.content != content:
                    raise other_image(id)
                return known.done
            if self._unanswered >= self._settings.waiting:
                self._refused += 1
                raise _busy("Station is full", self._retry_after())
            work = Work(
                id or str(uuid.uuid4()), id is not None, self.store.clock(), origin, content, opened, Future()
            )
            self._unanswered += 1
            self._accepted += 1
            self._by_id[work.id] = work
            self._waiting.append(work)
            self._ready.notify()
        work.done.add_done_callback(lambda _: self._answered(work))
        return work.done

    def state(self) -> LineState:
        """Return how busy the line is."""
        with self._ready:
            return LineState(
                waiting=len(self._waiting),
                unanswered=self._unanswered,
                limit=self._settings.waiting,
                workers=len(self._workers),
                accepted=self._accepted,
                refused=self._refused,
                judged=self._judged,
                runs=self._runs,
            )

    def close(self) -> None:
        """Take nothing more, finish what was accepted, then stop."""
        with self._ready:
            self._closing = True
            self._ready.notify_all()
        for worker in self._workers:
            worker.join()
        self.recorder.close()

    def _answered(self, work: Work) -> None:
        with self._ready:
            self._unanswered -= 1
            self._by_id.pop(work.id, None)

    def _retry_after(self) -> int:
        seconds = self._unanswered * self._seconds_each / len(self._workers)
        return max(1, min(_LONGEST_RETRY_S, math.ceil(seconds)))

    def _work(self) -> None:
        while True:
            works: list[Work] = []
            with self._ready:
                while not (self._waiting or self._shadowed or self._closing):
                    self._ready.wait()
                if self._waiting:
                    works = self._take()
                elif self._shadowed:
                    beside = self._shadowed.popleft()
                else:
                    return
            if not works:
                judge_beside(beside, self.store)
                continue
            start = time.perf_counter()
            try:
                self._judge(works)
            except Exception as error:  # whoever waits must hear of it, and the worker must live on
                if not isinstance(error, FlawscopeError):
                    _log.exception("judging failed")
                for work in works:
                    if not work.done.done():
                        work.done.set_exception(error)
            each = (time.perf_counter() - start) / len(works)
            with self._ready:
                self._judged += len(works)
                self._runs += 1
                self._seconds_each += 0.1 * (each - self._seconds_each)

    def _take(self) -> list[Work]:
        """Take the next photograph and, where more wait than there are workers, further ones for the same
        bundle; called with the lock held."""
        works = [self._waiting.popleft()]
        share = math.ceil((1 + len(self._waiting)) / len(self._workers))
        while self._waiting and len(works) < min(self._settings.batch, share):
            if self._waiting[0].opened is not works[0].opened:
                break
            works.append(self._waiting.popleft())
        return works

    def _judge(self, works: list[Work]) -> None:
        works = [work for work in works if not self._known(work)]
        if not works:
            return
        inspector = works[0].opened.inspector
        most = self._settings.limits.image_pixels
        read = [read_work(work, max_pixels=most) for work in works]
        pictures = [(one.image, one.read_ms) for one in read if one.image is not None]
        judged = iter(
            inspector.many([image for image, _ in pictures], read_ms=[ms for _, ms in pictures])
            if pictures
            else ()
        )
        kept = []
        for place, one in enumerate(read):
            if one.error is not None:
                inspection = inspector.fault(one.work.origin.name or "The image", one.error)
            else:
                inspection = next(judged)
            sampled = self._draw.random() < self._sample_rate()
            looks = looks_measured(one) if place == 0 else {}  # under load of one in a batch: drift is slow
            record = record_from(one, inspection, sampled=sampled, looks=looks)
            kept.append(Kept(record, one.work.content, one.work.done))
        self.recorder.put(kept)
        self._have_shadowed(read, kept)

    def _have_shadowed(self, read: list[Read], kept: list[Kept]) -> None:
        """Leave photographs to the bundles in the shadow, for when nobody waits."""
        beside = [
            Beside(opened, one.image, item.record)
            for one, item in zip(read, kept, strict=True)
            if one.image is not None
            for opened in self.active.shadows(item.record.origin.product)
        ]
        if beside:
            with self._ready:
                self._shadowed.extend(beside)
                self._ready.notify()

    def _known(self, work: Work) -> bool:
        """Answer a photograph that was sent before from its record."""
        if not work.given_id:
            return False
        record = self.store.inspections.find_one(work.id)
        if record is None:
            return False
        if record.image_sha256 != digest.of_bytes(work.content):
            work.done.set_exception(other_image(work.id))
        else:
            work.done.set_result(record)
        return True


def _busy(subject: str, seconds: int) -> BusyError:
    error = BusyError(subject, remedy=f"Send it again in {seconds} s; it was not taken")
    error.retry_after_s = seconds
    return error
