"""A database of a million trials, made in a minute: what pages and servers are measured on.

A tenth is written as a sweep would write it (see `bench_store`); the rest are copies of these rows under
sweeps of their own, made in the database. One campaign stands among them.
"""

from dataclasses import replace
from pathlib import Path

from tuner.core.stats import Interval
from tuner.core.turns import Turns
from tuner.lab import bench_store
from tuner.store.campaign_records import CampaignKernel, CampaignPart, CampaignSpec
from tuner.store.records import Final, FinalEntry, SweepSpec
from tuner.store.store import Store, open_store

KERNELS = 5


def make(path: Path, total: int, campaign_trials: int) -> int:
    """Makes a new SQLite database at `path`; the number of its campaign.

    Args:
        path: where nothing is yet.
        total: trials outside the campaign, at least 6,000 or none; rounded to tenths where it is large.
        campaign_trials: of its five kernels together.
    """
    copies = 9 if total >= 10_000 else 0
    with open_store(path) as store:
        if total:
            bench_store.fill(store, total // (copies + 1))
            _copy(store, copies)
        return add_campaign(store, campaign_trials)


def _copy(store: Store, copies: int) -> None:
    """Each sweep with its trials again, so many times."""
    from sqlalchemy import text

    with store.writing() as connection:
        sweeps, trials = (
            connection.execute(text(f"SELECT max(id) FROM {table}")).scalar_one()
            for table in ("sweeps", "trials")
        )
        for i in range(1, copies + 1):
            for table, moved in (
                ("sweeps", {"id": sweeps}),
                ("trials", {"id": trials, "sweep_id": sweeps}),
                ("sweep_trials", {"sweep_id": sweeps, "trial_id": trials}),
            ):
                found = connection.execute(text(f"SELECT name FROM pragma_table_info('{table}')"))
                columns = [row.name for row in found]
                values = [f"{c} + {i * moved[c]}" if c in moved else c for c in columns]
                last = "id" if "id" in moved else "sweep_id"
                connection.execute(text(
                    f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {table} "
                    f"WHERE {last} <= {moved[last]}"
                ))  # fmt: skip


def add_campaign(store: Store, trials: int) -> int:
    """A finished campaign of five kernels with a final; its number."""
    first = next(bench_store.specs())
    spec = CampaignSpec("comparison", "A campaign among a million trials", first.device, first.target,
                        first.protocol, [first.workload], {"seed": 0}, experiment="bench")  # fmt: skip
    number = store.begin_campaign(spec)
    records, entries = [], []
    for k in range(KERNELS):
        swept = _sweep(first, k)
        sweep = store.begin_sweep(swept)
        made = bench_store.trials(swept, trials // KERNELS, 1_000_000 + k)
        for start in range(0, len(made), bench_store.BATCH):
            store.add_trials(sweep, made[start : start + bench_store.BATCH])
        store.finish_sweep(sweep)
        (best,) = store.fastest(sweep, 1)
        found = store.sweep(sweep)
        records.append(CampaignKernel(
            swept.kernel.name, swept.kernel.digest, swept.kernel.language, k == KERNELS - 1, swept.searcher,
            sweep_id=sweep, best_id=best.id, trials=found.trials, summary={"statuses": dict(found.statuses)},
        ))  # fmt: skip
        assert best.id is not None
        turns = Turns(tuple(1e-3 * (1 + k / 10) * (1 + j / 1000) for j in range(25)))
        speed = 1.4 / (1 + k / 10)
        entries.append(FinalEntry(best.id, "baseline" if k == KERNELS - 1 else "candidate", turns,
                                  Interval(0.99 * speed, speed, 1.01 * speed), winner=k == 0))  # fmt: skip
    baseline = entries[-1].trial_id
    final = store.record_final(
        Final(first.workload, first.device.fingerprint, first.protocol, entries, baseline)
    )
    limits = {"peak_flops_f32": 1e11, "bandwidth_bytes_per_s": 2e10}
    store.begin_part(number, 0, records)
    store.finish_part(number, CampaignPart(0, first.workload, "finished", records, (), final, limits))
    store.finish_campaign(number)
    return number


def _sweep(first: SweepSpec, k: int) -> SweepSpec:
    return replace(first, kernel=replace(first.kernel, name=f"kernel_{k}", digest=f"{k:016x}"))
