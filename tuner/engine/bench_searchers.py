"""Compares searchers on recorded spaces: spaces x searchers x seeds, in trials and in simulated seconds."""

import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tuner import registry
from tuner.core.errors import TunerError, Unavailable
from tuner.core.recorded import RecordedSpace
from tuner.core.searcher import History, Observation, Problem
from tuner.devices.replay import Replay
from tuner.interchange import read_recorded


@dataclass(frozen=True)
class Run:
    """One searcher on one space with one seed.

    Attributes:
        space, searcher, seed: which.
        best_fraction: after each trial, the optimum's time over the best time so far; 0 before a success.
        seconds: after each trial, simulated seconds: what compiling and running took when recorded.
        proposal_s: mean wall-clock seconds of proposing one trial (not simulated; `None` for a peer).
        failures: how many trials failed.
    """

    space: str
    searcher: str
    seed: int
    best_fraction: list[float]
    seconds: list[float]
    proposal_s: float | None = None
    failures: int = 0


@dataclass(frozen=True)
class SpaceInfo:
    """What the scores need to know of a space.

    Attributes:
        name, kernel, device: which.
        configurations: how many.
        fractions: of all configurations, descending: the optimum's time over theirs, 0 for a failure.
        mean_seconds: simulated seconds of a trial, on average over the space.
    """

    name: str
    kernel: str
    device: str
    configurations: int
    fractions: list[float]
    mean_seconds: float


@dataclass(frozen=True)
class Bench:
    """The outcome of a comparison."""

    trials: int
    spaces: list[SpaceInfo]
    runs: list[Run]
    notes: list[str] = field(default_factory=list)

    def write_json(self, path: Path) -> None:
        """`{"trials", "spaces": [...], "runs": [...], "notes"}`, the records' fields as they are."""
        content = {
            "trials": self.trials,
            "spaces": [{k: v for k, v in asdict(s).items() if k != "fractions"} for s in self.spaces],
            "runs": [asdict(run) for run in self.runs],
            "notes": self.notes,
        }
        try:
            path.write_text(json.dumps(content, allow_nan=False))
        except OSError as error:
            raise TunerError(f"{path} cannot be written: {error.strerror}") from None


@dataclass(frozen=True)
class LoadedSpace:
    """A recorded space under the name it has in the tables."""

    name: str
    recorded: RecordedSpace


def load_spaces(paths: Iterable[Path]) -> list[LoadedSpace]:
    """Reads recorded spaces, named by their files; raises `InterchangeError`."""
    return [LoadedSpace(p.name.removesuffix(".gz").removesuffix(".json"), read_recorded(p)) for p in paths]


def history_of(recorded: RecordedSpace, objective: bool = True) -> History:
    """A recorded space as history for searchers that transfer."""
    observations = [
        Observation(t.config, t.objective_measurement if objective else t.measurement)
        for t in recorded.trials
    ]
    size = {f"size{i}": float(s) for i, s in enumerate(recorded.problem)}
    return History(observations, recorded.space, dict(recorded.device_facts), size, recorded.label)


def simulate(
    recorded: RecordedSpace,
    searcher: str,
    seed: int,
    trials: int,
    history: Sequence[History] = (),
    batch: int = 1,
    name: str = "",
) -> Run:
    """One searcher on one space: ask, replay, tell, until the trials are spent or nothing is left.

    Raises:
        UnknownName: there is no such searcher.
        Unavailable: it cannot be used here.
    """
    kind = registry.searcher(searcher)
    if reason := kind.unavailable():
        raise Unavailable(f"searcher {searcher} cannot be used here: {reason}")
    replay = Replay(recorded, "objective")
    size = {f"size{i}": float(s) for i, s in enumerate(recorded.problem)}
    problem = Problem(
        replay.space, seed, trials, history=history, device=dict(recorded.device_facts), workload=size
    )
    began = time.perf_counter()
    proposer = kind(problem)
    spent = time.perf_counter() - began
    optimum, best = recorded.optimum_s or math.nan, math.inf
    fractions: list[float] = []
    seconds: list[float] = []
    failures = 0
    while len(fractions) < trials:
        began = time.perf_counter()
        configs = proposer.ask(min(batch, trials - len(fractions)))
        spent += time.perf_counter() - began
        if not configs:
            break
        observations = []
        for config in configs:
            measurement = replay.measure(config)
            observations.append(Observation(config, measurement))
            failures += not measurement.ok
            if measurement.time_s is not None:
                best = min(best, measurement.time_s)
            fractions.append(0.0 if best == math.inf else optimum / best)
            seconds.append(replay.clock_s)
        began = time.perf_counter()
        proposer.tell(observations)
        spent += time.perf_counter() - began
    return Run(
        name or recorded.label, searcher, seed, fractions, seconds, spent / max(1, len(fractions)), failures
    )
