"""Scores of searchers: fractions of the optimum, trials to a fraction, the aggregate score."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

import numpy as np

from tuner.engine.recorded.bench_records import Bench, Run, SpaceInfo

CHECKPOINTS = (5, 10, 25, 50, 100, 200)
FRACTIONS = (0.90, 0.95, 0.99)
# Of the way from the median to the optimum: where the budget of the aggregate score ends.
_CUTOFF = 0.95
_POINTS = 50


@dataclass(frozen=True)
class Score:
    """One searcher over all spaces of a bench; every mean gives each space the same weight.

    Attributes:
        searcher: its name.
        fraction: mean fraction of the optimum by number of trials.
        trials_to: median trials to a fraction, averaged over the spaces; a run that never gets there counts
            as one trial more than the budget.
        share_to: share of the runs that reach a fraction within the budget.
        worst_fraction: by number of trials, the least mean fraction of a space.
        aggregate: the aggregate performance score; 0 is random search, 1 the optimum at once.
        proposal_ms: mean wall-clock milliseconds of proposing a trial; `None` for a peer.
        failures: mean number of failed trials of a run.
    """

    searcher: str
    fraction: dict[int, float]
    trials_to: dict[float, float]
    share_to: dict[float, float]
    worst_fraction: dict[int, float]
    aggregate: float
    proposal_ms: float | None
    failures: float


def scores(bench: Bench) -> list[Score]:
    """One score a searcher, in the order of the bench."""
    return [_score(bench, searcher) for searcher in bench.searchers]


def _score(bench: Bench, searcher: str) -> Score:
    groups = [(space, runs) for space in bench.spaces if (runs := bench.of(searcher, space.name))]
    points = [n for n in CHECKPOINTS if n <= bench.trials] or [bench.trials]
    by_space = {n: [mean(run.at(n) for run in runs) for _, runs in groups] for n in points}
    cap = bench.trials + 1.0
    spent = [run.proposal_s for _, runs in groups for run in runs if run.proposal_s is not None]
    return Score(
        searcher,
        {n: mean(values) for n, values in by_space.items()},
        {f: mean(min(cap, median(r.trials_to(f) for r in runs)) for _, runs in groups) for f in FRACTIONS},
        {
            f: mean(mean(float(r.trials_to(f) <= bench.trials) for r in runs) for _, runs in groups)
            for f in FRACTIONS
        },
        {n: min(values) for n, values in by_space.items()},
        mean(aggregate_score(space, runs) for space, runs in groups),
        1000 * mean(spent) if spent else None,
        mean(run.failures for _, runs in groups for run in runs),
    )


def expected_best(space: SpaceInfo, draws: Sequence[int]) -> np.ndarray:
    """Expected least time of uniform draws without replacement: float64[len(draws)], in seconds.

    P(the i-th fastest is the best of k) = C(N-i, k-1) / C(N, k); failures are the slowest ranks and count, if
    nothing else was drawn, as the median time.
    """
    n, times = space.configurations, np.array(space.times)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    ranks = np.arange(1, len(times) + 1)
    result = []
    for wanted in draws:
        k = min(max(1, wanted), n)
        open_ = n - ranks >= k - 1
        rest = (n - ranks)[open_]
        log_p = log_factorial[rest] - log_factorial[k - 1] - log_factorial[rest - k + 1]
        log_p -= log_factorial[n] - log_factorial[k] - log_factorial[n - k]
        p = np.exp(log_p)
        result.append(float(p @ times[open_] + max(0.0, 1.0 - p.sum()) * np.median(times)))
    return np.array(result)


def budget_trials(space: SpaceInfo) -> int:
    """The draws after which random search is expected to be 95% of the way from the median to the optimum."""
    middle = float(np.median(space.times))
    goal = middle - _CUTOFF * (middle - space.optimum_s)
    low, high = 1, space.configurations
    while low < high:
        half = (low + high) // 2
        if expected_best(space, [half])[0] <= goal:
            high = half
        else:
            low = half + 1
    return low


def aggregate_score(space: SpaceInfo, runs: Sequence[Run]) -> float:
    """Improvement over random search on a normalized time axis, averaged over it.

    At 50 times evenly spaced up to the budget: (B - F) / (B - optimum), with F the mean best time of the
    runs and B what uniform draws are expected to have reached. The budget is the simulated time that random
    search needs to `budget_trials`, or the time the runs' trials last, if that is less: what lies behind the
    last trial was not measured. Source: Willemsen, Schoonhoven, Filipovič, Tørring, van Nieuwpoort, van
    Werkhoven: A methodology for comparing optimization algorithms for auto-tuning, Future Generation
    Computer Systems 159, 2024.
    """
    measured = [run.seconds[-1] for run in runs if run.seconds]
    if not measured:
        return -math.inf
    seconds = min(budget_trials(space) * space.mean_seconds, median(measured))
    grid = np.linspace(0, seconds, _POINTS + 1)[1:]
    draws = np.maximum(1, np.floor(grid / max(space.mean_seconds, 1e-12))).astype(int)
    baseline = expected_best(space, draws.tolist())
    middle = float(np.median(space.times))
    curves = np.array([_best_at(run, grid, space.optimum_s, middle) for run in runs])
    gap = np.maximum(baseline - space.optimum_s, 1e-12 * space.optimum_s)
    return float(np.mean((baseline - curves.mean(axis=0)) / gap))


def _best_at(run: Run, grid: np.ndarray, optimum_s: float, unknown_s: float) -> np.ndarray:
    """Best time so far at simulated times; the space's median before the first success."""
    done = np.searchsorted(np.array(run.seconds), grid, side="right")
    fractions = np.array([0.0, *run.best_fraction])[done]
    return np.where(fractions > 0, optimum_s / np.maximum(fractions, 1e-300), unknown_s)


def table(bench: Bench) -> list[list[str]]:
    """Rows of text, the first the heading: what `tuner bench-searchers` prints."""
    found = scores(bench)
    points = list(found[0].fraction) if found else []
    heading = ["searcher", *[f"@{n}" for n in points], *[f"trials to {f:.0%}" for f in FRACTIONS]]
    heading += ["reach 95%", "score", "ms a proposal", "failures"]
    rows = [heading]
    for s in found:
        cap = bench.trials + 1
        row = [s.searcher, *[f"{s.fraction[n]:.3f}" for n in points]]
        row += [f"{s.trials_to[f]:.0f}" if s.trials_to[f] < cap else f">{bench.trials}" for f in FRACTIONS]
        row += [f"{s.share_to[0.95]:.0%}", f"{s.aggregate:.3f}"]
        row += ["-" if s.proposal_ms is None else f"{s.proposal_ms:.1f}", f"{s.failures:.1f}"]
        rows.append(row)
    return rows
