"""The tables, in one place. Times are whole microseconds since 1970, UTC, in columns that end in `_us`.

Columns that filters and charts use are columns of their own; what is only shown stands in `detail` as JSON.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

# SQLite gives only INTEGER keys their numbers by itself
Number = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

bundles = Table(
    "bundles",
    metadata,
    Column("id", String(12), primary_key=True),  # the bundle's identity
    Column("sha256", String(64), nullable=False),  # of the file
    Column("name", String(200), nullable=False),
    Column("product", String(200), nullable=False),
    Column("method", String(100), nullable=False),
    Column("parent", String(12), nullable=False),  # empty: taught from nothing
    Column("state", String(10), nullable=False),  # line, shadow, kept
    Column("size_bytes", BigInteger, nullable=False),
    Column("created", String(40), nullable=False),  # as the bundle says
    Column("added_us", BigInteger, nullable=False),
    Column("added_by", String(200), nullable=False),
)

activations = Table(
    "activations",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("product", String(200), nullable=False),
    Column("bundle_id", String(12), ForeignKey("bundles.id"), nullable=False),
    Column("state", String(10), nullable=False),  # what it became: line, shadow, kept
    Column("at_us", BigInteger, nullable=False),
    Column("person", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Index(None, "product", "seq"),
)

inspections = Table(
    "inspections",
    metadata,
    Column("seq", Number, primary_key=True),
    Column(
        "id", String(36), nullable=False, unique=True
    ),  # made by the client or here; sent twice, kept once
    Column("at_us", BigInteger, nullable=False),
    Column("station", String(100), nullable=False),
    Column("product", String(200), nullable=False),
    Column("lot", String(100), nullable=False),
    Column("part", String(100), nullable=False),
    Column("bundle_id", String(12), nullable=False),
    Column("verdict", String(10), nullable=False),  # OK, REVIEW, NG, NOT JUDGED
    Column("score", Float(53)),
    Column("p_value", Float(53)),
    Column("risk", Float(53)),  # 0 to 100
    Column("defect", String(100), nullable=False),  # the likeliest class; empty: none
    Column("error_code", String(40), nullable=False),
    Column("image_sha256", String(64), nullable=False),
    Column("image_bytes", BigInteger, nullable=False),  # 0 once retention has freed it
    Column("queue", Integer, nullable=False),  # 0 not asked for, 1 waits for review, 2 answered, 3 settled
    Column("person", String(200), nullable=False),  # who sent it
    Column("detail", JSON, nullable=False),
    # one scan of this index answers every count, yield, Pareto and trend
    Index("ix_inspections_facts", "at_us", "product", "station", "lot", "verdict", "defect", "risk"),
    Index(None, "product", "at_us"),
    Index(None, "lot", "at_us", "verdict"),
    Index(None, "station", "at_us", "verdict", "lot", "defect"),  # all that History counts of a station
    Index(None, "verdict", "at_us"),
    Index(None, "verdict", "defect", "at_us"),  # the Pareto reads the odd ones alone
    Index(None, "defect", "at_us"),
    Index(None, "part"),
    Index(None, "image_sha256"),
    Index("ix_inspections_queue", "queue", "risk"),
)
# what retention looks through: rows whose image is still there
Index(
    "ix_inspections_kept",
    inspections.c.verdict,
    inspections.c.at_us,
    sqlite_where=inspections.c.image_bytes > 0,
    postgresql_where=inspections.c.image_bytes > 0,
)

heats = Table(
    "heats",
    metadata,
    Column("inspection_id", String(36), primary_key=True),
    Column("png", LargeBinary, nullable=False),  # 8-bit grey, 0 to 255 is 0 to 2 pixel limits
)

shadows = Table(
    "shadows",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("inspection_id", String(36), nullable=False),
    Column("bundle_id", String(12), nullable=False),
    Column("verdict", String(10), nullable=False),
    Column("line_verdict", String(10), nullable=False),
    Column("score", Float(53)),
    Column("p_value", Float(53)),
    Column("defect", String(100), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    UniqueConstraint("inspection_id", "bundle_id"),
    Index(None, "bundle_id", "verdict", "line_verdict"),
)

samples = Table(
    "samples",
    metadata,
    Column("inspection_id", String(36), primary_key=True),  # a part that passed, drawn at random
    Column("product", String(200), nullable=False),
    Column("bundle_id", String(12), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("used_by", String(12), nullable=False),  # the bundle calibrated with it; empty: none yet
    Index(None, "product", "at_us"),
)

reviews = Table(
    "reviews",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("inspection_id", String(36), nullable=False),
    Column("person", String(200), nullable=False),
    Column("answer", String(10), nullable=False),  # good, bad, skip
    Column("defect", String(100), nullable=False),
    Column("mask_sha256", String(64), nullable=False),
    Column("note", Text, nullable=False),
    Column("seconds", Float(53)),
    Column("at_us", BigInteger, nullable=False),
    Column("undone_us", BigInteger),
    Column("learnt_by", String(12), nullable=False),  # the bundle taught with it; empty: none yet
    Index(None, "inspection_id"),
    Index(None, "person", "seq"),
    Index(None, "at_us"),
)

claims = Table(
    "claims",
    metadata,
    Column("inspection_id", String(36), primary_key=True),  # somebody looks at it now
    Column("person", String(200), nullable=False),
    Column("until_us", BigInteger, nullable=False),
)

checks = Table(
    "checks",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("inspection_id", String(36), nullable=False),  # a settled part, shown again
    Column("person", String(200), nullable=False),
    Column("expected", String(10), nullable=False),  # good, bad: what settled it
    Column("answer", String(10), nullable=False),  # good, bad, skip; empty: not yet
    Column("defect", String(100), nullable=False),
    Column("seconds", Float(53)),
    Column("asked_us", BigInteger, nullable=False),
    Column("answered_us", BigInteger),
    Index(None, "person", "seq"),
)

calibrations = Table(
    "calibrations",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("bundle_id", String(12), nullable=False),  # with these limits
    Column("parent", String(12), nullable=False),  # before them
    Column("product", String(200), nullable=False),
    Column("version", Integer, nullable=False),
    Column("limits", JSON, nullable=False),
    Column("person", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    UniqueConstraint("product", "version"),
)

alarms = Table(
    "alarms",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("product", String(200), nullable=False),
    Column("station", String(100), nullable=False),
    Column("bundle_id", String(12), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("detail", JSON, nullable=False),
    Column("acknowledged_us", BigInteger),
    Column("person", String(200), nullable=False),
    Column("cause", String(40), nullable=False),
    Column("note", Text, nullable=False),
    Index(None, "at_us"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("title", String(200), nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("state", String(10), nullable=False),  # waiting, running, done, failed, cancelled
    Column("person", String(200), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("started_us", BigInteger),
    Column("ended_us", BigInteger),
    Column("result", JSON),
    Column("error", JSON),
    Index(None, "state", "created_us"),
)

test_sets = Table(
    "test_sets",
    metadata,
    Column("id", String(36), primary_key=True),  # its photographs lie under it
    Column("name", String(200), nullable=False),
    Column("product", String(200), nullable=False),  # empty: of any
    Column("created_us", BigInteger, nullable=False),
    Column("person", String(200), nullable=False),
    Column("removed_us", BigInteger),  # its photographs are gone; its trials stay
)

# each is one look at a test set: what two bundles say of it, which neither has seen
trials = Table(
    "trials",
    metadata,
    Column("id", String(36), primary_key=True),  # of the job that measured
    Column("test_id", String(36), ForeignKey("test_sets.id"), nullable=False),
    Column("bundle_id", String(12), nullable=False),  # after
    Column("against", String(12), nullable=False),  # before
    Column("at_us", BigInteger, nullable=False),
    Column("person", String(200), nullable=False),
    Column("result", JSON, nullable=False),
    Index(None, "test_id", "at_us"),
    Index(None, "bundle_id", "at_us"),
)

people = Table(
    "people",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("password", String(200), nullable=False),  # argon2
    Column("role", String(10), nullable=False),  # operator, engineer, admin
    Column("created_us", BigInteger, nullable=False),
    Column("disabled_us", BigInteger),
    Column("epoch", Integer, nullable=False),  # a session of an older epoch has ended
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("person", String(200), nullable=False),
    Column("role", String(10), nullable=False),
    Column("digest", String(64), nullable=False),  # sha256; the token itself is kept nowhere
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("revoked_us", BigInteger),
    Column("used_us", BigInteger),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("who", String(200), nullable=False),
    Column("action", String(60), nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),  # canonical JSON, as it was hashed
    Column("previous", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Index(None, "at_us"),
    Index(None, "action", "seq"),
)

settings = Table(
    "settings",
    metadata,
    Column("key", String(100), primary_key=True),
    Column("value", JSON, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("person", String(200), nullable=False),
)
