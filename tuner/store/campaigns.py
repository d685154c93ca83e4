"""The part of the store that keeps campaigns: what was asked, who took part, how each workload ended."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager

from sqlalchemy import Connection

from tuner.store import campaign_rows as rows
from tuner.store.campaign_records import CampaignKernel, CampaignPart, CampaignSpec, StoredCampaign


class Campaigns(ABC):
    """Campaigns of one workload or many; `Store` is one."""

    @abstractmethod
    def _read(self) -> AbstractContextManager[Connection]: ...

    @abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that writes; see `Store.writing`."""

    def begin_campaign(self, spec: CampaignSpec, resume: bool = False) -> int:
        """Stores a new running campaign whose parts wait; its id.

        Args:
            spec: what is asked.
            resume: go on with the latest unfinished campaign that asked the same (same kind, experiment,
                workloads, kernels, budget, device and protocol), if no live process runs it.
        """
        with self.writing() as connection:
            found = rows.unfinished(connection, spec) if resume else None
            if found is None:
                return rows.begin(connection, spec)
            rows.reopen(connection, found)
            return found

    def finish_campaign(self, campaign_id: int, status: str = "finished") -> None:
        """Marks a campaign as `finished` or `interrupted`."""
        with self.writing() as connection:
            rows.end(connection, campaign_id, status)

    def begin_part(self, campaign_id: int, number: int, kernels: Sequence[CampaignKernel]) -> None:
        """A workload of a campaign begins: who takes part, and who is skipped for which reason."""
        with self.writing() as connection:
            rows.begin_part(connection, campaign_id, number, kernels)

    def note_sweep(self, campaign_id: int, number: int, kernel: str, sweep_id: int) -> None:
        """The sweep of one kernel of a part has begun: known also where the process is killed."""
        with self.writing() as connection:
            rows.note_sweep(connection, campaign_id, number, kernel, sweep_id)

    def finish_part(self, campaign_id: int, part: CampaignPart) -> None:
        """Stores how a workload of a campaign ended; `part.status` is `finished` or `interrupted`."""
        with self.writing() as connection:
            rows.end_part(connection, campaign_id, part)

    def leave_part(self, campaign_id: int, number: int) -> None:
        """Marks a part as interrupted after an error, unless it is finished."""
        with self.writing() as connection:
            rows.leave_part(connection, campaign_id, number)

    def campaign(self, campaign_id: int) -> StoredCampaign:
        """One campaign with all its parts; raises `StoreError` where there is none."""
        with self._read() as connection:
            return rows.campaign(connection, campaign_id)

    def campaigns(self, experiment: str | None = None) -> list[StoredCampaign]:
        """Campaigns, oldest first; of one experiment, if its name is given."""
        where = [] if experiment is None else [rows.CAMPAIGNS.c.experiment == experiment]
        with self._read() as connection:
            return rows.campaigns(connection, where)
