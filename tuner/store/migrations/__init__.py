"""Alembic migrations, run by `tuner.store.schema` when a database is opened."""
