"""The part of the store that marks failures as the machine's."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager

from sqlalchemy import Connection

from tuner.store import forgetting
from tuner.store.records import StoredFailure


class Marks(ABC):
    """Failures that were stored before there was a status for what the machine did; `Store` is one."""

    @abstractmethod
    def _read(self) -> AbstractContextManager[Connection]: ...

    @abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that writes; see `Store.writing`."""

    def forgettable(self) -> list[StoredFailure]:
        """Every failed trial that is not forgotten, oldest first; none that was in a final."""
        with self._read() as connection:
            return forgetting.failures(connection)

    def forget(self, reasons: Mapping[int, str]) -> int:
        """Marks failures as the machine's: they read as status `environment` from then on.

        Args:
            reasons: why, by trial. Trials that are right, in a final, or forgotten are left as they are.

        Returns:
            How many were marked.
        """
        with self.writing() as connection:
            return forgetting.forget(connection, reasons)
