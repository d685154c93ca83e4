"""The kernels' present sources: a look at all files takes 0.2 s, so lists use the last one."""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

_FRESH_S = 30.0


@dataclass
class _Last:
    """The last look at the files, and when it was."""

    digests: Mapping[str, str] | None = None
    at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


_last = _Last()


def digests() -> Mapping[str, str]:
    """Digests of the kernels' sources by name, as of half a minute ago at most while pages are asked for."""
    if _last.digests is None:
        with _last.lock:
            if _last.digests is None:
                _look()
    elif time.monotonic() - _last.at > _FRESH_S and _last.lock.acquire(blocking=False):
        threading.Thread(target=_look_again, name="sources", daemon=True).start()
    assert _last.digests is not None
    return _last.digests


def _look() -> None:
    from tuner import registry
    from tuner.core.digest import digest_files

    # Of the files as they are now: a kernel's own `digest` may be of when the registry read it.
    kernels = registry.kernels().items()
    _last.digests = {name: digest_files(kernel.source_files()) for name, kernel in kernels}
    _last.at = time.monotonic()


def _look_again() -> None:
    try:
        with suppress(OSError, ValueError):  # a file that is being written; the next look reads it
            _look()
    finally:
        _last.lock.release()
