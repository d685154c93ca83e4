"""Alembic migrations, run by `tuner.store.schema` when a database is opened.

`env.py` connects Alembic to the open database; it reads no configuration file. `versions/` has one file a
revision. A database of any earlier revision opens; `tests/store/test_migrations.py` holds that.
"""
