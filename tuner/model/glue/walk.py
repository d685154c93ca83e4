"""Steps of a run that follow each other in C: one call from Python for all of them."""

import ctypes
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from tuner.core.kernel_status import status_error
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
    walk.argtypes, walk.restype = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p], ctypes.c_int64
    kept = calls  # what the addresses lead to
    status = ctypes.c_int()
    at_status = ctypes.byref(status)

    def run() -> None:
        if (place := walk(entries, len(kept), at_status)) < len(kept):
            raise RuntimeError(f"{kept[place].name}: {status_error(status.value)}")

    return BoundCall(run, any(call.parallel for call in calls))
