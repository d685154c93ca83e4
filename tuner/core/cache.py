"""Where compiled things are kept between runs."""

import os
from pathlib import Path

from tuner.core.private_folder import require_private


def cache_folder() -> Path:
    """`$TUNER_CACHE`, else `~/.cache/kernel-tuner-lab`.

    Raises:
        Unavailable: it belongs to somebody else, or others may write to it: what it holds is run.
    """
    chosen = os.environ.get("TUNER_CACHE")
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "kernel-tuner-lab"
    return require_private(folder, "set TUNER_CACHE to a folder of your own")
