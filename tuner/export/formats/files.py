"""Where a format's files go, and writing them."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from tuner.core.errors import TunerError


def put(path: Path, text: str) -> Path:
    """Writes a file; its folder is made. One that is there stays as it was until the new one is whole.

    Raises:
        TunerError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # What is not ours to replace is written to, or refuses that: /dev/stdout, a link, a read-only file.
        if path.is_symlink() or (path.exists() and not (path.is_file() and os.access(path, os.W_OK))):
            path.write_text(text, encoding="utf-8")
            return path
        beside = path.with_name(f".{path.name[:100]}.{os.getpid()}")
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise TunerError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from None
    return path


def place(path: Path, group: Sequence[str], groups: int, suffix: str) -> Path:
    """Where the file of a group goes: the path itself if there is one group, else a file in that folder."""
    if groups == 1 and not path.is_dir():
        return path
    return path / (re.sub(r"[^A-Za-z0-9.=-]+", "_", "-".join(group)).strip("_") + suffix)
