"""Model-based search begun from what is known of the same kernel elsewhere."""

import math
import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tuner.core.searcher import Observation, Problem
from tuner.core.space import Config
from tuner.searchers.base import Key, TrackingSearcher
from tuner.searchers.model.candidates import Candidates
from tuner.searchers.model.features import FeatureMap
from tuner.searchers.model.model import Scores, SurrogateModel
from tuner.searchers.model.surrogate import SurrogateSearcher, pool_size
from tuner.searchers.model.targets import press, standardised
from tuner.searchers.transfer.sources import SourceColumns, find_sources
from tuner.searchers.transfer.warm import WarmStart, mixture

# Trials 0 to 4 and 6 follow the sources, the models lead the rest but for seven draws far from all before
# them: two among all configurations, five in the quarter that the sources rank best. The optimum of a
# recorded device was always there, if far down: the A100's is 372nd of 4,362 on the A4000, behind what
# trials 0 to 4 see.
_LED = 5
_WARM = 8
_DRAWN_PROMISING = (5, 7, 11, 15, 17)
_DRAWN_AMONG_ALL = (9, 13)
# After the draws the sources' hypotheses choose trials 18 to 24, not the fitted models. The hypotheses assume
# how far a device departs from a source; the models fit that distance to some twenty trials, many of them the
# sources' best and nearly alike, and come out too sure. Example: in a run on the A100 the optimum lay over 6
# standard deviations from the model's mean at trial 25. Over 60 seeds of that space the best after 25 trials
# was at 0.848 of the optimum when the hypotheses chose, at 0.790 when the models did.
_LED_AGAIN = range(18, 25)
_TRUSTED_UNTIL = 20
# Every third of the models' proposals is that of the model that does not see the sources, whatever the
# likelihoods: near the sources' best they tell little apart, and a shared wrong idea would never be left.
_ALONE_EVERY = 3
# A likelihood of n outcomes counts like one of ten: leave-one-out errors of a search's own trials are no
# independent draws.
_EVIDENCE = 10.0
# A priori the slope of the targets over the sources counts like this number of observations of unit spread.
_SLOPE_WORTH = 5.0
# Failures of the sources count like this number of trials on the device at hand.
_FAILURE_WORTH = 20.0


class _SourceFeatures(FeatureMap):
    """The space's features with the sources' levels beside them."""

    def __init__(self, problem: Problem, own: FeatureMap) -> None:
        super().__init__(problem.space, problem.features)
        self.own = own
        self.columns: SourceColumns | None = None

    def smooth(self, rows: np.ndarray) -> np.ndarray:
        """Both, side by side."""
        assert self.columns is not None
        return np.concatenate([self.own.smooth(rows), self.columns.scaled(rows)], axis=1)

    def groups(self, columns: int) -> list[list[int]]:
        """None: what single parameters do is in the sources' levels (with them, 30 seeds: worse at 25)."""
        return []

    def crossed(self, rows: np.ndarray) -> np.ndarray:
        """As without sources: failures are learned from the parameters."""
        return self.own.crossed(rows)


class _ForetoldModel(SurrogateModel):
    """A model whose targets are centred by what the sources foretell of the trials made.

    The first trials are the sources' best, so their own median says nothing of the space's. Where the
    sources expect them u units below the median, the median is put u units above them. From twenty
    trials on it is never put above their own median, in case the sources are wrong.
    """

    foretold: SourceColumns
    unit: float

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._told: np.ndarray | None = None
        self._levels: tuple[np.ndarray, np.ndarray] | None = None

    def levels(self) -> np.ndarray:
        """float64[candidates, sources]: what the sources say of the candidates."""
        rows = self.candidates.rows
        if self._levels is None or self._levels[0] is not rows:
            self._levels = rows, self.foretold.levels(rows)
        return self._levels[1]

    def told(self, count: int) -> np.ndarray:
        """float64[count, sources]: what the sources say of the first trials made."""
        known = 0 if self._told is None else len(self._told)
        if known < len(self.keys):
            fresh = self.foretold.levels(np.array(self.keys[known:], dtype=np.int32))
            self._told = fresh if self._told is None else np.concatenate([self._told, fresh])
        assert self._told is not None
        return self._told[:count]

    def targets(self, times: np.ndarray) -> np.ndarray:
        """See `SurrogateModel.targets`."""
        return standardised(self.foretold_levels(times), ~np.isnan(times))

    def foretold_levels(self, times: np.ndarray) -> np.ndarray:
        """The times of the successes on the scale of the sources' levels."""
        ok = ~np.isnan(times)
        logs = np.log(times[ok]) / self.unit
        centre = float(np.mean(logs - self.told(len(times))[ok] @ self.foretold.weights))
        if len(times) >= _TRUSTED_UNTIL:
            centre = min(centre, float(np.median(logs)))
        return press(logs - centre)


class _DepartingModel(_ForetoldModel):
    """Expects what the sources say and models the rest: where this device departs from them.

    The expectation is linear in the sources' levels, its slopes by ridge regression towards their mean,
    weighed by similarity, so that a source that foretells nothing loses its say and none is followed
    backwards.
    """

    def expected(self, times: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """See `SurrogateModel.expected`."""
        ok = ~np.isnan(times)
        told = self.told(len(times))
        around, about = told[ok] - told[ok].mean(axis=0), targets[ok] - targets[ok].mean()
        # Targets are divided by their deviation; in those units a source that is right has this slope.
        unit = float(about.std()) / max(float(self.foretold_levels(times).std()), 1e-6)
        prior = unit * self.foretold.weights
        matrix = around.T @ around + _SLOPE_WORTH * np.eye(len(prior))
        slopes = np.clip(np.linalg.solve(matrix, around.T @ about + _SLOPE_WORTH * prior), 0.0, None)
        offset = float(np.mean(targets[ok] - told[ok] @ slopes))
        return told @ slopes + offset, self.levels() @ slopes + offset


class TransferSearcher(TrackingSearcher):
    """Earlier observations lead the first trials; after that they must earn their place.

    Every usable history becomes a column: how fast each configuration was there. Its first trials are
    those the sources rank best, as soon as one has come back each source is a hypothesis weighed by how well
    it foretold the outcomes. From the eighth trial on three Gaussian processes share the proposals, weighed
    by their leave-one-out likelihoods: one does not see the sources, one sees their columns beside the
    parameters, one expects what they say and models the departure. A history that misleads loses its
    say within a few trials: seven draws among the first eighteen trials make sure that this is noticed, and
    every third proposal is made by the first process alone. After the draws the sources lead seven more.
    Without a usable history it is `surrogate`.
    """

    name = "transfer"
    wants_history = True
    summary = "surrogate begun from other devices and shapes in the store, discounted by their likelihood"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.sources, self.refused = find_sources(problem)
        self._alone = None if self.sources else SurrogateSearcher(problem)
        self.foresight = not self.sources
        self.why = self._reason()
        if self._alone is not None:
            return
        own = FeatureMap(problem.space, problem.features)
        features = _SourceFeatures(problem, own)
        self._columns = features.columns = SourceColumns(problem, self.sources, own)
        leaders = self._leaders()
        self._plain = _ForetoldModel(problem, _LED, own, always=leaders)
        shared = self._plain.candidates if self._plain.candidates.complete else None
        self._informed = _ForetoldModel(problem, _LED, features, shared, always=leaders)
        self._departing = _DepartingModel(problem, _LED, features, shared, always=leaders)
        self._models = (self._plain, self._informed, self._departing)
        for model in self._models:
            model.foretold = self._columns
            model.unit = float(np.mean([source.scale for source in self.sources]))
        self._warm: WarmStart | None = None
        self._share: tuple[np.ndarray, np.ndarray] | None = None
        self._keys: list[Key] = []
        self._times: list[float] = []

    @classmethod
    def unavailable(cls) -> str | None:
        """As `surrogate`."""
        return SurrogateSearcher.unavailable()

    def _reason(self) -> str:
        used = ", ".join(f"{s.label} (similarity {s.similarity:.2f})" for s in self.sources)
        text = f"it learns from {used}" if used else "no history can be used, so it is surrogate"
        return text + (f"; not used: {'; '.join(self.refused)}" if self.refused else "")

    def _leaders(self) -> list[Key]:
        """The sources' best configurations that are valid here."""
        leaders: dict[Key, None] = {}
        for source in self.sources:
            for key in sorted(source.level, key=source.level.__getitem__)[:200]:
                if self.space.why_invalid(self._config(key)) is None:
                    leaders[key] = None
        return list(leaders)

    def _config(self, key: Key) -> Config:
        return {p.name: p.values[i] for p, i in zip(self.space.parameters, key, strict=True)}

    def tell(self, observations: Sequence[Observation]) -> None:
        """See `Searcher.tell`."""
        super().tell(observations)
        if self._alone is not None:
            self._alone.tell(observations)

    def ask(self, n: int) -> list[Config]:
        """See `Searcher.ask`."""
        return super().ask(n) if self._alone is None else self._alone.ask(n)

    def observe(self, observation: Observation) -> None:
        """Adds the outcome to the models."""
        if self._alone is not None:
            return
        key, time_s = self.key(observation.config), observation.value
        self._keys.append(key)
        self._times.append(math.nan if time_s is None else time_s)
        for model in self._models:
            model.observe(key, time_s)

    def propose(self, n: int, rng: random.Random) -> Iterable[Config]:
        """One after the other: led by the sources, drawn, or by the models, as the trial's number says."""
        chosen: list[Config] = []
        out = sorted(self._out)
        room = n if self.left is None else min(n, self.left)
        for _ in range(room):
            number = len(self._keys) + len(out)
            taken = set(out) | self._seen
            if number in _DRAWN_PROMISING:
                key = self._drawn_promising(rng, taken)
            elif number in _DRAWN_AMONG_ALL:
                key = self._drawn(rng, taken)
            else:
                key = self._led(number, out, taken)
            if key is None:
                break
            out.append(key)
            chosen.append(self._config(key))
        return chosen

    def _drawn(self, rng: random.Random, taken: set[Key]) -> Key | None:
        drawn = self.draw(len(taken) + pool_size(self.space), rng)
        return self._far([key for key in map(self.key, drawn) if key not in taken], taken)

    def _drawn_promising(self, rng: random.Random, taken: set[Key]) -> Key | None:
        rows = self._pool().rows
        order = np.argsort(self._columns.consensus(rows), kind="stable")
        best = [tuple(rows[i].tolist()) for i in order[: max(20, len(rows) // 4)]]
        open_ = [key for key in best if key not in taken]
        pool = rng.sample(open_, min(len(open_), pool_size(self.space)))
        return self._far(pool, taken) if pool else self._drawn(rng, taken)

    def _far(self, pool: Sequence[Key], taken: set[Key]) -> Key | None:
        return next(iter(self._plain.far_apart(pool, sorted(taken), 1)), None)

    def _pool(self) -> Candidates:
        """The candidates, gathered for the first time if need be."""
        for model in self._models:
            if not len(model.candidates.rows):
                model.candidates.renew([], random.Random(f"warm/{self.problem.seed}"))
        return self._plain.candidates

    def _led(self, number: int, out: Sequence[Key], taken: set[Key]) -> Key | None:
        enough = len(self._keys) >= _LED and self._plain.successes >= 3
        by_models = enough and number >= _WARM and number not in _LED_AGAIN
        scores = self._by_models(number, out) if by_models else self._by_sources(out)
        candidates = self._plain.candidates
        open_ = np.ones(len(candidates.rows), dtype=bool)
        open_[[candidates.place[key] for key in taken if key in candidates.place]] = False
        if not open_.any():
            return None
        return tuple(candidates.rows[int(np.where(open_, scores, -np.inf).argmax())].tolist())

    def _by_sources(self, out: Sequence[Key]) -> np.ndarray:
        candidates = self._pool()
        if self._warm is None or not candidates.complete:
            levels = self._columns.levels(candidates.rows)
            self._warm = WarmStart(self.sources, levels, self._informed.smooth(candidates.rows))
        known = [(k, t) for k, t in zip(self._keys, self._times, strict=True) if k in candidates.place]
        # Proposals still out teach nothing yet; they are only not made again.
        places = [candidates.place[key] for key, _ in known]
        scores = self._warm.acquisition(places, np.array([t for _, t in known]))
        return scores + np.log(1.0 - self._failure_prior(len(self._keys)))

    def _failure_prior(self, count: int) -> np.ndarray:
        """The sources' share of failures, believed less and less: float64[candidates] in [0, 0.8]."""
        rows = self._plain.candidates.rows
        if self._share is None or self._share[0] is not rows:
            self._share = (rows, self._columns.chance_of_failure(rows))
        return np.asarray(0.8 * self._share[1] * _FAILURE_WORTH / (_FAILURE_WORTH + count))

    def _by_models(self, number: int, out: Sequence[Key]) -> np.ndarray:
        models = self._models if number % _ALONE_EVERY else (self._plain,)
        scores: list[Scores] = [model.scores(out) for model in models]
        temper = min(1.0, _EVIDENCE / len(self._keys))
        mixed = mixture([s.acquisition() for s in scores], [temper * s.log_likelihood for s in scores])
        for s in scores:
            s.close()
        return mixed + np.log(1.0 - self._failure_prior(len(self._keys)))
