"""Search strategies, found by the registry; here what Optuna's users need of them.

A searcher proposes configurations (`ask`) and is told what they took (`tell`); it never builds or runs
anything. Files directly here need nothing but NumPy; `model/`, `transfer/`, `metaschedule/` and `optuna/`
bring a library or a model. `disturbed` is for all of them: what to make of times that were taken beside
other programs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tuner.core.searcher import History, Searcher
from tuner.core.space import Config, SearchSpace, Value

if TYPE_CHECKING:
    import optuna

__all__ = ["as_optuna_sampler", "suggest_config"]


def as_optuna_sampler(
    searcher: type[Searcher],
    space: SearchSpace | None = None,
    *,
    seed: int = 0,
    budget: int | None = None,
    features: Callable[[Config], Mapping[str, float]] | None = None,
    history: Sequence[History] = (),
    device: Mapping[str, float] | None = None,
) -> "optuna.samplers.BaseSampler":
    """A searcher as an ordinary Optuna sampler: `optuna.create_study(sampler=as_optuna_sampler(...))`.

    With a space, the objective takes its configuration from `suggest_config(trial, space)` and constraints
    hold for every trial. Without one, the space is what the objective suggests: the first trial is random,
    integers and stepped floats are taken as they are (at most 1,000 values), others as 64 values
    evenly spaced, or by ratio with `log=True`.

    Args:
        searcher: the class, e.g. `tuner.registry.searcher("surrogate")`.
        space, seed, budget, features, history, device: as in `Problem`.

    Raises:
        ValueError: later, by `study.ask`, if the study has several objectives.
    """
    from tuner.searchers.optuna.bridge import SearcherSampler

    return SearcherSampler(searcher, space, seed, budget, features, history, dict(device or {}))


def suggest_config(trial: "optuna.Trial", space: SearchSpace) -> dict[str, Value]:
    """The configuration of a trial, in the form that `as_optuna_sampler(searcher, space)` proposes."""
    config = {}
    for p in space.parameters:
        value = trial.suggest_categorical(p.name, p.values)
        assert value is not None  # no parameter has such a value
        config[p.name] = value
    return config
