"""Between the store and MetaSchedule's databases: records come in as `replayed`, our trials go out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner import registry
from tuner.core.errors import InvalidWorkload, TunerError
from tuner.core.kernel import Kernel
from tuner.core.measurement import TIMED_STATUSES, Evidence, Measurement, Status
from tuner.core.operator import Operator
from tuner.core.protocol import Protocol
from tuner.core.target import Target
from tuner.core.trace_space import PARAMETER, TraceSpace
from tuner.core.trial import Trial, TrialKey
from tuner.core.workload import Workload
from tuner.engine.candidate.devices import default_device
from tuner.interchange.metaschedule import TuningRecord, program_hash, write_database
from tuner.store.records import IMPORTED, DeviceInfo, KernelInfo, SweepSpec

if TYPE_CHECKING:
    from tuner.store.store import Store

# A database does not say how it was timed.
_PROTOCOL = Protocol(threads=1)
_RECORDED = "recorded"
_SHORT = {"float32": "f32", "float16": "f16", "int8": "int8"}


@dataclass(frozen=True)
class Imported:
    """What an import of one program's records did.

    Attributes:
        workload: where they are found.
        kernel: of ours that they are configurations of; `None` for a program that is none of ours.
        sweep: in the store; 0 where all were known.
        added, known: how many records.
    """

    workload: Workload
    kernel: str | None
    sweep: int
    added: int
    known: int


def import_traces(
    store: "Store", records: Sequence[TuningRecord], workload: Workload | None = None
) -> list[Imported]:
    """Stores the records of a database as replayed trials: a sweep a program and target, its own device.

    A program that is one of ours, by its structural hash, makes configurations of that kernel; another one
    is kept under a workload named after its hash, which nothing here can build.

    Args:
        store: to write to.
        records: what `read_database` found.
        workload: what the programs compute, where their options cannot be guessed from shapes.
    """
    hashes: dict[tuple[str, str, str], str] = {}
    groups: dict[tuple[str, str], list[TuningRecord]] = {}
    for record in records:
        groups.setdefault((record.program, record.target_digest), []).append(record)
    return [_import_group(store, group, workload, hashes) for group in groups.values()]


def _import_group(
    store: "Store",
    group: Sequence[TuningRecord],
    workload: Workload | None,
    hashes: dict[tuple[str, str, str], str],
) -> Imported:
    first = group[0]
    owner = _owner(store, first, workload, hashes)
    name, digest, language = f"tvm_{first.program.lstrip('-')}", first.program, "tensorir"
    computed = _foreign(first)
    if owner is not None:
        kernel, computed = owner
        name, digest, language = kernel.name, kernel.digest, kernel.language
    target, mark = first.target_name, first.target_digest
    fingerprint = f"replay:metaschedule:{mark}"
    trials = [
        Trial(
            TrialKey(computed, name, digest, {PARAMETER: record.trace}, target, _RECORDED, fingerprint,
                     _PROTOCOL.digest),
            _measurement(record),
        )
        for record in group
    ]  # fmt: skip
    known = store.find_identities([t.key.digest for t in trials], evidence=[Evidence.REPLAYED])
    fresh = [t for t in trials if t.key.digest not in known]
    if not fresh:
        return Imported(computed, name if owner else None, 0, 0, len(known))
    model = f"MetaSchedule database ({target})"
    facts = {"model": model, "tvm_target": dict(first.target)}
    device = DeviceInfo.recorded_elsewhere(fingerprint, model, target, facts)
    spec = SweepSpec(
        computed, device, KernelInfo(name, digest, language, computed.operator), target, IMPORTED, 0,
        _PROTOCOL, {}, "imported: MetaSchedule database",
    )  # fmt: skip
    sweep = store.begin_sweep(spec)
    store.add_trials(sweep, fresh)
    store.finish_sweep(sweep, "finished", {"exhausted": True, "imported": len(fresh)})
    return Imported(computed, name if owner else None, sweep, len(fresh), len(known))


def _measurement(record: TuningRecord) -> Measurement:
    if record.samples:
        return Measurement(
            Status.OK, Evidence.REPLAYED, samples=record.samples, run_s=float(sum(record.samples))
        )
    # The database keeps no reason: it may have been the build, the run or a timeout.
    return Measurement(Status.BUILD_ERROR, Evidence.REPLAYED, error="failed in MetaSchedule, no reason kept")


def _foreign(record: TuningRecord) -> Workload:
    """A workload of a program's own: its hash as operator, the shape of its last tensor as dimensions."""
    dtype, shape = record.arguments[-1] if record.arguments else ("float32", ())
    dims = tuple((f"{axis}", size) for axis, size in zip("xyzwabcdef", shape or (1,), strict=False))
    return Workload(f"tvm_{record.program.lstrip('-')}", dtype, dims)


def _owner(
    store: "Store", record: TuningRecord, workload: Workload | None, hashes: dict[tuple[str, str, str], str]
) -> tuple[Kernel, Workload] | None:
    kind = record.target_name.partition(":")[0]
    kernels = [k for k in registry.kernels().values() if k.searcher and kind in k.target_kinds]
    stored = {s.spec.workload.key: s.spec.workload for s in store.sweeps()}
    for kernel in kernels:
        operator = registry.operator(kernel.operator)
        given = [workload] if workload is not None else [*stored.values(), *_guesses(operator, record)]
        for candidate in dict.fromkeys(given):
            if candidate.operator != kernel.operator or not _is_of(operator, candidate):
                continue
            if not _fits(operator, candidate, record):
                continue
            key = (kernel.name, candidate.key, kind)
            if key not in hashes:
                hashes[key] = _hash(kernel, candidate, kind)
            if hashes[key] == record.program:
                return kernel, candidate
    return None


def _hash(kernel: Kernel, workload: Workload, kind: str) -> str:
    if workload.dtype not in kernel.dtypes:
        return ""
    space = kernel.space(workload, _named(kind, "any"))
    return program_hash(space.program) if isinstance(space, TraceSpace) else ""


def _is_of(operator: Operator, workload: Workload) -> bool:
    """Whether a workload is one that the operator makes.

    A stored one may come from anybody, and programs are written with its numbers: TVMScript is Python.
    """
    try:
        made = operator.workload(workload.dtype, **{**dict(workload.dims), **dict(workload.options)})
    except (TunerError, TypeError):
        return False
    return made == workload


def _fits(operator: Operator, workload: Workload, record: TuningRecord) -> bool:
    """Whether the tensors are those of a workload."""
    try:
        specs = operator.signature(workload)
    except (KeyError, InvalidWorkload):
        return False
    return tuple((spec.dtype, tuple(spec.shape)) for spec in specs) == record.arguments


def _guesses(operator: Operator, record: TuningRecord) -> Iterator[Workload]:
    """Workloads whose tensors might be these, by their shapes."""
    if record.arguments and (dtype := _SHORT.get(record.arguments[0][0])):
        yield from operator.from_shapes(dtype, [shape for _, shape in record.arguments])


def export_traces(
    store: "Store", folder: Path, workload_key: str, kernel_name: str | None = None,
    device: str | None = None, best: bool = False,
) -> tuple[int, str]:  # fmt: skip
    """Writes our trials of a kernel that MetaSchedule schedules as its database: (records, what they are of).

    With `best`, the fastest alone.

    Raises:
        TunerError: nothing fits, or more than one kernel or device does.
    """
    known = registry.kernels()
    groups: dict[tuple[str, str], list[Trial]] = {}
    for sweep in store.sweeps(workload_key=workload_key):
        name, where = sweep.spec.kernel.name, sweep.spec.device
        kernel = known.get(name)
        if kernel is None or not kernel.searcher or kernel_name not in (None, name):
            continue
        if device is None or device.lower() in where.name.lower() or device in where.fingerprint:
            groups.setdefault((name, where.name), []).extend(store.sweep_history(sweep.id))
    if len(groups) != 1:
        names = "; ".join(f"{name} on {place}" for name, place in groups)
        raise TunerError(
            f"several are stored of {workload_key}: choose with --kernel and --device: {names}" if groups
            else f"no trials of a kernel that MetaSchedule schedules are stored of {workload_key}"
        )  # fmt: skip
    (((name, place), trials),) = groups.items()
    kernel, workload = known[name], trials[0].key.workload
    if not _is_of(registry.operator(kernel.operator), workload):
        raise TunerError(f"the stored workload {workload.key[:200]!r} is none of {kernel.operator}")
    space = kernel.space(workload, _target(trials[0].key.target))
    if not isinstance(space, TraceSpace):
        raise TunerError(f"kernel {name} is not scheduled by traces: a MetaSchedule database cannot hold it")
    unique = {t.id: t for t in trials if t.measurement.evidence in (Evidence.MEASURED, Evidence.REPLAYED)}
    if best:
        timed = [t for t in unique.values() if t.measurement.ok and t.measurement.time_s]
        unique = {t.id: t for t in sorted(timed, key=lambda t: t.measurement.time_s or 0.0)[:1]}
    outcomes = [
        (str(t.key.config[PARAMETER]),
         t.measurement.samples if t.measurement.status in TIMED_STATUSES else ())
        for t in unique.values()
    ]  # fmt: skip
    if not outcomes:
        raise TunerError(f"nothing of {name} for {workload_key} was measured: a database holds times")
    return write_database(folder, space.program, space.target, outcomes), f"{name} on {place}"


def _target(name: str) -> Target:
    """The target of a stored trial: this machine's where that is its name, else by its name alone."""
    here = default_device().target
    if here.name == name:
        return here
    kind, _, arch = name.partition(":")
    known = registry.target_kinds().get(kind)
    described = known.targets().get(name) if known else None
    return described or _named(kind, arch)


def _named(kind: str, arch: str) -> Target:
    """A target of which only the name is known."""
    known = registry.target_kinds().get(kind)
    return known.unlisted(arch) if known else Target(kind, arch)
