"""Archives judged on a Ray cluster: files dealt out in blocks, a bundle open in each worker, all in order.

The bundle is sent along, the photographs lie where every machine finds them under the same path. Each worker
opens the bundle as the line does, golden sample included, so a machine that answers otherwise says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flawscope.core import extras
from flawscope.core.errors import BundleError, FlawscopeError
from flawscope.core.types import Array, Inspection
from flawscope.flows.cluster import on_cluster
from flawscope.runtime.inspector import Inspector

_BLOCK = 64  # files that a worker is handed at a time
_VERDICT = "inspection"


@dataclass(frozen=True)
class Judging:
    """How an archive is judged."""

    model: Path
    product: str = ""
    providers: tuple[str, ...] = ()  # of onnxruntime; empty: the CPU
    threads: int = 1  # of each worker
    workers: int = 2  # on a Ray of this machine; a cluster is used as far as it goes
    batch: int = 1
    maps: bool = False  # whether heat maps come back
    address: str = ""


def judged_on_cluster(paths: Sequence[str], how: Judging) -> Iterator[Inspection]:
    """Yield the inspection of every file, in order, as it comes back. A file that cannot be judged comes back
    with an error, as everywhere. Raises BundleError, UsageError or MissingExtraError."""
    content = how.model.read_bytes() if how.model.is_file() else None
    if content is None:
        raise BundleError(f"There is no bundle {how.model}")
    threads = max(1, how.threads)
    with on_cluster(how.address, cpus=how.workers * threads + 1, purpose="Judging on a cluster") as ray:
        ray_data = extras.require("ray.data", extra="scale", purpose="Judging on a cluster")
        with _quiet_and_in_order(ray_data):
            cpus = int(ray.cluster_resources().get("CPU", 1))
            most = how.workers if not how.address else max(1, cpus // threads)
            blocks = max(1, min(-(-len(paths) // _BLOCK), 16 * most))
            rows = ray_data.from_items([{"path": path} for path in paths], override_num_blocks=blocks)
            found = rows.map_batches(
                _Worker,
                fn_constructor_args=(ray.put(content), replace(how, threads=threads)),
                batch_size=_BLOCK,
                compute=ray_data.ActorPoolStrategy(min_size=1, max_size=most),
                num_cpus=threads,
                batch_format="numpy",
            )
            try:
                for row in found.iter_rows():
                    yield row[_VERDICT]
            except ray.exceptions.RayError as error:
                raise told(error) from error


def told(error: Exception) -> FlawscopeError:
    """Return what a worker's failure is to people: its own words where it has some, else the last line of
    Ray's."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, FlawscopeError):
        return cause
    said = str(error).strip().splitlines() or [type(error).__name__]
    return FlawscopeError(
        "The cluster could not judge the archive", found=said[-1], remedy="Judge without --engine ray"
    )


class _Worker:
    """One worker's open bundle."""

    def __init__(self, content: Any, how: Judging) -> None:
        ray = extras.require("ray", extra="scale", purpose="Judging on a cluster")
        content = ray.get(content) if isinstance(content, ray.ObjectRef) else content
        with tempfile.TemporaryDirectory(prefix="flawscope-") as folder:
            place = Path(folder) / how.model.name
            place.write_bytes(content)
            self._inspector = Inspector.open(
                place, threads=how.threads, providers=how.providers, product=how.product
            )
        self._how = how

    def __call__(self, rows: dict[str, Array]) -> dict[str, Array]:
        """Judge a block of files."""
        paths = [str(path) for path in rows["path"]]
        found = self._inspector.inspect(paths, batch=self._how.batch)
        kept = [one if self._how.maps else replace(one, map=None) for one in found]
        column = np.empty(len(kept), object)
        column[:] = kept
        return {_VERDICT: column}


@contextmanager
def _quiet_and_in_order(ray_data: Any) -> Iterator[None]:
    """Have Ray Data draw no bars and keep the order of what goes in; the former settings come back."""
    context = ray_data.DataContext.get_current()
    before = (context.enable_progress_bars, context.execution_options.preserve_order)
    context.enable_progress_bars, context.execution_options.preserve_order = False, True
    try:
        yield
    finally:
        context.enable_progress_bars, context.execution_options.preserve_order = before
