"""A folder whose content is run as code: nobody else may write to it."""

import os
import stat
from pathlib import Path

from tuner.core.errors import Unavailable


def require_private(folder: Path, advice: str) -> Path:
    """The folder itself, made where it is missing, for its owner alone.

    One that cannot be made is not complained of here: whoever writes to it says so.

    Args:
        folder: checked behind links.
        advice: what the user can do, the end of the error.

    Raises:
        Unavailable: it belongs to somebody else, or others may write to it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.stat()
    except OSError:
        return folder
    if facts.st_uid != os.geteuid():
        raise Unavailable(f"folder {folder} belongs to user {facts.st_uid}, not to you: {advice}")
    # The group that only the user is in may write, as with the umask of many systems.
    others = facts.st_mode & stat.S_IWOTH
    group = facts.st_mode & stat.S_IWGRP and facts.st_gid != os.getegid()
    if others or group:
        raise Unavailable(f"others may write to folder {folder}, and what it holds is run: {advice}")
    return folder
