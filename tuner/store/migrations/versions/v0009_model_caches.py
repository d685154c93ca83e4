"""Times taken with caches as a layer of a model finds them: a third state beside warm and cold."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_TABLES = ("campaigns", "finals", "sweeps", "trials")
_BEFORE, _AFTER = "cache IN ('cold', 'warm')", "cache IN ('cold', 'model', 'warm')"


def upgrade() -> None:
    """Widens a constraint of four tables; nothing that is stored changes."""
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        for table in _TABLES:
            op.drop_constraint(f"ck_{table}_protocol", table, type_="check")
            op.create_check_constraint(f"ck_{table}_protocol", table, f"{_AFTER} AND threads >= 1")
        return
    # SQLite cannot alter a constraint. A table made anew would copy every trial for one word; as a wider
    # constraint changes nothing of what is stored, the text of the schema may be edited in place (as SQLite's
    # own page on ALTER TABLE has it).
    version = connection.execute(sa.text("PRAGMA schema_version")).scalar_one()
    connection.execute(sa.text("PRAGMA writable_schema = ON"))
    connection.execute(
        sa.text(
            "UPDATE sqlite_master SET sql = replace(sql, :before, :after) "
            "WHERE type = 'table' AND name IN :tables"
        ).bindparams(sa.bindparam("tables", expanding=True)),
        {"before": _BEFORE, "after": _AFTER, "tables": _TABLES},
    )
    connection.execute(sa.text(f"PRAGMA schema_version = {int(version) + 1}"))
    connection.execute(sa.text("PRAGMA writable_schema = RESET"))
