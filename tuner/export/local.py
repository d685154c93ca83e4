"""The table of an operator where this machine can adapt configurations, and time what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.core.device import Device
from tuner.core.workload import Workload
from tuner.engine.tuning.campaign import default_protocol
from tuner.export.adapt import adapter
from tuner.export.matrix import Group, Matrix, read_matrix

if TYPE_CHECKING:
    from tuner.store.store import Store


def here(group: Group) -> Device | None:
    """The device of a table, where it is on this machine."""
    from tuner import registry

    for kind in registry.device_classes().values():
        if kind.name == group.device.kind:
            for device in kind.discover():
                if device.fingerprint == group.device.fingerprint:
                    return device
    return None


def read_local(
    store: "Store", operator: str, dtype: str | None = None, *,
    shapes: Mapping[Workload, float] | None = None, device: str | None = None, threads: int | None = None,
    kernels: Sequence[str] = (),
) -> Matrix:  # fmt: skip
    """As `read_matrix`; configurations are adapted to each shape where the device is on this machine.

    Elsewhere, and for recordings, a configuration is the same at every shape or not there.
    """

    def read(adapt: object = None) -> Matrix:
        return read_matrix(
            store, operator, dtype, shapes=shapes, device=device, threads=threads, kernels=kernels,
            adapt=adapt,  # type: ignore[arg-type]
        )  # fmt: skip

    matrix = read()
    local = here(matrix.group)
    if local is None:
        return matrix
    protocol = replace(default_protocol(local), threads=matrix.group.threads)
    return read(adapter(local.target_for(protocol.threads)))
