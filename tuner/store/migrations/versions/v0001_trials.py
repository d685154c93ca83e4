"""Workloads, devices, toolchains, kernels, sweeps and their trials."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the first tables."""
    op.create_table(
        "devices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("limits", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("fingerprint"),
    )
    op.create_table(
        "kernels",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", "digest", name="uq_kernels_name_digest"),
    )
    op.create_table(
        "toolchains",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("flags", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "workloads",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("dtype", sa.Text(), nullable=False),
        sa.Column("dims", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_index("ix_workloads_operator", "workloads", ["operator"], unique=False)
    op.create_table(
        "sweeps",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("workload_id", sa.Integer(), nullable=False),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("kernel_id", sa.Integer(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("searcher", sa.Text(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("protocol_digest", sa.Text(), nullable=False),
        sa.Column("threads", sa.Integer(), nullable=False),
        sa.Column("cache", sa.Text(), nullable=False),
        sa.Column("budget", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="ck_sweeps_finished_at"),
        sa.CheckConstraint("cache IN ('cold', 'warm') AND threads >= 1", name="ck_sweeps_protocol"),
        sa.CheckConstraint("status IN ('finished', 'interrupted', 'running')", name="ck_sweeps_status"),
        sa.ForeignKeyConstraint(
            ["device_id"],
            ["devices.id"],
        ),
        sa.ForeignKeyConstraint(
            ["kernel_id"],
            ["kernels.id"],
        ),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workloads.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_sweeps_group",
        "sweeps",
        ["workload_id", "device_id", "kernel_id", "threads", "cache"],
        unique=False,
    )
    op.create_table(
        "trials",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("workload_id", sa.Integer(), nullable=False),
        sa.Column("kernel_id", sa.Integer(), nullable=False),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("toolchain_id", sa.Integer(), nullable=False),
        sa.Column("sweep_id", sa.Integer(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("protocol_digest", sa.Text(), nullable=False),
        sa.Column("threads", sa.Integer(), nullable=False),
        sa.Column("cache", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("time_s", sa.Double(), nullable=True),
        sa.Column("median_s", sa.Double(), nullable=True),
        sa.Column("low_s", sa.Double(), nullable=True),
        sa.Column("high_s", sa.Double(), nullable=True),
        sa.Column("samples", sa.Text(), nullable=False),
        sa.Column("reference_s", sa.Double(), nullable=True),
        sa.Column("before_s", sa.Double(), nullable=True),
        sa.Column("after_s", sa.Double(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("build_s", sa.Double(), nullable=False),
        sa.Column("run_s", sa.Double(), nullable=False),
        sa.Column("max_error", sa.Double(), nullable=True),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("artifact", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "(status <> 'ok' OR error = '') AND (status IN ('ok', 'pruned') OR error <> '')",
            name="ck_trials_error",
        ),
        sa.CheckConstraint("(time_s IS NOT NULL) = (samples <> '[]')", name="ck_trials_samples"),
        sa.CheckConstraint(
            "(time_s IS NOT NULL) = (status IN ('ok', 'pruned') AND evidence IN ('measured', "
            "'predicted', 'replayed'))",
            name="ck_trials_timed",
        ),
        sa.CheckConstraint("cache IN ('cold', 'warm') AND threads >= 1", name="ck_trials_protocol"),
        sa.CheckConstraint(
            "max_error IS NULL OR max_error <= 1 OR NOT (status IN ('ok', 'pruned'))",
            name="ck_trials_max_error",
        ),
        sa.CheckConstraint(
            "evidence IN ('compiled', 'emulated', 'measured', 'predicted', 'replayed')",
            name="ck_trials_evidence",
        ),
        sa.CheckConstraint(
            "status IN ('build_error', 'build_timeout', 'crash', 'infeasible', 'ok', "
            "'over_resources', 'pruned', 'run_error', 'run_timeout', 'wrong_result')",
            name="ck_trials_status",
        ),
        sa.CheckConstraint(
            "(reference_s IS NULL AND before_s IS NULL AND after_s IS NULL) OR (reference_s IS NOT "
            "NULL AND reference_s > 0 AND before_s IS NOT NULL AND before_s > 0 AND after_s IS NOT "
            "NULL AND after_s > 0)",
            name="ck_trials_calibration",
        ),
        sa.CheckConstraint(
            "(time_s IS NULL AND median_s IS NULL AND low_s IS NULL AND high_s IS NULL) OR (time_s "
            "IS NOT NULL AND time_s > 0 AND median_s IS NOT NULL AND median_s > 0 AND low_s IS NOT "
            "NULL AND low_s > 0 AND high_s IS NOT NULL AND high_s > 0)",
            name="ck_trials_times",
        ),
        sa.CheckConstraint(
            "time_s IS NULL OR (time_s < 1e9 AND high_s < 1e9 AND low_s <= median_s AND median_s <= high_s)",
            name="ck_trials_interval",
        ),
        sa.ForeignKeyConstraint(
            ["device_id"],
            ["devices.id"],
        ),
        sa.ForeignKeyConstraint(
            ["kernel_id"],
            ["kernels.id"],
        ),
        sa.ForeignKeyConstraint(
            ["sweep_id"],
            ["sweeps.id"],
        ),
        sa.ForeignKeyConstraint(
            ["toolchain_id"],
            ["toolchains.id"],
        ),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workloads.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_trials_best",
        "trials",
        ["workload_id", "device_id", "kernel_id", "threads", "cache", "evidence", "time_s"],
        unique=False,
        sqlite_where=sa.text("status = 'ok'"),
        postgresql_where=sa.text("status = 'ok'"),
    )
    op.create_index("ix_trials_identity", "trials", ["identity"], unique=False)
    op.create_index("ix_trials_kernel_id", "trials", ["kernel_id"], unique=False)
    op.create_index("ix_trials_sweep_id", "trials", ["sweep_id"], unique=False)
    op.create_table(
        "sweep_trials",
        sa.Column("sweep_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("reused", sa.Integer(), nullable=False),
        sa.CheckConstraint("number >= 0", name="ck_sweep_trials_number"),
        sa.ForeignKeyConstraint(
            ["sweep_id"],
            ["sweeps.id"],
        ),
        sa.ForeignKeyConstraint(
            ["trial_id"],
            ["trials.id"],
        ),
        sa.PrimaryKeyConstraint("sweep_id", "number"),
    )
    op.create_index("ix_sweep_trials_trial_id", "sweep_trials", ["trial_id"], unique=False)

    if op.get_bind().dialect.name == "sqlite":
        # What was measured stays as it was measured, whatever tool the database is opened with.
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER trials_refuse_{verb.lower()} BEFORE {verb} ON trials "
                "BEGIN SELECT RAISE(ABORT, 'trials are append-only'); END"
            )
