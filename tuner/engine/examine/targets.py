"""Which target a kernel is examined for."""

from tuner import registry
from tuner.core.kernel import Kernel
from tuner.core.target import Target
from tuner.engine.candidate.devices import find_device, measuring_kinds


def target_of(kernel: Kernel, name: str | None) -> Target:
    """The target of a name; by default the one that stands for the kernel's kind, else this machine's own.

    Args:
        kernel: what is examined.
        name: `cuda:sm_90`, `cpu:avx2`; a kind alone, as `cpu`, is that kind's default.

    Raises:
        UnknownName: there is no such target.
        Unavailable: the kind has no default, and no device of it is here.
    """
    if name is None or name in registry.target_kinds():
        kind = name or kernel.target_kinds[0]
        return registry.target_kind(kind).default() or find_device(target=kind).target
    for device in (d for item in measuring_kinds().values() for d in item.discover()):
        if device.target.name == name and device.target.kind in kernel.target_kinds:
            return device.target  # with its own features and limits
    return registry.target(name)
