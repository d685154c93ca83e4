"""The store: every trial ever measured, in one database. All writes are transactions of their own."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from tuner.core.artifact import Toolchain
from tuner.core.errors import StoreError
from tuner.core.measurement import Evidence
from tuner.core.protocol import Protocol
from tuner.core.trial import Trial
from tuner.core.workload import Workload
from tuner.store import best, claims, finals, owners, queries, writes
from tuner.store.campaigns import Campaigns
from tuner.store.claiming import Claiming
from tuner.store.claims import Claimed
from tuner.store.conditions import conditions
from tuner.store.convert import chunks
from tuner.store.errors import StoreReadOnly, explained, readable
from tuner.store.heartbeat import Heartbeat
from tuner.store.histories import Histories
from tuner.store.marks import Marks
from tuner.store.opening import open_engine
from tuner.store.patience import LockWait, waits
from tuner.store.presence import Presence
from tuner.store.records import (
    BestRow,
    DeviceInfo,
    Final,
    KernelInfo,
    TrialDetail,
)
from tuner.store.sweeps import Sweeps

OUTCOMES = (Evidence.MEASURED, Evidence.REPLAYED, Evidence.EMULATED, Evidence.COMPILED)
"""Evidence of something that happened; a prediction is none, and never stands in for a trial."""


def open_store(
    where: str | os.PathLike[str] | None = None, *, read_only: bool = False, timeout_s: float | None = None
) -> "Store":
    """Opens a database, makes it if there is none, and migrates an older schema.

    Args:
        where: a path, or any SQLAlchemy URL; else `$TUNER_DB`, else `results.db` in the working folder.
        read_only: this store will not write, and a missing database is an error. A file (or folder)
            that cannot be written is opened so in any case; only writing to it is an error then.
        timeout_s: how long to wait for a lock of another process. By default 10 s to read and 300 s, or
            `$TUNER_LOCK_WAIT`, to write: what was measured is not given up for a lock.

    Raises:
        StoreError: one line; nothing in the database was changed.
    """
    patience = LockWait(*waits(timeout_s))
    engine, place, frozen = open_engine(where, read_only, patience)
    return Store(engine, place.name, frozen, patience, Presence(place.file, place.name))


class Store(Sweeps, Histories, Marks, Claiming, Campaigns):
    """Trials and what surrounds them. Make one with `open_store`; a context manager.

    May be used from several threads. Not from a forked child: an open SQLite connection must not cross
    `fork`; open another store there. Every method raises `StoreError`, one line, where the database fails.
    """

    def __init__(
        self, engine: Engine, name: str, read_only: bool, patience: LockWait, presence: Presence
    ) -> None:
        self.name = name
        self._presence = presence
        self.read_only = read_only
        self.patience = patience
        self._engine = engine
        self._heartbeat = Heartbeat(self._beat)
        # Columns of sweeps and ids of toolchains never change: one look-up a process, not one a trial.
        self._sweeps: dict[int, Mapping[str, Any]] = {}
        self._toolchains: dict[str, int] = {}

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self._heartbeat.stop()
        self._engine.dispose()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        wait = explained(self.name, self.patience.reads_s)
        with wait, self._engine.connect() as connection, readable(self.name):
            yield connection

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        """A connection for several questions of `tuner.store.browse`; each is asked within `answering`."""
        with explained(self.name, self.patience.reads_s):
            connection = self._engine.connect()
        with connection:
            yield connection

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Makes what a question to the database raises inside a `StoreError`, one line."""
        with explained(self.name, self.patience.reads_s), readable(self.name):
            yield

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction of its own that writes; committed at the end of the block, rolled back on an error.

        Raises:
            StoreError: the database is read-only, locked for too long, or its file was removed.
        """
        if self.read_only:
            raise StoreReadOnly(
                f"database {self.name} is read-only: make it and its folder writable, or name another "
                "with --db"
            )
        # The file may have been removed. Looked for before connecting, which would make an empty file at the
        # path, and again after writing: a row in a removed file is lost.
        self._presence.check(self._engine)
        try:
            with explained(self.name, self.patience.writes_s):
                connection = self._engine.connect().execution_options(write=True)
                with connection, connection.begin():
                    yield connection
        except StoreError:
            self._presence.check(self._engine)  # SQLite calls a file that was moved read-only
            raise
        self._presence.check(self._engine)

    # Trials

    def add_trials(
        self,
        sweep_id: int,
        trials: Sequence[Trial],
        numbers: Sequence[int] | None = None,
        toolchain: Toolchain | None = None,
    ) -> list[int]:
        """Stores trials that a sweep measured, all or none, committed on return; their ids.

        Args:
            sweep_id: the sweep; workload, kernel, device, target and protocol of the trials are its own.
            trials: in any order.
            numbers: their places among the sweep's proposals, from 0; the next ones where `None`.
            toolchain: what built them, so that its name and version are stored beside its digest.

        Raises:
            ValueError: a trial is of another workload, kernel, device, target or protocol than the sweep.
            StoreError: a number is taken (another process runs the same sweep), or the database fails.
        """
        with self.writing() as connection:
            sweep = self._sweep_columns(connection, sweep_id)
            fresh = {}
            for digest in {t.key.toolchain for t in trials} - self._toolchains.keys():
                named = toolchain if toolchain is not None and toolchain.digest == digest else digest
                fresh[digest] = writes.put_toolchain(connection, named)
            ids = writes.add_trials(connection, sweep, trials, numbers, {**self._toolchains, **fresh})
            claims.release(connection, sweep_id, [t.key.digest for t in trials])
            if self._heartbeat.due():
                owners.beat(connection)
        # Only now: a transaction that was rolled back has left no toolchain behind.
        self._toolchains |= fresh
        return ids

    def record_reuse(self, sweep_id: int, number: int, trial_id: int) -> None:
        """Notes that a sweep's proposal was served from a stored trial of the same identity."""
        with self.writing() as connection:
            writes.link(connection, sweep_id, [number], [trial_id], reused=True)

    def find_identities(
        self,
        digests: Collection[str],
        protocol: Protocol | None = None,
        evidence: Collection[Evidence] = OUTCOMES,
    ) -> dict[str, Trial]:
        """The latest stored trial of each identity (`TrialKey.digest`) that need not be tried again.

        Every status but `environment` counts as known, failures too: they are outcomes, and a sweep that
        repeats crashes and timeouts learns nothing. With a `protocol` two kinds are not known after all: a
        timeout under a shorter limit than the protocol's, and a pruned one where the protocol prunes nothing.

        Args:
            digests: identities.
            protocol: of the sweep that asks.
            evidence: what is good enough; predictions only if asked for.
        """
        with self._read() as connection:
            return queries.find_identities(connection, digests, evidence, protocol)

    def claim(self, sweep_id: int, digests: Collection[str], protocol: Protocol, seconds: float) -> Claimed:
        """Finds identities as `find_identities` does, and claims the unknown ones for a sweep.

        A claim is gone when the sweep stores the identity's trial, when it is released, when the process
        that took it has died, or after `seconds`. Identities that another sweep holds are told apart: wait
        for them with `claimed_elsewhere`, and ask again.
        """
        known = self.find_identities(digests, protocol)
        unknown = set(digests) - known.keys()
        if not unknown:
            return Claimed(known)
        with self.writing() as connection:
            elsewhere = claims.claim(connection, sweep_id, unknown, seconds)
            # Asked again: an outcome may have been stored since, and its claim is gone.
            late = queries.find_identities(connection, unknown - elsewhere, OUTCOMES, protocol)
            claims.release(connection, sweep_id, late)
        return Claimed({**known, **late}, elsewhere)

    def trial(self, trial_id: int) -> TrialDetail:
        """One trial with its sweep, kernel, device and finals; raises `StoreError` where there is none."""
        with self._read() as connection:
            return queries.trial_detail(connection, trial_id)

    def count(self) -> int:
        """How many trials there are."""
        with self._read() as connection:
            return int(connection.execute(select(func.count()).select_from(writes.TRIALS)).scalar_one())

    # Devices, kernels, toolchains

    def update_device(self, device: DeviceInfo) -> int:
        """Stores a device, or adds to its facts and measured limits (newer ones replace older); its id."""
        with self.writing() as connection:
            return writes.put_device(connection, device)

    def device_limits(self, fingerprint: str) -> Mapping[str, float]:
        """The peaks measured on a device; none where the device is not stored."""
        with self._read() as connection:
            return queries.device_limits(connection, fingerprint)

    def put_kernel(self, kernel: KernelInfo) -> int:
        """Stores a kernel at the present state of its source; its id."""
        with self.writing() as connection:
            return writes.put_kernel(connection, kernel)

    def put_toolchain(self, toolchain: Toolchain) -> int:
        """Stores a toolchain with its name, version and flags; its id."""
        with self.writing() as connection:
            return writes.put_toolchain(connection, toolchain)

    def put_workload(self, workload: Workload) -> int:
        """Stores a workload; its id."""
        with self.writing() as connection:
            return writes.put_workload(connection, workload)

    def devices(self) -> list[DeviceInfo]:
        """All devices, in the order they were first seen."""
        with self._read() as connection:
            return queries.devices(connection)

    # Answers

    def best(
        self,
        operator: str | None = None,
        workload_key: str | None = None,
        device: str | None = None,
        kernel: str | None = None,
        threads: int | None = None,
        cache: str | None = None,
        evidence: Collection[Evidence | str] = (Evidence.MEASURED,),
        current: Mapping[str, str] | None = None,
    ) -> list[BestRow]:
        """The best configuration of each kernel, workload, device, thread count and cache state.

        One row each, fastest kernel first within a workload and device. Where finals measured trials again,
        the loser among two configurations is not the best, and the row shows the re-measured time.

        Args:
            operator, workload_key, device, kernel, threads, cache: show these only; `device` is its
                fingerprint.
            evidence: what a time must be worth.
            current: digests of the kernels' present sources by name. Results of the present source go
                before those of another; without it the source that was stored last counts.

        Raises:
            StoreError: an unknown kind of evidence, or the database fails.
        """
        wanted = conditions(operator, workload_key, device, kernel, threads, cache)
        try:
            kinds = [Evidence(e) for e in evidence]
        except ValueError:
            known = ", ".join(Evidence)
            raise StoreError(
                f"unknown evidence among {', '.join(map(str, evidence))}: known: {known}"
            ) from None
        with self._read() as connection:
            return best.best(connection, wanted, kinds, current)

    def best_of(
        self,
        workload_keys: Collection[str],
        current: Mapping[str, str] | None = None,
        evidence: Collection[Evidence | str] = (Evidence.MEASURED,),
    ) -> list[BestRow]:
        """As `best`, of several workloads."""
        keys = sorted(set(workload_keys))
        kinds = [Evidence(e) for e in evidence]
        with self._read() as connection:
            return [
                row
                for some in chunks(keys)
                for row in best.best(connection, [writes.WORKLOADS.c.key.in_(some)], kinds, current)
            ]

    def record_final(self, final: Final) -> int:
        """Stores an interleaved re-measurement; its id. The database computes medians and intervals.

        Raises:
            ValueError: a trial or the device is not stored, or an entry appears twice.
        """
        with self.writing() as connection:
            return writes.record_final(connection, final)

    def finals(
        self, sweep_id: int | None = None, workload_key: str | None = None, device: str | None = None
    ) -> list[Final]:
        """Finals, oldest first, their entries fastest first."""
        wanted = conditions(workload_key=workload_key, device=device)
        if sweep_id is not None:
            wanted.append(writes.FINALS.c.sweep_id == sweep_id)
        with self._read() as connection:
            return finals.finals(connection, wanted)

    def final(self, final_id: int) -> Final:
        """One final; raises `StoreError` where there is none."""
        with self._read() as connection:
            return finals.final(connection, final_id)

    def _sweep_columns(self, connection: Connection, sweep_id: int) -> Mapping[str, Any]:
        if sweep_id not in self._sweeps:
            queries.sweep_started(connection, sweep_id)
            statement = (
                select(
                    writes.SWEEPS,
                    writes.WORKLOADS.c.key,
                    writes.KERNELS.c.name.label("kernel_name"),
                    writes.KERNELS.c.digest.label("kernel_digest"),
                    writes.DEVICES.c.fingerprint,
                )
                .join(writes.WORKLOADS)
                .join(writes.KERNELS)
                .join(writes.DEVICES)
                .where(writes.SWEEPS.c.id == sweep_id)
            )
            self._sweeps[sweep_id] = dict(connection.execute(statement).one()._mapping)
        return self._sweeps[sweep_id]
