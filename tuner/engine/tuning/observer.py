"""Who is told how a sweep goes."""

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.core.space import SearchSpace
from tuner.core.trial import Trial
from tuner.core.workload import Workload
from tuner.engine.tuning.request import SweepRequest


@dataclass(frozen=True)
class TrialEvent:
    """Told to an observer after a trial is stored."""

    number: int
    trial: Trial
    reused: bool
    best: Trial | None
    overhead_s: float
    """Seconds the engine spent on this trial beyond compiling and running: asking, forking, storing."""


@dataclass(frozen=True)
class LayerEvent:
    """Told to an observer after a workload of a series.

    Attributes:
        workload: which.
        kernel: that won its final; empty where nothing is declared.
        time_s: seconds of one call of the winner.
        trials: of all kernels.
        why: there is no kernel: nothing is declared, or an earlier run had the workload; empty where no final
            was held.
    """

    workload: Workload
    kernel: str
    time_s: float | None
    trials: int
    why: str = ""


class Observer:
    """Is told how a sweep goes; every method may be overridden, none has to be."""

    def sweep_began(self, request: SweepRequest, sweep_id: int, resumed: int, space: SearchSpace) -> None:
        """A sweep starts; `resumed` trials of it were stored before."""

    def trial_done(self, event: TrialEvent) -> None:
        """A trial was stored."""

    def note(self, text: str) -> None:
        """Something a person should know."""

    def layer_began(self, number: int, total: int, workload: Workload) -> None:
        """A workload of a series of `total`, the first one number 1; it is a note where nobody minds."""
        if total > 1:
            self.note(f"{number} of {total}: {workload.key}")

    def layer_ended(self, event: LayerEvent) -> None:
        """That workload's campaign is over."""

    def final_began(self, labels: Sequence[str]) -> None:
        """A final begins between finalists of these kernels; `final_progress` follows."""

    def final_progress(self, done: int, total: int) -> None:
        """A round of the final is over."""


class Relay(Observer):
    """Passes everything on to another observer, but what a subclass overrides.

    Args:
        to: who is told.
    """

    def __init__(self, to: Observer) -> None:
        self._to = to

    def sweep_began(self, request: SweepRequest, sweep_id: int, resumed: int, space: SearchSpace) -> None:
        """Passed on."""
        self._to.sweep_began(request, sweep_id, resumed, space)

    def trial_done(self, event: TrialEvent) -> None:
        """Passed on."""
        self._to.trial_done(event)

    def note(self, text: str) -> None:
        """Passed on."""
        self._to.note(text)

    def layer_began(self, number: int, total: int, workload: Workload) -> None:
        """Passed on."""
        self._to.layer_began(number, total, workload)

    def layer_ended(self, event: LayerEvent) -> None:
        """Passed on."""
        self._to.layer_ended(event)

    def final_began(self, labels: Sequence[str]) -> None:
        """Passed on."""
        self._to.final_began(labels)

    def final_progress(self, done: int, total: int) -> None:
        """Passed on."""
        self._to.final_progress(done, total)
