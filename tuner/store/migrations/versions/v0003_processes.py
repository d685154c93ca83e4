"""Finals in several processes: how many samples each took."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds `final_entries.processes`; finals that are stored were timed in one process an entry."""
    op.add_column("final_entries", sa.Column("processes", sa.Text(), nullable=False, server_default="[]"))
