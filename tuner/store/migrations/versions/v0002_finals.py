"""Interleaved re-measurements of finalists."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Makes `finals` and `final_entries`."""
    op.create_table(
        "finals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sweep_id", sa.Integer(), nullable=True),
        sa.Column("workload_id", sa.Integer(), nullable=False),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("baseline_id", sa.Integer(), nullable=True),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("protocol_digest", sa.Text(), nullable=False),
        sa.Column("threads", sa.Integer(), nullable=False),
        sa.Column("cache", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.CheckConstraint("cache IN ('cold', 'warm') AND threads >= 1", name="ck_finals_protocol"),
        sa.ForeignKeyConstraint(
            ["baseline_id"],
            ["trials.id"],
        ),
        sa.ForeignKeyConstraint(
            ["device_id"],
            ["devices.id"],
        ),
        sa.ForeignKeyConstraint(
            ["sweep_id"],
            ["sweeps.id"],
        ),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workloads.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_finals_sweep_id", "finals", ["sweep_id"], unique=False)
    op.create_index("ix_finals_workload_id", "finals", ["workload_id"], unique=False)
    op.create_table(
        "final_entries",
        sa.Column("final_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("trial_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("median_s", sa.Double(), nullable=False),
        sa.Column("low_s", sa.Double(), nullable=False),
        sa.Column("high_s", sa.Double(), nullable=False),
        sa.Column("samples", sa.Text(), nullable=False),
        sa.Column("speedup", sa.Double(), nullable=True),
        sa.Column("speedup_low", sa.Double(), nullable=True),
        sa.Column("speedup_high", sa.Double(), nullable=True),
        sa.Column("winner", sa.Integer(), nullable=False),
        sa.Column("tie", sa.Integer(), nullable=False),
        sa.Column("beaten", sa.Integer(), nullable=False),
        sa.CheckConstraint("role IN ('baseline', 'candidate')", name="ck_final_entries_role"),
        sa.CheckConstraint(
            "(speedup IS NULL AND speedup_low IS NULL AND speedup_high IS NULL) OR (speedup IS NOT "
            "NULL AND speedup > 0 AND speedup_low IS NOT NULL AND speedup_low > 0 AND speedup_high "
            "IS NOT NULL AND speedup_high > 0)",
            name="ck_final_entries_speedup",
        ),
        sa.CheckConstraint(
            "low_s > 0 AND low_s <= median_s AND median_s <= high_s AND high_s < 1e9",
            name="ck_final_entries_interval",
        ),
        sa.CheckConstraint("winner + tie <= 1", name="ck_final_entries_outcome"),
        sa.ForeignKeyConstraint(
            ["final_id"],
            ["finals.id"],
        ),
        sa.ForeignKeyConstraint(
            ["trial_id"],
            ["trials.id"],
        ),
        sa.PrimaryKeyConstraint("final_id", "trial_id"),
    )
    op.create_index(
        "ix_final_entries_trial", "final_entries", ["trial_id", "final_id", "beaten"], unique=False
    )
