"""One tuning's way into the store and out of it; without a store that works, in this process alone."""

import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from tuner.core.errors import StoreError
from tuner.core.measurement import Measurement
from tuner.core.trial import Trial
from tuner.integrations.triton.identity import Identity
from tuner.store.owner import this_host
from tuner.store.records import SweepSpec

if TYPE_CHECKING:
    from tuner.store.store import Store

T = TypeVar("T")

NOTE = "timed by the program it is of (tuner.integrations.triton), not by the judge"
_A_TRIAL_S = 60.0
"""How long others wait for a configuration that this process is about to try."""
_LOOK_S = 0.1


class NotKept(UserWarning):
    """Results of a tuning could not be stored, or stored ones not be read; it goes on without."""


class Ledger:
    """What is known of a kernel's configurations, and what becomes known of them.

    A context manager. Every outcome is committed before the next configuration is tried.

    Args:
        identity: of the trials.
        db: as `tuner.store.store.open_store` takes it.
        searcher: name of what proposes: `given` for a list.
        seed: of the searcher.
    """

    def __init__(self, identity: Identity, db: str | None, searcher: str, seed: int = 0) -> None:
        self.identity = identity
        self._searcher, self._seed = searcher, seed
        self._sweep = 0
        self._number = 0
        self._claimed: set[str] = set()
        self._store: Store | None = self._open(db)
        self.name = self._store.name if self._store else "nowhere"

    def _open(self, db: str | None) -> "Store | None":
        from tuner.store.store import open_store

        try:
            return open_store(db)
        except StoreError as error:
            warnings.warn(NotKept(f"autotune keeps no results: {error}"), stacklevel=2)
            return None

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._store is None:
            return
        if self._sweep:
            status = "finished" if kind is None else "interrupted"
            if self._claimed:
                self._try(lambda store: store.release(self._sweep, self._claimed), None)
            self._try(lambda store: store.finish_sweep(self._sweep, status, {"note": NOTE}), None)
        if self._store is not None:
            self._store.close()

    def known(self, configs: Sequence[Mapping[str, Any]]) -> dict[int, Trial]:
        """Stored outcomes of configurations, by their places in the list."""
        digests = [self.identity.key(config).digest for config in configs]
        kinds = (self.identity.evidence,)
        nothing: dict[str, Trial] = {}
        found = self._try(lambda store: store.find_identities(set(digests), evidence=kinds), nothing)
        return {i: found[digest] for i, digest in enumerate(digests) if digest in found}

    def history(self) -> list[Trial]:
        """Everything stored of this kernel in this state, workload, device and protocol, each once."""
        mine = self.identity

        def read(store: "Store") -> list[Trial]:
            found: dict[int | None, Trial] = {}
            for sweep in store.sweeps(mine.workload.operator, mine.workload.key):
                if (
                    sweep.spec.kernel != mine.kernel
                    or sweep.spec.device.fingerprint != mine.device.fingerprint
                ):
                    continue
                for trial in store.sweep_history(sweep.id):
                    same = trial.key.digest == mine.key(trial.key.config).digest
                    if same and trial.measurement.evidence is mine.evidence:
                        found[trial.id] = trial
            return list(found.values())

        return self._try(read, [])

    def begin(self, reused: Collection[Trial], budget: Mapping[str, Any]) -> None:
        """Something is about to be tried: a sweep, whose first proposals are those that are known."""
        mine = self.identity
        spec = SweepSpec(
            mine.workload, mine.device, mine.kernel, mine.device.target, self._searcher, self._seed,
            mine.protocol, budget, NOTE,
        )  # fmt: skip

        def start(store: "Store") -> int:
            sweep = store.begin_sweep(spec)
            for trial in reused:
                if trial.id is not None:
                    store.record_reuse(sweep, self._next(), trial.id)
            return sweep

        self._sweep = self._try(start, 0)

    def wait_for_others(self, configs: Sequence[Mapping[str, Any]]) -> dict[int, Trial]:
        """Claims configurations for this process; outcomes of those that others were trying, by place.

        One that a living process has claimed is waited for, at most as long as trying them all may take.
        """
        if not self._sweep or not configs:
            return {}
        digests = {self.identity.key(config).digest for config in configs}
        seconds = _A_TRIAL_S * len(digests)
        until = time.monotonic() + seconds

        def claim(store: "Store") -> bool:
            taken = store.claim(self._sweep, digests, self.identity.protocol, seconds).elsewhere
            self._claimed |= digests - taken
            while taken and store.claimed_elsewhere(self._sweep, taken) and time.monotonic() < until:
                time.sleep(_LOOK_S)
            return bool(taken)

        return self.known(configs) if self._try(claim, False) else {}

    def record(self, config: Mapping[str, Any], measurement: Measurement) -> Trial:
        """Stores an outcome, and gives up the claim on it."""
        trial = Trial(self.identity.key(dict(config)), measurement, host=this_host())
        number = self._next()
        self._claimed.discard(trial.key.digest)
        if self._sweep:
            self._try(
                lambda store: store.add_trials(self._sweep, [trial], [number], self.identity.toolchain), None
            )
        return trial

    def _next(self) -> int:
        self._number += 1
        return self._number - 1

    def _try(self, do: "Callable[[Store], T]", otherwise: T) -> T:
        """What the store says; after its first failure nothing is asked of it any more."""
        if self._store is None:
            return otherwise
        try:
            return do(self._store)
        except StoreError as error:
            warnings.warn(NotKept(f"autotune keeps no results: {error}"), stacklevel=2)
            self._store.close()
            self._store, self._sweep = None, 0
            return otherwise
