"""Where a format's files go, and writing them."""

import re
from collections.abc import Sequence
from pathlib import Path

from tuner.core.errors import TunerError


def put(path: Path, text: str) -> Path:
    """Writes a file; its folder is made.

    Raises:
        TunerError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TunerError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from None
    return path


def place(path: Path, group: Sequence[str], groups: int, suffix: str) -> Path:
    """Where the file of a group goes: the path itself if there is one group, else a file in that folder."""
    if groups == 1 and not path.is_dir():
        return path
    return path / (re.sub(r"[^A-Za-z0-9.=-]+", "_", "-".join(group)).strip("_") + suffix)
