"""Steps of a run that follow each other in C: one call from Python for all of them."""

import ctypes
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from tuner.engine.program.bound_call import BoundCall

Step = Callable[[], object]


class _Entry(ctypes.Structure):
    """`Step` of `cuda_src/model/walk.h`."""

    _fields_ = (
        ("function", ctypes.c_void_p), ("addresses", ctypes.c_void_p), ("numbers", ctypes.c_void_p),
    )  # fmt: skip


def joined(steps: Sequence[Step], walk: Any) -> list[Step]:
    """The same steps, neighbours that are C functions as one.

    Args:
        steps: in order.
        walk: the C function of `cuda_src/model/walk.h`.
    """
    found: list[Step] = []
    for is_c, group in groupby(steps, lambda step: isinstance(step, BoundCall) and step.function != 0):
        calls = list(group)
        found += [_walked(calls, walk)] if is_c else calls
    return found


def _walked(calls: Sequence[Any], walk: Any) -> BoundCall:
    entries = (_Entry * len(calls))(
        *(_Entry(call.function, call.addresses, call.numbers or None) for call in calls)
    )
    walk.argtypes, walk.restype = [ctypes.c_void_p, ctypes.c_int64], ctypes.c_int
    kept = calls  # what the addresses lead to

    def run() -> None:
        if status := walk(entries, len(kept)):
            raise RuntimeError(f"the kernel returned error {status}")

    return BoundCall(run, any(call.parallel for call in calls))
