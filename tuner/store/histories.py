"""The part of the store that searchers learn from."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import replace

from sqlalchemy import Connection

from tuner.core.measurement import Evidence
from tuner.core.searcher import Observation
from tuner.store import learning
from tuner.store.records import HistoryGroup


class Histories(ABC):
    """Earlier trials of a kernel; `Store` is one."""

    @abstractmethod
    def _read(self) -> AbstractContextManager[Connection]: ...

    def history_groups(self, kernel: str, operator: str) -> list[HistoryGroup]:
        """What is stored of a kernel by workload, device, source, target and protocol; no trial is read."""
        with self._read() as connection:
            return learning.groups(connection, kernel, operator)

    def observations(
        self,
        group: HistoryGroup,
        evidence: Collection[Evidence] = (Evidence.MEASURED, Evidence.REPLAYED),
        limit: int = 20_000,
    ) -> tuple[Observation, ...]:
        """The trials of a group, the latest of each identity, in the order they were made.

        Where more than `limit` trials are stored, an eighth of it is the fastest and the rest the newest.
        """
        with self._read() as connection:
            return learning.observations(connection, group, evidence, limit)

    def history(
        self,
        kernel: str,
        operator: str,
        evidence: Collection[Evidence] = (Evidence.MEASURED, Evidence.REPLAYED),
        limit: int = 20_000,
    ) -> list[HistoryGroup]:
        """The groups of a kernel with their observations, at most `limit` of each; see the two above."""
        groups = self.history_groups(kernel, operator)
        return [
            replace(group, observations=self.observations(group, evidence, limit))
            for group in groups
            if group.count(evidence)
        ]

    def fastest_predicted(self, group: HistoryGroup, limit: int) -> tuple[int, tuple[Observation, ...]]:
        """How many right predictions a group holds, and the fastest of them, the fastest first."""
        with self._read() as connection:
            return learning.fastest_predicted(connection, group, limit)
