"""Alembic's entry: runs on the connection, and in the transaction, that `tuner.store.schema` gives it."""

from alembic import context

from tuner.store.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=False,  # the caller's transaction holds all of it
)
context.run_migrations()
