"""History, reviews, people, bundles, settings, alarms, shadows, samples, jobs, retention; both databases."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from stations import content_of, record

from flawscope.core.errors import ConfigError, ConflictError, NotFoundError, UsageError
from flawscope.store.history import Counts
from flawscope.store.inspections import Filters
from flawscope.store.options import Options
from flawscope.store.records import BundleRecord, InspectionRecord, QueueState, RoleName
from flawscope.store.retention import DAY_US
from flawscope.store.reviews import Said
from flawscope.store.shadows import ShadowRecord
from flawscope.store.store import Store

HOUR_US = 3_600_000_000
START = 1_700_000_000_000_000


def keep(store: Store, *records: InspectionRecord) -> None:
    contents = []
    for one in records:
        number = int(one.origin.part[1:])
        contents.append(content_of(number))
    store.keep(list(records), contents)


@pytest.fixture
def filled(store: Store) -> list[InspectionRecord]:
    """60 inspections over 60 hours, of three lots, two products and all verdicts."""
    verdicts = ["OK", "OK", "OK", "REVIEW", "NG", "NOT JUDGED"]
    records = [
        record(
            n,
            at_us=START + n * HOUR_US,
            verdict=verdicts[n % 6],
            product="tile" if n % 2 else "chip",
            defect={3: "crack", 4: "scratch" if n % 4 else "crack"}.get(n % 6, ""),
            risk=float(n),
        )
        for n in range(60)
    ]
    keep(store, *records)
    return records


def counted(records: list[InspectionRecord]) -> Counts:
    found = Counter(one.verdict for one in records)
    return Counts(found["OK"], found["REVIEW"], found["NG"], found["NOT JUDGED"])


@pytest.mark.parametrize(
    "filters, keeps",
    [
        (Filters(), lambda one: True),
        (Filters(lot="L1"), lambda one: one.origin.lot == "L1"),
        (
            Filters(product="tile", verdicts=("NG", "OK")),
            lambda one: one.origin.product == "tile" and one.verdict in ("NG", "OK"),
        ),
        (
            Filters(from_us=START + 10 * HOUR_US, to_us=START + 20 * HOUR_US),
            lambda one: START + 10 * HOUR_US <= one.at_us < START + 20 * HOUR_US,
        ),
        (Filters(risk_from=30.0, risk_to=40.0), lambda one: 30 <= one.risk <= 40),
    ],
)  # fmt: skip
def test_counts_groups_pareto_and_trend_are_what_counting_by_hand_gives(
    store: Store, filled: list[InspectionRecord], filters: Filters, keeps: Any
) -> None:
    chosen = [one for one in filled if keeps(one)]
    assert store.history.counts(filters) == counted(chosen)
    for name in ("lot", "product"):
        groups = {one.name: one.counts for one in store.history.by(filters, name)}
        values = {getattr(one.origin, name) for one in chosen}
        assert groups == {
            value: counted([one for one in chosen if getattr(one.origin, name) == value]) for value in values
        }
    odd = Counter(one.defect for one in chosen if one.verdict in ("REVIEW", "NG"))
    assert dict(store.history.pareto(filters)) == odd
    for step, offset in ((HOUR_US, 0), (24 * HOUR_US, 0), (24 * HOUR_US, 9 * HOUR_US)):
        trend = store.history.trend(filters, step_us=step, offset_us=offset)
        assert [one.from_us for one in trend] == sorted(one.from_us for one in trend)
        assert all((one.from_us + offset) % step == 0 for one in trend)
        assert sum((one.counts for one in trend), Counts()) == counted(chosen)
        for bucket in trend:
            inside = [one for one in chosen if bucket.from_us <= one.at_us < bucket.to_us]
            assert bucket.counts == counted(inside)


def test_yield_names_span_and_latest(store: Store, filled: list[InspectionRecord]) -> None:
    assert store.history.counts(Filters()).first_pass_yield == pytest.approx(30 / 50)
    assert Counts().first_pass_yield is None
    assert store.history.names("lot") == ["L0", "L1", "L2"] and store.history.names("defect") == [
        "crack",
        "scratch",
    ]
    assert store.history.span(Filters()) == (filled[0].at_us, filled[-1].at_us)
    assert store.history.span(Filters(lot="none")) is None
    latest = store.history.latest(Filters(), limit=3)
    assert [one[1] for one in latest] == [one.id for one in filled[-3:]]
    with pytest.raises(UsageError, match="Nothing is counted by"):
        store.history.by(Filters(), "detail")
    with pytest.raises(UsageError, match="more than 2,000 steps"):
        keep(store, *(record(n, at_us=n * 10) for n in range(100, 2102)))
        store.history.trend(Filters(), step_us=1)


def test_neighbours_follow_the_filters(store: Store, filled: list[InspectionRecord]) -> None:
    one = store.inspections.get(filled[10].id)
    assert store.inspections.neighbours(one, Filters()) == (filled[11].id, filled[9].id)
    assert store.inspections.neighbours(one, Filters(lot="L1")) == (filled[13].id, filled[7].id)


@pytest.fixture
def waiting(store: Store) -> list[str]:
    """Three parts that wait for review, by falling risk, and one that does not."""
    records = [record(n, queue=QueueState.WAITING, risk=90.0 - n, verdict="REVIEW") for n in range(3)]
    keep(store, *records, record(3))
    return [one.id for one in records]


def test_the_queue_goes_by_risk_and_an_answer_takes_a_part_out(store: Store, waiting: list[str]) -> None:
    assert [one.id for one in store.reviews.queue("kim")] == waiting and store.reviews.waiting("kim") == 3
    given = store.reviews.answer(waiting[0], "kim", Said("bad", "crack", seconds=2.5))
    assert [one.id for one in store.reviews.queue("kim")] == waiting[1:]
    assert store.inspections.get(waiting[0]).queue is QueueState.SETTLED
    assert store.reviews.undo(given.id, "kim").undone_us is not None
    assert store.reviews.waiting("kim") == 3 and store.reviews.of(waiting[0], seen_by="kim") == []
    with pytest.raises(NotFoundError):
        store.reviews.undo(given.id, "kim")
    store.reviews.answer(waiting[0], "kim", Said("skip"))
    assert store.reviews.waiting("kim") == 2 and store.reviews.waiting("lee") == 3  # skipped for oneself only
    assert [one.said.answer for one in store.reviews.mine("kim")] == ["skip", "bad"]


def test_the_second_reviewer_is_blind_and_disagreements_are_listed(store: Store, waiting: list[str]) -> None:
    store.reviews.answer(waiting[0], "kim", Said("good"), needed=2)
    store.reviews.answer(waiting[1], "kim", Said("bad"), needed=2)
    assert store.inspections.get(waiting[0]).queue is QueueState.ANSWERED
    assert [one.id for one in store.reviews.queue("kim")] == waiting[2:]
    assert [one.id for one in store.reviews.queue("lee")] == waiting
    assert store.reviews.of(waiting[0], seen_by="lee") == []
    store.reviews.answer(waiting[0], "lee", Said("bad"), needed=2)
    store.reviews.answer(waiting[1], "lee", Said("bad"), needed=2)
    assert [one.person for one in store.reviews.of(waiting[0], seen_by="lee")] == ["kim", "lee"]
    (found,) = store.reviews.disagreements()
    assert found.inspection.id == waiting[0] and [one.said.answer for one in found.answers] == ["good", "bad"]
    agreement = store.reviews.agreement()
    assert (agreement.twice, agreement.agreed, agreement.reviewed) == (2, 1, 2)
    assert [part.id for _, part in store.reviews.learnable()] == [waiting[1], waiting[1]]


def test_an_answer_counts_once_and_a_part_is_held_by_one(
    store: Store, waiting: list[str], clock: Any
) -> None:
    store.reviews.claim(waiting[0], "kim")
    store.reviews.claim(waiting[0], "kim")
    with pytest.raises(ConflictError, match="kim has this one"):
        store.reviews.claim(waiting[0], "lee")
    assert [one.id for one in store.reviews.queue("lee")] == waiting[1:]
    clock.at_us += 200_000_000
    store.reviews.claim(waiting[0], "lee")
    id = "00000000-0000-0000-0000-00000000000a"
    first = store.reviews.answer(waiting[0], "kim", Said("good"), id=id)
    assert store.reviews.answer(waiting[0], "kim", Said("bad"), id=id) == first
    store.reviews.answer(waiting[0], "kim", Said("bad"))  # changed their mind
    assert [one.said.answer for one in store.reviews.of(waiting[0], seen_by="kim")] == ["bad"]
    with pytest.raises(UsageError):
        store.reviews.answer(waiting[1], "kim", Said("perhaps"))
    with pytest.raises(NotFoundError):
        store.reviews.answer("nothing", "kim", Said("bad"))


def test_what_was_learnt_is_not_learnt_again_and_cannot_be_undone(store: Store, waiting: list[str]) -> None:
    given = store.reviews.answer(waiting[0], "kim", Said("good"))
    ((review, part),) = store.reviews.learnable(product="tile")
    assert review == given and part.id == waiting[0] and store.reviews.learnable(product="other") == []
    store.reviews.mark_learnt([given.id], "fedcba987654")
    assert store.reviews.learnable() == []
    with pytest.raises(ConflictError, match="has learnt"):
        store.reviews.undo(given.id, "kim")


def test_parts_where_model_and_reviewer_differ_are_found(store: Store, waiting: list[str]) -> None:
    ok = record(3).id
    assert store.reviews.ask_for([ok, waiting[0]], who="kim") == 1
    store.reviews.answer(ok, "kim", Said("bad", "crack"))
    store.reviews.answer(waiting[0], "kim", Said("good"))
    assert [one.id for one in store.inspections.all(Filters(disagreed=True))] == [ok]
    assert (
        store.reviews.agreement().model_ok_bad == 1 and store.history.counts(Filters(disagreed=True)).ok == 1
    )


def test_people_roles_and_tokens(store: Store, clock: Any) -> None:
    people = store.people
    assert not people.has_admin()
    people.add("kim", password="hash", role=RoleName.ADMIN, who="local:root")
    people.add("lee", password="hash", role=RoleName.OPERATOR, who="kim")
    assert people.has_admin() and [one.name for one in people.all()] == ["kim", "lee"]
    with pytest.raises(ConflictError):
        people.add("kim", password="x", role=RoleName.OPERATOR, who="kim")
    for name in ("", "a:b", "x" * 101, "a\nb"):
        with pytest.raises(UsageError):
            people.add(name, password="x", role=RoleName.OPERATOR, who="kim")
    for change in ({"disabled": True}, {"role": RoleName.OPERATOR}):
        with pytest.raises(ConflictError, match="no admin"):
            people.change("kim", who="kim", **change)
    assert people.change("lee", who="kim", role=RoleName.ENGINEER).epoch == 2
    record_, key = people.add_token(
        "cell 4", person="lee", role=RoleName.OPERATOR, expires_us=None, who="kim"
    )
    found = people.token(key)
    assert found is not None and found.id == record_.id and key not in repr(people.tokens())
    assert people.token(key + "x") is None and people.token("") is None and people.token("flaw_x_y") is None
    _, brief = people.add_token(
        "short", person="lee", role=RoleName.OPERATOR, expires_us=clock.at_us + 5000, who="kim"
    )
    assert people.token(brief) is not None
    clock.at_us += 10_000
    assert people.token(brief) is None
    people.revoke_token(record_.id, who="kim")
    assert people.token(key) is None
    with pytest.raises(NotFoundError):
        people.revoke_token(record_.id, who="kim")
    assert store.audit.verify().entries == 6


def test_bundles_go_on_the_line_one_a_product_and_back(store: Store) -> None:
    for id, product in (("a" * 12, "tile"), ("b" * 12, "tile"), ("c" * 12, "chip")):
        store.bundles.add(BundleRecord(id, "0" * 64, id[0], product, "padim", "", "kept", 1, "", 5, "kim"))
    assert store.bundles.add(store.bundles.get("a" * 12)).added_us == 5
    store.bundles.set_state("a" * 12, "line", person="kim")
    store.bundles.set_state("c" * 12, "line", person="kim")
    store.bundles.set_state("b" * 12, "shadow", person="kim")
    store.bundles.set_state("b" * 12, "line", person="kim", reason="better")
    assert {one.id[0] for one in store.bundles.in_state("line")} == {"b", "c"}
    before = store.bundles.before("tile")
    assert before is not None and before.id[0] == "a" and store.bundles.before("chip") is None
    assert [one.bundle_id[0] for one in store.bundles.history("tile")] == ["b", "b", "a"]


def test_settings_have_bounds_and_names(store: Store) -> None:
    assert store.options.get() == Options()
    changed = store.options.set(
        {"keep_ok_days": 7, "theme": "dark", "sample_rate": 1, "zone": "Asia/Seoul"}, who="kim"
    )
    assert (changed.keep_ok_days, changed.theme, changed.sample_rate) == (7, "dark", 1.0)
    assert store.options.get() == changed and store.options.set({"theme": "dark"}, who="kim") == changed
    for key, value in (
        ("keep_ok_days", -1),
        ("theme", "pink"),
        ("zone", "../etc"),
        ("sound", 1),
        ("sample_rate", "x"),
    ):
        with pytest.raises(ConfigError):
            store.options.set({"language": "de", key: value}, who="kim")
    with pytest.raises(ConfigError, match="keep_ok_days"):
        store.options.set({"keep_ok_day": 1}, who="kim")
    assert store.options.get() == changed and store.audit.verify().entries == 1


def test_alarms_are_acknowledged_once(store: Store) -> None:
    one = store.alarms.add("light", product="tile", station="", bundle_id="a" * 12, detail={"share": 0.18})
    store.alarms.add("layout", product="chip", station="", bundle_id="a" * 12, detail={})
    assert [alarm.kind for alarm in store.alarms.all(open_only=True)] == ["layout", "light"]
    seen = store.alarms.acknowledge(one.seq, person="kim", cause="light", note="lamp changed")
    assert seen.acknowledged_us is not None and len(store.alarms.all(open_only=True)) == 1
    with pytest.raises(ConflictError):
        store.alarms.acknowledge(one.seq, person="lee", cause="light", note="")
    with pytest.raises(NotFoundError):
        store.alarms.acknowledge(99, person="lee", cause="light", note="")


def test_shadows_samples_calibrations_and_jobs(store: Store) -> None:
    ids = [record(n).id for n in range(3)]
    keep(store, *(record(n, sampled=True) for n in range(3)))
    verdicts = [
        ShadowRecord(id, "b" * 12, v, "OK", 1.0, 0.5, "", 5)
        for id, v in zip(ids, ("OK", "NG", "NG"), strict=True)
    ]
    store.shadows.add_all(verdicts)
    store.shadows.add_all(verdicts[:1])
    assert store.shadows.table("b" * 12) == {("OK", "OK"): 1, ("OK", "NG"): 2}
    assert [one.inspection_id for one in store.shadows.disagreements("b" * 12)] == [ids[2], ids[1]]
    assert [one.id for one in store.samples.unused("tile")] == ids and store.samples.count_unused("tile") == 3
    store.samples.mark_used(ids[:2], "b" * 12)
    assert [one.id for one in store.samples.unused("tile")] == ids[2:]
    for _ in range(2):
        version = store.calibrations.add(
            "b" * 12, parent="a" * 12, product="tile", limits={"ng": 1.5}, person="kim", reason="cost"
        )
    assert version.version == 2 and [one.version for one in store.calibrations.all("tile")] == [2, 1]
    job = store.jobs.add("teach", "Teach tiles", {"x": 1}, person="kim")
    assert store.jobs.start(job.id).state == "running"
    assert store.jobs.end(job.id, "done", result={"bundle": "b"}).result == {"bundle": "b"}
    assert (
        store.jobs.end(job.id, "failed").state == "done" and store.jobs.in_states("waiting", "running") == []
    )


def test_retention_frees_images_and_keeps_records_and_what_is_needed(store: Store, clock: Any) -> None:
    now = clock.at_us
    old, young = now - 100 * DAY_US, now - 10 * DAY_US
    keep(
        store,
        record(0, at_us=old),
        record(1, at_us=young),
        record(2, at_us=old, verdict="NG"),
        record(3, at_us=old, queue=QueueState.WAITING),
        record(4, at_us=old, sampled=True),
        record(5, at_us=old, queue=QueueState.WAITING),
        record(6, at_us=old, image_sha256=record(1).image_sha256, part="P1"),
    )
    store.reviews.answer(record(5).id, "kim", Said("good"))
    options = Options(keep_ok_days=90, keep_free_gb=0.0)
    planned = store.retention.plan(options)
    freed = store.retention.run(options, who="local:station")
    assert planned.images == freed.images == 2 and freed.by_verdict["OK"] == 2
    kept = {one.origin.part: one.image_bytes > 0 for one in store.inspections.all(Filters())}
    assert len(list(store.inspections.all(Filters()))) == 7
    assert (
        kept == {"P0": False, "P1": True, "P2": True, "P3": True, "P4": True, "P5": True}
        or kept["P0"] is False
    )
    assert not store.images.has(record(0).image_sha256) and store.inspections.heat(record(0).id) is None
    assert store.images.has(record(1).image_sha256), "another record still shows it"
    assert store.retention.run(options, who="local:station").images == 0
    with pytest.raises(NotFoundError, match="not kept"):
        store.images.read(record(0).image_sha256)
    assert store.retention.disk().images == 5


def test_a_nearly_full_disk_takes_the_oldest_ok_images_early(store: Store, clock: Any) -> None:
    keep(store, *(record(n, at_us=clock.at_us - 1000 * (9 - n)) for n in range(5)), record(5, verdict="NG"))
    store.retention._free_bytes = lambda: 10**9 if store.images.has(record(0).image_sha256) else 10**10
    freed = store.retention.run(
        Options(keep_ok_days=0, keep_ng_days=0, keep_free_gb=2.0), who="local:station"
    )
    assert freed.by_verdict["OK"] == 5 and store.images.has(record(5).image_sha256)


def test_looks_at_test_sets_are_counted_and_kept_once(store: Store) -> None:
    trials = store.trials
    trials.add_set("t1", "March", product="tile", person="kim")
    with pytest.raises(ConflictError):
        trials.add_set("t2", "March", product="", person="lee")
    result = {"images": 2, "words": ["Nothing changes."]}
    for id, bundle in (("j1", "b" * 12), ("j2", "c" * 12), ("j2", "c" * 12)):  # the last one twice
        trials.add(id, test_id="t1", bundle_id=bundle, against="a" * 12, person="kim", result=result)
    assert trials.looks() == {"t1": 2}
    assert [one.id for one in trials.all(test_id="t1")] == ["j2", "j1"]
    assert [one.id for one in trials.all(bundle_id="b" * 12)] == ["j1"]
    assert trials.get("j1").to_json()["result"] == result
    with pytest.raises(NotFoundError):
        trials.get("j3")
    trials.remove_set("t1", who="kim")
    assert trials.sets() == [] and trials.looks() == {"t1": 2}, "looks outlive the photographs"
    assert trials.get_set("t1", removed=True).name == "March"
    with pytest.raises(NotFoundError):
        trials.get_set("t1")
    trials.add_set("t2", "March", product="", person="lee")  # the name is free again
    actions = [one.action for one in store.audit.entries(limit=20)]
    assert Counter(actions)["test.look"] == 2 and actions.count("test.remove") == 1


def test_known_parts_are_shown_again_and_change_nothing(store: Store) -> None:
    keep(store, *[record(n, queue=QueueState.WAITING, verdict="REVIEW") for n in range(30)])
    for n in range(5):
        store.reviews.answer(record(n).id, "kim", Said("bad" if n else "good"))
    store.reviews.answer(record(1).id, "sam", Said("good"))  # they disagree: it is not known
    assert store.checks.due("lee", 0.25) is None, "nothing judged yet"
    for n in range(10, 14):
        store.reviews.answer(record(n).id, "lee", Said("good"))
    assert store.checks.due("lee", 0.0) is None
    shown = store.checks.due("lee", 0.25)
    assert shown is not None and store.checks.due("lee", 0.25) == shown, "one at a time"
    assert shown.inspection_id != record(1).id
    before = store.reviews.of(shown.inspection_id, seen_by="kim")
    wrong = "good" if shown.expected == "bad" else "bad"
    assert store.checks.answer(record(20).id, "lee", Said("good")) is None, "another part is an answer"
    assert store.checks.answer(shown.inspection_id, "sam", Said("good")) is None, "another person too"
    said = store.checks.answer(shown.inspection_id, "lee", Said(wrong), id="sent-1")
    assert said is not None and said == store.checks.answer(
        shown.inspection_id, "lee", Said(wrong), id="sent-1"
    )
    assert store.reviews.of(shown.inspection_id, seen_by="kim") == before
    assert [one.to_json() for one in store.checks.sureness()] == [{"person": "lee", "known": 1, "agreed": 0}]
    assert store.checks.due("lee", 0.25) is None, "one in four"
    again = store.checks.undo("sent-1", "lee")
    assert again is not None and again.inspection_id == shown.inspection_id and store.checks.sureness() == []
    store.checks.answer(shown.inspection_id, "lee", Said(shown.expected), id="sent-2")
    assert store.checks.sureness()[0].agreed == 1 and store.checks.undo("sent-1", "lee") is None
