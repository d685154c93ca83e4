"""A sweep's rows in the store: its beginning and end, and each trial where it was measured."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from tuner.core.artifact import Toolchain
from tuner.core.digest import canonical_json
from tuner.core.space import Config
from tuner.core.trial import Trial, TrialKey
from tuner.engine.candidate.evaluator import Evaluated, Place
from tuner.store.owner import this_host
from tuner.store.owners import PART
from tuner.store.records import SweepSpec

if TYPE_CHECKING:
    from tuner.store.store import Store


def _others(history: Sequence[tuple[int, Trial]], only: Collection[Config] | None) -> bool:
    """Whether a sweep tried other configurations than these."""
    if only is None:
        return False
    these = {canonical_json(dict(config)) for config in only}
    return any(canonical_json(dict(trial.key.config)) not in these for _, trial in history)


class Filing:
    """Stores one sweep.

    A trial that another device ran than the sweep's own is stored in a sweep of that device, a *part* of this
    one: a trial's device is its sweep's, or `best` would answer for the wrong device. This sweep's proposal
    refers to that trial as to a reused one.

    Args:
        store: where to.
        spec: what the sweep does.
        toolchain: this host's, for the sweep's kernel.
    """

    def __init__(self, store: "Store", spec: SweepSpec, toolchain: Toolchain) -> None:
        self._store, self._spec, self._toolchain = store, spec, toolchain
        self._sweep_id: int | None = None
        self._parts: dict[str, int] = {}

    @property
    def sweep_id(self) -> int:
        """Of the sweep in the store, once it has begun."""
        assert self._sweep_id is not None, "a sweep begins before anything of it is stored"
        return self._sweep_id

    @property
    def begun(self) -> bool:
        """Whether the sweep is in the store."""
        return self._sweep_id is not None

    def key(self, config: Config) -> TrialKey:
        """The identity of a configuration on the sweep's device, built by this host's toolchain."""
        spec = self._spec
        return TrialKey(
            spec.workload, spec.kernel.name, spec.kernel.digest, config, spec.target, self._toolchain.digest,
            spec.device.fingerprint, spec.protocol.digest,
        )  # fmt: skip

    def begin(
        self, resume: bool, note: Callable[[str], None], only: Collection[Config] | None = None
    ) -> list[tuple[int, Trial]]:
        """Begins the sweep, or goes on with an unfinished one.

        Args:
            resume: whether to look for one.
            note: is told whose sweep is taken over or left alone.
            only: where the sweep is of these configurations: one that tried others is another sweep.

        Returns:
            The numbers and trials of the sweep that goes on; none of a new one.
        """
        if resume:
            found = self._store.resumption(self._spec)
            for remark in found.remarks:
                note(remark)
            history = [] if found.sweep_id is None else self._store.numbered_history(found.sweep_id)
            if found.sweep_id is not None and not _others(history, only):
                self._sweep_id = found.sweep_id
                self._store.reopen_sweep(found.sweep_id, self._spec.budget)
                return history
        else:
            self._tell_of_unfinished(note, only)
        self._store.put_toolchain(self._toolchain)
        self._sweep_id = self._store.begin_sweep(self._spec)
        return []

    def _tell_of_unfinished(self, note: Callable[[str], None], only: Collection[Config] | None) -> None:
        """Who starts anew what did not finish may not know that it can go on."""
        unfinished = self._store.resumable(self._spec)
        trials = 0 if unfinished is None else self._store.sweep(unfinished).trials
        if unfinished is None or not trials:
            return
        if only is not None and _others(self._store.numbered_history(unfinished), only):
            return
        note(
            f"{self._spec.kernel.name}: sweep s{unfinished} was left unfinished after "
            f"{trials} trial{'s' * (trials > 1)}; this is a new one, --resume goes on with that"
        )

    def add(self, number: int, key: TrialKey, outcome: Evaluated) -> Trial:
        """Stores an outcome, committed on return.

        Args:
            number: of the proposal.
            key: as it was asked for; the trial has the device and toolchain of where it ran.
            outcome: what came of it.
        """
        place = outcome.place
        if place is None:
            trial = Trial(key, outcome.measurement, host=this_host())
            (trial_id,) = self._store.add_trials(self.sweep_id, [trial], [number])
            return replace(trial, id=trial_id)
        device, chain = place.device, place.toolchain
        if device.fingerprint == self._spec.device.fingerprint:
            trial = Trial(replace(key, toolchain=chain.digest), outcome.measurement, host=place.host)
            (trial_id,) = self._store.add_trials(self.sweep_id, [trial], [number], chain)
            return replace(trial, id=trial_id)
        there = replace(key, toolchain=chain.digest, device=device.fingerprint, target=device.target)
        trial = Trial(there, outcome.measurement, host=place.host)
        (trial_id,) = self._store.add_trials(self._part(place), [trial], None, chain)
        self._store.record_reuse(self.sweep_id, number=number, trial_id=trial_id)
        return replace(trial, id=trial_id)

    def _part(self, place: Place) -> int:
        fingerprint = place.device.fingerprint
        if fingerprint not in self._parts:
            spec = replace(
                self._spec, device=place.device, target=place.device.target,
                note=f"{PART}{self.sweep_id} on {place.host}",
            )  # fmt: skip
            self._parts[fingerprint] = self._store.begin_sweep(spec)
        return self._parts[fingerprint]

    def reuse(self, number: int, trial: Trial) -> None:
        """Notes that a proposal is served by a stored trial."""
        assert trial.id is not None
        self._store.record_reuse(self.sweep_id, number=number, trial_id=trial.id)

    def end(self, status: Literal["finished", "interrupted"], summary: dict[str, Any]) -> None:
        """Ends the sweep and its parts.

        A part is always finished: `--resume` goes on with the sweep it is a part of.
        """
        for part in self._parts.values():
            self._store.finish_sweep(part, "finished", {"part_of": self.sweep_id})
        self._parts.clear()
        self._store.finish_sweep(self.sweep_id, status, summary)
