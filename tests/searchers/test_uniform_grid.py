"""Random and grid search."""

from collections import Counter
from itertools import pairwise

import pytest

from tuner import registry
from tuner.core.errors import UnknownName
from tuner.core.searcher import Problem
from tuner.core.space import Constraint, Parameter, SearchSpace
from tuner.searchers.grid import even_ranks


def test_random_is_uniform_over_the_valid_configurations():
    space = SearchSpace([Parameter("a", tuple(range(8))), Parameter("b", tuple(range(8)))],
                        [Constraint("half", "a >= b")])  # fmt: skip
    kind = registry.searcher("random")
    counts = Counter(tuple(kind(Problem(space, seed)).ask(1)[0].values()) for seed in range(3600))
    assert len(counts) == 36
    # 100 expected each; chi-squared with 35 degrees of freedom exceeds 66.6 once in a thousand.
    assert sum((n - 100) ** 2 / 100 for n in counts.values()) < 66.6


def test_grid_with_a_short_budget_is_spread_evenly():
    assert list(even_ranks(100, 5))[:5] == [10, 30, 50, 70, 90]


def test_grid_walks_in_order_when_the_budget_allows():
    space = SearchSpace([Parameter("a", (1, 2, 3)), Parameter("b", (1, 2))])
    searcher = registry.searcher("grid")(Problem(space, budget=6))
    assert searcher.ask(6) == list(space)


@pytest.mark.parametrize(("size", "budget"), [(1, None), (2, None), (97, None), (100, 7), (64, 63)])
def test_grid_visits_every_rank(size, budget):
    assert set(even_ranks(size, budget)) == set(range(size))


def test_grid_without_a_budget_leaves_no_large_gap():
    ranks = sorted(list(even_ranks(1000, None))[:50])
    gaps = [b - a for a, b in pairwise(ranks)]
    assert max(gaps) <= 3 * 1000 / 50


def test_a_searcher_that_is_no_family_has_no_members():
    with pytest.raises(UnknownName, match="random:fast"):
        registry.searcher("random:fast")


def test_optuna_samplers_that_do_not_exist_are_named():
    with pytest.raises(UnknownName, match="QMCSampler"):
        registry.searcher("optuna:QMC2Sampler")


def test_an_unknown_option_of_a_sampler_is_named():
    space = SearchSpace([Parameter("a", (1, 2, 3))])
    with pytest.raises(UnknownName, match="n_startup"):
        registry.searcher("tpe")(Problem(space, options={"n_startup": 3}))
