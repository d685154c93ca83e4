"""Where a trial ran, and signs of life of the processes that run sweeps."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Adds `trials.host`, empty for the trials that are stored, and makes `owners`."""
    op.add_column("trials", sa.Column("host", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "owners",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("owner"),
    )
