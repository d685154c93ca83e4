"""A status for what the machine did, and marks for failures that were stored before there was one."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_BEFORE = (
    "status IN ('build_error', 'build_timeout', 'crash', 'infeasible', 'ok', "
    "'over_resources', 'pruned', 'run_error', 'run_timeout', 'wrong_result')"
)
_AFTER = _BEFORE.replace("'crash', ", "'crash', 'environment', ")


def upgrade() -> None:
    """Lets `trials.status` be `environment`; makes `forgotten_trials`."""
    if op.get_bind().dialect.name == "sqlite":
        _edit_check()
    else:
        op.drop_constraint("ck_trials_status", "trials", type_="check")
        op.create_check_constraint("ck_trials_status", "trials", sa.text(_AFTER))
    op.create_table(
        "forgotten_trials",
        sa.Column("trial_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"]),
        sa.PrimaryKeyConstraint("trial_id"),
    )


def _edit_check() -> None:
    """Writes the wider constraint into SQLite's own table of tables.

    SQLite cannot alter a constraint, and copying a table of a million trials, with what refers to it and the
    triggers that guard it, takes minutes. A constraint that refuses less changes nothing on disk: this is the
    procedure that https://www.sqlite.org/lang_altertable.html#otheralter gives for it. The new number makes
    every other connection read the schema again.
    """
    connection = op.get_bind()
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    try:
        edited = connection.exec_driver_sql(
            "UPDATE sqlite_master SET sql = replace(sql, ?, ?) "
            "WHERE type = 'table' AND name = 'trials' AND instr(sql, ?) > 0",
            (_BEFORE, _AFTER, _BEFORE),
        )
        if edited.rowcount != 1:
            raise RuntimeError("the table of trials has another constraint on its status")
        connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    finally:
        # RESET would read the schema anew at once, and with it undo what this transaction made before.
        connection.exec_driver_sql("PRAGMA writable_schema = OFF")
