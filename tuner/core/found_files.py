"""Files that somebody put into a folder we scan: what cannot be read is told, and nothing hangs on it."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from tuner.core.errors import TunerError

# Generated kernels reach a few hundred kilobytes.
MOST_BYTES = 16 * 2**20


class UnreadableFile(TunerError):
    """A path is no file that can be read; the message says why and does not name the path."""


def read_file(path: Path) -> bytes:
    """The content of a regular file of at most `MOST_BYTES`.

    Raises:
        UnreadableFile: it is a folder, a pipe, a device, a dangling link or a loop of links, it may
            not be read, or it is larger.
    """
    try:
        # Not blocking: the open of a pipe would wait for somebody who writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise UnreadableFile(_reason(path, error)) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise UnreadableFile(f"it is {_kind(mode)}, not a file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(_reason(path, error)) from None
    finally:
        os.close(descriptor)
    if len(content) > MOST_BYTES:
        raise UnreadableFile(f"it has more than {MOST_BYTES >> 20} MiB")
    return content


def why_unreadable(path: Path) -> str | None:
    """What `read_file` would raise, as a text; `None` where it would not."""
    try:
        read_file(path)
    except UnreadableFile as error:
        return str(error)
    return None


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for is_one, name in kinds.items() if is_one(mode)), "a device")


def _reason(path: Path, error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    if path.is_symlink() and not path.exists():
        return f"it is a link to nothing, or to itself ({path.readlink()})"
    try:
        mode = path.stat().st_mode
    except OSError:
        mode = stat.S_IFREG
    if not stat.S_ISREG(mode):
        return f"it is {_kind(mode)}, not a file"
    return f"it cannot be read: {error.strerror or error}"


def files_below(folder: Path, suffixes: Sequence[str], unread: dict[Path, str]) -> Iterator[Path]:
    """Paths below a folder whose names end so, in order; links to folders are not followed.

    Hidden files and folders are passed over: editors keep locks and copies there.

    Args:
        folder: to walk through.
        suffixes: `.cpp`, ...
        unread: gets the folders that cannot be read, with the reason.
    """

    def refused(error: OSError) -> None:
        unread[Path(str(error.filename))] = f"it cannot be read: {error.strerror or error}"

    found = []
    for place, folders, names in os.walk(folder, onerror=refused):
        # A folder `x.cu` is found too, and refused when it is read: somebody took it for a kernel.
        named = [name for name in (*names, *folders) if name.endswith(tuple(suffixes))]
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place) / name for name in named if not name.startswith(".")]
    yield from sorted(found)
