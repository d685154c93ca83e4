"""Which configurations are being tried, in files: one that takes the process with it is known to the next."""

import json
from pathlib import Path

from tuner.core.cache import cache_folder
from tuner.core.errors import Unavailable
from tuner.store.owner import is_alive, on_this_host, this_process


class Journal:
    """A file for each configuration that is being tried, in a folder of the cache.

    Where the folder cannot be written there is no journal, and nothing else is lost.
    """

    def __init__(self) -> None:
        try:
            self._folder: Path | None = cache_folder() / "triton-autotune"
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (OSError, Unavailable):
            self._folder = None

    def begin(self, identity: str) -> None:
        """A configuration is about to be tried."""
        if self._folder is not None:
            try:
                self._file(identity).write_text(json.dumps({"owner": this_process()}))
            except OSError:
                self._folder = None

    def end(self, identity: str) -> None:
        """It was tried, whatever came of it."""
        if self._folder is not None:
            try:
                self._file(identity).unlink(missing_ok=True)
            except OSError:
                self._folder = None

    def died(self, identity: str) -> bool:
        """Whether a process of this host, since it was started, died while it tried the configuration."""
        if self._folder is None:
            return False
        try:
            owner = str(json.loads(self._file(identity).read_text())["owner"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False
        return on_this_host(owner) and owner != this_process() and not is_alive(owner)

    def _file(self, identity: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{Path(identity).name}.json"
