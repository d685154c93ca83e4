"""OpenMP's threads beside an event loop: how long they spin, and how many of them there are.

Kernels share libgomp. It keeps a team for each thread that ever ran one, as long as that thread lives; a
member that waits spins for milliseconds, in which whoever reads requests, or a member whose core they took,
waits for a core. With more members than cores libgomp hardly spins at all, and every kernel wakes its threads
up anew. So models are loaded on a thread that ends, each instance of them runs on one thread, and its team
spins for as long as it takes from one kernel to the next.
"""

import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
# About 50 us on processors whose PAUSE takes 140 cycles, a few where it takes 10.
SPINS = "1000"


def spin_briefly() -> None:
    """Before the first kernel is loaded; what the user has set stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def apart(function: Callable[[], T]) -> T:
    """Calls a function on a thread that has ended when this returns, and its team with it.

    Raises:
        Exception: what the function raises.
    """
    found: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(function())
        except BaseException as error:
            failed.append(error)

    # A daemon: Ctrl-C does not wait for it.
    thread = threading.Thread(target=work, name="loading", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
