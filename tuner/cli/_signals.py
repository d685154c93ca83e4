"""SIGTERM, SIGHUP and a closed terminal end a command as Ctrl-C does: in good order, nothing is lost.

The exit code is 128 + the signal's number, as a shell states it.
"""

import os
import signal
import sys
from types import FrameType

_received: list[int] = []
_terminals: list[int] = []


def install() -> None:
    """Has SIGTERM and SIGHUP raise `KeyboardInterrupt` in the main thread, unless ignored (nohup)."""
    _received.clear()
    _terminals[:] = [descriptor for descriptor in (0, 1, 2) if _is_terminal(descriptor)]
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)


def exit_code(code: int) -> int:
    """The exit code of a command that was to end with `code`: another one if a signal ended it."""
    return 128 + _received[0] if _received and code == 130 else code


def received() -> bool:
    """Whether a signal has ended the command: the terminal may be gone, so that nothing can be printed."""
    return bool(_received)


def _on_signal(number: int, frame: FrameType | None) -> None:
    if number != signal.SIGINT:
        # A closed terminal sends SIGHUP twice (the system's and the shell's), a shutdown SIGTERM and SIGHUP:
        # the second would interrupt the tidying up that the first one began. SIGKILL is always there.
        for later in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(later, signal.SIG_IGN)
    _received.append(int(number))
    _leave_dead_terminal()
    raise KeyboardInterrupt


def _leave_dead_terminal() -> None:
    """Points standard streams of a terminal that is gone to nowhere: every print would raise an error."""
    for descriptor in _terminals:
        if not _is_terminal(descriptor):
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, descriptor, inheritable=True)
            os.close(nowhere)


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def close_output() -> None:
    """Writes what is still to be written, or drops it where nobody reads: Python complains at its exit."""
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except (OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
