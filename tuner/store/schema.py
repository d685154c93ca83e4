"""Which schema a database has, and bringing it up to date. Alembic is imported only when it is not."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from tuner.store.errors import StoreDamaged, StoreReadOnly, StoreVersion

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009")
"""Every revision under `migrations/versions`, oldest first; a test compares."""

HEAD = REVISIONS[-1]


def version_of(connection: Connection, name: str) -> str | None:
    """The schema revision of a database; `None` for an empty one. One cheap query.

    Raises:
        StoreDamaged: it holds tables, and they are not ours.
    """
    # Asked first, as an error inside a transaction would end it on PostgreSQL.
    if connection.dialect.name == "sqlite":
        tables = set(
            connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars()
        )
    else:
        tables = set(inspect(connection).get_table_names())
    if "alembic_version" in tables:
        versions = list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())
        if versions:
            return str(versions[0])
    foreign = sorted(t for t in tables if t != "alembic_version" and not t.startswith("sqlite_"))
    if foreign:
        raise StoreDamaged(
            f"{name} is a database of something else (it has the table {foreign[0]!r} and no schema "
            "version): name another with --db or TUNER_DB"
        )
    return None


def check_version(version: str | None, name: str) -> bool:
    """Whether the schema is the present one; false where it can be migrated to it.

    Raises:
        StoreVersion: it is of a revision this program does not know.
    """
    if version is not None and version not in REVISIONS:
        raise StoreVersion(
            f"database {name} was written by a newer version of the lab (schema {version}; this one knows up "
            f"to {HEAD}); nothing was changed: upgrade kernel-tuner-lab, or name another with --db"
        )
    return version == HEAD


def require_head(version: str | None, name: str) -> None:
    """Refuses to read an old schema where it cannot be migrated."""
    if version is None:
        raise StoreReadOnly(f"database {name} is empty and read-only: name another with --db or TUNER_DB")
    if not check_version(version, name):
        raise StoreReadOnly(
            f"database {name} has the older schema {version} and is read-only: "
            "make a writable copy, which is migrated when it is opened"
        )


def migrate(connection: Connection, revision: str = "head") -> None:
    """Runs Alembic's migrations inside the transaction that `connection` is in.

    The caller holds the write lock, so of two processes that open a new file the second finds it ready,
    and a process killed half-way leaves what was there before (DDL is transactional in SQLite and
    PostgreSQL).
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    folder = Path(__file__).parent / "migrations"
    # Alembic's configuration interpolates percent signs.
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
