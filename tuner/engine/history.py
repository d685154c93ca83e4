"""What the store already knows of a kernel, for searchers that transfer."""

from typing import TYPE_CHECKING

from tuner.core.errors import TunerError
from tuner.core.kernel import Kernel
from tuner.core.searcher import History
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.store.records import DeviceInfo

if TYPE_CHECKING:
    from tuner.store.store import Store


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
    kernel: Kernel, workload: Workload, target: Target, device: DeviceInfo, store: "Store"
) -> list[History]:
    """Earlier trials of the kernel for other workloads, on other devices or with another source.

    Trials of this very source, workload and device are left out: the sweep reuses those it proposes.
    """
    found = []
    for group in store.history(kernel.name, kernel.operator):
        where = group.device
        own = (group.workload, where.fingerprint, group.kernel.digest)
        if own == (workload, device.fingerprint, kernel.digest):
            continue
        if group.target.partition(":")[0] != target.kind or kernel.unsupported(group.workload, target):
            continue
        try:
            space = kernel.space(group.workload, target)
        except TunerError:
            continue  # its constraints refer to what this target does not state
        label = f"{group.workload.key} on {where.name}"
        numbers = workload_numbers(group.workload)
        found.append(History(group.observations, space, device_numbers(where), numbers, label))
    return found
