"""Builds that are begun before anybody waits for them, so that a device has something to run meanwhile."""

import contextlib
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar


class Discardable(Protocol):
    """What a build makes: files that somebody has to remove."""

    def discard(self) -> None:
        """Removes them."""


_Made = TypeVar("_Made", bound=Discardable)


class Ahead(Generic[_Made]):
    """Builds under way, by what they are of; safe from several threads.

    Args:
        lanes: so many at a time.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._begun: dict[Hashable, Future[_Made]] = {}

    def begin(self, key: Hashable, make: Callable[[], _Made]) -> None:
        """Begins a build, unless it is under way already; returns at once."""
        with self._lock:
            if key not in self._begun:
                self._pool = self._pool or ThreadPoolExecutor(self._lanes)
                self._begun[key] = self._pool.submit(make)

    def keep(self, key: Hashable, made: _Made) -> None:
        """Takes in what is built already; where the same is there or under way, this one is removed."""
        done: Future[_Made] = Future()
        done.set_result(made)
        with self._lock:
            kept = self._begun.setdefault(key, done) is done
        if not kept:
            made.discard()

    def take(self, key: Hashable) -> _Made | None:
        """What was built, once; waits for it. `None` where it was neither begun nor kept."""
        with self._lock:
            found = self._begun.pop(key, None)
        return None if found is None else found.result()

    def drop(self) -> None:
        """Removes what nobody took. Waits for builds under way: whoever is in a hurry ends them before."""
        with self._lock:
            begun, self._begun = self._begun, {}
            pool, self._pool = self._pool, None
        for future in begun.values():
            future.cancel()
        if pool is not None:
            pool.shutdown()
        for future in begun.values():
            # One that failed has made nothing, and nobody asks why any more.
            with contextlib.suppress(Exception):
                if not future.cancelled():
                    future.result().discard()
