"""Database, migrations, images, inspections and audit log, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, text, update
from stations import content_of, record

from flawscope.core import digest
from flawscope.core.errors import NotFoundError, StoreError, UsageError
from flawscope.store.images import ImageFiles
from flawscope.store.inspections import Filters
from flawscope.store.store import Store
from flawscope.store.tables import audit, metadata


def keep(store: Store, numbers: range, **changes: Any) -> None:
    records = [record(number, **changes) for number in numbers]
    store.keep(records, [content_of(number) for number in numbers])


def test_the_migrations_lead_to_the_tables(store: Store) -> None:
    with store.database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_store_opens_again_with_all_that_was_kept(place: str, tmp_path: Path) -> None:
    with Store(place, folder=tmp_path / "store") as store:
        keep(store, range(3))
        store.audit.add("local:kim", "test", "one")
    with Store(place, folder=tmp_path / "store") as store:
        found = store.inspections.page(Filters()).records
        assert [one.id for one in found] == [record(n).id for n in (2, 1, 0)]
        assert found[0].to_json() == record(2).to_json() and found[0].seq > found[1].seq
        assert store.inspections.heat(found[0].id) == b"\x89PNG heat"
        assert store.images.read(found[0].image_sha256) == content_of(2)
        assert store.audit.verify().entries == 1
        assert store.database.check() == []


def test_a_store_of_a_newer_program_is_refused(place: str, tmp_path: Path) -> None:
    with Store(place, folder=tmp_path / "store") as store, store.database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer flawscope"):
        Store(place, folder=tmp_path / "store")


def test_sqlite_keeps_a_journal_and_waits_for_the_disk(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        with store.database.reading() as connection:
            assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
            assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        sqlite3.connect(tmp_path / "s" / "station.db").close()


def test_an_id_that_is_sent_twice_is_kept_once(store: Store) -> None:
    keep(store, range(2))
    again = store.inspections.add_all([record(1, score=9.0), record(2)])
    assert [one.score for one in again] == [0.5, 0.5]
    assert len(store.inspections.page(Filters()).records) == 3


def test_pages_follow_each_other_without_gap_or_double(store: Store) -> None:
    same_time = 1_700_000_000_000_000
    keep(store, range(7), at_us=same_time)  # ties are told apart
    keep(store, range(7, 12))
    ids, after = [], None
    while True:
        page = store.inspections.page(Filters(), after=after, limit=5)
        ids += [one.id for one in page.records]
        after = page.after
        if after is None:
            break
    assert len(ids) == len(set(ids)) == 12
    assert ids == [one.id for one in store.inspections.all(Filters())]
    assert len(list(store.inspections.all(Filters(), limit=4))) == 4
    with pytest.raises(UsageError, match="no cursor"):
        store.inspections.page(Filters(), after="x' OR 1=1")


@pytest.mark.parametrize(
    "filters, numbers",
    [
        (Filters(lot="L1"), {1, 4}),
        (Filters(verdicts=("NG",)), {5}),
        (Filters(verdicts=("NG", "OK"), product="tile"), {0, 1, 2, 3, 4, 5}),
        (Filters(from_us=1_700_000_000_000_002, to_us=1_700_000_000_000_004), {2, 3}),
        (Filters(risk_from=50.0), {5}),
        (Filters(defect="scratch"), {5}),
        (Filters(part="P3"), {3}),
        (Filters(station="elsewhere"), set()),
        (Filters(image_kept=False), set()),
    ],
)
def test_filters_find_what_they_name(store: Store, filters: Filters, numbers: set[int]) -> None:
    keep(store, range(5))
    keep(store, range(5, 6), verdict="NG", risk=80.0, defect="scratch")
    found = {one.id for one in store.inspections.all(filters)}
    assert found == {record(number).id for number in numbers}


def test_a_span_that_ends_before_it_begins_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="From is after To"):
        store.inspections.page(Filters(from_us=2, to_us=1))


def test_what_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.inspections.get("nothing")
    with pytest.raises(NotFoundError):
        store.images.read("0" * 64)
    for path in ("../../../etc/passwd", "a" * 63, "A" * 64, "a/" * 32):
        with pytest.raises(NotFoundError, match="no digest"):
            store.images.read(path)


@pytest.mark.parametrize(
    "change",
    [
        update(audit).where(audit.c.seq == 2).values(who="somebody else"),
        update(audit).where(audit.c.seq == 2).values(detail='{"a":2}'),
        update(audit).where(audit.c.seq == 2).values(at_us=0),
        delete(audit).where(audit.c.seq == 2),
        delete(audit).where(audit.c.seq == 1),
        update(audit).where(audit.c.seq == 3).values(seq=7),
    ],
    ids=["who", "detail", "time", "removed", "first removed", "renumbered"],
)
def test_a_changed_audit_log_is_noticed(store: Store, change: Any) -> None:
    for number in range(3):
        store.audit.add("local:kim", "test", str(number), detail={"a": number})
    assert store.audit.verify().entries == 3
    with store.database.writing() as connection:
        connection.execute(change)
    with pytest.raises(StoreError, match="Audit chain breaks at record") as caught:
        store.audit.verify()
    assert caught.value.code == "audit_chain"


def test_entries_cut_off_at_the_end_are_noticed_by_a_noted_digest(store: Store) -> None:
    for number in range(3):
        store.audit.add("local:kim", "test", str(number))
    head = store.audit.verify().head
    store.audit.add("local:kim", "test", "more")
    assert store.audit.verify(head=head[:12]).entries == 4
    with store.database.writing() as connection:
        connection.execute(delete(audit).where(audit.c.seq >= 3))
    assert store.audit.verify().entries == 2  # the chain itself is whole
    with pytest.raises(StoreError, match="lost entries at its end"):
        store.audit.verify(head=head)


def test_an_audit_entry_is_kept_with_what_it_tells_of_or_not_at_all(store: Store) -> None:
    with pytest.raises(RuntimeError), store.database.writing() as connection:
        store.audit.add_within(connection, "local:kim", "test")
        raise RuntimeError
    assert store.audit.verify().entries == 0


def cut(images: ImageFiles) -> Path:
    """Return the folder as it is at this moment, in another place, as if the power had gone."""
    after = images.folder.with_name("after")
    shutil.copytree(images.folder, after)
    images.close()
    return after


def test_images_that_a_power_cut_took_are_mended_from_the_journal(tmp_path: Path) -> None:
    images = ImageFiles(tmp_path / "before")
    contents = [b"a" * 100, b"b" * 5000, b""]
    names = [digest.of_bytes(one) for one in contents]
    images.add_all(list(zip(names, contents, strict=True)))
    after = cut(images)
    for name, damage in zip(names, (b"", b"b" * 4999, None), strict=True):
        path = after / name[:2] / name[2:]
        path.unlink() if damage is None else path.write_bytes(damage)
    again = ImageFiles(after)
    assert [again.read(name) for name in names] == contents
    assert again.journal_bytes() == 0


def test_a_journal_that_ends_in_the_middle_keeps_what_is_whole(tmp_path: Path) -> None:
    images = ImageFiles(tmp_path / "before")
    first = images.add(b"whole")
    images.add(b"x" * 1000)
    images.remove(digest.of_bytes(b"x" * 1000))
    after = cut(images)
    (journal,) = (after / "journal").glob("*.log")
    journal.write_bytes(journal.read_bytes()[:-10])
    again = ImageFiles(after)
    assert again.read(first) == b"whole" and not again.has(digest.of_bytes(b"x" * 1000))


def test_settled_journals_go_and_the_same_content_is_kept_once(tmp_path: Path) -> None:
    images = ImageFiles(tmp_path)
    assert images.add(b"same") == images.add(b"same")
    assert images.journal_bytes() > 0 and images.settle() == 1 and images.journal_bytes() == 0
    images.add(b"other")
    images.close()
    assert images.journal_bytes() == 0 and images.used_bytes() == len(b"same" + b"other")
    assert images.remove(digest.of_bytes(b"same")) == 4 and images.remove(digest.of_bytes(b"same")) == 0
