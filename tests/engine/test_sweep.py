"""Sweeps: every trial stored, killed ones resumed, known identities not measured twice."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from tests.engine.planted import planted
from tests.engine.unwatched import UnwatchedCpu
from tests.processes import family, running, wait_until
from tuner import registry
from tuner.core.measurement import Status
from tuner.core.protocol import Protocol
from tuner.core.searcher import Searcher
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.request import SweepRequest
from tuner.engine.tuning.sweep import Sweep
from tuner.store.store import open_store

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("32x32x32")
QUICK = Protocol(threads=1, budget_s=0.02, run_timeout_s=5.0)
# Alternately right, wrong and crashing, by the parameter.
MIXED = """
  right(A, B, D, m, n, k);
  if (UNUSED % 3 == 1) D[0] += 1;
  if (UNUSED % 3 == 2) std::abort();
"""


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "results.db")) as made:
        yield made


def run(store, kernel, trials, observer=None, device=None, **options):
    with Workshop(device or campaign.default_device(), QUICK, seed=3) as workshop:
        request = SweepRequest(kernel, WORKLOAD, "random", 5, Budget(trials=trials), **options)
        return Sweep(request, workshop, store, observer or Observer(), workshop.calibrate()[0]).run()


def test_failures_are_trials_and_the_sweep_goes_on(store, tmp_path):
    kernel = planted(tmp_path, "mixed", MIXED, values=list(range(9)))
    result = run(store, kernel, 100)
    assert result.exhausted
    assert result.statuses == {"ok": 3, "wrong_result": 3, "crash": 3}
    assert result.best is not None and result.best.key.config["UNUSED"] % 3 == 0
    stored = store.sweep_history(result.sweep_id)
    assert [t.id for t in stored] == [t.id for t in result.trials]
    assert all(t.measurement.error for t in stored if t.measurement.status is not Status.OK)


def test_known_identities_are_reused_and_a_changed_source_is_not_known(store, tmp_path):
    kernel = planted(tmp_path, "reused", values=list(range(6)))
    device = UnwatchedCpu()
    first = run(store, kernel, 4, device=device)
    second = run(store, kernel, 6, device=device)
    assert store.sweep(second.sweep_id).reused == 4
    assert store.count() == 6
    assert {t.id for t in first.trials} <= {t.id for t in second.trials}
    commented = planted(tmp_path, "reused", "right(A, B, D, m, n, k);  // why", values=list(range(6)))
    known = run(store, commented, 6, device=device)
    assert store.sweep(known.sweep_id).reused == 6, "a comment makes it no other"
    edited = planted(tmp_path, "reused", "right(A, B, D, m, n, k); (void)m;", values=list(range(6)))
    assert edited.digest != kernel.digest
    third = run(store, edited, 3, device=device)
    assert store.sweep(third.sweep_id).reused == 0
    again = run(store, edited, 3, device=device, remeasure=True)
    assert store.sweep(again.sweep_id).reused == 0
    assert store.count() == 12


def test_equal_binaries_are_measured_once(store, tmp_path):
    # The parameter does not reach the code, so all six compile to the same binary.
    result = run(store, planted(tmp_path, "same", values=list(range(6))), 6)
    ran = [t for t in result.trials if t.measurement.run_s > 0]
    assert len(ran) == 1
    assert len({t.measurement.samples for t in result.trials}) == 1
    copies = [t for t in result.trials if t is not ran[0]]
    assert {t.measurement.metrics["same_binary_as_trial"] for t in copies} == {float(ran[0].id)}


def test_every_trial_is_committed_before_the_next_begins(store, tmp_path):
    class Watch(Observer):
        seen: ClassVar[list[int]] = []

        def trial_done(self, event):
            with open_store(str(tmp_path / "results.db"), read_only=True) as other:
                self.seen.append(other.count())

    watch = Watch()
    run(store, planted(tmp_path, "mixed", MIXED, values=list(range(6))), 6, watch)
    assert watch.seen == [1, 2, 3, 4, 5, 6]


def test_patience_ends_a_sweep_without_improvement(store, tmp_path):
    class Watch(Observer):
        since = 0

        def trial_done(self, event):
            self.since = 0 if event.best is event.trial else self.since + 1

    kernel = planted(tmp_path, "mixed", MIXED, values=list(range(60)))
    watch = Watch()
    with Workshop(campaign.default_device(), QUICK, seed=3) as workshop:
        request = SweepRequest(kernel, WORKLOAD, "random", 5, Budget(patience=5))
        result = Sweep(request, workshop, store, watch, workshop.calibrate()[0]).run()
    assert not result.exhausted
    assert len(result.trials) < 60
    assert watch.since == 5


def test_interrupt_keeps_what_was_measured_and_resume_continues(store, tmp_path):
    class Impatient(Observer):
        def trial_done(self, event):
            if event.number == 2:
                raise KeyboardInterrupt

    kernel = planted(tmp_path, "mixed", MIXED, values=list(range(9)))
    cut = run(store, kernel, 9, Impatient())
    assert cut.interrupted
    assert store.sweep(cut.sweep_id).status == "interrupted"
    told = []
    notes = Observer()
    notes.note = told.append
    anew = run(store, kernel, 1, notes)
    assert anew.sweep_id != cut.sweep_id
    said = f"sweep s{cut.sweep_id} was left unfinished after 3 trials; this is a new one, --resume goes on"
    assert sum(said in line for line in told) == 1
    resumed = run(store, kernel, 9, notes, resume=True)
    assert resumed.sweep_id == cut.sweep_id
    assert sum("left unfinished" in line for line in told) == 1
    assert len(resumed.trials) == 9
    assert store.count() == 9
    assert store.sweep(cut.sweep_id).status == "finished"


def test_resumed_random_sweep_proposes_what_the_whole_one_would(store, tmp_path):
    kernel = planted(tmp_path, "mixed", MIXED, values=list(range(30)))

    class Impatient(Observer):
        def trial_done(self, event):
            if event.number == 3:
                raise KeyboardInterrupt

    run(store, kernel, 7, Impatient())
    resumed = run(store, kernel, 7, resume=True)
    with open_store(str(tmp_path / "other.db")) as other:
        whole = run(other, kernel, 7)
    assert {t.key.digest for t in resumed.trials} == {t.key.digest for t in whole.trials}


def test_a_searcher_is_told_failures(store, tmp_path, monkeypatch):
    told = []
    original: type[Searcher] = registry.searcher("random")

    class Spy(original):
        def tell(self, observations):
            told.extend(o.measurement.status for o in observations)
            super().tell(observations)

    monkeypatch.setitem(registry.searchers(), "random", Spy)
    run(store, planted(tmp_path, "mixed", MIXED, values=list(range(6))), 6)
    assert sorted(told) == sorted(["ok", "ok", "wrong_result", "wrong_result", "crash", "crash"])


def sweep_process(db: Path, trials: int, *more: str) -> subprocess.Popen:
    command = [
        sys.executable, "-m", "tuner", "sweep", "gemm", "--shape", "48x48x48", "--kernel", "cpp_tiled",
        "--searcher", "random", "--trials", str(trials), "--no-baselines", "--rounds", "0", "--db", str(db),
        "--json", *more,
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stored(db: Path) -> int:
    """How many trials; none where there is no database yet."""
    if not db.exists():
        return 0
    with open_store(str(db), read_only=True) as store:
        return store.count()


def test_kill_9_loses_nothing_leaves_no_process_and_resumes(tmp_path):
    db = tmp_path / "killed.db"
    process = sweep_process(db, 10)
    wait_until(lambda: stored(db) >= 3, 100, process)
    children = family(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not running(children), 10)
    with open_store(str(db), read_only=True) as store:
        kept = [t.id for t in store.sweep_history(1)]
        assert len(kept) >= 3
    out, err = sweep_process(db, 10, "--resume").communicate(timeout=120)
    sweep = json.loads(out)["sweeps"]["cpp_tiled"]
    assert (sweep["sweep"], sweep["trials"]) == (1, 10), err
    with open_store(str(db), read_only=True) as store:
        history = store.sweep_history(1)
        assert [t.id for t in history][: len(kept)] == kept
        assert len({t.key.digest for t in history}) == store.count() == 10


def test_ctrl_c_ends_in_good_order(tmp_path):
    db = tmp_path / "interrupted.db"
    process = sweep_process(db, 500)
    wait_until(lambda: stored(db) >= 1, 100, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=150)
    assert process.returncode == 130, err
    assert json.loads(out)["interrupted"] is True
    assert "Traceback" not in err
    with open_store(str(db), read_only=True) as store:
        assert store.sweep(1).status == "interrupted"


def test_two_sweeps_share_one_database(tmp_path):
    db = tmp_path / "shared.db"
    both = [sweep_process(db, 2, "--seed", str(seed)) for seed in (1, 2)]
    for process in both:
        _, err = process.communicate(timeout=150)
        assert process.returncode == 0, err
    with open_store(str(db), read_only=True) as store:
        assert sorted(s.trials for s in store.sweeps()) == [2, 2]
        assert all(s.status == "finished" for s in store.sweeps())
