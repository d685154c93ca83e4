"""The part of the store that says who measures what, see `claims.py`."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from contextlib import AbstractContextManager

from sqlalchemy import Connection

from tuner.store import claims


class Claiming(ABC):
    """Claims of sweeps that run side by side; `Store` is one."""

    @abstractmethod
    def _read(self) -> AbstractContextManager[Connection]: ...

    @abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that writes; see `Store.writing`."""

    def claimed_elsewhere(self, sweep_id: int, digests: Collection[str]) -> bool:
        """Whether another sweep, whose process lives, is still about to measure one of the identities."""
        with self._read() as connection:
            return claims.held(connection, sweep_id, digests)

    def release(self, sweep_id: int, digests: Collection[str]) -> None:
        """Gives up claims of a sweep that will not measure them."""
        with self.writing() as connection:
            claims.release(connection, sweep_id, digests)
