"""Campaigns as a list cut to pages, and found by what they tuned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, or_, select

from tuner.store import campaign_rows as rows
from tuner.store.campaign_records import StoredCampaign
from tuner.store.checked import whole


@dataclass(frozen=True)
class CampaignPage:
    """One page of campaigns, the newest first; `after` is the last one's id, where another page follows."""

    campaigns: Sequence[StoredCampaign]
    total: int
    after: int | None


def campaign_count(connection: Connection) -> int:
    """How many campaigns there are."""
    return int(connection.execute(select(func.count()).select_from(rows.CAMPAIGNS)).scalar_one())


def campaign_page(
    connection: Connection,
    kind: str | None = None,
    text: str | None = None,
    workload: int | None = None,
    after: int | None = None,
    limit: int = 50,
) -> CampaignPage:
    """One page of campaigns.

    Args:
        kind: `comparison`, `network` or `sweep`.
        text: a part of its title or of its experiment's name.
        workload: id of one that it tuned.
        after: id of the last campaign of the page before.
        limit: campaigns, at most.
    """
    table = rows.CAMPAIGNS
    where: list[Any] = [table.c.kind == kind] if kind else []
    if text:
        like = [c.contains(text, autoescape=True) for c in (table.c.title, table.c.experiment)]
        where.append(or_(*like))
    if workload is not None:
        tuned = select(rows.PARTS.c.campaign_id).where(rows.PARTS.c.workload_id == workload)
        where.append(table.c.id.in_(tuned))
    total = int(connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one())
    if after is not None:
        where.append(table.c.id < after)
    statement = select(table.c.id).where(*where).order_by(table.c.id.desc()).limit(limit + 1)
    ids = [whole(i) for i in connection.execute(statement).scalars()]
    found = rows.campaigns(connection, [table.c.id.in_(ids[:limit])]) if ids else []
    newest = sorted(found, key=lambda c: -c.id)
    return CampaignPage(newest, total, ids[limit - 1] if len(ids) > limit else None)
