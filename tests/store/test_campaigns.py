"""Campaigns: what was asked, who took part, and what a killed process leaves behind."""

import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.core.errors import StoreError
from tuner.core.turns import Turns
from tuner.core.workload import Workload
from tuner.store.campaign_records import (
    CampaignKernel,
    CampaignLayer,
    CampaignPart,
    CampaignSpec,
    Exclusion,
)
from tuner.store.records import Final, FinalEntry
from tuner.store.schema import HEAD
from tuner.store.store import Store, open_store

OLD = Path(__file__).parent / "old"
SMALL = Workload("gemm", "f32", (("m", 8), ("n", 8), ("k", 8)))


def spec(make: Any, **changes: Any) -> CampaignSpec:
    asked = {"kernels": ["cpp_packed", "numpy"], "budget": {"trials": 3}, "searcher": "random", "seed": 0}
    layers = [CampaignLayer(make.workload.key, "model", 3), CampaignLayer(SMALL.key, "model", 1)]
    made = CampaignSpec(
        "network", "Layers", make.device, "cpu:avx2", make.protocol, (make.workload, SMALL), asked, layers,
        "layers", "tuner compare layers.toml",
    )  # fmt: skip
    return replace(made, **changes)


def finished_part(store: Store, make: Any, number: int = 0) -> CampaignPart:
    """A part with a tuned kernel that won, one that was thrown out, one given up, one skipped."""
    sweep = store.begin_sweep(make.spec)
    fast, wrong = store.add_trials(sweep, [make.timed(1.0), make.timed(2.0)])
    store.finish_sweep(sweep)
    final = store.record_final(
        Final(make.workload, "cpu-1", make.protocol, [FinalEntry(fast, "candidate", Turns((1.0, 1.1)))])
    )
    kernels = [
        CampaignKernel("cpp_packed", "source1", "cxx", False, "random", sweep_id=sweep, best_id=fast,
                       trials=2, disturbed=1, summary={"statuses": {"ok": 2}, "seconds": 1.5}),
        CampaignKernel("slow", "source2", "cxx", searcher="random", given_up="3.0 times slower than the best",
                       given_up_at=10),
        CampaignKernel("torch", skipped="torch is not installed"),
    ]  # fmt: skip
    return CampaignPart(
        number, make.workload, "finished", kernels, [Exclusion(wrong, "cpp_packed", "final", "wrong result")],
        final, {"peak_flops_f32": 1e11}, True, ["held on a loud machine"],
    )  # fmt: skip


def test_a_campaign_comes_out_as_it_went_in(store: Store, make: Any) -> None:
    asked = spec(make)
    number = store.begin_campaign(asked)
    before = store.campaign(number)
    assert [p.status for p in before.parts] == ["waiting", "waiting"] and before.state == "running"
    assert (before.spec.layers, before.spec.asked) == (list(asked.layers), asked.asked)
    part = finished_part(store, make)
    store.begin_part(number, 0, part.kernels)
    store.finish_part(number, part)
    store.finish_campaign(number)
    found = store.campaign(number)
    assert found.state == "finished" and found.finished_at is not None
    first, second = found.parts
    assert replace(first, started_at=None, finished_at=None) == part
    assert (second.workload, second.status) == (SMALL, "waiting")
    assert [p.number for p in found.reached] == [0]
    assert [c.id for c in store.campaigns("layers")] == [number] and store.campaigns("other") == []


def test_a_part_that_begins_again_forgets_its_first_try(store: Store, make: Any) -> None:
    number = store.begin_campaign(spec(make))
    part = finished_part(store, make)
    store.begin_part(number, 0, part.kernels)
    store.finish_part(number, part)
    store.begin_part(number, 0, part.kernels[2:])
    (again, _) = store.campaign(number).parts
    assert [k.name for k in again.kernels] == ["torch"] and again.status == "running"
    assert (again.exclusions, again.final_id, again.limits, again.remarks) == ([], None, {}, [])


@pytest.mark.parametrize(
    ("table", "column"),
    [("campaign_kernels", "sweep_id"), ("campaign_kernels", "best_id"), ("campaign_kernels", "given_up_at"),
     ("campaign_parts", "final_id"), ("campaign_exclusions", "trial_id")],
)  # fmt: skip
def test_a_number_that_is_a_text_is_refused_and_not_printed(
    path: Path, make: Any, table: str, column: str
) -> None:
    with open_store(path) as store:
        number = store.begin_campaign(spec(make))
        part = finished_part(store, make)
        store.begin_part(number, 0, part.kernels)
        store.finish_part(number, part)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(f"UPDATE {table} SET {column} = ?", ("\x1b[2Jgone",))
    connection.close()
    with open_store(path, read_only=True) as store, pytest.raises(StoreError, match="in place of an integer"):
        store.campaign(number)


def test_a_campaign_that_is_not_there_is_named(store: Store, make: Any) -> None:
    with pytest.raises(StoreError, match="no campaign 7: the database has no campaigns"):
        store.campaign(7)
    store.begin_campaign(spec(make))
    with pytest.raises(StoreError, match="no campaign 7: the database has campaigns 1 to 1"):
        store.campaign(7)


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
from tests.store.conftest import Maker
from tests.store.test_campaigns import finished_part, spec
from tuner.store.store import open_store
make, store = Maker(), open_store({db!r})
number = store.begin_campaign(spec(make))
part = finished_part(store, make)
store.begin_part(number, 0, part.kernels)
store.finish_part(number, part)
store.begin_part(number, 1, part.kernels)
store.note_sweep(number, 1, "slow", part.kernels[0].sweep_id)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_kill_9_a_campaign_is_unfinished_and_the_same_question_goes_on_with_it(
    path: Path, make: Any
) -> None:
    code = KILLED.format(path=[str(Path(__file__).parents[2])], db=str(path))
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    with open_store(path) as store:
        (killed,) = store.campaigns()
        assert (killed.status, killed.state) == ("running", "unfinished")
        assert [p.status for p in killed.parts] == ["finished", "interrupted"]
        assert killed.parts[1].kernels[1].sweep_id is not None
        # Another question is another campaign; one asked without resuming too.
        assert store.begin_campaign(spec(make, asked={"kernels": []}), resume=True) != killed.id
        assert store.begin_campaign(spec(make, workloads=(SMALL,)), resume=True) != killed.id
        assert store.begin_campaign(spec(make, kind="sweep")) != killed.id
        assert store.begin_campaign(spec(make), resume=True) == killed.id
        going = store.campaign(killed.id)
        assert going.state == "running" and [p.status for p in going.parts] == ["finished", "waiting"]
        # This process runs it: the same question from here is a new campaign.
        assert store.begin_campaign(spec(make), resume=True) != killed.id


def test_a_sweep_is_gone_on_with_by_its_command_and_resume(store: Store, make: Any) -> None:
    for command, again in [
        ("tuner sweep gemm --db x.db", "tuner sweep gemm --db x.db --resume"),
        ("tuner compare a.toml", "tuner compare a.toml"), ("", ""),
    ]:  # fmt: skip
        assert store.campaign(store.begin_campaign(spec(make, command=command))).again == again


def test_a_finished_campaign_is_not_gone_on_with(store: Store, make: Any) -> None:
    number = store.begin_campaign(spec(make))
    store.finish_campaign(number, "interrupted")
    assert store.begin_campaign(spec(make), resume=True) == number
    store.finish_campaign(number)
    assert store.begin_campaign(spec(make), resume=True) != number


def test_a_database_from_before_campaigns_answers_and_has_none(path: Path) -> None:
    with sqlite3.connect(path) as plain:
        plain.executescript((OLD / "schema_0006.sql").read_text())
        assert plain.execute("SELECT version_num FROM alembic_version").fetchone() == ("0006",)
    with open_store(path, read_only=True) as store:
        assert store.campaigns() == []
        assert store.count() == 6 and len(store.sweeps()) == 4
        rows = store.best("gemm", "gemm/f32/m16-n16-k16")
        assert [row.kernel.name for row in rows] == ["cpp_packed", "numpy", "torch", "cpp_naive"]
        assert all(row.retimed for row in rows)
        (final,) = store.finals()
        assert len(final.entries) == 5
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)
