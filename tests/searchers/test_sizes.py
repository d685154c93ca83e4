"""Every searcher, Optuna's samplers by name too, on spaces of 0, 1, 3 and 10 million configurations."""

import optuna
import pytest

from tests.searchers.test_contract import CLOSED, frozen, make, observe
from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.space import Constraint, Parameter, SearchSpace
from tuner.searchers.optuna import samplers

BY_NAME = [f"optuna:{name}" for name in samplers._BY_NAME]
NAMES = [*CLOSED, *BY_NAME]
SIZES = {
    0: [SearchSpace([Parameter("a", (1, 2))], [Constraint("never", "a > 2")])],
    1: [
        SearchSpace(),
        SearchSpace([Parameter("a", (7,))]),
        SearchSpace(
            [Parameter("a", (1, 2, 3)), Parameter("b", ("x", "y"))], [Constraint("c", "a == 2 and b == 'y'")]
        ),
    ],
    3: [
        SearchSpace([Parameter("a", (1, 2, 4))]),
        SearchSpace([Parameter("a", ("x", "y", "z"))]),
        SearchSpace(
            [Parameter("a", (1, 2)), Parameter("b", (False, True))], [Constraint("c", "a == 1 or b")]
        ),
    ],
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_more_trials_than_configurations_end_with_nothing_left(name, size):
    for space in SIZES[size]:
        assert space.size == size
        for batch in (1, 12):
            searcher, seen = make(name, space, budget=12), []
            for _ in range(12):
                got = searcher.ask(batch)
                seen += got
                searcher.tell(observe(got, lambda c: len(c) and next(iter(c.values())) == 2))
            assert len(seen) == size == len({frozen(c) for c in seen})
            # As a sweep that goes on from the store.
            again = make(name, space, budget=12)
            again.tell(observe(seen))
            assert again.ask(12) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lists", [(10,) * 7, (200, 250, 200)])
def test_ten_million_configurations_are_never_listed(name, lists):
    space = SearchSpace([Parameter(f"p{i}", tuple(range(n))) for i, n in enumerate(lists)])
    assert space.size == 10**7
    searcher, seen = make(name, space, budget=8), []
    for n in (1, 3, 4):
        got = searcher.ask(n)
        seen += got
        searcher.tell(observe(got))
    assert len({frozen(c) for c in seen}) == 8


def test_every_sampler_of_optuna_is_offered_or_refused_with_what_to_take_instead():
    for name in (n for n in dir(optuna.samplers) if n.endswith("Sampler")):
        if f"optuna:{name}" in BY_NAME:
            assert registry.searcher(f"optuna:{name}").name == f"optuna:{name}"
        else:
            with pytest.raises(TunerError, match=r"cannot be used as a searcher: .*(take|grid)") as caught:
                registry.searcher(f"optuna:{name}")
            assert "\n" not in str(caught.value)
