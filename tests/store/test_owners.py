"""Whose sweep it is: told by the system on this host, by signs of life in the database on others."""

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tuner.core.errors import StoreError
from tuner.store import owner, owners
from tuner.store.convert import to_stamp
from tuner.store.heartbeat import Heartbeat
from tuner.store.owner import host_of, is_alive, on_this_host, this_host, this_process
from tuner.store.store import Store, open_store

ELSEWHERE = "farhost#0000-boot#4026531836:77:1234"


def owned(store: Store, make: Any, owner: str, seconds_ago: float | None) -> int:
    """A running sweep of an owner whose last sign of life was so long ago; of one that gives none: `None`."""
    sweep = store.begin_sweep(make.spec)
    with store.writing() as connection:
        connection.exec_driver_sql(f"UPDATE sweeps SET owner = '{owner}' WHERE id = {sweep}")
        if seconds_ago is not None:
            seen = to_stamp(datetime.now(UTC) - timedelta(seconds=seconds_ago))
            connection.exec_driver_sql(f"INSERT INTO owners VALUES ('{owner}', '{seen}')")
    return sweep


def test_a_live_sweep_of_another_host_is_left_alone_and_the_message_says_for_how_long(
    store: Store, make: Any
) -> None:
    sweep = owned(store, make, ELSEWHERE, 30)
    assert store.sweep(sweep).status == "running"
    found = store.resumption(make.spec)
    assert found.sweep_id is None
    (remark,) = found.remarks
    assert f"sweep s{sweep} is left alone: host farhost runs it" in remark
    assert "30 s ago" in remark or "31 s ago" in remark
    assert "after 10 minutes without one --resume takes it over" in remark


def test_a_sweep_of_a_host_that_fell_silent_is_taken_over(store: Store, make: Any) -> None:
    sweep = owned(store, make, ELSEWHERE, owners.SILENT_S + 60)
    assert store.sweep(sweep).status == "interrupted"
    found = store.resumption(make.spec)
    assert found.sweep_id == sweep
    assert "farhost ran it and gave no sign of life for 11 minutes" in found.remarks[0]


def test_an_older_sweep_behind_a_live_one_is_resumed(store: Store, make: Any) -> None:
    first = store.begin_sweep(make.spec)
    store.finish_sweep(first, "interrupted")
    owned(store, make, ELSEWHERE, 0)
    found = store.resumption(make.spec)
    assert found.sweep_id == first and len(found.remarks) == 1


def test_a_sweep_of_a_lab_that_gave_no_signs_of_life_is_taken_over(store: Store, make: Any) -> None:
    sweep = owned(store, make, "farhost:77:1234", None)
    found = store.resumption(make.spec)
    assert found.sweep_id == sweep and "nothing says that it still runs" in found.remarks[0]


def test_a_part_of_another_sweep_is_no_sweep_to_resume(store: Store, make: Any) -> None:
    sweep = owned(store, make, ELSEWHERE, owners.SILENT_S + 60)
    with store.writing() as connection:
        connection.exec_driver_sql(f"UPDATE sweeps SET note = 'part of sweep 9 on beta' WHERE id = {sweep}")
    assert store.resumption(make.spec) == store.resumption(make.with_(seed=99).spec)


@pytest.mark.parametrize("place", [1, 2], ids=["boot", "namespace"])
def test_a_process_of_another_boot_or_container_of_this_name_cannot_be_looked_up(place: int) -> None:
    """Its number may be that of a live process here: of ours, as below, which is no owner to be asked."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        parts = this_process().replace(f":{os.getpid()}:", f":{child.pid}:").split(":")
        parts[2] = owner._started(child.pid)
        here = parts[0].split("#")
        assert is_alive(":".join(parts)) and on_this_host(":".join(parts))
        here[place] = "another"
        other = ":".join(["#".join(here), *parts[1:]])
        assert host_of(other) == this_host()
        assert not on_this_host(other) and not is_alive(other)
    finally:
        child.kill()
        child.wait()
    assert not is_alive(":".join(parts))


def test_a_sweep_gives_signs_of_life_and_they_come_with_its_trials(
    store: Store, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen() -> list[str]:
        with store._read() as connection:
            rows = connection.exec_driver_sql("SELECT owner, seen_at FROM owners").all()
        assert [row[0] for row in rows] == [this_process()]
        return [row[1] for row in rows]

    sweep = store.begin_sweep(make.spec)
    first = seen()
    store.add_trials(sweep, [make.timed(1.0)])
    assert seen() == first  # the last one was a moment ago
    monkeypatch.setattr("tuner.store.heartbeat._WITH_TRIALS_S", 0.0)
    store.add_trials(sweep, [make.timed(2.0)])
    assert seen() > first


def test_the_heart_beats_while_a_sweep_runs_and_survives_a_database_that_fails() -> None:
    beats = threading.Semaphore(0)

    def beat() -> None:
        beats.release()
        raise StoreError("locked")

    heart = Heartbeat(beat, every_s=0.01)
    heart.keep(1)
    assert all(beats.acquire(timeout=10) for _ in range(3))
    heart.let_go(1)
    heart.stop()
    assert heart._thread is not None and not heart._thread.is_alive()


def test_a_sweep_that_ended_keeps_nothing_alive(path: Path, make: Any) -> None:
    with open_store(path) as store:
        store.finish_sweep(store.begin_sweep(make.spec))
        assert not store._heartbeat.due()
    assert not [t for t in threading.enumerate() if t is store._heartbeat._thread]
