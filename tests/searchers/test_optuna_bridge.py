"""Searchers as ordinary Optuna samplers."""

import optuna
import pytest

from tuner import registry
from tuner.core.space import Constraint, Parameter, SearchSpace
from tuner.searchers import as_optuna_sampler, suggest_config

optuna.logging.set_verbosity(optuna.logging.ERROR)

SPACE = SearchSpace(
    [Parameter("tile", (4, 8, 16, 32)), Parameter("unroll", (1, 2, 4)), Parameter("pack", (False, True))],
    [Constraint("fits", "tile * unroll <= 64")],
)


@pytest.mark.parametrize("name", ["surrogate", "random", "genetic"])
def test_every_trial_is_valid_and_new_until_all_were_tried(name):
    seen = []

    def objective(trial: optuna.Trial) -> float:
        config = suggest_config(trial, SPACE)
        assert config in SPACE
        seen.append(tuple(config.values()))
        if config["unroll"] == 4:
            raise ValueError("does not compile")
        return abs(config["tile"] - 16) + config["unroll"]

    study = optuna.create_study(sampler=as_optuna_sampler(registry.searcher(name), SPACE, budget=22))
    study.optimize(objective, n_trials=SPACE.size, catch=(ValueError,))
    assert len(set(seen)) == SPACE.size
    assert study.best_value == 1


def test_finds_a_maximum_of_negative_values_with_suggest_calls_and_no_space():
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -4.0, 4.0)
        n = trial.suggest_int("n", 1, 1024, log=True)
        kind = trial.suggest_categorical("kind", ["a", "b"])
        return -((x - 1) ** 2) - (n - 64) ** 2 / 1000 - (kind == "b")

    sampler = as_optuna_sampler(registry.searcher("surrogate"), budget=60)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=60)
    random = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    random.optimize(objective, n_trials=60)
    assert study.best_value > random.best_value
    assert study.best_value > -0.5


def test_running_trials_are_not_proposed_again():
    study = optuna.create_study(sampler=as_optuna_sampler(registry.searcher("random"), SPACE))
    configs = [tuple(suggest_config(study.ask(), SPACE).values()) for _ in range(SPACE.size)]
    assert len(set(configs)) == SPACE.size


def test_several_objectives_are_refused():
    study = optuna.create_study(
        directions=["minimize", "minimize"], sampler=as_optuna_sampler(registry.searcher("random"), SPACE)
    )
    with pytest.raises(ValueError, match="one objective"):
        suggest_config(study.ask(), SPACE)
