"""A Ray cluster for as long as a piece of work takes: one that is there, or one of this machine alone.

Ray is asked to keep quiet and to send no usage data. What was started here is stopped here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flawscope.core import extras
from flawscope.core.errors import UsageError

LOCAL = "local"  # Ray's word for a cluster of its own on this machine
_OBJECT_BYTES = 256_000_000  # of memory for what is sent around, of a cluster of this machine
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@contextmanager
def on_cluster(address: str, *, cpus: int, purpose: str) -> Iterator[Any]:
    """Yield the module `ray`, connected to the cluster at `address`; where that is empty, to one of this
    machine with so many `cpus`, which is stopped afterwards. A connection that this process has already is
    used and left as it is.

    Raises MissingExtraError without Ray, and UsageError where there is no cluster at the address.
    """
    ray = extras.require("ray", extra="scale", purpose=purpose)
    if ray.is_initialized():
        yield ray
        return
    own = {"num_cpus": cpus, "object_store_memory": _OBJECT_BYTES} if not address else {}
    with _environment(_QUIET):
        try:
            ray.init(
                address=address or LOCAL,
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **own,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"Ray cannot be reached at {address}" if address else "Ray does not start on this machine",
                expected="the address of a running cluster, such as 10.0.0.5:6379" if address else "",
                found=str(error).splitlines()[0] if str(error) else type(error).__name__,
                remedy="Start one with: ray start --head" if address else "",
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Give this process and what it starts these variables, where they are not set, for a while."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
