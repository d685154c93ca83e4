"""What a comparison of searchers is made of, as plain records."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tuner.core.errors import TunerError
from tuner.core.output_file import put
from tuner.core.recorded import RecordedSpace


@dataclass(frozen=True)
class LoadedSpace:
    """A recorded space under the name it has in the tables."""

    name: str
    recorded: RecordedSpace


@dataclass(frozen=True)
class Run:
    """One searcher on one space with one seed.

    Attributes:
        space, searcher, seed: which.
        best_fraction: after each trial, the optimum's time over the best time so far; 0 before a success.
        seconds: after each trial, simulated seconds: what compiling and running took when recorded.
        proposal_s: mean wall-clock seconds of proposing one trial on this machine, not simulated; `None`
            for a peer, whose own accounting is not comparable.
        failures: how many trials failed.
        note: what a reader should know, e.g. that a peer stopped early.
    """

    space: str
    searcher: str
    seed: int
    best_fraction: list[float]
    seconds: list[float]
    proposal_s: float | None = None
    failures: int = 0
    note: str = ""

    def at(self, trial: int) -> float:
        """The fraction reached after so many trials; a run that stopped early keeps what it had."""
        return self.best_fraction[min(trial, len(self.best_fraction)) - 1] if self.best_fraction else 0.0

    def trials_to(self, fraction: float) -> float:
        """The first trial at which the fraction is reached; infinite where it never is."""
        for i, value in enumerate(self.best_fraction):
            if value >= fraction:
                return i + 1
        return math.inf


@dataclass(frozen=True)
class SpaceInfo:
    """What the scores need to know of a space.

    Attributes:
        name, kernel, device: which.
        configurations, failures: how many.
        optimum_s: the least recorded time.
        times: of the configurations that have one, ascending, in seconds.
        mean_seconds: simulated seconds of a trial, on average over the space.
    """

    name: str
    kernel: str
    device: str
    configurations: int
    failures: int
    optimum_s: float
    times: list[float]
    mean_seconds: float

    @classmethod
    def of(cls, space: LoadedSpace) -> "SpaceInfo":
        """The facts of a loaded space.

        Raises:
            TunerError: every configuration failed, so there is no optimum to compare with.
        """
        recorded = space.recorded
        times = sorted(t.objective_s for t in recorded.trials if t.objective_s is not None)
        if not times:
            raise TunerError(f"{space.name}: every recorded configuration failed, so there is no optimum")
        spent = sum(t.build_s + t.run_s for t in recorded.trials) / len(recorded.trials)
        return cls(
            space.name, recorded.kernel, recorded.device, len(recorded.trials),
            len(recorded.trials) - len(times), times[0], times, spent,
        )  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """The outcome of a comparison: spaces x searchers x seeds."""

    trials: int
    spaces: list[SpaceInfo]
    runs: list[Run]
    notes: list[str] = field(default_factory=list)

    @property
    def searchers(self) -> list[str]:
        """In the order they were asked for."""
        return list(dict.fromkeys(run.searcher for run in self.runs))

    def of(self, searcher: str, space: str) -> list[Run]:
        """The runs of a searcher on a space, one a seed."""
        return [run for run in self.runs if run.searcher == searcher and run.space == space]

    def write_json(self, path: Path) -> None:
        """`{"trials", "spaces": [...], "runs": [...], "notes"}` with the fields of the records.

        Raises:
            TunerError: the file cannot be written.
        """
        content = {
            "trials": self.trials,
            "spaces": [{k: v for k, v in asdict(space).items() if k != "times"} for space in self.spaces],
            "runs": [asdict(run) for run in self.runs],
            "notes": self.notes,
        }
        put(path, json.dumps(content, allow_nan=False))
