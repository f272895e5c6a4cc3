"""What a station is started with. What may change while it runs stands in the store instead."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from flawscope.core.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """How much of anything is taken from a client, and how long is waited for it."""

    image_bytes: int = 64 << 20
    image_pixels: int = 100_000_000  # checked in the header, before anything is decoded
    body_bytes: int = 1 << 20  # of requests that carry no image
    bundle_bytes: int = 1 << 30
    batch_files: int = 500
    body_s: float = 30.0  # a request that takes longer to arrive is given up
    answer_s: float = 120.0  # a verdict that takes longer is fetched later by its id
    login_tries: int = 5  # per name and address, before waiting begins
    login_wait_s: float = 30.0  # doubled with every further try, up to an hour


@dataclass(frozen=True)
class StationSettings:
    """How a station is started."""

    store: str = "station"  # a folder, or the URL of a database
    models: tuple[Path, ...] = ()
    files: Path | None = None  # images and bundles, where the store is a URL
    host: str = "127.0.0.1"
    port: int = 8000
    station: str = ""  # this station's name, where clients give none
    workers: int = 0  # threads that judge; 0: one a usable core
    threads: int = 1  # of onnxruntime for each of them
    batch: int = 4  # images judged together under load
    waiting: int = 64  # images accepted and not yet answered; more are turned away
    allowed_hosts: tuple[str, ...] = ()  # further names by which the station is called
    secure_cookies: bool = False  # behind HTTPS
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.workers < 0 or self.threads < 1 or self.batch < 1 or self.waiting < 1:
            raise UsageError(
                "The line needs workers, threads, a batch and a queue",
                expected="workers 0 or more, the others at least 1",
                found=f"{self.workers}, {self.threads}, {self.batch}, {self.waiting}",
            )
        if not 0 <= self.port <= 65535:
            raise UsageError(f"{self.port} is no port", expected="0 to 65535")

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can reach the station."""
        return is_loopback(self.host)

    @property
    def worker_count(self) -> int:
        """The number of threads that judge."""
        return self.workers or usable_cores()


def is_loopback(host: str) -> bool:
    """Whether a name or address stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)
