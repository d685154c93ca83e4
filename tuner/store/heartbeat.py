"""When this process gives a sign of life in the database: with its trials; alone where those take long."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from tuner.core.errors import StoreError

EVERY_S = 60.0
# Storing a trial is a write anyway: a sign of life with it costs next to nothing, and spares the thread's.
_WITH_TRIALS_S = 20.0


class Heartbeat:
    """Gives signs of life while sweeps run.

    The thread writes only where no trial was stored for a minute: what it takes of a core could disturb a
    measurement.

    Args:
        beat: writes one; may raise `StoreError`, and is called again a minute later then.
        every_s: seconds between two.
    """

    def __init__(self, beat: Callable[[], None], every_s: float = EVERY_S) -> None:
        self._beat, self._every_s = beat, every_s
        self._lock = threading.Lock()
        self._sweeps: set[int] = set()
        self._last = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def keep(self, sweep_id: int) -> None:
        """A sweep runs, and a sign of life was given with its beginning."""
        with self._lock:
            self._sweeps.add(sweep_id)
            self._last = time.monotonic()
            if self._thread is None or not self._thread.is_alive():
                self._ended.clear()
                self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
                self._thread.start()

    def let_go(self, sweep_id: int) -> None:
        """A sweep ended."""
        with self._lock:
            self._sweeps.discard(sweep_id)

    def due(self) -> bool:
        """Whether the write transaction at hand should hold a sign of life; one that asks gives it."""
        with self._lock:
            if not self._sweeps or time.monotonic() - self._last < _WITH_TRIALS_S:
                return False
            self._last = time.monotonic()
            return True

    def stop(self) -> None:
        """No more of them."""
        self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1.0)

    def _run(self) -> None:
        wait = self._every_s
        while not self._ended.wait(wait):
            with self._lock:
                wait = self._every_s - (time.monotonic() - self._last)
                if wait > 0 or not self._sweeps:
                    wait = wait if wait > 0 else self._every_s
                    continue
                self._last, wait = time.monotonic(), self._every_s
            with suppress(StoreError):
                self._beat()
