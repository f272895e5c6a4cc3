"""The engine of a Ray cluster: every cell a task, carried out there as on one machine, its files sent back.

A task runs the engine of one machine for its one cell, so memory, time and threads are bounded in the same
way and the numbers are the same. A machine or worker that is lost takes its cell along; Ray gives the cell to
another. Photographs, weights and the folder of the comparison lie where every machine finds them under the
same path.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flawscope.core.cells import Cell, Outcome, Status
from flawscope.core.files import write_bytes
from flawscope.core.types import Json
from flawscope.flows.cluster import on_cluster
from flawscope.flows.compare.engine import Cache, Limits
from flawscope.flows.compare.planning import code_digest
from flawscope.flows.compare.processes import processes
from flawscope.flows.compare.work import write_outcome

_TRIES_AGAIN = 3  # of a cell whose worker or machine was lost
Files = dict[str, bytes]


@dataclass(frozen=True)
class Cluster:
    """An engine on the cluster at `address`; empty: on a Ray of this machine, with `limits.jobs` workers."""

    address: str = ""

    def __call__(self, cells: Sequence[Cell], cache: Cache, limits: Limits) -> Iterator[Outcome]:
        """Carry out cells on the cluster and yield each outcome as it comes. Those that still run when the
        caller stops listening are ended."""
        if not cells:
            return
        cpus = max(1, limits.jobs) * max(1, *(cell.threads for cell in cells))
        with on_cluster(self.address, cpus=cpus, purpose="Comparing on a cluster") as ray:
            task = ray.remote(carried_out)
            code = code_digest()
            running: dict[Any, Cell] = {}
            for cell in cells:
                options: dict[str, Any] = {
                    "num_cpus": max(1, cell.threads),
                    "num_gpus": 1 if cell.device == "cuda" else 0,
                    "max_retries": _TRIES_AGAIN,
                    "name": cell.label,
                }
                running[task.options(**options).remote(cell, limits, code)] = cell
            try:
                while running:
                    (reference, *_), _ = ray.wait(list(running), num_returns=1)
                    yield _received(ray, reference, running.pop(reference), cache)
            finally:
                for reference in running:
                    ray.cancel(reference, force=True)


def carried_out(cell: Cell, limits: Limits, code: str) -> tuple[Json, Files]:
    """Carry out one cell on the machine of a worker; return its outcome as JSON and the files it left."""
    if reason := _unfit(cell, code):
        return Outcome(cell, Status.FAILED, reason).to_json(), {}
    with tempfile.TemporaryDirectory(prefix="flawscope-") as folder:
        cache = Cache(Path(folder))
        (outcome,) = processes([cell], cache, Limits(limits.seconds, limits.memory_mb))
        root = cache.folder(cell)
        files = {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }
        return outcome.to_json(), files


def _unfit(cell: Cell, code: str) -> str:
    """Say why this machine cannot carry out the cell with the same result, or return an empty text."""
    if code_digest() != code:
        return "a machine of the cluster has another version of flawscope; install the same on all"
    if not Path(cell.manifest).is_file():
        return (
            f"a machine of the cluster does not find {cell.manifest}; keep OUT and data where all find them"
        )
    return ""


def _received(ray: Any, reference: Any, cell: Cell, cache: Cache) -> Outcome:
    """Take what a task sent and put it in its place; a task that was lost is a cell that failed."""
    place = cache.workplace(cell)
    try:
        values, files = ray.get(reference)
    except ray.exceptions.RayError as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        outcome = Outcome(cell, Status.FAILED, f"the cluster lost it: {said[-1]}")
        files = {}
    else:
        outcome = Outcome.from_json(values, cell=cell)
    for name, content in files.items():
        write_bytes(place / name, content)
    write_outcome(place, outcome)
    cache.keep(cell, place)
    return outcome
