"""Where a format's files go."""

import re
from collections.abc import Sequence
from pathlib import Path


def place(path: Path, group: Sequence[str], groups: int, suffix: str) -> Path:
    """Where the file of a group goes: the path itself if there is one group, else a file in that folder."""
    if groups == 1 and not path.is_dir():
        return path
    return path / (re.sub(r"[^A-Za-z0-9.=-]+", "_", "-".join(group)).strip("_") + suffix)
