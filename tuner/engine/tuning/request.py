"""What a sweep is asked, and how it ended."""

from dataclasses import dataclass, field
from typing import Any

from tuner.core.disturbance import is_disturbed
from tuner.core.kernel import Kernel
from tuner.core.space import Config
from tuner.core.trial import Trial
from tuner.core.workload import Workload
from tuner.engine.tuning.budget import Budget


@dataclass(frozen=True)
class SweepRequest:
    """What to tune, and how.

    Attributes:
        kernel, workload: what.
        searcher: name of the searcher.
        seed: of the searcher.
        budget: when to stop.
        resume: continue the latest unfinished sweep of the same kind, if there is one.
        remeasure: measure known identities again instead of reusing their outcome.
        options: of the searcher.
        foresee: where nothing is known, begin at what was good elsewhere (`known_starts.py`), or at what the
            target's model ranks best (`foreseen.py`).
        starts: configurations to begin with in place of these, complete and valid: somebody named them.
    """

    kernel: Kernel
    workload: Workload
    searcher: str = "random"
    seed: int = 0
    budget: Budget = field(default_factory=Budget)
    resume: bool = False
    remeasure: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    foresee: bool = True
    starts: tuple[Config, ...] = ()


@dataclass(frozen=True)
class SweepResult:
    """How a sweep ended.

    Attributes:
        sweep_id: in the store.
        trials: all its trials in order, those of earlier runs of a resumed sweep included.
        best: the fastest right one, or `None`.
        interrupted: by Ctrl-C; it can be resumed.
        exhausted: every valid configuration was tried.
        seconds: wall clock of this run of it.
    """

    sweep_id: int
    trials: tuple[Trial, ...]
    best: Trial | None
    interrupted: bool
    exhausted: bool
    seconds: float

    @property
    def disturbed(self) -> int:
        """How many trials were timed while other programs had the cores: their times are too long."""
        return sum(is_disturbed(trial.measurement.metrics) for trial in self.trials)

    @property
    def statuses(self) -> dict[str, int]:
        """How many trials ended in each status."""
        counts: dict[str, int] = {}
        for trial in self.trials:
            status = str(trial.measurement.status)
            counts[status] = counts.get(status, 0) + 1
        return counts


def better(trial: Trial, best: Trial | None) -> bool:
    """Whether a trial is right and faster than the best so far."""
    if not trial.measurement.ok:
        return False
    time_s, best_s = trial.measurement.time_s, best.measurement.time_s if best else None
    return time_s is not None and (best_s is None or time_s < best_s)
