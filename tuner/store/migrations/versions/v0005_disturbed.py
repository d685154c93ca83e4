"""Finals that declare nothing, because other programs had the cores while they were held."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds `finals.disturbed`; of those that are stored nobody knows."""
    op.add_column("finals", sa.Column("disturbed", sa.Text(), nullable=False, server_default=""))
