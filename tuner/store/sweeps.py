"""The part of the store that keeps sweeps: begun, ended, resumed, and asked how they went."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection

from tuner.core.trial import Trial
from tuner.store import learning, owners, queries, resuming, writes
from tuner.store.conditions import conditions
from tuner.store.heartbeat import Heartbeat
from tuner.store.lines import TrialLine, trial_lines
from tuner.store.records import CurvePoint, Resumption, StoredSweep, SweepSpec


class Sweeps(ABC):
    """Sweeps; `Store` is one."""

    _heartbeat: Heartbeat

    @abstractmethod
    def _read(self) -> AbstractContextManager[Connection]: ...

    @abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that writes; see `Store.writing`."""

    def _beat(self) -> None:
        """A sign of life of this process."""
        with self.writing() as connection:
            owners.beat(connection)

    def begin_sweep(self, spec: SweepSpec) -> int:
        """Stores a new running sweep, with its workload, device and kernel; its id."""
        with self.writing() as connection:
            sweep_id = writes.begin_sweep(connection, spec)
            owners.beat(connection)
        self._heartbeat.keep(sweep_id)
        return sweep_id

    def finish_sweep(
        self,
        sweep_id: int,
        status: str = "finished",
        summary: Mapping[str, Any] | None = None,
    ) -> None:
        """Marks a sweep as `finished` or `interrupted`; `summary` is plain values, for people."""
        with self.writing() as connection:
            queries.sweep_started(connection, sweep_id)
            writes.end_sweep(connection, sweep_id, status, summary or {})
        self._heartbeat.let_go(sweep_id)

    def resumption(self, spec: SweepSpec) -> Resumption:
        """The latest sweep that `spec` would resume, and what became of those that it would not.

        It is interrupted, or left `running` by a process that is gone, and of the same workload, kernel
        source, device, target, searcher, seed and protocol digest. One that a live process runs is left
        alone. Of a process on this host the system tells whether it lives; of one on another host its last
        sign of life in the database, see `owners.SILENT_S`.
        """
        with self._read() as connection:
            return resuming.resumption(connection, spec)

    def resumable(self, spec: SweepSpec) -> int | None:
        """The sweep of `resumption`, or `None`."""
        return self.resumption(spec).sweep_id

    def reopen_sweep(self, sweep_id: int, budget: Mapping[str, Any] | None = None) -> None:
        """Marks a sweep as running again, by this process, with another budget if one is given."""
        with self.writing() as connection:
            queries.sweep_started(connection, sweep_id)
            writes.reopen_sweep(connection, sweep_id, budget)
            owners.beat(connection)
        self._heartbeat.keep(sweep_id)

    def sweep(self, sweep_id: int) -> StoredSweep:
        """One sweep with its counts; raises `StoreError` where there is none."""
        with self._read() as connection:
            return queries.sweep(connection, sweep_id)

    def sweeps(self, operator: str | None = None, workload_key: str | None = None) -> list[StoredSweep]:
        """Sweeps, oldest first."""
        with self._read() as connection:
            return queries.sweeps(connection, conditions(operator=operator, workload_key=workload_key))

    def sweep_history(self, sweep_id: int) -> list[Trial]:
        """The trials of a sweep in the order of its proposals, reused ones included: what to `tell`."""
        return [trial for _, trial in self.numbered_history(sweep_id)]

    def numbered_history(self, sweep_id: int) -> list[tuple[int, Trial]]:
        """As `sweep_history`, with the number of each proposal.

        Numbers are left out where a sweep was interrupted: outcomes are stored in the order they come.
        """
        with self._read() as connection:
            queries.sweep_started(connection, sweep_id)
            return queries.sweep_history(connection, sweep_id)

    def fastest(self, sweep_id: int, count: int) -> list[Trial]:
        """The fastest right trials of a sweep, reused ones included, the fastest first."""
        with self._read() as connection:
            return queries.fastest(connection, sweep_id, count)

    def failures(self, sweep_id: int, looked_at: int) -> list[tuple[str, str]]:
        """Status and the beginning of the error of a sweep's latest failures, at most so many."""
        with self._read() as connection:
            return queries.failures(connection, sweep_id, looked_at)

    def trial_lines(self, sweep_id: int, most: int = 20_000) -> list[TrialLine]:
        """The proposals of a sweep in their order, for tables and charts.

        Of a sweep of more than `most` the fastest half of so many, and the newest.
        """
        with self._read() as connection:
            queries.sweep_started(connection, sweep_id)
            return trial_lines(connection, sweep_id, most)

    def best_so_far(self, sweep_id: int) -> list[CurvePoint]:
        """The best-so-far curve of a sweep, one point a proposal."""
        with self._read() as connection:
            return learning.best_so_far(connection, sweep_id)
