"""Between the store and recorded spaces: others' trials come in as `replayed`, ours go out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.core.errors import TunerError
from tuner.core.measurement import Evidence, Status
from tuner.core.protocol import Protocol
from tuner.core.recorded import RecordedSpace
from tuner.core.trial import Trial
from tuner.interchange.trials import from_trials, space_digest, to_trials, workload_of
from tuner.store.records import IMPORTED, DeviceInfo, KernelInfo, StoredSweep, SweepSpec

if TYPE_CHECKING:
    from tuner.store.store import Store

# A recording does not say how it was timed; the sweep it becomes needs some protocol.
_PROTOCOL = Protocol(threads=1)


def import_recorded(store: "Store", recorded: RecordedSpace) -> tuple[int, int, int]:
    """Stores a recorded space as replayed trials: (sweep, trials added, trials that were there already).

    The device is one of its own, never one that measures. Importing the same file again adds nothing.
    """
    workload = workload_of(recorded)
    trials = [replace(t, key=replace(t.key, protocol=_PROTOCOL.digest)) for t in to_trials(recorded)]
    known = store.find_identities([t.key.digest for t in trials], evidence=[Evidence.REPLAYED])
    fresh = [t for t in trials if t.key.digest not in known]
    if not fresh:
        sweeps = store.sweeps(workload.operator, workload.key)
        own = [
            s.id for s in sweeps
            if s.spec.device.fingerprint == recorded.fingerprint and s.spec.imported
        ]  # fmt: skip
        return (own[-1] if own else 0), 0, len(known)
    numbers = {k: float(v) for k, v in recorded.device_facts.items()}
    device = DeviceInfo.recorded_elsewhere(
        recorded.fingerprint, recorded.device, recorded.target, recorded.facts, numbers
    )
    kernel = KernelInfo(recorded.kernel, space_digest(recorded), "recorded", workload.operator)
    spec = SweepSpec(
        workload, device, kernel, recorded.target, IMPORTED, 0, _PROTOCOL, {}, f"imported: {recorded.label}"
    )
    sweep = store.begin_sweep(spec)
    store.add_trials(sweep, fresh)
    store.finish_sweep(sweep, "finished", {"exhausted": True, "imported": len(fresh)})
    return sweep, len(fresh), len(known)


def recorded_from_store(
    store: "Store", workload_key: str, kernel: str | None = None, device: str | None = None
) -> RecordedSpace:
    """Everything measured or replayed of one kernel for one workload on one device, as a recorded space.

    Args:
        store: to read.
        workload_key: e.g. `gemm/f32/m64-n64-k64`.
        kernel: its name; needed where several were tuned.
        device: a part of its name or fingerprint; needed where several are stored.

    Raises:
        TunerError: nothing fits, or more than one group does; says how to narrow it.
    """
    groups: dict[tuple[str, str], list[StoredSweep]] = {}
    for sweep in store.sweeps(workload_key=workload_key):
        name, where = sweep.spec.kernel.name, sweep.spec.device
        named = device is None or device.lower() in where.name.lower() or device in where.fingerprint
        if kernel in (None, name) and named:
            groups.setdefault((name, where.fingerprint), []).append(sweep)
    if not groups:
        raise TunerError(f"nothing stored of {workload_key}" + (f" by kernel {kernel}" if kernel else ""))
    if len(groups) > 1:
        found = "; ".join(f"{name} on {s[0].spec.device.name}" for (name, _), s in groups.items())
        raise TunerError(
            f"several spaces are stored of {workload_key}: choose with --kernel and --device: {found}"
        )
    (sweeps,) = groups.values()
    return recorded_of(store, sweeps)[0]


def recorded_of(store: "Store", sweeps: Sequence[StoredSweep]) -> tuple[RecordedSpace, list[Trial]]:
    """Sweeps of one kernel, workload and device as a recorded space, and the trials it is made of."""
    trials = [
        t for t in _trials(store, sweeps) if t.measurement.evidence in (Evidence.MEASURED, Evidence.REPLAYED)
    ]
    spec = sweeps[0].spec
    facts = {"model": spec.device.name, **(spec.device.limits if spec.device.recorded else {})}
    recorded = from_trials(trials, facts)
    if spec.imported and recorded.problem == (1,):
        recorded = replace(recorded, problem=())  # the recording named no problem size
    return recorded, trials


def stored_trials(
    store: "Store", workload_key: str | None = None, operator: str | None = None
) -> list[Trial]:
    """Every stored trial of a workload, an operator, or all; none that the machine failed."""
    return _trials(store, store.sweeps(operator, workload_key))


def _trials(store: "Store", sweeps: Sequence[StoredSweep]) -> list[Trial]:
    found: dict[int | None, Trial] = {}
    for sweep in sweeps:
        for trial in store.sweep_history(sweep.id):
            # What the machine failed is nothing to tell others: their tools would learn from it.
            if trial.measurement.status is not Status.ENVIRONMENT:
                found.setdefault(trial.id, trial)
    return list(found.values())
