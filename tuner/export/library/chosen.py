"""Of each workload the fastest stored kernel that a library can hold, and which faster one it cannot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner import registry
from tuner.core.device import Device
from tuner.core.errors import TunerError
from tuner.core.kernel import Kernel
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.engine.tuning.campaign import default_protocol
from tuner.store.records import BestRow

if TYPE_CHECKING:
    from tuner.store.store import Store


@dataclass(frozen=True)
class LeftOut:
    """The fastest tuned kernel of a workload, where a library does not hold it.

    Attributes:
        row: what is stored of it.
        why: a library cannot.
        instead: of the kernel that it holds in its place; `None`: none, the workload is served by the rule of
            others, if at all.
    """

    row: BestRow
    why: str
    instead: BestRow | None

    @property
    def plain(self) -> dict[str, Any]:
        """For a file that says what a library is made of."""
        return {
            "workload": self.row.workload.key, "kernel": self.row.kernel.name, "time_s": self.row.time_s,
            "why": self.why, "instead": self.instead.kernel.name if self.instead else None,
            "instead_time_s": self.instead.time_s if self.instead else None,
        }  # fmt: skip


def choose_rows(
    workloads: Sequence[Workload], device: Device, store: "Store", target: Target
) -> tuple[dict[Workload, BestRow], list[LeftOut]]:
    """What a library takes of each workload.

    Args:
        workloads: that programs will ask for.
        device: a CPU of this machine.
        store: to read.
        target: the most demanding that the library compiles for.

    Returns:
        The fastest row that a library can hold, by workload; and what was faster. Libraries that others
        wrote are no kernels, and not among these.
    """
    stored: dict[Workload, list[BestRow]] = {workload: [] for workload in workloads}
    for operator in dict.fromkeys(w.operator for w in workloads):
        for row in store.best(operator=operator):
            kernel = registry.kernels().get(row.kernel.name)
            here = row.device.fingerprint == device.fingerprint and row.workload in stored
            if here and not (kernel is not None and kernel.baseline):
                stored[row.workload].append(row)
    chosen: dict[Workload, BestRow] = {}
    left: list[LeftOut] = []
    for workload, rows in stored.items():
        faster: tuple[BestRow, str] | None = None
        for row in sorted(rows, key=lambda row: row.time_s):
            why = _why_not(row, device, target)
            if not why:
                chosen[workload] = row
                break
            faster = faster or (row, why)
        if faster is not None:
            left.append(LeftOut(*faster, chosen.get(workload)))
    return chosen, left


def _why_not(row: BestRow, device: Device, target: Target) -> str:
    """Why a library cannot hold a stored kernel; empty where it can."""
    kernel = registry.kernels().get(row.kernel.name)
    if kernel is None:
        return "no kernel of this name is here"
    if kernel.only_frozen:
        laid = " and ".join(kernel.constant)
        return f"it lays {laid} out ahead of its calls, and no C program can say that {laid} will not change"
    if not (embeddable(kernel) or _static(kernel, target)):
        missing = kernel.unavailable() or registry.no_builder(kernel, target.kind)
        return missing or "a library holds C++ kernels for any shape, and TensorIR kernels"
    if row.kernel.digest != kernel.digest:
        return "its source has changed since it was measured"
    if (reason := kernel.unsupported(row.workload, target)) is not None:
        return reason
    return "" if _listed(row, device) else "its search space does not have that configuration"


def _listed(row: BestRow, device: Device) -> bool:
    """Whether its kernel's own space has the configuration: a database may hold anything."""
    protocol = default_protocol(device, threads=row.threads)
    bounded = device.target_for(protocol.threads)
    try:
        return registry.kernel(row.kernel.name).space(row.workload, bounded).why_invalid(row.config) is None
    except TunerError:
        return False


def embeddable(kernel: Kernel) -> bool:
    """Whether one compiled copy serves all shapes and needs nothing at run time.

    What lays weights out ahead does: a C program that calls the library says nowhere that they stay the same.
    """
    generic = kernel.language == "cxx" and kernel.shape_generic
    return generic and not (kernel.baseline or kernel.only_frozen)


def _static(kernel: Kernel, target: Target) -> bool:
    """Whether a compiled copy serves one workload and needs nothing at run time: TensorIR, where TVM is."""
    if kernel.language != "tensorir" or kernel.shape_generic or kernel.baseline or kernel.unavailable():
        return False
    return registry.builder_of(kernel, target).unavailable() is None
