"""Who is told how a sweep goes."""

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.core.space import SearchSpace
from tuner.core.trial import Trial
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


class Observer:
    """Is told how a sweep goes; every method may be overridden, none has to be."""

    def sweep_began(self, request: SweepRequest, sweep_id: int, resumed: int, space: SearchSpace) -> None:
        """A sweep starts; `resumed` trials of it were stored before."""

    def trial_done(self, event: TrialEvent) -> None:
        """A trial was stored."""

    def note(self, text: str) -> None:
        """Something a person should know."""

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

    def final_began(self, labels: Sequence[str]) -> None:
        """Passed on."""
        self._to.final_began(labels)

    def final_progress(self, done: int, total: int) -> None:
        """Passed on."""
        self._to.final_progress(done, total)
