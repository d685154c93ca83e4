"""What earlier observations of the same kernel, on other devices or of other shapes, say of a space."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tuner.core.searcher import History, Problem, similarity
from tuner.core.space import SearchSpace, Value
from tuner.searchers.base import Key
from tuner.searchers.disturbed import learnable
from tuner.searchers.model.covariance import Hyperparameters
from tuner.searchers.model.features import FeatureMap
from tuner.searchers.model.gp import CandidateProcess
from tuner.searchers.model.targets import press

SOURCES_AT_MOST = 4
_FEWEST = 10
# Of the most similar one's similarity: a source of less is not used, it would only blur what that one says.
# With this value a device of another kind is heard if it is as near in size as the nearest of the same kind.
_FAR = 0.25
_BY_PROCESS_AT_MOST = 400
_BY_TREES_AT_MOST = 6_000


@dataclass(frozen=True)
class SourceTask:
    """One history in terms of the space at hand.

    Attributes:
        label: for messages.
        level: observed configurations with their log time, centred on the source's median, in units of the
            root mean square distance of its fast half from there; failures have the largest level.
        failed: those of them that failed.
        scale: that unit, in logarithms of time.
        similarity: 0 < s <= 1, by the facts of device and workload; 1 where nothing is known of them.
    """

    label: str
    level: Mapping[Key, float]
    failed: frozenset[Key]
    scale: float
    similarity: float


def find_sources(problem: Problem) -> tuple[list[SourceTask], list[str]]:
    """Usable histories, the most similar first, at most four; and why the others are not used.

    That one of another element type does not fit this one's space is nothing to tell: it rarely does.
    """
    sources, refused = [], []
    for history in problem.history:
        source, reason = _source(problem, history)
        same_type = not (problem.dtype and history.dtype) or problem.dtype == history.dtype
        if source is None and same_type:
            refused.append(f"{history.label or 'a history'}: {reason}")
        elif source is not None:
            sources.append(source)
    sources.sort(key=lambda s: (-s.similarity, -len(s.level), s.label))
    nearest = sources[0] if sources else None
    while nearest is not None and sources[-1].similarity < _FAR * nearest.similarity:
        refused.append(f"{sources.pop().label}: {nearest.label} is far more similar")
    refused += [f"{s.label}: {SOURCES_AT_MOST} others are more similar" for s in sources[SOURCES_AT_MOST:]]
    return sources[:SOURCES_AT_MOST], refused


def _source(problem: Problem, history: History) -> tuple[SourceTask | None, str]:
    own = {p.name for p in problem.space.parameters}
    for p in history.space.parameters:
        if p.name not in own and len(p.values) > 1:
            return None, f"its parameter {p.name} is none of this kernel's"
    fixed = {p.name: p.values[0] for p in problem.space.parameters if len(p.values) == 1}
    theirs = {p.name for p in history.space.parameters}
    for p in problem.space.parameters:
        if p.name not in theirs and p.name not in fixed:
            return None, f"it has no parameter {p.name}"
    place = _places(problem.space, fixed)
    observations = learnable(history.observations)
    keys = [place(o.config) for o in observations]
    times: dict[Key, float] = {}
    failed: set[Key] = set()
    for key, observation in zip(keys, observations, strict=True):
        if key is None:
            continue
        if observation.value is None:
            failed.add(key)
        else:
            times[key] = observation.value
    if len(times) < _FEWEST:
        return None, f"only {len(times)} of its configurations have a time and fit this space"
    logs = np.log(np.array(list(times.values())))
    centre = float(np.median(logs))
    fast = logs[logs <= centre] - centre
    scale = max(float(np.sqrt(np.mean(fast**2))), 1e-3)
    level = {key: (math.log(t) - centre) / scale for key, t in times.items()}
    # A few hopeless configurations must not set the range: failures are as slow as the slowest twentieth.
    worst = float(np.quantile(np.array(list(level.values())), 0.95))
    level.update(dict.fromkeys(failed, worst))
    near = similarity(problem.device, history.device, problem.workload, history.workload)
    return SourceTask(history.label or "a history", level, frozenset(failed), scale, near), ""


def _places(space: SearchSpace, fixed: Mapping[str, Value]) -> Callable[[Mapping[str, Value]], Key | None]:
    """A configuration in the space's value lists; `None` where one of its values is not among them.

    By dictionaries: a recorded space of 18,000 configurations is placed in 0.1 s.
    """
    # True equals 1 in Python, and is another value here.
    tables = [
        (p.name, fixed.get(p.name), {(isinstance(v, bool), v): i for i, v in enumerate(p.values)})
        for p in space.parameters
    ]

    def place(config: Mapping[str, Value]) -> Key | None:
        places = []
        for name, otherwise, table in tables:
            value = config.get(name, otherwise)
            found = table.get((isinstance(value, bool), value))  # type: ignore[arg-type]
            if found is None:
                return None
            places.append(found)
        return tuple(places)

    return place


class SourceColumns:
    """The levels of every source at any configuration: as observed there, else as a model of it has it.

    Args:
        problem: the sweep's.
        sources: as found.
        features: of the space.
    """

    def __init__(self, problem: Problem, sources: Sequence[SourceTask], features: FeatureMap) -> None:
        self._sources = sources
        self._features = features
        self._width = len(problem.space.parameters)
        self._seed = problem.seed
        self._known: dict[Key, tuple[np.ndarray, np.ndarray]] = {}
        ends = [(press(np.array(list(s.level.values())))) for s in sources]
        weights = np.array([s.similarity for s in sources])
        self.weights: np.ndarray = weights / weights.sum()
        self._low = np.array([e.min() for e in ends])
        self._span = np.array([max(float(e.max() - e.min()), 1e-6) for e in ends])

    def levels(self, rows: np.ndarray) -> np.ndarray:
        """float64[len(rows), sources], the slow side pressed together as in `press`."""
        return self._look_up(rows)[0]

    def consensus(self, rows: np.ndarray) -> np.ndarray:
        """float64[len(rows)]: the mean level, sources weighed by their similarity."""
        result: np.ndarray = self.levels(rows) @ self.weights
        return result

    def scaled(self, rows: np.ndarray) -> np.ndarray:
        """The same in [0, 1], for distances."""
        result: np.ndarray = (self.levels(rows) - self._low) / self._span
        return result

    def chance_of_failure(self, rows: np.ndarray) -> np.ndarray:
        """float64[len(rows)]: the share of the sources in which it failed."""
        return np.asarray(self._look_up(rows)[1].mean(axis=1))

    def _look_up(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        keys = list(map(tuple, rows.tolist()))
        missing = [key for key in dict.fromkeys(keys) if key not in self._known]
        if missing:
            table = np.array(missing, dtype=np.int32).reshape(len(missing), self._width)
            columns = [self._column(source, missing, table) for source in self._sources]
            levels, failed = (np.stack([c[i] for c in columns], axis=1) for i in (0, 1))
            self._known.update(zip(missing, zip(levels, failed, strict=True), strict=True))
        found = [self._known[key] for key in keys]
        return np.array([f[0] for f in found]), np.array([f[1] for f in found])

    def _column(
        self, source: SourceTask, keys: Sequence[Key], rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        level = press(np.array([source.level.get(key, np.nan) for key in keys]))
        unknown = np.isnan(level)
        if unknown.any():
            level[unknown] = self._predicted(source, rows[unknown])
        return level, np.array([float(key in source.failed) for key in keys])

    def _predicted(self, source: SourceTask, rows: np.ndarray) -> np.ndarray:
        keys = list(source.level)
        if len(keys) > _BY_TREES_AT_MOST:
            keys = [keys[i] for i in np.linspace(0, len(keys) - 1, _BY_TREES_AT_MOST).astype(int)]
        seen = np.array(keys, dtype=np.int32).reshape(len(keys), self._width)
        targets = press(np.array([source.level[key] for key in keys]))
        if len(keys) <= _BY_PROCESS_AT_MOST:
            return _by_process(self._features.smooth(seen), targets, self._features.smooth(rows))
        return _by_trees(self._features.crossed(seen), targets, self._features.crossed(rows), self._seed)


def _by_process(seen: np.ndarray, targets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    hyper = Hyperparameters(seen.shape[1])
    chosen = np.linspace(0, len(seen) - 1, min(len(seen), 150)).astype(int)
    centre, deviation = float(targets.mean()), max(float(targets.std()), 1e-6)
    hyper.fit(seen[chosen], (targets[chosen] - centre) / deviation)
    process = CandidateProcess(hyper, rows, len(seen))
    process.add_all(seen)
    mean, _ = process.predict((targets - centre) / deviation)
    return mean.astype(float) * deviation + centre


def _by_trees(seen: np.ndarray, targets: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    import xgboost

    settings = {
        "max_depth": 7, "eta": 0.15, "subsample": 0.8, "nthread": 1, "seed": seed, "verbosity": 0,
    }  # fmt: skip
    booster = xgboost.train(settings, xgboost.DMatrix(seen, label=targets), 120)
    return np.asarray(booster.inplace_predict(rows), dtype=float)
