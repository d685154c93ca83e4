"""From the threads that run models to the one that answers requests."""

import asyncio
from collections import deque
from collections.abc import Callable

from tuner.model.serving.waiting import Outcome


class Handover:
    """Outcomes on their way from the scheduler's threads to an event loop: one wake-up for all of a batch.

    Args:
        loop: whose thread calls what is put.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._found: deque[tuple[Callable[[Outcome], None], Outcome]] = deque()
        self._woken = False

    def put(self, call: Callable[[Outcome], None], found: Outcome) -> None:
        """Has the loop's thread call it; from any thread.

        Raises:
            RuntimeError: the loop has ended.
        """
        self._found.append((call, found))
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # First: what is put from here on wakes the loop again.
        self._woken = False
        while self._found:
            call, found = self._found.popleft()
            call(found)
