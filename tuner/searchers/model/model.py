"""The model behind `surrogate` and `transfer`: times by a Gaussian process, failures by boosted trees."""

import math
import random
from collections.abc import Sequence

import numpy as np

from tuner.core.searcher import Problem
from tuner.searchers.base import Key
from tuner.searchers.model.candidates import Candidates
from tuner.searchers.model.covariance import Hyperparameters
from tuner.searchers.model.failures import chance_of_success
from tuner.searchers.model.features import FeatureMap
from tuner.searchers.model.gp import CandidateProcess
from tuner.searchers.model.targets import log_expected_improvement, model_targets

# Unexplained variance counts this many times in the expected improvement. With 0 the search stops at the
# best *explained* place and misses a configuration that is fast for reasons no feature shows; measured on
# conv2d_milo-a100, whose optimum is one of 4,362: found in 1 of 6 runs with 0, in 4 with 0.25, in all with 2.
ROUGHNESS = 2.0
# Kernels of one and of two parameters help while little is known, and no longer: on random 70% parts of the
# recorded spaces, 24 seeds, they give 0.879 for 0.859 of the optimum at 25 trials; kept on they cost 0.006
# at 100.
_ADDITIVE_UNTIL = 45
_FITTED_AT_MOST = 150
_HELD_AT_MOST = 400


def last_fit(count: int, first: int) -> int:
    """How many observations the hyperparameters were last fitted to: first, then every 10% more (3 to 50)."""
    at = first
    while at + (step := min(max(3, math.ceil(0.1 * at)), 50)) <= count:
        at += step
    return at


def spread(times: np.ndarray, limit: int) -> np.ndarray:
    """Sorted places of at most `limit` observations: the fastest half, and the rest evenly in order."""
    if len(times) <= limit:
        return np.arange(len(times))
    fastest = np.argsort(np.where(np.isnan(times), np.inf, times), kind="stable")[: limit // 2]
    rest = np.setdiff1d(np.arange(len(times)), fastest)
    return np.sort(np.r_[fastest, rest[np.linspace(0, len(rest) - 1, limit - len(fastest)).astype(int)]])


class SurrogateModel:
    """Scores candidates by what was observed; its state is a function of the sequence of observations.

    Hyperparameters are fitted to the first `last_fit(n)` observations, from scratch, and the process
    takes up the later ones in order, so that a model rebuilt after a kill gives the same scores bit by bit.

    Args:
        problem: the sweep's.
        first: observations before the first fit.
        features: what it sees of a configuration; the `FeatureMap` of the problem by default.
        candidates: to share with another model, where all of the space are candidates.
        always: configurations that any pool has to contain.
    """

    def __init__(
        self, problem: Problem, first: int, features: FeatureMap | None = None,
        candidates: Candidates | None = None, always: Sequence[Key] = (),
    ) -> None:  # fmt: skip
        self._problem, self._first = problem, first
        self.candidates = candidates or Candidates(problem.space, problem.seed, always)
        self._features = features or FeatureMap(problem.space, problem.features)
        self.keys: list[Key] = []
        self._times: list[float] = []
        self._best = math.inf
        self._renewed = 0  # observations when the pool was last gathered
        self._last_failure = 0
        self._stamp: tuple[int, int] | None = None
        self._failure_stamp: tuple[int, int, int] | None = None
        if self.candidates.complete:
            self._see_candidates()

    def observe(self, key: Key, time_s: float | None) -> None:
        """Adds an outcome: seconds, or `None` for a failure."""
        self.keys.append(key)
        self._times.append(math.nan if time_s is None else time_s)
        if time_s is None:
            self._last_failure = len(self._times)
        elif time_s < self._best:
            self._best, self._renewed = time_s, len(self._times)

    @property
    def count(self) -> int:
        """How many outcomes it knows."""
        return len(self._times)

    @property
    def successes(self) -> int:
        """How many of them are times."""
        return sum(not math.isnan(t) for t in self._times)

    def _see_candidates(self) -> None:
        self._smooth = self._features.smooth(self.candidates.rows)
        self._crossed = self._features.crossed(self.candidates.rows)

    def _rows(self, keys: Sequence[Key]) -> np.ndarray:
        return np.array(keys, dtype=np.int32).reshape(len(keys), len(self._problem.space.parameters))

    def _update(self) -> None:
        """Brings hyperparameters, pool and process to the present observations."""
        fit = last_fit(self.count, self._first)
        base = fit if self.candidates.complete else max(fit, self._renewed)
        times = np.array(self._times)
        if self._stamp != (fit, base):
            if not self.candidates.complete:
                order = np.argsort(np.where(np.isnan(times[:base]), np.inf, times[:base]), kind="stable")
                rng = random.Random(f"pool/{self._problem.seed}/{base}")
                self.candidates.renew([self.keys[i] for i in order[:20]], rng)
                self._see_candidates()
            if self._stamp is None or self._stamp[0] != fit:
                self._hyper = self._fitted(times[:fit])
            self._held = list(spread(times[:base], _HELD_AT_MOST))
            self._process = CandidateProcess(self._hyper, self._smooth, len(self._held) + 64)
            self._process.add_all(self._features.smooth(self._rows([self.keys[i] for i in self._held])))
            self._added = base
            self._stamp = (fit, base)
        for i in range(self._added, self.count):
            self._process.add(self._features.smooth(self._rows([self.keys[i]]))[0])
            self._held.append(i)
        self._added = self.count
        self._update_failures(fit, base)

    def _fitted(self, times: np.ndarray) -> Hyperparameters:
        width = self._smooth.shape[1]
        few = len(times) < _ADDITIVE_UNTIL
        hyper = Hyperparameters(width, self._features.groups(width) if few else ())
        if (~np.isnan(times)).sum() >= 3:
            chosen = spread(times, _FITTED_AT_MOST)
            x = self._features.smooth(self._rows([self.keys[i] for i in chosen]))
            targets = self.targets(times)
            expected = self.expected(times, targets)
            hyper.fit(x, (targets if expected is None else targets - expected[0])[chosen])
        return hyper

    def targets(self, times: np.ndarray) -> np.ndarray:
        """Targets of the first len(times) observations: float64, mean 0, deviation 1."""
        return model_targets(times)

    def expected(self, times: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """What is expected before the process is asked: at the observations and at the candidates.

        The process then models the rest of the targets; `None`, as here, is nothing expected.
        """
        return None

    def _update_failures(self, fit: int, base: int) -> None:
        stamp = (max(fit, self._last_failure), base, self._last_failure)
        if stamp == self._failure_stamp:
            return
        self._failure_stamp = stamp
        until = stamp[0]
        failed = np.isnan(np.array(self._times[:until]))
        observed = self._features.crossed(self._rows(self.keys[:until]))
        self._success = chance_of_success(observed, failed, self._crossed, self._problem.seed)

    def smooth(self, rows: np.ndarray) -> np.ndarray:
        """float64[len(rows), d] features for distances."""
        return self._features.smooth(rows)

    def features_at(self, place: int) -> np.ndarray:
        """float[d] features of a candidate."""
        row: np.ndarray = self._smooth[place]
        return row

    def scores(self, out: Sequence[Key]) -> "Scores":
        """The present acquisition over the candidates, with proposals still out taken as if they came true.

        Needs at least one success.
        """
        self._update()
        times = np.array(self._times)
        targets = self.targets(times)
        expected = self.expected(times, targets)
        rest = targets if expected is None else targets - expected[0]
        scores = Scores(
            self._process, self._hyper, rest[self._held], self._success, float(targets.min()),
            None if expected is None else expected[1],
        )  # fmt: skip
        for key in out:
            scores.believe(self._features.smooth(self._rows([key]))[0])
        return scores

    def far_apart(self, pool: Sequence[Key], known: Sequence[Key], n: int) -> list[Key]:
        """`n` of a pool, each the farthest from what is known and from those before it.

        Where nothing is known the first is the pool's first. A pool at random keeps the choice random.
        """
        places = self._features.smooth(self._rows(pool))
        nearest = np.full(len(pool), np.inf)
        for met in self._features.smooth(self._rows(known)) if known else ():
            nearest = np.minimum(nearest, ((places - met) ** 2).sum(1))
        chosen: list[Key] = []
        while len(chosen) < min(n, len(pool)):
            place = int(nearest.argmax())
            chosen.append(pool[place])
            nearest = np.minimum(nearest, ((places - places[place]) ** 2).sum(1))
            nearest[place] = -1.0
        return chosen

    def escape(self, keys: Sequence[Key]) -> list[Key]:
        """Keys in the order worth trying while (almost) everything fails: far from all failures first."""
        place = self._features.smooth(self._rows(keys))
        failures = [k for k, t in zip(self.keys, self._times, strict=True) if math.isnan(t)]
        if not failures or not place.shape[1]:
            return list(keys)
        met = self._features.smooth(self._rows(failures[-200:]))
        distance = ((place[:, None, :] - met[None, :, :]) ** 2).sum(-1).min(1)
        return [keys[i] for i in np.argsort(-distance, kind="stable")]


class Scores:
    """The acquisition of one `ask`: the logarithm of expected improvement times chance of success."""

    def __init__(
        self, process: CandidateProcess, hyper: Hyperparameters, targets: np.ndarray,
        success: np.ndarray | None, best: float, expected: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self._process, self._hyper, self._best = process, hyper, best
        self._expected = 0.0 if expected is None else expected
        self._targets = list(targets)
        self.log_likelihood = process.leave_one_out(targets)
        self._offset = 0.0 if success is None else np.log(success)
        self._start = process.mark()

    def acquisition(self) -> np.ndarray:
        """float64[candidates]."""
        mean, variance = self._process.predict(np.array(self._targets))
        whole = variance + ROUGHNESS * self._hyper.noise
        return log_expected_improvement(mean + self._expected, whole, self._best) + self._offset

    def believe(self, features: np.ndarray) -> None:
        """Adds a place as if it had come out at its mean (Ginsbourger et al.: Kriging is well-suited to
        parallelize optimization, 2010), so that the next proposal of a batch goes elsewhere.
        """
        own = self._process.mean_at(features, np.array(self._targets))
        self._process.add(features)
        self._targets.append(own)

    def close(self) -> None:
        """Forgets what was only believed."""
        self._process.reset(self._start)
