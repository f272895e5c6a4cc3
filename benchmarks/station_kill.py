"""SIGKILL at a random moment, many times, while photographs and reviews come in: is anything lost or doubled?

    python benchmarks/station_kill.py [--kills 50] [--out benchmarks/results/station_kill.md]

Clients send photographs, each with an id of its own and a part number, and send again what was not answered
(after the next start, with the same id). A reviewer answers parts meanwhile, so that the audit log grows as
well. Beside them the station is killed after a random time under load. At the end, on the store as the last
kill left it: every answered photograph has one record, with its own image, whose file has that digest; no
part stands there twice; the database is sound; the audit chain holds.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from loopback import Connection, different, free_port, inspect_head, json_head, station
from tiles import machine_line

from flawscope.core import digest
from flawscope.store.inspections import Filters
from flawscope.store.store import Store

CLIENTS = 4


@dataclass
class Sent:
    """Photographs by what became of them."""

    parts: int = 0  # begun
    left: list[tuple[str, int]] = field(default_factory=list)  # id and part of those to be sent again
    answered: dict[str, tuple[int, str]] = field(default_factory=dict)  # id: part, sha256
    refused: int = 0
    again: int = 0
    reviews: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def send(port: int, pictures: list[bytes], sent: Sent, stop: threading.Event) -> None:
    """Send one photograph after the other until the station is gone; what was not answered is left for the
    next time."""
    connection = None
    while not stop.is_set():
        with sent.lock:
            if sent.left:
                id, part = sent.left.pop(0)
                sent.again += 1
            else:
                id, part = str(uuid.uuid4()), sent.parts
                sent.parts += 1
        content = different(pictures[part % len(pictures)], part)
        try:
            connection = connection or Connection(port)
            reply = connection.ask(inspect_head(len(content), id=id, part=str(part)), content)
        except OSError:
            with sent.lock:
                sent.left.append((id, part))
            return
        with sent.lock:
            if reply.status == 200:
                data = reply.data()
                assert data["id"] == id and data["part"] == str(part), data
                sent.answered[id] = (part, digest.of_bytes(content))
            else:
                assert reply.status == 503, reply
                sent.refused += 1
                sent.left.append((id, part))


def review(port: int, sent: Sent, stop: threading.Event) -> None:
    """Answer parts of the queue until the station is gone."""
    try:
        connection = Connection(port)
        while not stop.is_set():
            with sent.lock:
                ids = list(sent.answered)[-20:]
            if not ids:
                time.sleep(0.02)
                continue
            body = json.dumps({"inspection_id": random.choice(ids), "answer": "good"}).encode()
            reply = connection.ask(json_head("POST", "/api/reviews", len(body)), body)
            assert reply.status == 200, reply
            sent.reviews += 1
            time.sleep(0.01)
    except OSError:
        return


@dataclass(frozen=True)
class Found:
    """What the store holds after the last kill."""

    answered: int
    kept: int
    lost: int
    doubled: int
    wrong_images: int
    unanswered_kept: int  # judged, but the answer did not arrive any more
    audit_entries: int
    database: tuple[str, ...]


def look(store: Path, sent: Sent) -> Found:
    """Compare the store with what was answered."""
    with Store(store, create=False) as opened:
        records = {one.id: one for one in opened.inspections.all(Filters())}
        lost = [id for id in sent.answered if id not in records]
        parts = Counter(one.origin.part for one in records.values())
        wrong = 0
        for id, (part, sha256) in sent.answered.items():
            record = records.get(id)
            if record is None:
                continue
            fits = record.image_sha256 == sha256 and record.origin.part == str(part)
            wrong += not (fits and digest.of_bytes(opened.images.read(sha256)) == sha256)
        return Found(
            answered=len(sent.answered),
            kept=len(records),
            lost=len(lost),
            doubled=sum(count - 1 for count in parts.values()),
            wrong_images=wrong,
            unanswered_kept=len(records.keys() - sent.answered.keys()),
            audit_entries=opened.audit.verify().entries,
            database=tuple(opened.database.check()),
        )


def kill_often(
    folder: Path, model: Path, pictures: list[bytes], *, kills: int, seed: int
) -> tuple[Found, Sent]:
    """Start, load and kill a station many times on one store, then look at it."""
    sent, draw, store = Sent(), random.Random(seed), folder / "store"
    for number in range(kills):
        port, stop = free_port(), threading.Event()
        with station(store, model, port=port, log=folder / "log") as process:
            before = len(sent.answered)
            clients = [
                threading.Thread(target=send, args=(port, pictures, sent, stop)) for _ in range(CLIENTS)
            ]
            clients.append(threading.Thread(target=review, args=(port, sent, stop)))
            for client in clients:
                client.start()
            until = time.monotonic() + 60
            while len(sent.answered) == before and time.monotonic() < until:
                time.sleep(0.005)
            time.sleep(draw.uniform(0.0, 1.5))
            process.kill()
            process.wait()
            stop.set()
            for client in clients:
                client.join()
        print(f"kill {number + 1}: {len(sent.answered)} answered, {sent.again} sent again", flush=True)
    return look(store, sent), sent


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/station_kill.md"))
    arguments = parser.parse_args()
    golden = Path(__file__).resolve().parents[1] / "tests" / "golden"
    pictures = [path.read_bytes() for path in sorted(golden.glob("*.png"))]
    with tempfile.TemporaryDirectory() as folder:
        found, sent = kill_often(
            Path(folder), golden / "tiny.flaw", pictures, kills=arguments.kills, seed=arguments.seed
        )
    lines = [
        "# SIGKILL under load",
        "",
        f"`python benchmarks/station_kill.py --kills {arguments.kills} --seed {arguments.seed}`",
        "",
        f"{CLIENTS} clients and a reviewer on 127.0.0.1; the tiny bundle of tests/golden; SQLite.",
        "",
        machine_line(),
        "",
        "| what | count |",
        "|---|---|",
        f"| kills at a random moment under load | {arguments.kills} |",
        f"| photographs answered | {found.answered} |",
        f"| sent again after a kill, with the same id | {sent.again} |",
        f"| reviews answered | {sent.reviews} |",
        f"| records | {found.kept} |",
        f"| of which the answer did not arrive any more | {found.unanswered_kept} |",
        f"| answered and lost | {found.lost} |",
        f"| parts that stand there twice | {found.doubled} |",
        f"| answered, with another or a damaged image | {found.wrong_images} |",
        f"| faults that SQLite's own check finds | {len(found.database)} |",
        f"| entries of the audit log, whose chain holds | {found.audit_entries} |",
        "",
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines))
    print("\n".join(lines))
    if found.lost or found.doubled or found.wrong_images or found.database:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
