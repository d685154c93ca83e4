"""What the store already knows of a kernel, for searchers that transfer."""

from typing import TYPE_CHECKING

from tuner.core.errors import TunerError
from tuner.core.kernel import Kernel
from tuner.core.measurement import Evidence
from tuner.core.searcher import History, similarity
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.store.records import DeviceInfo

if TYPE_CHECKING:
    from tuner.store.store import Store

AT_MOST = 20_000
"""Earlier trials that a searcher is told of; a transfer uses four histories, see docs/searchers.md."""
_SHARES = 5
_EVIDENCE = (Evidence.MEASURED, Evidence.REPLAYED)


def device_numbers(device: DeviceInfo) -> dict[str, float]:
    """The facts of a device that are numbers: cores, caches in bytes, ..."""
    return {
        name: float(value)
        for name, value in device.facts.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def workload_numbers(workload: Workload) -> dict[str, float]:
    """Dimensions, and options that are numbers or yes and no."""
    values = {**dict(workload.dims), **dict(workload.options)}
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}


def known_history(
    kernel: Kernel, workload: Workload, target: Target, device: DeviceInfo, store: "Store",
    at_most: int = AT_MOST,
) -> list[History]:  # fmt: skip
    """Earlier trials of the kernel for other workloads, on other devices or with another source.

    Trials of this very source, workload and device are left out: the sweep reuses those it proposes.

    Args:
        kernel, workload, target, device: of the sweep.
        store: where earlier trials are.
        at_most: trials in all. Where more are stored, the histories most similar to the sweep are read first,
            and each gives a fifth at most, so that several are heard.
    """
    numbers, facts = workload_numbers(workload), device_numbers(device)
    usable = []
    for group in store.history_groups(kernel.name, kernel.operator):
        where = group.device
        own = (group.workload, where.fingerprint, group.kernel.digest)
        if own == (workload, device.fingerprint, kernel.digest) or not group.count(_EVIDENCE):
            continue
        if group.target.partition(":")[0] != target.kind or kernel.unsupported(group.workload, target):
            continue
        near = similarity(facts, device_numbers(where), numbers, workload_numbers(group.workload))
        usable.append((near, group))
    stored = sum(group.count(_EVIDENCE) for _, group in usable)
    each, room = at_most, at_most
    if stored > at_most:
        each = at_most // _SHARES
        usable.sort(key=lambda pair: (-pair[0], -pair[1].count(_EVIDENCE)))
    found = []
    for _, group in usable:
        if room <= 0:
            break
        try:
            space = kernel.space(group.workload, target)
        except TunerError:
            continue  # its constraints refer to what this target does not state
        observations = store.observations(group, _EVIDENCE, min(each, room))
        room -= len(observations)
        label = f"{group.workload.key} on {group.device.name}"
        theirs = workload_numbers(group.workload)
        found.append(
            History(observations, space, device_numbers(group.device), theirs, label, group.workload.dtype)
        )
    return found
