"""Two sweeps do not measure one identity, and a claim does not outlive who took it."""

import pickle
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tuner.core.errors import StoreError
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.store.errors import StoreLocked
from tuner.store.store import Store, open_store


def test_what_one_sweep_claims_another_does_not_get(store: Store, make: Any) -> None:
    mine, other = store.begin_sweep(make.spec), store.begin_sweep(make.spec)
    one, two, known = make.timed(1.0, MC=1), make.timed(2.0, MC=2), make.timed(3.0, MC=3)
    store.add_trials(other, [known])
    digests = [t.key.digest for t in (one, two, known)]
    found = store.claim(mine, digests[:1] + digests[2:], make.protocol, 60)
    assert (set(found.known), found.elsewhere) == ({digests[2]}, frozenset())
    found = store.claim(other, digests, make.protocol, 60)
    assert found.elsewhere == {digests[0]}
    assert store.claimed_elsewhere(other, digests)
    # The outcome and the end of the claim are one transaction.
    store.add_trials(mine, [one])
    assert not store.claimed_elsewhere(other, digests)
    found = store.claim(other, digests[:1], make.protocol, 60)
    assert set(found.known) == {digests[0]}


def test_a_disturbed_outcome_is_claimed_to_be_measured_again(store: Store, make: Any) -> None:
    mine, other = store.begin_sweep(make.spec), store.begin_sweep(make.spec)
    measurement = Measurement(Status.OK, Evidence.MEASURED, (1.0,), metrics={"disturbed_share": 0.5})
    disturbed, calm = make.trial(measurement, MC=1), make.timed(2.0, MC=2)
    store.add_trials(mine, [disturbed, calm])
    digests = [t.key.digest for t in (disturbed, calm)]
    assert set(store.claim(mine, digests, make.protocol, 60).known) == {digests[1]}
    assert store.claim(other, digests, make.protocol, 60).elsewhere == {digests[0]}
    # An undisturbed time before a disturbed one is known still.
    store.add_trials(mine, [make.timed(3.0, MC=1), disturbed])
    assert store.claim(other, digests, make.protocol, 60).known[digests[0]].measurement.samples == (3.0,)


def test_a_claim_ends_when_it_is_released_or_too_old(store: Store, make: Any) -> None:
    mine, other = store.begin_sweep(make.spec), store.begin_sweep(make.spec)
    digest = make.key({"MC": 1}).digest
    store.claim(mine, [digest], make.protocol, 60)
    store.release(mine, [digest])
    assert not store.claim(other, [digest], make.protocol, -1).elsewhere
    assert not store.claimed_elsewhere(mine, [digest])
    assert not store.claim(mine, [digest], make.protocol, 60).elsewhere


def test_a_claim_of_a_killed_process_is_nobodys(store: Store, make: Any, file: Path) -> None:
    code = f"""
import pickle, sys, time
from tuner.store.store import open_store
spec, digest = pickle.loads(sys.stdin.buffer.read())
with open_store({str(file)!r}) as store:
    print(len(store.claim(store.begin_sweep(spec), [digest], spec.protocol, 1000).elsewhere), flush=True)
    time.sleep(60)
"""
    digest = make.key({"MC": 1}).digest
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    sweep = store.begin_sweep(make.spec)
    try:
        child.stdin.write(pickle.dumps((make.spec, digest)))
        child.stdin.close()
        assert child.stdout.readline() == b"0\n"
        assert store.claim(sweep, [digest], make.protocol, 60).elsewhere == {digest}
    finally:
        child.kill()
        child.wait()
    assert not store.claimed_elsewhere(sweep, [digest])
    assert not store.claim(sweep, [digest], make.protocol, 60).elsewhere


def test_a_lock_is_waited_for_and_said_once(path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.store.patience._SAY_AFTER_S", 0.1)
    monkeypatch.setattr("tuner.store.patience._SLICE_S", 0.1)
    notes: list[str] = []
    with open_store(path) as store:
        store.patience.note = notes.append
        sweep = store.begin_sweep(make.spec)
        holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        freed = threading.Timer(1.0, lambda: (holder.execute("ROLLBACK"), holder.close()))
        freed.start()
        store.add_trials(sweep, [make.timed(1.0)])
        freed.join()
        assert store.count() == 1
    assert len(notes) == 1
    assert "locked by another process: waiting up to 300 s" in notes[0]


def test_how_long_a_lock_is_waited_for_can_be_set(
    path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_LOCK_WAIT", "0.2")
    with open_store(path) as store:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(StoreLocked, match=r"waited 0\.2 s"):
            store.begin_sweep(make.spec)
        assert time.monotonic() - began < 60
        holder.close()
    monkeypatch.setenv("TUNER_LOCK_WAIT", "soon")
    with pytest.raises(StoreError, match="TUNER_LOCK_WAIT='soon' is not a number of seconds"):
        open_store(path)
