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


def closed_to_others(folder: Path, advice: str) -> Path:
    """A folder of ours inside a private one: nobody else may even look into it (mode 0700).

    One that is the user's own and was only readable to others is closed; one that is missing is not made.

    Raises:
        Unavailable: as `require_private`.
    """
    try:
        facts = folder.stat()
    except OSError:
        return folder
    require_private(folder, advice)
    if stat.S_IMODE(facts.st_mode) & 0o077:
        try:
            folder.chmod(stat.S_IMODE(facts.st_mode) & 0o700)
        except OSError:
            pass  # a file system that cannot be written: nobody else can write to it either
    return folder
