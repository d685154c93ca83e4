"""A campaign written to the store as it goes, so that its tables need nothing but its number."""

import contextlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from tuner.core.errors import StoreError
from tuner.core.kernel import Kernel
from tuner.core.space import SearchSpace
from tuner.engine.tuning.campaign_outcome import CampaignOutcome
from tuner.engine.tuning.observer import Observer, Relay
from tuner.engine.tuning.request import SweepRequest
from tuner.store.campaign_records import CampaignKernel, CampaignPart, CampaignSpec

if TYPE_CHECKING:
    from tuner.store.store import Store


class CampaignLog:
    """The record of a campaign; a context manager, which stores how it ended when it is left.

    Args:
        store: keeps it.
        spec: what is asked.
        resume: go on with the unfinished campaign of the same question, if there is one.

    Attributes:
        id: of the campaign in the store.
    """

    def __init__(self, store: "Store", spec: CampaignSpec, resume: bool = False) -> None:
        self._store = store
        self.id = store.begin_campaign(spec, resume)
        self._before = store.campaign(self.id).parts
        self._open = {part.number for part in self._before}

    def __enter__(self) -> "CampaignLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "interrupted" if self._open else "finished"
        # An error that is on its way says more than that the store fails too.
        with contextlib.suppress(*([StoreError] if error is not None else [])):
            self._store.finish_campaign(self.id, status)

    def kept(self, number: int, kernels: Sequence[Kernel], skipped: Mapping[str, str]) -> CampaignPart | None:
        """The part of this number, if an earlier run of this campaign finished it with the same sources."""
        part = self._before[number]
        before = {(k.name, k.digest) for k in part.kernels if not k.skipped}
        now = {(kernel.name, kernel.digest) for kernel in kernels}
        left_out = {k.name for k in part.kernels if k.skipped}
        if part.status != "finished" or before != now or left_out != set(skipped):
            return None
        self._open.discard(number)
        return part

    def part(self, number: int) -> "PartLog":
        """The record of one workload, by its place among the campaign's."""
        swept = frozenset(k.sweep_id for k in self._before[number].kernels if k.sweep_id is not None)
        return PartLog(self._store, self.id, number, self._open, swept)


class PartLog:
    """The record of one workload of a campaign; make it with `CampaignLog.part`.

    A context manager: an error that leaves it marks the part as interrupted.

    Attributes:
        swept: the sweeps that an earlier run of the campaign began for this workload.
    """

    def __init__(
        self, store: "Store", campaign_id: int, number: int, still_open: set[int],
        swept: frozenset[int] = frozenset(),
    ) -> None:  # fmt: skip
        self._store, self._open, self.swept = store, still_open, swept
        self.campaign_id, self.number = campaign_id, number
        self._kernels: list[CampaignKernel] = []

    def begin(
        self, kernels: Sequence[Kernel], searchers: Mapping[str, str], skipped: Mapping[str, str]
    ) -> "PartLog":
        """Stores who takes part, tuned by which searcher, and who is skipped for which reason."""
        self._kernels = [
            CampaignKernel(k.name, k.digest, k.language, k.baseline, searchers[k.name]) for k in kernels
        ]
        self._kernels += [CampaignKernel(name, skipped=reason) for name, reason in skipped.items()]
        self._store.begin_part(self.campaign_id, self.number, self._kernels)
        return self

    def __enter__(self) -> "PartLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            with contextlib.suppress(StoreError):
                self._store.leave_part(self.campaign_id, self.number)

    def watched(self, observer: Observer) -> Observer:
        """An observer that tells another one everything, and stores each sweep as it begins."""
        return _Watched(observer, self)

    def note_sweep(self, kernel: str, sweep_id: int) -> None:
        """The sweep of a kernel has begun."""
        self._store.note_sweep(self.campaign_id, self.number, kernel, sweep_id)

    def finish(self, outcome: CampaignOutcome) -> None:
        """Stores how the workload ended."""
        remarks = outcome.ranking.remarks if outcome.ranking is not None else ()
        part = CampaignPart(
            self.number,
            outcome.workload,
            "interrupted" if outcome.interrupted else "finished",
            [outcome.kernel_record(kernel) for kernel in self._kernels],
            outcome.exclusions,
            outcome.final_id,
            outcome.limits,
            outcome.peaks_disturbed,
            remarks,
        )
        self._store.finish_part(self.campaign_id, part)
        if not outcome.interrupted:
            self._open.discard(self.number)


class _Watched(Relay):
    """Passes everything on; a note that was said is not said again."""

    def __init__(self, observer: Observer, log: PartLog) -> None:
        super().__init__(observer)
        self._log = log
        self._said: set[str] = set()

    def sweep_began(self, request: SweepRequest, sweep_id: int, resumed: int, space: SearchSpace) -> None:
        self._log.note_sweep(request.kernel.name, sweep_id)
        self._to.sweep_began(request, sweep_id, resumed, space)

    def note(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._to.note(text)
