"""Indexes from which the Pareto of defects reads odd parts alone, and History the parts of one station."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("inspections", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_inspections_verdict_defect_at_us"), ["verdict", "defect", "at_us"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_inspections_station_at_us_verdict_lot_defect"),
            ["station", "at_us", "verdict", "lot", "defect"],
            unique=False,
        )
