"""Claims of configurations being measured, indexes for large sweeps, PostgreSQL's append-only triggers."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Makes `claims`; replaces an index of `trials` by one that tells outcomes too."""
    op.create_table(
        "claims",
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("sweep_id", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"]),
        sa.PrimaryKeyConstraint("identity"),
    )
    op.create_index(
        "ix_trials_sweep_outcome", "trials", ["sweep_id", "evidence", "status", "time_s"], unique=False
    )
    op.create_index(
        "ix_sweep_trials_reused",
        "sweep_trials",
        ["sweep_id", "trial_id"],
        unique=False,
        sqlite_where=sa.text("reused = 1"),
        postgresql_where=sa.text("reused = 1"),
    )
    op.drop_index("ix_trials_sweep_id", "trials")
    if op.get_bind().dialect.name == "postgresql":
        # As on SQLite since the first version: what was measured stays as it was measured.
        op.execute(
            "CREATE OR REPLACE FUNCTION trials_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'trials are append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER trials_refuse_change BEFORE UPDATE OR DELETE ON trials "
            "FOR EACH ROW EXECUTE FUNCTION trials_refuse()"
        )
        op.execute(
            "CREATE TRIGGER trials_refuse_truncate BEFORE TRUNCATE ON trials "
            "FOR EACH STATEMENT EXECUTE FUNCTION trials_refuse()"
        )
