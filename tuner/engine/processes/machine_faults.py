"""Tells what the machine did to a candidate from what the candidate did itself.

No space, no memory of ours to give, too many files, a refused limit, a killed process, a compiler that is
gone: none of it is a fact about a configuration. What is known as a number (an `errno`, a signal, a mount's
flags) decides; the text of a message does only where a tool offers nothing else, and for failures that were
stored before there was a status for it.
"""

import errno
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tuner.core.cache import cache_folder
from tuner.core.errors import MachineFault
from tuner.core.measurement import Status
from tuner.core.scratch import PREFIX
from tuner.engine.processes.limits import memory_is_lowered, memory_was_lowered


@dataclass(frozen=True, slots=True)
class Fault:
    """The machine failed.

    Attributes:
        reason: one line that says what, and what to change where that is known.
        passing: trying once more may help; else every further candidate would fail alike.
    """

    reason: str
    passing: bool = False

    def error(self) -> MachineFault:
        """To raise."""
        return MachineFault(self.reason, self.passing)


# Signals that no kernel has a reason to send to itself: the out-of-memory killer's, and those people send.
_FROM_OUTSIDE = frozenset((signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT))
# A system with less memory than this left refuses what a candidate may well ask for.
_SHORT_OF_MEMORY = 512 * 2**20

_SPACE = "make room there, or set TMPDIR to a folder on another disk"
_ADVICE = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "the whole system has too many files open: end something",
    errno.EROFS: "set TMPDIR and TUNER_CACHE to folders that can be written",
    errno.EIO: "the disk fails: set TMPDIR to a folder on another one",
    errno.ESTALE: "the network file system lost the folder: set TMPDIR to another one",
    errno.EAGAIN: "no further process or thread may be started: see ulimit -u, or the container's pids limit",
}
_PASSING = frozenset((errno.EAGAIN,))

# What compilers, linkers and LLVM say where they only say it.
_SAID = (
    ("No space left on device", errno.ENOSPC),
    ("Disk quota exceeded", errno.EDQUOT),
    ("Too many open files", errno.EMFILE),
    ("Too many open files in system", errno.ENFILE),
    ("Read-only file system", errno.EROFS),
    ("Input/output error", errno.EIO),
    ("Stale file handle", errno.ESTALE),
    ("Resource temporarily unavailable", errno.EAGAIN),
)
_KILLED_TOOL = re.compile(r"fatal error: (Killed|Terminated|Hangup) signal terminated program (\S+)")
_NO_PROGRAM = re.compile(r"cannot execute\W+(\w+)\W*: (execvp|posix_spawnp?|spawn)?:? ?No such file")
_BROKEN_TOOL = re.compile(r"error while loading shared libraries: (\S+):")
_NO_MEMORY = re.compile(r"virtual memory exhausted|out of memory allocating|Cannot allocate memory|bad_alloc")
# `kernel.cpp:12:3: error: ...`, the text of which is the candidate's own (`#error`, `static_assert`).
_AT_A_LINE = re.compile(r":\d+(:\d+)?: (?!fatal)")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and those it was raised for, `from None` included: the builders wrap what they catch."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _is_ours(path: object) -> bool:
    """Whether a path lies in a folder that the lab itself writes: a workshop's, or the cache."""
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    folders = (Path(tempfile.gettempdir()) / PREFIX, cache_folder() / PREFIX)
    text, temporary, cache = (str(p.absolute()) for p in (Path(os.fsdecode(path)), *folders))
    return text.startswith((temporary, cache.removesuffix(PREFIX)))


def of_errno(number: int | None, where: object = None) -> Fault | None:
    """The fault of an error number that can only be the machine's; `None` for any other.

    Args:
        number: `errno`.
        where: the path that it was about, where that is known.
    """
    if number not in _ADVICE:
        return None
    place = f" ({os.fsdecode(where)})" if isinstance(where, str | bytes | os.PathLike) else ""
    if not place and number in (errno.ENOSPC, errno.EDQUOT):
        place = f" (temporary files are in {tempfile.gettempdir()})"
    return Fault(f"{os.strerror(number)}{place}: {_ADVICE[number]}", number in _PASSING)


def of_exception(error: BaseException) -> Fault | None:
    """The machine's part in an exception, or in what it was raised for; `None`: the candidate did it."""
    for each in _chain(error):
        if isinstance(each, MachineFault):
            return Fault(str(each), each.passing)
        if isinstance(each, MemoryError) or (isinstance(each, OSError) and each.errno == errno.ENOMEM):
            if fault := _of_memory():
                return fault
        elif isinstance(each, OSError):
            if fault := of_errno(each.errno, each.filename):
                return fault
            denied = each.errno in (errno.EACCES, errno.EPERM, errno.ENOENT)
            if denied and _is_ours(each.filename):
                said = each.strerror or "it is gone"
                return Fault(f"{said}: {each.filename}: the lab's own folder was changed under it")
        elif isinstance(each, RuntimeError) and "can't start new thread" in str(each):
            return of_errno(errno.EAGAIN)
    return None


def _of_memory() -> Fault | None:
    # Under the limit that the protocol sets, running out of memory is the candidate's doing.
    if memory_was_lowered():
        return Fault("out of memory under a limit that is smaller than the protocol's: see ulimit -v", True)
    if _memory_left() < _SHORT_OF_MEMORY:
        return Fault("the system has no memory left: end something", True)
    return None


def _memory_left() -> float:
    """Bytes that the system can give without swapping; infinite where it does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return float("inf")


def of_output(text: str) -> Fault | None:
    """The machine's part in what a compiler, assembler or linker printed."""
    for line in text.splitlines():
        if _AT_A_LINE.search(line):
            continue
        if found := _KILLED_TOOL.search(line):
            return Fault(f"{found[2]} was killed (out of memory, or by somebody)", True)
        if found := _NO_PROGRAM.search(line):
            return Fault(f"the compiler's {found[1]} is gone: {line.strip()}")
        if found := _BROKEN_TOOL.search(line):
            return Fault(f"the compiler misses a library: {line.strip()}")
        for words, number in _SAID:
            if line.rstrip().rstrip(".'\"").endswith(words):
                return of_errno(number)
        if memory_was_lowered() and _NO_MEMORY.search(line):
            return _of_memory()
    return None


def of_exit(code: int) -> Fault | None:
    """The fault of a child that ended with this code and that we did not end; negative is a signal."""
    if code < 0 and -code in _FROM_OUTSIDE:
        number = signal.Signals(-code)
        # The out-of-memory killer sends no other signal than this one.
        who = "out of memory, or by somebody" if number is signal.SIGKILL else "by somebody, or Ctrl-C"
        return Fault(f"its process was killed by {number.name} ({who})", True)
    return None


def of_lost_memory(output: str, wanted_bytes: int) -> Fault | None:
    """Of a child that died with this output: whether it ran into the system's memory limit, not ours."""
    if _NO_MEMORY.search(output) and memory_is_lowered(wanted_bytes):
        return Fault("out of memory under a limit that is smaller than the protocol's: see ulimit -v", True)
    return None


def is_noexec(folder: Path) -> bool:
    """Whether a folder lies on a mount from which nothing may be executed or loaded."""
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_NOEXEC)
    except OSError:
        return False


def of_artifact(path: Path) -> Fault | None:
    """Why a file that was built cannot be loaded whatever is in it: it is gone, or may not be mapped."""
    if not path.exists():
        return Fault(f"{path} is gone: somebody cleans the temporary folder up")
    if is_noexec(path.parent):
        return Fault(noexec_advice(path.parent, "TMPDIR"))
    return None


def noexec_advice(folder: Path, variable: str) -> str:
    """The one line for a folder on a `noexec` mount."""
    return f"nothing may be executed from {folder} (mounted noexec): set {variable} to another folder"


_STORED_ERRNO = re.compile(r"\[Errno (\d+)\]")
_STORED = re.compile(
    r"not allowed to raise maximum limit"
    r"|failed to map segment from shared object(?!: Cannot allocate)"
    r"|kernel\.so cannot be loaded: .*(Permission denied|cannot open shared object file)"
    r"|died of (SIGKILL|SIGTERM|SIGHUP|SIGINT|SIGQUIT)\b"
    r"|its warm process was ended"
    r"|can't start new thread"
    r"|^build: ended with exit code 1 and no result: KeyboardInterrupt"
)
# One request was enough to say so until 2026-11-26: a machine that stood still for a moment, or a liar.
_STORED_ACCUSED = re.compile(r"(?<!each time )its calls took \S+ s by the lab's clock, it says")
_STORED_STATUSES = frozenset((Status.BUILD_ERROR, Status.RUN_ERROR, Status.CRASH))


def of_stored(status: Status, error: str) -> Fault | None:
    """Whether a stored failure looks as if the machine had caused it, by the rules above.

    Args:
        status: as stored.
        error: as stored.
    """
    first = error.splitlines()[0] if error else ""
    if status is Status.ENVIRONMENT:
        return Fault(first)
    if status is Status.WRONG_RESULT and _STORED_ACCUSED.search(first):
        return Fault(first)
    if status not in _STORED_STATUSES:
        return None
    if _STORED.search(first):
        return Fault(first)
    for number in map(int, _STORED_ERRNO.findall(first)):
        # A builder opens no file of the candidate's: one that is missing is the compiler, or our own.
        gone = number in (errno.ENOENT, errno.EACCES, errno.EPERM) and status is Status.BUILD_ERROR
        if number in _ADVICE or gone:
            return Fault(first)
    # What a kernel printed before it died is its own text; what a compiler printed is not.
    if status is Status.BUILD_ERROR and of_output(error):
        return Fault(first)
    return None
