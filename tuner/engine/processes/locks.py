"""Locks between processes: whoever measures is alone on the device.

A measurement takes the device's locks exclusively. A build computes on the same cores as a CPU measurement,
so it takes them shared; any number of builds go together, none beside a measurement, also when the two belong
to different sweeps of different users' processes. Locks end with the process.

There are two. One lies in a folder of the user's own, where nobody else can put anything: it keeps this
user's processes apart whatever others do. Two users can only meet at a place that both may use, a directory
in which anybody can create files; so whatever is found there under the lock's name is taken for hostile until
it proves to be an ordinary file. It is opened for reading only, never through a symbolic link, and nothing is
ever written to it, nor are rights changed unless it was made here: `flock` asks for no more. So what is
planted there can harm nobody; if it is no ordinary file, users are no longer kept apart, and a warning says
so. What remains: any user may hold the common lock for as long as they like, which is what measuring is.

Where nobody reads the times, as in tests that run side by side, `TUNER_LOCKS` names a folder: processes with
one value keep apart from each other as described. From those with another value they keep apart as builds do:
they wait for whoever measures with no such folder, and never for each other.
"""

import fcntl
import os
import stat
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tuner.core.digest import digest
from tuner.core.errors import TunerError
from tuner.engine.processes.waiting import telling

# Made by the system for locks of all users, or for anything. Not `TMPDIR`: each user's is another.
COMMON_FOLDERS = (Path("/run/lock"), Path("/tmp"))
VARIABLE = "TUNER_LOCKS"
_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class LocksNotShared(UserWarning):
    """Measurements of other users are not kept apart from this user's."""


def lock_name(fingerprint: str) -> str:
    """The file name of a device's locks."""
    return f"kernel-tuner-lab-{digest(fingerprint)}.lock"


def own_folder() -> Path:
    """A folder that belongs to this user and that nobody else may enter; made where there is none.

    `XDG_RUNTIME_DIR` if it is such a folder, else one with the user's number in the temporary directory.

    Raises:
        TunerError: there is something else in its place, e.g. a symbolic link or somebody else's folder.
    """
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and _why_not_own(Path(given)) is None:
        return Path(given)
    folder = Path(tempfile.gettempdir()) / f"kernel-tuner-lab-{os.getuid()}"
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise TunerError(f"no place for locks: {folder} cannot be made: {error.strerror}") from None
    if reason := _why_not_own(folder):
        raise TunerError(
            f"no place for locks: {folder} {reason}; have it removed, or set TMPDIR to a folder of yours"
        )
    return folder


def _why_not_own(folder: Path) -> str | None:
    try:
        found = folder.lstat()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not stat.S_ISDIR(found.st_mode):
        return "is a symbolic link" if stat.S_ISLNK(found.st_mode) else "is not a folder"
    if found.st_uid != os.getuid():
        return f"belongs to user {found.st_uid}"
    if found.st_mode & 0o077:
        return f"is open to other users (mode {stat.S_IMODE(found.st_mode):o}, 700 is right)"
    return None


def _apart_folder() -> Path | None:
    """The folder that `TUNER_LOCKS` names, if it does.

    Raises:
        TunerError: it is no folder of this user's alone.
    """
    given = os.environ.get(VARIABLE)
    if not given:
        return None
    if reason := _why_not_own(Path(given)):
        raise TunerError(f"{VARIABLE}={given} {reason}: name a folder of yours of mode 700")
    return Path(given)


def _own_lock(fingerprint: str, folder: Path | None = None) -> int:
    path = (folder or own_folder()) / lock_name(fingerprint)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | _SAFELY, 0o600)
    except OSError as error:
        raise TunerError(f"the lock {path} cannot be opened: {error.strerror}") from None


def _common_lock(fingerprint: str) -> int | None:
    """The descriptor of the lock all users share; `None`, with a warning, where there cannot be one."""
    for folder in COMMON_FOLDERS:
        path = folder / lock_name(fingerprint)
        try:
            mode = folder.stat().st_mode
            if not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX and mode & stat.S_IWOTH):
                continue  # of one user, or one in which others may rename and remove the file
            descriptor = _open_common(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            _not_shared(f"{path} cannot be opened: {error.strerror}")
            return None
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        _not_shared(f"{path} is not an ordinary file")
        return None
    _not_shared(f"there is no folder for all users ({', '.join(map(str, COMMON_FOLDERS))})")
    return None


def _open_common(path: Path) -> int:
    # First without O_CREAT: with it Linux (fs.protected_regular) refuses to open another user's file there.
    for patience_s in (0.05, 0.0):
        try:
            return os.open(path, os.O_RDONLY | _SAFELY)
        except FileNotFoundError:
            break
        except PermissionError:
            if not patience_s:
                raise
            time.sleep(patience_s)  # another user may be between the two calls below
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o444)
    except FileExistsError:
        return os.open(path, os.O_RDONLY | _SAFELY)  # somebody was faster
    os.fchmod(descriptor, 0o444)  # whatever the umask: others have to open it
    return descriptor


def _not_shared(reason: str) -> None:
    warnings.warn(
        f"other users' measurements are not kept apart from yours: {reason}", LocksNotShared, stacklevel=4
    )


@contextmanager
def _locked(fingerprint: str, operation: int) -> Iterator[None]:
    apart = _apart_folder()
    with ExitStack() as stack:

        def take(descriptor: int | None, operation: int) -> None:
            if descriptor is not None:
                stack.callback(os.close, descriptor)
                try:
                    fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
                except BlockingIOError:
                    with telling(descriptor):
                        fcntl.flock(descriptor, operation)

        # In this order everywhere, so that no two wait for each other.
        if apart is not None:
            take(_own_lock(fingerprint, apart), operation)
            operation = fcntl.LOCK_SH
        take(_own_lock(fingerprint), operation)
        take(_common_lock(fingerprint), operation)
        yield


@contextmanager
def measuring(fingerprint: str) -> Iterator[None]:
    """Alone on the device; waits for builds and measurements that are under way."""
    with _locked(fingerprint, fcntl.LOCK_EX):
        yield


@contextmanager
def building(fingerprint: str | None) -> Iterator[None]:
    """No measurement meanwhile on the device with this fingerprint; `None`: nothing to keep clear of."""
    if fingerprint is None:
        yield
        return
    with _locked(fingerprint, fcntl.LOCK_SH):
        yield
