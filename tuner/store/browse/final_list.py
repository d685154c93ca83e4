"""Finals with the names of what they compared, several at once."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from tuner.core.stats import Interval
from tuner.store.checked import scalars, whole, words
from tuner.store.convert import chunks, from_stamp
from tuner.store.finals import interval_of
from tuner.store.writes import FINAL_ENTRIES, FINALS, KERNELS, TRIALS


@dataclass(frozen=True, slots=True)
class FinalLine:
    """One entry of a final.

    Attributes:
        speedup: time of the final's reference over this one's.
        reference: what speed-ups are over.
        winner, tie: its place.
    """

    trial: int
    kernel: str
    language: str
    baseline: bool
    config: Mapping[str, Any]
    interval: Interval
    speedup: Interval | None
    reference: bool
    winner: bool
    tie: bool


@dataclass(frozen=True, slots=True)
class ListedFinal:
    """A final; its entries the fastest first.

    Attributes:
        device, workload: ids in the catalogue.
        disturbed: why it declares nothing; empty for one that does.
    """

    id: int
    workload: int
    device: int
    threads: int
    cache: str
    created_at: datetime
    disturbed: str
    entries: Sequence[FinalLine]


def finals_by_id(connection: Connection, ids: Collection[int]) -> dict[int, ListedFinal]:
    """The finals of these ids, as far as they are stored."""
    entries: dict[int, list[FinalLine]] = defaultdict(list)
    heads: dict[int, Any] = {}
    for some in chunks(sorted(set(ids))):
        heads |= {row.id: row for row in connection.execute(select(FINALS).where(FINALS.c.id.in_(some)))}
        statement = (
            select(FINAL_ENTRIES, TRIALS.c.config, KERNELS.c.name, KERNELS.c.language)
            .join(TRIALS, TRIALS.c.id == FINAL_ENTRIES.c.trial_id)
            .join(KERNELS, KERNELS.c.id == TRIALS.c.kernel_id)
            .where(FINAL_ENTRIES.c.final_id.in_(some))
            .order_by(FINAL_ENTRIES.c.median_s)
        )
        for row in connection.execute(statement):
            entries[row.final_id].append(_line(row, heads[row.final_id].baseline_id))
    return {i: _final(row, entries[i]) for i, row in heads.items()}


def _line(row: Any, reference: int | None) -> FinalLine:
    speedup = None
    if row.speedup is not None:
        speedup = interval_of(row.speedup_low, row.speedup, row.speedup_high)
    return FinalLine(
        trial=whole(row.trial_id), kernel=words(row.name), language=words(row.language),
        baseline=row.role == "baseline", config=scalars(row.config),
        interval=interval_of(row.low_s, row.median_s, row.high_s), speedup=speedup,
        reference=row.trial_id == reference, winner=bool(row.winner), tie=bool(row.tie),
    )  # fmt: skip


def _final(row: Any, entries: Sequence[FinalLine]) -> ListedFinal:
    return ListedFinal(
        id=whole(row.id), workload=whole(row.workload_id), device=whole(row.device_id),
        threads=whole(row.threads), cache=words(row.cache), created_at=from_stamp(row.created_at),
        disturbed=words(row.disturbed), entries=tuple(entries),
    )  # fmt: skip


def last_final_id(connection: Connection) -> int:
    """The id of the newest final; 0 for none."""
    return int(connection.execute(select(func.max(FINALS.c.id))).scalar() or 0)


def finals_of_workload(connection: Connection, workload: int, most: int = 10) -> list[ListedFinal]:
    """The latest finals of a workload, the newest first."""
    statement = select(FINALS.c.id).where(FINALS.c.workload_id == workload)
    ids = connection.execute(statement.order_by(FINALS.c.id.desc()).limit(most)).scalars().all()
    found = finals_by_id(connection, [whole(i) for i in ids])
    return [found[i] for i in sorted(found, reverse=True)]


def finals_of_trial(connection: Connection, trial: int) -> list[ListedFinal]:
    """The finals that a trial was measured again in, the oldest first."""
    ids = connection.execute(
        select(FINAL_ENTRIES.c.final_id).where(FINAL_ENTRIES.c.trial_id == trial)
    ).scalars()
    found = finals_by_id(connection, [whole(i) for i in ids])
    return [found[i] for i in sorted(found)]
