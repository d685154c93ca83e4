"""Tuned kernels for somebody's own program: compiled once, cached on disk, called on NumPy arrays."""

import math
import warnings
from collections.abc import Sequence

from tuner import registry
from tuner.core.device import Device
from tuner.core.errors import InvalidConfig, InvalidSpace, InvalidWorkload, Unavailable
from tuner.core.kernel import FROZEN, Kernel, kind_of, unfrozen
from tuner.core.protocol import CACHES
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.engine.program.build_cache import build_cached
from tuner.engine.program.tuned_kernel import Origin, TunedKernel
from tuner.store.records import BestRow


class OtherToolchain(UserWarning):
    """What was measured was built by another compiler than this machine's; the message names both."""


class NearestConfiguration(UserWarning):
    """No stored configuration fits exactly; the message says which one is used instead."""


# Pairs of toolchains that were said to differ.
_told: set[tuple[str, str]] = set()


def distance(a: Workload, b: Workload) -> float:
    """How unlike two shapes are: Euclidean distance of the logarithms of their dimensions."""
    theirs = dict(b.dims)
    return math.sqrt(sum(math.log2(size / theirs[name]) ** 2 for name, size in a.dims))


def one_state(rows: Sequence[BestRow]) -> list[BestRow]:
    """Those timed as in a model where there are any, else the warm ones, else the cold ones: times of
    different cache states do not compare."""
    states = {row.cache for row in rows}
    return next(([row for row in rows if row.cache == cache] for cache in CACHES if cache in states), [])


def choose(
    workload: Workload, rows: Sequence[BestRow], device: Device, kernel_name: str | None,
    threads: int | None = None,
) -> tuple[BestRow, Kernel, Config, str]:  # fmt: skip
    """The stored configuration to use for a workload: (row, kernel, configuration, note).

    The fastest one of this very workload on this device, of those timed as in a model where there are any,
    then of warm ones, then of cold ones; else that of the nearest shape (of the same options first, then of
    any of its kind, `kind_of`) whose configuration is valid here; where none is, the nearest one's, adapted
    (`SearchSpace.nearest`). Another device's only where this one has none. The note is empty for an exact
    match. What was measured with so many threads is chosen, and has to be built, for a target of so many
    cores: on all cores a space may not have it, and a kernel may start threads of its own accord.
    `threads` is what all rows were chosen by, if they were: an error names it.

    Raises:
        Unavailable: nothing stored can serve.
    """
    targets = {threads: device.target_for(threads) for threads in {row.threads for row in rows}}
    candidates = []
    for row in rows:
        if kind_of(row.workload) != kind_of(workload):
            continue
        kernel = registry.kernels().get(row.kernel.name)
        if kernel is None or kernel.baseline or kernel.unavailable():
            continue
        if kernel.unsupported(workload, targets[row.threads]):
            continue
        if kernel_name not in (None, kernel.name) or (kernel.searcher and row.workload != workload):
            continue  # a trace is of one workload alone
        foreign = row.device.fingerprint != device.fingerprint
        unlike = row.workload.options != workload.options
        far = distance(workload, row.workload)
        # Among equally near shapes the faster kernel wins; times of one cache state only are compared.
        state = CACHES.index(row.cache)
        candidates.append(((foreign, far + 0.1 * unlike, state, row.time_s), row, kernel))
    candidates.sort(key=lambda c: c[0])
    # First what is valid as it is; only then what has to be adapted.
    passes = [(c, repair) for repair in (False, True) for c in candidates]
    for ((foreign, far, _, _), row, kernel), repair in passes:
        config = _valid(kernel, workload, row.config, targets[row.threads], repair)
        if config is None:
            continue
        notes = ["adapted to the nearest configuration that is valid"] if repair else []
        if far:
            notes.append(f"nearest stored configuration, of {row.workload.key}")
        if foreign:
            notes.append(f"measured on {row.device.name}")
        if row.kernel.digest != kernel.digest:
            notes.append("the kernel's source has changed since")
        note = f"no measurement of {workload.key} here: " + "; ".join(notes) if notes else ""
        return row, kernel, config, note
    raise Unavailable(_nothing(workload, rows, device, kernel_name, threads))


def _nothing(
    workload: Workload, rows: Sequence[BestRow], device: Device, kernel_name: str | None, threads: int | None
) -> str:
    """That nothing can serve a workload, and what to do."""
    asked = registry.kernels().get(kernel_name or "")
    target = device.target if threads is None else device.target_for(threads)
    if asked is not None and (reason := asked.unsupported(workload, target)):
        return f"{kernel_name} cannot serve {workload.key}: {reason}"
    frozen = workload.option(FROZEN, False)
    others = any(
        unfrozen(row.workload) == unfrozen(workload) and kernel_name in (None, row.kernel.name)
        for row in rows
        if kind_of(row.workload) != kind_of(workload)
    )
    what = f"kernel {kernel_name}" if kernel_name else "any kernel"
    kind = f"{workload.operator}/{workload.dtype}" + (", frozen," if frozen else "")
    dtype = f" --dtype {workload.dtype}" if workload.dtype != "f32" else ""
    if threads is not None:
        kind += f" with {threads} thread{'s' if threads > 1 else ''}"
        dtype += f" --threads {threads}"
    return (
        f"nothing stored of {what} for {kind} can serve {workload.key}: run "
        f"'tuner sweep {workload.operator} --shape \"{workload.shape}\"{dtype}' first"
        + (f", or load it {'without' if frozen else 'with'} frozen=True, as it is stored" if others else "")
    )


def _valid(kernel: Kernel, workload: Workload, config: Config, target: Target, repair: bool) -> Config | None:
    try:
        space = kernel.space(workload, target)
        return space.nearest(config) if repair else space.check(config)
    except (InvalidConfig, InvalidSpace, InvalidWorkload):
        return None


def load_rows(
    workload: Workload, rows: Sequence[BestRow], device: Device, kernel_name: str | None = None,
    any_shape: bool = False, threads: int | None = None,
) -> TunedKernel:  # fmt: skip
    """Chooses, builds or takes from the cache, and loads; warns where the match is not exact.

    With `any_shape` a match that is not exact is what was asked for: `note` of the result says it. `threads`
    is as in `choose`.

    Raises:
        Unavailable: nothing stored can serve, this machine cannot hold the workload's tensors, or a file of
            the lab cannot be loaded.
        BuildError: it does not compile.
    """
    registry.require_whole(workload.operator)
    _check_size(workload, device.target)
    row, kernel, config, note = choose(workload, rows, device, kernel_name, threads)
    if note and not any_shape:
        warnings.warn(note, NearestConfiguration, stacklevel=3)
    if other := _other_toolchain(row, kernel, device.target):
        warnings.warn(other, OtherToolchain, stacklevel=3)
    if note and any_shape:
        note += " (too few shapes are tuned for a rule)"
    artifact = build_cached(kernel, workload, config, device.target_for(row.threads))
    return TunedKernel(
        workload, kernel, config, artifact, device, Origin(row.trial_id, row.time_s, note, row.threads)
    )


def _other_toolchain(row: BestRow, kernel: Kernel, target: Target) -> str:
    """What to say, the first time in this process, of a row that another compiler was measured with."""
    builder = registry.builder_of(kernel, target)
    if builder.unavailable() is not None:
        return ""
    now = builder.toolchain(target)
    said = (row.toolchain, now.digest)
    if row.toolchain == now.digest or said in _told:
        return ""
    _told.add(said)
    return (
        f"trial t{row.trial_id} of {kernel.name} was measured with another compiler or other flags than "
        f"{now.name} {now.version}: 'tuner verify-export' says what that changes"
    )


def _check_size(workload: Workload, target: Target) -> None:
    """Before anything is chosen: generators of code have limits of their own, and words of their own."""
    needed = registry.operator(workload.operator).memory_bytes(workload)
    there = target.limit("memory_bytes")
    if needed > there:
        raise Unavailable(
            f"{workload.key} is larger than this machine: its tensors take {needed / 2**30:,.1f} GiB of "
            f"{there / 2**30:,.1f} GiB; choose a smaller shape"
        )
