"""Campaigns: what was asked, who took part, who was skipped, given up or thrown out, and why."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_STATUSES = "'finished', 'interrupted', 'running'"


def upgrade() -> None:
    """Makes the four tables; nothing that is stored changes."""
    _campaigns()
    op.create_table(
        "campaign_parts",
        sa.Column("campaign_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("workload_id", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.Text(), nullable=True),
        sa.Column("final_id", sa.Integer(), nullable=True),
        sa.Column("limits", sa.Text(), nullable=False),
        sa.Column("peaks_disturbed", sa.Integer(), nullable=False),
        sa.Column("remarks", sa.Text(), nullable=False),
        sa.CheckConstraint("number >= 0", name="ck_campaign_parts_number"),
        sa.CheckConstraint(f"status IN ({_STATUSES}, 'waiting')", name="ck_campaign_parts_status"),
        sa.CheckConstraint(
            "(status = 'waiting') = (started_at IS NULL)", name="ck_campaign_parts_started_at"
        ),
        sa.CheckConstraint(
            "(status IN ('running', 'waiting')) = (finished_at IS NULL)",
            name="ck_campaign_parts_finished_at",
        ),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.ForeignKeyConstraint(["workload_id"], ["workloads.id"]),
        sa.ForeignKeyConstraint(["final_id"], ["finals.id"]),
        sa.PrimaryKeyConstraint("campaign_id", "number"),
    )
    op.create_index("ix_campaign_parts_workload", "campaign_parts", ["workload_id"], unique=False)
    _of_parts()


def _campaigns() -> None:
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("asked", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("protocol_digest", sa.Text(), nullable=False),
        sa.Column("threads", sa.Integer(), nullable=False),
        sa.Column("cache", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.Text(), nullable=True),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.CheckConstraint("kind IN ('comparison', 'network', 'sweep')", name="ck_campaigns_kind"),
        sa.CheckConstraint(f"status IN ({_STATUSES})", name="ck_campaigns_status"),
        sa.CheckConstraint("cache IN ('cold', 'warm') AND threads >= 1", name="ck_campaigns_protocol"),
        sa.CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="ck_campaigns_finished_at"),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_campaigns_experiment", "campaigns", ["experiment"], unique=False)


def _of_parts() -> None:
    op.create_table(
        "campaign_kernels",
        sa.Column("campaign_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kernel", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("baseline", sa.Integer(), nullable=False),
        sa.Column("searcher", sa.Text(), nullable=False),
        sa.Column("skipped", sa.Text(), nullable=False),
        sa.Column("sweep_id", sa.Integer(), nullable=True),
        sa.Column("reused", sa.Integer(), nullable=False),
        sa.Column("best_id", sa.Integer(), nullable=True),
        sa.Column("trials", sa.Integer(), nullable=False),
        sa.Column("disturbed", sa.Integer(), nullable=False),
        sa.Column("given_up", sa.Text(), nullable=False),
        sa.Column("given_up_at", sa.Integer(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.CheckConstraint("skipped = '' OR sweep_id IS NULL", name="ck_campaign_kernels_skipped"),
        sa.CheckConstraint("(given_up = '') = (given_up_at IS NULL)", name="ck_campaign_kernels_given_up"),
        sa.ForeignKeyConstraint(
            ["campaign_id", "number"], ["campaign_parts.campaign_id", "campaign_parts.number"]
        ),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"]),
        sa.ForeignKeyConstraint(["best_id"], ["trials.id"]),
        sa.PrimaryKeyConstraint("campaign_id", "number", "kernel"),
    )
    op.create_index("ix_campaign_kernels_sweep", "campaign_kernels", ["sweep_id"], unique=False)
    op.create_table(
        "campaign_exclusions",
        sa.Column("campaign_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("trial_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kernel", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint("stage IN ('build', 'final')", name="ck_campaign_exclusions_stage"),
        sa.ForeignKeyConstraint(
            ["campaign_id", "number"], ["campaign_parts.campaign_id", "campaign_parts.number"]
        ),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"]),
        sa.PrimaryKeyConstraint("campaign_id", "number", "trial_id"),
    )
