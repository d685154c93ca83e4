"""Optuna's samplers as searchers: made to work on constrained spaces without wasting a trial.

Parameters become Optuna distributions over *places* in their value lists, so that tile sizes act by
ratio. What a sampler proposes is repaired to the nearest valid configuration; if that one is taken, the
sampler is asked again with another seed, then the nearest unseen neighbour is taken: an ask never deadlocks.
The study lives in memory and holds one trial an observation, rebuilt by `tell`.
"""

import inspect
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar

from tuner.core.errors import TunerError, UnknownName
from tuner.core.searcher import Observation, Problem, Searcher
from tuner.core.space import Config, Parameter, Value
from tuner.searchers.base import TrackingSearcher

if TYPE_CHECKING:
    import optuna

# Samplers that need nothing but a seed; the others (grid, partially fixed) need a space of Optuna's.
_BY_NAME = (
    "BruteForceSampler", "CmaEsSampler", "GPSampler", "NSGAIISampler", "NSGAIIISampler", "QMCSampler",
    "RandomSampler", "TPESampler",
)  # fmt: skip
# What else `optuna.samplers` holds, and what does the same here.
_NOT_OFFERED = {
    "GridSampler": "it needs a search space of Optuna's: searcher grid goes through the kernel's own",
    "PartialFixedSampler": "it needs another sampler and the parameters to fix: take that sampler, e.g. tpe",
    "BaseSampler": "it is the base of all samplers and proposes nothing: take one of them, e.g. tpe",
    "BaseGASampler": "it is a base class and proposes nothing: take optuna:NSGAIISampler or genetic",
}
# These read the observed trials alone. The others keep their state in attributes that sampling writes, so
# a recorded trial is sampled for too before its parameters are replaced by those observed.
_STATELESS = frozenset({"BruteForceSampler", "GPSampler", "QMCSampler", "RandomSampler", "TPESampler"})
_NO_CATEGORIES = frozenset({"CmaEsSampler", "GPSampler"})
_ATTEMPTS = {"BruteForceSampler": 1, "GPSampler": 2, "CmaEsSampler": 4}


class OptunaSearcher(TrackingSearcher):
    """Base of the searchers that are Optuna samplers; `sampler` names the class in `optuna.samplers`.

    Every sampling uses a fresh sampler seeded from the problem's seed and the number of observations. A
    failure is told as pruned to TPE, which ranks it behind every time; to the others, which would ignore
    it, as the slowest time so far.
    """

    sampler: ClassVar[str]
    arguments: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        import optuna

        self._free = [p for p in self.space.parameters if len(p.values) > 1]
        self._distributions = {p.name: self._distribution(p) for p in self._free}
        with _quiet():
            # A private study: its storage is this process's memory and dies with the searcher.
            self._study = optuna.create_study(direction="minimize")
        # A sampler that has tried all it can (brute force) stops its study, which raises outside of an
        # objective; when a sweep ends is not a sampler's to say.
        self._study.stop = lambda: None  # type: ignore[method-assign]
        self._observed = 0
        self._worst: float | None = None
        self._make_sampler(0)  # an unknown argument is told of here, not in the middle of a sweep

    def _distribution(self, parameter: Parameter) -> "optuna.distributions.BaseDistribution":
        from optuna.distributions import CategoricalDistribution, IntDistribution

        # A choice of two has an order whichever way it is written: 0, 1.
        if parameter.ordinal or (len(parameter.values) == 2 and self.sampler in _NO_CATEGORIES):
            return IntDistribution(0, len(parameter.values) - 1)
        return CategoricalDistribution(range(len(parameter.values)))

    def _make_sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        import optuna

        kind: Callable[..., optuna.samplers.BaseSampler] = getattr(optuna.samplers, self.sampler)
        if self.sampler == "CmaEsSampler":
            kind = _numberless(optuna.samplers.CmaEsSampler)
        arguments = {**self.arguments, **self.problem.options}
        accepted = inspect.signature(getattr(optuna.samplers, self.sampler)).parameters
        unknown = arguments.keys() - accepted.keys()
        if unknown:
            raise UnknownName(f"option of {self.sampler}", min(unknown), [*accepted])
        with _quiet():  # several arguments are marked experimental
            return kind(**{**arguments, "seed": seed})

    def _params(self, config: Config) -> dict[str, int]:
        return {p.name: p.index(config[p.name]) for p in self._free}

    def _running(self, config: Config | None, seed: int, learn: bool) -> "optuna.Trial":
        """A new trial of the study, its parameters sampled, or those of `config`."""
        with _quiet():
            self._study.sampler = self._make_sampler(seed)
            if config is not None:
                self._study.enqueue_trial(self._params(config))
            trial = self._study.ask()
            if learn:
                _ = trial.relative_params  # makes the sampler note its generation
            for name, distribution in self._distributions.items():
                if hasattr(distribution, "choices"):
                    trial.suggest_categorical(name, distribution.choices)
                else:
                    trial.suggest_int(name, distribution.low, distribution.high)  # type: ignore[attr-defined]
        return trial

    def _seed(self, *parts: int) -> int:
        return random.Random(f"{self.problem.seed}/{parts}").randrange(2**31)

    def observe(self, observation: Observation) -> None:
        """Adds a finished trial; times are told as logarithms, for what counts is the ratio."""
        from optuna.trial import TrialState

        if not self._free:
            return
        learn = self.sampler not in _STATELESS
        trial = self._running(observation.config, self._seed(self._observed, 0), learn)
        self._observed += 1
        time_s = observation.value
        if time_s is not None:
            value = math.log(time_s)
            self._worst = value if self._worst is None else max(value, self._worst)
            self._study.tell(trial, value)
        elif self.sampler == "TPESampler":
            self._study.tell(trial, state=TrialState.PRUNED)
        elif self._worst is not None:
            self._study.tell(trial, self._worst)
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def propose(self, n: int, rng: random.Random) -> Iterable[Config]:
        """Proposals of the sampler, those out already shown to it as running."""
        from optuna.trial import TrialState

        if not self._free:
            return []
        fixed = {p.name: p.values[0] for p in self.space.parameters if len(p.values) == 1}
        out = [
            {p.name: p.values[i] for p, i in zip(self.space.parameters, key, strict=True)}
            for key in sorted(self._out)
        ]
        trials = [self._running(config, 0, False) for config in out]
        chosen: list[Config] = []
        taken = set(self._seen)
        # A low-discrepancy sequence starts over after a resume: walk past what it had proposed.
        attempts = 8 + len(taken) if self.sampler == "QMCSampler" else _ATTEMPTS.get(self.sampler, 8)
        for place in range(min(n, n if self.left is None else self.left)):
            config: dict[str, Value] = {}
            for attempt in range(attempts):
                trial = self._running(None, self._seed(self._observed, len(out) + place, attempt), False)
                trials.append(trial)
                wanted = {p.name: p.values[trial.params[p.name]] for p in self._free}
                config = self.repair({**fixed, **wanted}, rng)
                if self.key(config) not in taken:
                    break
            else:
                unseen = (c for c in self.nearby(config, rng) if self.key(c) not in taken)
                near = next(unseen, None)
                if near is None:
                    break  # the base draws uniformly from what is left
                config = near
            taken.add(self.key(config))
            chosen.append(config)
        for trial in trials:
            self._study.tell(trial, state=TrialState.FAIL)  # samplers skip failed trials
        return chosen

    @classmethod
    def unavailable(cls) -> str | None:
        """Whether the packages that the sampler imports are there."""
        from importlib.util import find_spec

        needs = {"CmaEsSampler": ["cmaes"], "GPSampler": ["torch", "scipy"], "QMCSampler": ["scipy"]}
        for package in ["optuna", *needs.get(cls.sampler, [])]:
            if find_spec(package) is None:
                return f"{cls.sampler} needs the package {package}"
        return None


@contextmanager
def _quiet() -> Iterator[None]:
    """No log lines or warnings from Optuna inside; its verbosity is the user's own outside."""
    import warnings

    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _numberless(base: "type[optuna.samplers.CmaEsSampler]") -> "type[optuna.samplers.CmaEsSampler]":
    """CMA-ES whose randomness does not depend on how many trials were proposed in vain."""

    class Numberless(base):  # type: ignore[misc,valid-type]
        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            same = copy(trial)
            same.number = 0  # Optuna adds the number to the seed
            result: dict[str, Any] = super().sample_relative(study, same, search_space)
            return result

    return Numberless


class TPESearcher(OptunaSearcher):
    """Tree-structured Parzen estimator, multivariate (Bergstra et al., NIPS 2011)."""

    name = "tpe"
    summary = "Optuna's multivariate TPE, repaired to the nearest valid configuration"
    sampler = "TPESampler"
    arguments: ClassVar[Mapping[str, Any]] = {"multivariate": True, "constant_liar": True}


class CMAESSearcher(OptunaSearcher):
    """CMA-ES over places in the value lists (Hansen, The CMA evolution strategy: a tutorial, 2016)."""

    name = "cmaes"
    summary = "Optuna's CMA-ES, repaired to the nearest valid configuration"
    sampler = "CmaEsSampler"
    arguments: ClassVar[Mapping[str, Any]] = {"warn_independent_sampling": False}


class GPSearcher(OptunaSearcher):
    """Gaussian process with logEI; needs torch."""

    name = "gp"
    summary = "Optuna's Gaussian process, repaired to the nearest valid configuration (needs torch)"
    sampler = "GPSampler"
    arguments: ClassVar[Mapping[str, Any]] = {"warn_independent_sampling": False}


class AnyOptunaSearcher(OptunaSearcher):
    """Any other sampler by its class name: `optuna:QMCSampler`; plain `optuna` is Optuna's default, TPE."""

    name = "optuna"
    summary = "any sampler of Optuna by its class name, e.g. optuna:QMCSampler"
    sampler = "TPESampler"

    @classmethod
    def variant(cls, which: str) -> type[Searcher]:
        """The searcher `optuna:which`.

        Raises:
            UnknownName: Optuna has no such sampler, or it needs more than a seed.
        """
        import optuna

        name = which if which.endswith("Sampler") else f"{which}Sampler"
        if name in _NOT_OFFERED:
            raise TunerError(f"sampler {name} of Optuna cannot be used as a searcher: {_NOT_OFFERED[name]}")
        if name not in _BY_NAME:
            raise UnknownName("sampler of Optuna", which, list(_BY_NAME))
        if not hasattr(optuna.samplers, name):
            raise TunerError(f"optuna {optuna.__version__} has no {name}: upgrade it")
        return type(f"Optuna{name}", (cls,), {"name": f"optuna:{name}", "sampler": name})
