"""A searcher in the shape of an Optuna sampler; imports Optuna, so only `as_optuna_sampler` imports it."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)  # fmt: skip
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.core.errors import InvalidConfig
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.searcher import History, Observation, Problem, Searcher
from tuner.core.space import Config, Parameter, SearchSpace, Value
from tuner.searchers.base import TrackingSearcher

_VALUES_AT_MOST = 1_000
_CONTINUOUS = 64


class SearcherSampler(BaseSampler):
    """Rebuilds the searcher from the study for every trial, so that the study remains the only state.

    Objectives of any sign are taken: searchers want positive times, so where a value is not positive all
    are replaced by exp((v - median) / spread), which keeps their order. A failed trial, and a pruned one
    that reported nothing, is a failure.
    """

    def __init__(
        self, searcher: type[Searcher], space: SearchSpace | None, seed: int, budget: int | None,
        features: Callable[[Config], Mapping[str, float]] | None, history: Sequence[History],
        device: Mapping[str, float],
    ) -> None:  # fmt: skip
        self._searcher, self._space = searcher, space
        self._seed, self._budget, self._features = seed, budget, features
        self._history, self._device = history, device
        self._independent = RandomSampler(seed=seed)

    def reseed_rng(self) -> None:
        """For independent parameters of parallel workers; proposals depend on the study alone."""
        self._independent.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The given space, or what all finished trials had in common."""
        if self._space is not None:
            return {p.name: CategoricalDistribution(p.values) for p in self._space.parameters}
        return IntersectionSearchSpace().calculate(study)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The searcher's next proposal; nothing once all configurations were tried."""
        if len(study.directions) > 1:
            raise ValueError("a searcher has one objective, the time; this study has several")
        if not search_space:
            return {}
        space = self._space or _space_of(search_space)
        problem = Problem(space, self._seed, self._budget, self._features, self._history, self._device)
        searcher = self._searcher(problem)
        finished = study.get_trials(
            deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        )
        searcher.tell(_observations(finished, space, study.direction == StudyDirection.MAXIMIZE))
        if isinstance(searcher, TrackingSearcher):
            for running in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                config = _config(running, space)
                if running.number != trial.number and config is not None:
                    searcher.reserve(config)
        proposal = searcher.ask(1)
        return dict(proposal[0]) if proposal else {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Uniform: the first trial without a given space, and parameters that only some trials have."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)


def _space_of(distributions: Mapping[str, BaseDistribution]) -> SearchSpace:
    return SearchSpace([Parameter(name, _values(d)) for name, d in sorted(distributions.items())])


def _values(distribution: BaseDistribution) -> tuple[Value, ...]:
    if isinstance(distribution, CategoricalDistribution):
        return tuple(distribution.choices)  # type: ignore[arg-type]
    if isinstance(distribution, IntDistribution):
        every = range(distribution.low, distribution.high + 1, distribution.step)
        if len(every) <= _VALUES_AT_MOST:
            return tuple(every)
        picked = _spaced(distribution.low, distribution.high, distribution.log)
        steps = ((v - distribution.low) / distribution.step for v in picked)
        return tuple(dict.fromkeys(distribution.low + round(s) * distribution.step for s in steps))
    assert isinstance(distribution, FloatDistribution)  # Optuna has no fourth kind
    if distribution.step is not None:
        count = round((distribution.high - distribution.low) / distribution.step) + 1
        if count <= _VALUES_AT_MOST:
            return tuple(distribution.low + i * distribution.step for i in range(count))
    return tuple(dict.fromkeys(_spaced(distribution.low, distribution.high, distribution.log)))


def _spaced(low: float, high: float, log: bool) -> list[float]:
    values = np.geomspace(low, high, _CONTINUOUS) if log else np.linspace(low, high, _CONTINUOUS)
    return np.clip(values, low, high).tolist()  # type: ignore[no-any-return]


def _config(trial: FrozenTrial, space: SearchSpace) -> Config | None:
    """The trial's parameters, each moved to the nearest value of the space's list."""
    config: dict[str, Value] = {}
    for p in space.parameters:
        if p.name not in trial.params:
            return None
        value = trial.params[p.name]
        try:
            config[p.name] = p.values[p.index(value)]
        except InvalidConfig:
            if not p.ordinal or not isinstance(value, int | float):
                return None
            config[p.name] = min(p.values, key=lambda v: abs(float(v) - float(value)))
    return config


def _observations(trials: Sequence[FrozenTrial], space: SearchSpace, maximise: bool) -> list[Observation]:
    told = []
    for trial in sorted(trials, key=lambda t: t.number):
        config = _config(trial, space)
        if config is not None:
            told.append((config, _value(trial, maximise)))
    values = [v for _, v in told if v is not None]
    if any(v <= 0 for v in values):
        centre = median(values)
        spread = median(abs(v - centre) for v in values) or 1.0
        # exp(+-60) is far from overflow and still in order for any value within 60 spreads.
        told = [
            (c, None if v is None else math.exp(max(-60.0, min(60.0, (v - centre) / spread))))
            for c, v in told
        ]
    return [Observation(config, _measurement(value)) for config, value in told]


def _value(trial: FrozenTrial, maximise: bool) -> float | None:
    value = trial.value if trial.state is TrialState.COMPLETE else None
    if trial.state is TrialState.PRUNED and trial.intermediate_values:
        value = trial.intermediate_values[max(trial.intermediate_values)]
    if value is None or not math.isfinite(value):
        return None
    return -value if maximise else value


def _measurement(value: float | None) -> Measurement:
    if value is None:
        return Measurement(Status.RUN_ERROR, Evidence.MEASURED, error="the objective failed")
    return Measurement(Status.OK, Evidence.MEASURED, samples=(value,))
