"""What happens, told to pages as it happens: server-sent events.

Whoever listens slowly loses the oldest events, never the station its memory.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from flawscope.core.types import Json

_KEPT = 256
_BEAT_S = 15.0


@dataclass(eq=False)
class _Listener:
    loop: asyncio.AbstractEventLoop
    ready: asyncio.Event
    events: deque[tuple[str, Json]] = field(default_factory=lambda: deque(maxlen=_KEPT))


class Events:
    """Hands events from any thread to everybody who listens."""

    def __init__(self) -> None:
        self._listeners: set[_Listener] = set()
        self._lock = threading.Lock()
        self._closed = False

    def publish(self, kind: str, data: Json) -> None:
        """Tell an event of a kind (inspection, job, alarm, bundle, settings) to all listeners."""
        with self._lock:
            listeners = list(self._listeners)
        for one in listeners:
            one.events.append((kind, data))
            one.loop.call_soon_threadsafe(one.ready.set)

    async def listen(self) -> AsyncIterator[bytes]:
        """Yield events as a browser reads them, a comment every 15 s, until the station closes."""
        listener = _Listener(asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._listeners.add(listener)
        try:
            yield b": hello\n\n"
            while not self._closed:
                try:
                    await asyncio.wait_for(listener.ready.wait(), _BEAT_S)
                except TimeoutError:
                    yield b": still here\n\n"
                listener.ready.clear()
                while listener.events:
                    kind, data = listener.events.popleft()
                    yield f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
        finally:
            with self._lock:
                self._listeners.discard(listener)

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._closed = True
        with self._lock:
            listeners = list(self._listeners)
        for one in listeners:
            one.loop.call_soon_threadsafe(one.ready.set)
