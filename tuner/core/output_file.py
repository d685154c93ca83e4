"""Files that a command writes where its user says: whole or not at all, and never over a database."""

import os
from pathlib import Path

from tuner.core.errors import TunerError

_DATABASE = b"SQLite format 3\0"
"""How such a file begins (sqlite.org/fileformat.html)."""


def put(path: Path, content: str | bytes) -> Path:
    """Writes a file; its folder is made. One that is there stays as it was until the new one is whole.

    Args:
        path: of the file.
        content: a text is written in UTF-8.

    Raises:
        TunerError: it cannot be written, or there is a database at its place: `--html results.db` is a slip
            of the hand that would cost all trials.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _is_database(path):
            raise TunerError(f"{path} is a database, and would be lost: name another file to write to")
        # What is not ours to replace is written to, or refuses that: /dev/stdout, a link, a read-only file.
        if path.is_symlink() or (path.exists() and not (path.is_file() and os.access(path, os.W_OK))):
            path.write_bytes(data)
            return path
        beside = path.with_name(f".{path.name[:100]}.{os.getpid()}")
        try:
            beside.write_bytes(data)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # ValueError: no name of a file
        reason = getattr(error, "strerror", None) or str(error)
        raise TunerError(f"{path} cannot be written: {reason.lower()}") from None
    return path


def _is_database(path: Path) -> bool:
    try:
        if not path.is_file():  # reading from a pipe would wait
            return False
        with path.open("rb") as file:
            return file.read(len(_DATABASE)) == _DATABASE
    except OSError:
        return False
