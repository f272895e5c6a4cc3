"""How much of an in-process inspector's throughput the station keeps, its latencies, and what overload does.

    python benchmarks/station_load.py [--rounds 6] [--seconds 6] [--out benchmarks/results/station.md]

Both sides judge 224x224 photographs with the bundled backbone, one worker a core with one thread each, and
keep the same records and images in a store of their own, durable before the answer. The in-process side is an
Inspector behind a bare socket: a length and a PNG come in, one byte goes out. The station is `flawscope
serve` with everything it does. The same clients, in a process of their own on the same cores, feed both in
turn, so a busy machine slows both; every photograph has bytes of its own, so every image is written. Where
other work takes the cores by turns, images a second say little about one round; the processor time that an
image costs on each side, clients included, decides how many fit on the same cores, and is stated as well.

Overload: three times the measured throughput is offered, by the clock and not by the answers. What is
answered 200 must be in the store, with its image; everything else must be a 503 with Retry-After.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import struct
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from loopback import Connection, different, free_port, inspect_head, station
from tiles import machine_line

import flawscope
from flawscope.core import digest
from flawscope.store.inspections import Filters
from flawscope.store.store import Store
from flawscope.synth.write import write_chips

CLIENTS = 6
_FEWEST = 300  # offered under overload, so that a slow machine's queue fills as well


@dataclass(frozen=True)
class Round:
    """What one side did in one round."""

    done: int
    seconds: float
    latencies_ms: tuple[float, ...]
    cpu_s: float  # of this side's process and of the clients

    @property
    def rate(self) -> float:
        """Photographs a second."""
        return self.done / self.seconds


def serve_in_process(model: Path, store_folder: Path, port: int, workers: int) -> None:
    """Judge what comes on a bare socket, and keep records and images: what the station is measured against.
    A PNG of length 0 ends a connection."""
    from flawscope.app.active import ActiveBundles
    from flawscope.app.judging import Work, read_work, record_from
    from flawscope.app.recorder import Kept, Recorder
    from flawscope.store.records import Origin

    store = Store(store_folder)
    active = ActiveBundles(store, threads=1)
    active.activate(active.add(model, who="benchmark").id, who="benchmark")
    opened, recorder, room = active.of(""), Recorder(store), threading.Semaphore(workers)

    def judge(client: socket.socket) -> None:
        with client, client.makefile("rb") as stream:
            while length := struct.unpack(">I", stream.read(4) or b"\0\0\0\0")[0]:
                content = stream.read(length)
                done: Future = Future()
                work = Work(str(uuid.uuid4()), False, store.clock(), Origin(), content, opened, done)
                with room:
                    read = read_work(work, max_pixels=100_000_000)
                    (inspection,) = opened.inspector.many([read.image], read_ms=[read.read_ms])
                    # what drift is told by is the station's own work
                    record = record_from(read, inspection, sampled=False, looks={})
                recorder.put([Kept(record, content, done)])
                done.result()
                client.sendall(b"k")

    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=judge, args=(client,), daemon=True).start()


def bare(port: int) -> Callable[[bytes], None]:
    """Return how a photograph is sent to the in-process side."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=120)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(content: bytes) -> None:
        connection.sendall(struct.pack(">I", len(content)) + content)
        assert connection.recv(1) == b"k"

    return send


def rest(port: int) -> Callable[[bytes], None]:
    """Return how a photograph is sent to the station."""
    connection = Connection(port, timeout_s=120)

    def send(content: bytes) -> None:
        reply = connection.ask(inspect_head(len(content)), content)
        assert reply.status == 200, reply

    return send


def cpu_s(process_id: int) -> float:
    """Return the processor seconds that a process and this one have used so far."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK") + time.process_time()


def measure(
    connect: Callable[[], Callable[[bytes], None]],
    pictures: list[bytes],
    seconds: float,
    *,
    first: int,
    process_id: int,
) -> Round:
    """Send photographs by all clients for some seconds, each one after its answer."""
    begin, used = time.perf_counter(), cpu_s(process_id)
    until = begin + seconds
    latencies: list[float] = []
    lock, number = threading.Lock(), [first]

    def client() -> None:
        send = connect()
        while True:
            with lock:
                number[0] += 1
                mine = number[0]
            content = different(pictures[mine % len(pictures)], mine)
            start = time.perf_counter()
            if start >= until:
                return
            send(content)
            end = time.perf_counter()
            with lock:
                latencies.append((end - start) * 1000)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, used = time.perf_counter() - begin, cpu_s(process_id) - used
    return Round(len(latencies), took, tuple(latencies), used)


@dataclass(frozen=True)
class Overload:
    """What became of three times the photographs that the station can judge."""

    offered: int
    rate: float
    statuses: dict[int, int]
    broken: int  # connections that broke
    without_retry_after: int
    lost: int
    latencies_ms: tuple[float, ...]  # of those that were taken
    refused_ms: tuple[float, ...]


def overload(
    port: int, pictures: list[bytes], *, rate: float, seconds: float
) -> tuple[Overload, dict[str, str]]:
    """Offer photographs at a rate, each on its time whatever became of those before; return what became of
    them, and the digests of those taken by id."""
    free: list[Connection] = []
    lock = threading.Lock()
    statuses: Counter[int] = Counter()
    taken: dict[str, str] = {}
    latencies, refused, odd = [], [], Counter[str]()

    def one(content: bytes) -> None:
        start = time.perf_counter()
        try:
            with lock:
                connection = free.pop() if free else None
            connection = connection or Connection(port, timeout_s=120)
            reply = connection.ask(inspect_head(len(content)), content)
        except OSError:
            with lock:
                odd["broken"] += 1
            return
        ms = (time.perf_counter() - start) * 1000
        with lock:
            free.append(connection)
            statuses[reply.status] += 1
            if reply.status == 200:
                data = reply.data()
                taken[data["id"]] = digest.of_bytes(content)
                assert data["image_sha256"] == taken[data["id"]]
                latencies.append(ms)
            else:
                refused.append(ms)
                odd["no retry"] += reply.status != 503 or not int(reply.headers.get("retry-after", "0"))

    count, begin, threads = max(int(rate * seconds), _FEWEST), time.perf_counter(), []
    for number in range(count):
        due = begin + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        content = different(pictures[number % len(pictures)], 10_000_000 + number)
        thread = threading.Thread(target=one, args=(content,))
        thread.start()
        threads.append(thread)
    offered_s = time.perf_counter() - begin
    for thread in threads:
        thread.join()
    found = Overload(
        count,
        count / offered_s,
        dict(statuses),
        odd["broken"],
        odd["no retry"],
        0,
        tuple(latencies),
        tuple(refused),
    )
    return found, taken


def lost(store: Path, taken: dict[str, str]) -> int:
    """Return how many photographs were answered and are not in the store, with their image."""
    with Store(store, create=False) as opened:
        kept = {one.id: one.image_sha256 for one in opened.inspections.all(Filters())}
        return sum(
            kept.get(id) != sha256 or digest.of_bytes(opened.images.read(sha256)) != sha256
            for id, sha256 in taken.items()
        )


def quantiles(values: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    return float(np.quantile(values, 0.5)), float(np.quantile(values, 0.99))


def teach(folder: Path) -> tuple[Path, list[bytes]]:
    """Teach the bundle that both sides judge with, and return it with photographs to send."""
    write_chips(folder / "chips", good=40, bad=8, size_wh=(224, 224), seed=0)
    settings = {"size": [224, 224], "fit": "stretch", "settings": {"bank": 2000}}
    trained = flawscope.train(folder / "chips", out=folder / "run", settings=settings, threads=1)
    pictures = [path.read_bytes() for path in sorted((folder / "chips" / "test").glob("*/*.png"))]
    return trained.bundle.path, pictures


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/station.md"))
    arguments = parser.parse_args()
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, pictures = teach(folder)
        bare_port, port = free_port(), free_port()
        other = multiprocessing.get_context("spawn").Process(
            target=serve_in_process, args=(model, folder / "bare", bare_port, workers), daemon=True
        )
        other.start()
        with station(folder / "store", model, port=port, log=folder / "log") as served:
            ids = {"in process": other.pid or 0, "station": served.pid}
            sides = {"in process": lambda: bare(bare_port), "station": lambda: rest(port)}
            rounds: dict[str, list[Round]] = {side: [] for side in sides}
            for side, connect in sides.items():  # warm
                first = 50_000_000 * (1 + list(sides).index(side))
                measure(patient(connect), pictures, 2.0, first=first, process_id=ids[side])
            for number in range(arguments.rounds):
                order = list(sides) if number % 2 == 0 else list(sides)[::-1]
                for side in order:
                    first = (number + 1) * 100_000 + 1_000_000 * list(sides).index(side)
                    done = measure(
                        sides[side], pictures, arguments.seconds, first=first, process_id=ids[side]
                    )
                    rounds[side].append(done)
                    print(f"round {number + 1} {side}: {rounds[side][-1].rate:.1f} images/s", flush=True)
            rate = median(one.rate for one in rounds["station"])
            over, taken = overload(port, pictures, rate=3 * rate, seconds=2 * arguments.seconds)
        other.terminate()
        missing = lost(folder / "store", taken)
    text = report(arguments, rounds, over, missing, workers)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text)
    print(text)


def patient(connect: Callable[[], Callable[[bytes], None]]) -> Callable[[], Callable[[bytes], None]]:
    """Return the same, but wait for a side that is still starting."""

    def trying() -> Callable[[bytes], None]:
        until = time.monotonic() + 120
        while True:
            try:
                return connect()
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    return trying


def report(
    arguments: argparse.Namespace,
    rounds: dict[str, list[Round]],
    over: Overload,
    missing: int,
    workers: int,
) -> str:
    """Write the tables."""
    rates = {side: median(one.rate for one in done) for side, done in rounds.items()}
    cost = {
        side: 1000 * sum(one.cpu_s for one in done) / sum(one.done for one in done)
        for side, done in rounds.items()
    }
    pairs = [a.rate / b.rate for a, b in zip(rounds["station"], rounds["in process"], strict=True)]
    spread = {
        side: quantiles([ms for one in done for ms in one.latencies_ms]) for side, done in rounds.items()
    }
    taken, refused = quantiles(list(over.latencies_ms)), quantiles(list(over.refused_ms) or [0.0])
    others = over.broken + sum(n for status, n in over.statuses.items() if status not in (200, 503))
    lines = [
        "# The station under load",
        "",
        f"`python benchmarks/station_load.py --rounds {arguments.rounds} --seconds {arguments.seconds:g}`",
        "",
        f"{workers} workers with one thread each, {CLIENTS} clients on the same cores, 224x224 PNG, bundled",
        "backbone, patchcore with a bank of 2000, SQLite; everything durable before the answer.",
        "",
        machine_line(),
        "",
        "| | in process | station |",
        "|---|---|---|",
        f"| images/s, median of rounds | {rates['in process']:.1f} | {rates['station']:.1f} |",
        f"| each round | {_each(rounds['in process'])} | {_each(rounds['station'])} |",
        f"| processor time an image, with clients | {cost['in process']:.1f} ms | {cost['station']:.1f} ms |",
        f"| latency p50 | {spread['in process'][0]:.0f} ms | {spread['station'][0]:.0f} ms |",
        f"| latency p99 | {spread['in process'][1]:.0f} ms | {spread['station'][1]:.0f} ms |",
        "",
        "| what | measured | bar |",
        "|---|---|---|",
        f"| images/s, station over in process, all rounds | {_total(rounds):.3f} | 0.8 |",
        f"| the same, median of pairs ({min(pairs):.2f} to {max(pairs):.2f}) | {median(pairs):.3f} | 0.8 |",
        f"| processor time, in process over station | {cost['in process'] / cost['station']:.3f} | 0.8 |",
        f"| station, p99 over p50 | {spread['station'][1] / spread['station'][0]:.2f} | 5 |",
        "",
        f"Overload: {over.offered} photographs at {over.rate:.1f} a second, three times its throughput.",
        "",
        "| what | count |",
        "|---|---|",
        f"| taken and answered 200 | {over.statuses.get(200, 0)} |",
        f"| turned away with 503 | {over.statuses.get(503, 0)} |",
        f"| anything else, broken connections included | {others} |",
        f"| turned away without Retry-After | {over.without_retry_after} |",
        f"| answered 200 and lost | {missing} |",
        f"| latency of those taken, p50 and p99 | {taken[0]:.0f} and {taken[1]:.0f} ms |",
        f"| until a 503, p50 and p99 | {refused[0]:.0f} and {refused[1]:.0f} ms |",
        "",
    ]
    return "\n".join(lines)


def _each(rounds: list[Round]) -> str:
    return ", ".join(f"{one.rate:.1f}" for one in rounds)


def _total(rounds: dict[str, list[Round]]) -> float:
    rates = {
        side: sum(one.done for one in done) / sum(one.seconds for one in done)
        for side, done in rounds.items()
    }
    return rates["station"] / rates["in process"]


if __name__ == "__main__":
    main()
