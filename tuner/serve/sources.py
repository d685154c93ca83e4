"""The kernels' present sources: a look at all files takes 0.2 s, so lists use the last one."""

import contextlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuner.core.errors import TunerError

if TYPE_CHECKING:
    from tuner.core.kernel import Kernel

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

    _last.digests = {name: _present(name, kernel) for name, kernel in registry.kernels().items()}
    _last.at = time.monotonic()


def _present(name: str, kernel: "Kernel") -> str:
    """Of the files as they are now: a kernel's own `digest` may be of when the registry read it. It stands in
    where they cannot be read, or what was found last: a file is being written, and the next look reads it."""
    try:
        return kernel.present_digest()
    except (OSError, TunerError):
        with contextlib.suppress(OSError, TunerError):
            return kernel.digest
        return (_last.digests or {}).get(name, "")  # a Python kernel reads its files anew each time


def _look_again() -> None:
    try:
        _look()
    finally:
        _last.lock.release()
