"""Where compiled things are kept between runs."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$TUNER_CACHE`, else `~/.cache/kernel-tuner-lab`."""
    chosen = os.environ.get("TUNER_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "kernel-tuner-lab"
