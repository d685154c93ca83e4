"""What a zygote's child may use, and how that is set: the memory of a run or build child, its files."""

import resource
from dataclasses import dataclass
from pathlib import Path

# A warm process with TVM maps about this much before a child's own limit counts.
_WARM_BYTES = 2 * 2**30

_lowered = False


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    Attributes:
        memory_bytes: address space beyond what the zygote has mapped; 0 for no limit.
        file_bytes: the largest file it may write, its own output included; 0 for no limit.
    """

    memory_bytes: int = 0
    file_bytes: int = 0


def limit_this_process(limits: Limits) -> None:
    """In a child, before it does its job. It leaves no core file, whatever its limits are."""
    lower_limit(resource.RLIMIT_CORE, 0)
    if limits.memory_bytes:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        total = pages * resource.getpagesize() + limits.memory_bytes
        if not lower_limit(resource.RLIMIT_AS, total):
            global _lowered
            _lowered = True
    if limits.file_bytes:
        lower_limit(resource.RLIMIT_FSIZE, limits.file_bytes)


def lower_limit(kind: int, wanted: int) -> bool:
    """Sets a limit of this process to the smaller of what is wanted and what is allowed.

    Args:
        kind: `resource.RLIMIT_...`.
        wanted: in the limit's own unit.

    Returns:
        Whether it is what was wanted.
    """
    hard = resource.getrlimit(kind)[1]
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (granted, granted))
    return granted == wanted


def memory_was_lowered() -> bool:
    """In a child: whether the system allows it less address space than its `Limits` say."""
    return _lowered


def memory_is_lowered(wanted_bytes: int) -> bool:
    """Whether this process's hard limit (`ulimit -v`) leaves children less than the protocol gives them.

    Args:
        wanted_bytes: what a child may allocate beyond its warm process; 0 for no limit.
    """
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    return hard != resource.RLIM_INFINITY and (not wanted_bytes or hard < wanted_bytes + _WARM_BYTES)
