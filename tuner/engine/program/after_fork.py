"""Parallel kernels in a forked child: OpenMP's team did not survive the fork, so they get a new one.

A fork copies one thread. libgomp keeps a team of threads for each thread that began a parallel region, in
that thread's own memory; the copy of it in the child names threads that are not there, and the next region
waits for them for ever. A thread made in the child has no team yet and starts one: the call is made on such a
thread. Threads that the child's program makes itself are new as well and call directly. (GNU libgomp,
libgomp/team.c: `gomp_get_thread_pool`. LLVM's libomp starts anew after a fork by itself and loses nothing.)
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

_forked_thread: int | None = None
_substitute: ThreadPoolExecutor | None = None


def _in_child() -> None:
    global _forked_thread, _substitute
    _forked_thread, _substitute = threading.get_ident(), None


os.register_at_fork(after_in_child=_in_child)


def call_parallel(call: Callable[[], None]) -> None:
    """Calls a function that begins OpenMP regions, on a thread whose team is there.

    In a process that was not forked, that is the calling thread. In a forked child the one thread that came
    through the fork hands the call to a thread that stays for later calls and waits: tens of microseconds.
    """
    global _substitute
    if threading.get_ident() != _forked_thread:
        call()
        return
    if _substitute is None:
        _substitute = ThreadPoolExecutor(1, thread_name_prefix="tuner-after-fork")
    result = _substitute.submit(call)
    try:
        result.result()
    finally:
        wait([result])  # Ctrl-C interrupts the wait and not the kernel, which still writes to the arrays
