"""Compares searchers on recorded spaces: spaces x searchers x seeds, in trials and in simulated seconds."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from tuner import registry
from tuner.core.errors import TunerError, Unavailable
from tuner.core.recorded import RecordedSpace
from tuner.core.searcher import History, Observation, Problem
from tuner.devices.replay import Replay
from tuner.engine.recorded import bench_peers
from tuner.engine.recorded.bench_plot import plot
from tuner.engine.recorded.bench_records import Bench, LoadedSpace, Run, SpaceInfo
from tuner.engine.recorded.bench_scores import Score, aggregate_score, scores, table
from tuner.interchange import read_recorded
from tuner.interchange.gpu_facts import are_twins, numbers

__all__ = [
    "Bench", "Known", "LoadedSpace", "Run", "Score", "SpaceInfo", "aggregate_score", "bench_searchers",
    "history_for", "history_of", "load_spaces", "plot", "problem_numbers", "recorded_device_numbers",
    "scores", "simulate", "table",
]  # fmt: skip

# Seeds of sweeps that were made elsewhere: they did not draw what the one at hand does.
_ELSEWHERE = 1000


def load_spaces(paths: Iterable[Path]) -> list[LoadedSpace]:
    """Reads recorded spaces, named by their files.

    Raises:
        InterchangeError: a file cannot be read.
        TunerError: two files have the same name.
    """
    spaces = [LoadedSpace(p.name.removesuffix(".gz").removesuffix(".json"), read_recorded(p)) for p in paths]
    for i, space in enumerate(spaces):
        if space.name in {other.name for other in spaces[:i]}:
            raise TunerError(f"two of the files are called {space.name}: rename one, results go by that name")
    return spaces


def recorded_device_numbers(recorded: RecordedSpace) -> dict[str, float]:
    """Facts of the device: those in the file, else those known by the device's name."""
    return dict(recorded.device_facts) or numbers(recorded.device)


def problem_numbers(recorded: RecordedSpace) -> dict[str, float]:
    """The problem size as numbers, for `Problem.workload`."""
    return {f"size{i}": float(size) for i, size in enumerate(recorded.problem)}


def history_of(recorded: RecordedSpace, trials: int | None = None, seed: int = 0) -> History:
    """A recorded space as history for searchers that transfer; values as a bench serves them.

    Args:
        recorded: what was measured there.
        trials: as if only a sweep of `surrogate` with so many trials had been made; by default all of it.
        seed: of that sweep.
    """
    if trials is None:
        observations = [Observation(t.config, t.objective_measurement) for t in recorded.trials]
    else:
        observations = list(_sweep(recorded, "surrogate", seed, trials))
    size = problem_numbers(recorded)
    return History(observations, recorded.space, recorded_device_numbers(recorded), size, recorded.label)


def _sweep(recorded: RecordedSpace, searcher: str, seed: int, trials: int) -> Iterator[Observation]:
    replay = Replay(recorded, "objective")
    device, size = recorded_device_numbers(recorded), problem_numbers(recorded)
    proposer = registry.searcher(searcher)(Problem(replay.space, seed, trials, device=device, workload=size))
    for _ in range(trials):
        for config in proposer.ask(1):
            observation = Observation(config, replay.measure(config))
            proposer.tell([observation])
            yield observation


def history_for(
    space: LoadedSpace, known: Sequence[LoadedSpace], other_shapes: bool = False
) -> list[LoadedSpace]:
    """Those of the same kernel that may teach a space: none of its device, nor of a device with its die.

    Args:
        space: to be searched.
        known: what there is.
        other_shapes: also what was recorded on its device or one of its die, of another problem.
    """
    own = space.recorded
    return [
        other
        for other in known
        if other.recorded.kernel == own.kernel
        and {p.name for p in other.recorded.parameters} == {p.name for p in own.parameters}
        and (
            not are_twins(other.recorded.device, own.device)
            or (other_shapes and other.recorded.problem != own.problem)
        )
    ]


@dataclass(frozen=True)
class Known:
    """What searchers that transfer may know.

    Attributes:
        spaces: of these a run sees the same kernel only, and never the device under test or one of the same
            die with the same problem.
        other_shapes: whether it sees that device's other problems.
        trials: of each, as many as a sweep of `surrogate` would have made, another one for each seed; by
            default every configuration.
    """

    spaces: Sequence[LoadedSpace] = ()
    other_shapes: bool = False
    trials: int | None = None

    def of(self, space: LoadedSpace) -> list[LoadedSpace]:
        """Those that may teach a space."""
        return history_for(space, self.spaces, self.other_shapes)


def simulate(
    space: LoadedSpace, searcher: str, seed: int, trials: int, history: Sequence[History] = (), batch: int = 1
) -> Run:
    """One searcher on one space: ask, replay, tell, until the trials are spent or nothing is left.

    Args:
        space: what to search.
        searcher: a registered name, or `kernel_tuner:STRATEGY`.
        seed: of the searcher.
        trials: the budget; a failure costs one.
        history: for searchers that transfer.
        batch: configurations asked at a time.

    Raises:
        UnknownName: there is no such searcher.
        Unavailable: it cannot be used here.
    """
    recorded = space.recorded
    if searcher.startswith(bench_peers.PREFIX):
        return bench_peers.run_peer(
            recorded, space.name, searcher.removeprefix(bench_peers.PREFIX), seed, trials
        )
    kind = registry.searcher(searcher)
    if reason := kind.unavailable():
        raise Unavailable(f"searcher {searcher} cannot be used here: {reason}")
    replay = Replay(recorded, "objective")
    problem = Problem(
        replay.space, seed, trials, history=history, device=recorded_device_numbers(recorded),
        workload=problem_numbers(recorded),
    )  # fmt: skip
    optimum, best = recorded.optimum_s or math.nan, math.inf
    fractions: list[float] = []
    seconds: list[float] = []
    failures, spent, began = 0, 0.0, time.perf_counter()
    proposer = kind(problem)
    while len(fractions) < trials:
        configs = proposer.ask(min(batch, trials - len(fractions)))
        spent += time.perf_counter() - began
        if not configs:
            break
        observations = []
        for config in configs:
            measurement = replay.measure(config)
            observations.append(Observation(config, measurement))
            failures += measurement.time_s is None
            best = min(best, measurement.time_s or best)
            fractions.append(0.0 if best == math.inf else optimum / best)
            seconds.append(replay.clock_s)
        began = time.perf_counter()
        proposer.tell(observations)
    spent += time.perf_counter() - began
    each = spent / max(1, len(fractions))
    return Run(space.name, searcher, seed, fractions, seconds, each, failures)


def bench_searchers(
    spaces: Sequence[LoadedSpace],
    searchers: Sequence[str],
    seeds: int = 20,
    trials: int = 200,
    history: Known | Sequence[LoadedSpace] = (),
    processes: int = 1,
    progress: Callable[[int, int, Run], None] | None = None,
) -> Bench:
    """Runs every searcher on every space with every seed from 0 to seeds-1.

    Args:
        spaces: to search.
        searchers: registered names, and `kernel_tuner:STRATEGY` where Kernel Tuner is installed.
        seeds: runs of each pair.
        trials: of each run.
        history: what searchers that transfer may know; spaces alone stand for all of their trials.
        processes: how many runs at once, each on one core.
        progress: told (runs done, runs in all, the run) in the order of completion of the list.

    Raises:
        TunerError: a number is not positive, a space has no success, or a searcher is unknown or unusable:
            before the first run.
    """
    known = history if isinstance(history, Known) else Known(history)
    told = 1 if known.trials is None else known.trials
    for name, value in (
        ("seeds", seeds), ("trials", trials), ("processes", processes), ("history trials", told)
    ):  # fmt: skip
        if value < 1:
            raise TunerError(f"{name} is at least 1, not {value}")
    if not spaces or not searchers:
        raise TunerError("a bench needs at least one space and one searcher")
    _check(searchers)
    infos = [SpaceInfo.of(space) for space in spaces]
    taught = [[other.name for other in known.of(space)] for space in spaces]
    notes = [f"{s.name}: history {', '.join(t) or 'none'}" for s, t in zip(spaces, taught, strict=True)]
    tasks = [(s, name, seed) for s in range(len(spaces)) for name in searchers for seed in range(seeds)]
    runs = []
    for run in _runs(spaces, known, tasks, trials, processes):
        runs.append(run)
        if run.note:
            notes.append(f"{run.searcher} on {run.space}, seed {run.seed}: {run.note}")
        if progress:
            progress(len(runs), len(tasks), run)
    return Bench(trials, infos, runs, notes if known.spaces else [n for n in notes if ": history " not in n])


def _check(searchers: Sequence[str]) -> None:
    known = bench_peers.strategies() if any(s.startswith(bench_peers.PREFIX) for s in searchers) else []
    for searcher in searchers:
        if searcher.startswith(bench_peers.PREFIX):
            bench_peers.check_strategy(searcher.removeprefix(bench_peers.PREFIX), known)
        elif reason := registry.searcher(searcher).unavailable():
            raise Unavailable(f"searcher {searcher} cannot be used here: {reason}")


Task = tuple[int, str, int]


def _runs(
    spaces: Sequence[LoadedSpace], known: Known, tasks: Sequence[Task], trials: int, processes: int
) -> Iterator[Run]:
    if processes == 1:
        worker = _Worker(spaces, known, trials)
        yield from map(worker, tasks)
        return
    # Spawned, not forked: the parent may have started the threads of a numeric library.
    pool = ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=_start_worker, initargs=(spaces, known, trials)
    )
    with pool:
        yield from pool.map(_work, tasks)


class _Worker:
    """Runs tasks one after the other, keeping what the last one loaded."""

    def __init__(self, spaces: Sequence[LoadedSpace], known: Known, trials: int) -> None:
        self._spaces, self._known, self._trials = spaces, known, trials
        self._place = -1
        self._histories: dict[int | None, list[History]] = {}

    def __call__(self, task: Task) -> Run:
        place, searcher, seed = task
        from threadpoolctl import threadpool_limits

        # One core a run: the cost of a proposal is stated for one.
        with threadpool_limits(1):
            return simulate(self._spaces[place], searcher, seed, self._trials, self._history(place, seed))

    def _history(self, place: int, seed: int) -> list[History]:
        """What a run may know; kept for the space's other runs."""
        if place != self._place:
            self._place, self._histories = place, {}
        trials = self._known.trials
        which = None if trials is None else seed
        if which not in self._histories:
            taught = self._known.of(self._spaces[place])
            self._histories[which] = [history_of(s.recorded, trials, _ELSEWHERE + seed) for s in taught]
        return self._histories[which]


_worker: _Worker | None = None


def _start_worker(spaces: Sequence[LoadedSpace], known: Known, trials: int) -> None:
    global _worker
    _worker = _Worker(spaces, known, trials)


def _work(task: Task) -> Run:
    assert _worker is not None  # the initializer ran
    return _worker(task)
