"""What every registered searcher must do, whatever its strategy."""

import math
import random

import pytest

from tuner import registry
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.searcher import Observation, Problem
from tuner.core.space import Constraint, Parameter, SearchSpace

# What proposes from open spaces has tests of its own: nothing here could list such a space.
CLOSED = sorted(name for name, kind in registry.searchers().items() if not kind.open_space)
NAMES = [*CLOSED, "optuna:QMCSampler", "optuna:NSGAIISampler"]

# A proposal costs them milliseconds to a second.
MODEL_BASED = {
    n for n in NAMES if n in ("gp", "tpe", "cmaes", "surrogate", "transfer", "auto") or "optuna" in n
}

# It shuffles the neighbours that are not taken: the order depends on how many are.
TAKEN_COUNTS = {"local"}


def gemm_like() -> SearchSpace:
    """12 x 4 x 3 x 2 x 2, of which a few dozen are valid; all kinds of parameters."""
    return SearchSpace(
        [
            Parameter("tile", tuple(2**i for i in range(8))),
            Parameter("unroll", (1, 2, 4, 8)),
            Parameter("layout", ("row", "column", "packed")),
            Parameter("vector", (False, True)),
            Parameter("scale", (0.25, 0.5, 1.5)),
            Parameter("fixed", (32,)),
        ],
        [Constraint("fits", "tile * unroll <= 64"), Constraint("wide", "tile >= 4 or not vector")],
    )


def tiny() -> SearchSpace:
    return SearchSpace(
        [Parameter("a", (1, 2, 3)), Parameter("b", ("x", "y"))], [Constraint("no", "a < 3 or b == 'x'")]
    )


class Entangled(SearchSpace):
    """A space whose decision diagram is given up, as for constraints that tie everything together."""

    @property
    def _diagram(self):  # type: ignore[override]
        return None


def entangled() -> SearchSpace:
    return Entangled(
        [Parameter(n, tuple(range(1, 7))) for n in "abc"], [Constraint("sum", "(a * 7 + b * 5 + c) % 4 == 0")]
    )


SPACES = {"gemm_like": gemm_like, "tiny": tiny, "entangled": entangled}


def outcome(config, fail=False) -> Measurement:
    if fail:
        return Measurement(Status.BUILD_ERROR, Evidence.MEASURED, error="does not compile")
    text = repr(sorted(config.items()))
    return Measurement(Status.OK, Evidence.MEASURED, samples=(0.001 + random.Random(text).random(),))


def observe(configs, fail=lambda c: False) -> list[Observation]:
    return [Observation(c, outcome(c, fail(c))) for c in configs]


def frozen(config) -> tuple:
    return tuple(sorted(config.items()))


def make(name, space, seed=0, **kw):
    kind = registry.searcher(name)
    if reason := kind.unavailable():
        pytest.skip(reason)
    return kind(Problem(space, seed, **kw))


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


@pytest.mark.parametrize("which", SPACES)
def test_exhausts_a_small_space_exactly_and_then_returns_nothing(name, which):
    space = SPACES[which]()
    valid = {frozen(c) for c in space}
    searcher, seen = make(name, space), []
    if len(valid) > 30 and name in MODEL_BASED:
        # The same code path, without the minutes.
        rest = [c for i, c in enumerate(space) if i >= (6 if name == "gp" else 20)]
        seen += rest
        searcher.tell(observe(rest))
    while got := searcher.ask(7):
        assert len(got) == min(7, len(valid) - len(seen))
        seen += got
        searcher.tell(observe(got, lambda c: hash(frozen(c)) % 3 == 0))
    assert len(seen) == len(valid)
    assert {frozen(c) for c in seen} == valid
    assert searcher.ask(1) == []


def test_proposals_are_valid_and_distinct_before_any_outcome(name):
    space = gemm_like()
    searcher = make(name, space)
    got = searcher.ask(5) + searcher.ask(1) + searcher.ask(6)
    assert len({frozen(c) for c in got}) == 12
    assert all(c in space for c in got)
    assert searcher.ask(0) == []


def test_takes_outcomes_it_never_asked_for_and_does_not_propose_them(name):
    space = gemm_like()
    told = [c for i, c in enumerate(space) if i % 3]
    searcher = make(name, space)
    searcher.tell(observe(told))
    searcher.tell(observe(told[:5]))  # twice: two sweeps may have measured the same
    searcher.tell(observe([{"tile": 3, "unroll": 1}, {**told[0], "tile": 128, "unroll": 8}]))
    count = 5 if name == "gp" else 20
    got = searcher.ask(count)
    assert len({frozen(c) for c in got}) == count
    assert not {frozen(c) for c in got} & {frozen(c) for c in told}
    assert all(c in space for c in got)


def test_equal_seeds_and_outcomes_give_equal_proposals_and_a_resumed_one_goes_on(name):
    space = gemm_like()
    first, history, proposals = make(name, space, 3, budget=40), [], []
    for n in (6, 1, 4, 3, 1, 1):
        got = first.ask(n)
        proposals.append(got)
        batch = observe(got, lambda c: c["tile"] > 16)
        history += batch
        first.tell(batch)
    again = make(name, space, 3, budget=40)
    for n, expected in zip((6, 1, 4, 3, 1, 1), proposals, strict=True):
        got = again.ask(n)
        assert got == expected
        again.tell(observe(got, lambda c: c["tile"] > 16))
    resumed = make(name, space, 3, budget=40)
    for observation in history:  # told one by one, as the store returns them
        resumed.tell([observation])
    assert resumed.ask(2) == first.ask(2)


def test_nothing_is_learned_of_what_the_machine_failed(name):
    """The very same proposals as without it, and it is not proposed again."""
    space = gemm_like()
    known = observe([c for i, c in enumerate(space) if i % 5 == 0], lambda c: c["tile"] > 16)
    plain, told = make(name, space, 3, budget=60), make(name, space, 3, budget=60)
    plain.tell(known)
    expected = plain.ask(3)
    others = [c for i, c in enumerate(space) if i % 5 and c not in expected][:4]
    fault = Measurement(Status.ENVIRONMENT, Evidence.MEASURED, error="No space left on device")
    asked = set(map(frozen, others))
    told.tell(known[:2])
    told.tell([Observation(c, fault) for c in others])
    told.tell(known[2:])
    got = told.ask(3)
    assert not asked & set(map(frozen, got))
    if name not in TAKEN_COUNTS:
        assert got == expected


def test_another_seed_gives_other_proposals(name):
    if name == "grid":
        pytest.skip("a grid has no randomness")
    space = gemm_like()
    assert make(name, space, 1).ask(12) != make(name, space, 2).ask(12)


def test_goes_on_when_everything_fails(name):
    space = gemm_like()
    searcher, seen = make(name, space, budget=30), set()
    for _ in range(6):
        got = searcher.ask(4)
        assert len(got) == 4 and all(c in space for c in got)
        seen |= {frozen(c) for c in got}
        searcher.tell(observe(got, lambda c: True))
    assert len(seen) == 24


@pytest.mark.parametrize("parameters", [[], [Parameter("only", (8,))]])
def test_a_space_of_one(name, parameters):
    space = SearchSpace(parameters)
    searcher = make(name, space)
    assert searcher.ask(3) == [{p.name: 8 for p in parameters}]
    searcher.tell(observe([{p.name: 8 for p in parameters}]))
    assert searcher.ask(1) == []


def test_a_space_of_none(name):
    space = SearchSpace([Parameter("a", (1, 2))], [Constraint("never", "a > 2")])
    assert make(name, space).ask(2) == []


def test_a_space_of_a_billion_answers_at_once(name):
    """Listing the product would take hours: the pytest timeout is the assertion about time."""
    space = SearchSpace(
        [Parameter(f"p{i}", tuple(2**j for j in range(10))) for i in range(9)],
        [Constraint("fits", "p0 * p1 * p2 <= 512 and p3 * p4 * p5 * p6 == 64")],
    )
    searcher = make(name, space, budget=30)
    seen = []
    for _ in range(3):
        got = searcher.ask(4)
        assert len(got) == 4 and all(c in space for c in got)
        seen += got
        searcher.tell(observe(got))
    assert len({frozen(c) for c in seen}) == 12


def test_prefers_what_is_fast(name):
    """A smooth valley: anything that learns proposes, on average, nearer to its floor than chance."""
    # NSGA-II draws its first 50 at random, more than this budget.
    if name in ("random", "grid", "given", "optuna:QMCSampler", "optuna:NSGAIISampler"):
        pytest.skip("does not learn within 48 trials")
    space = SearchSpace(
        [Parameter(n, tuple(range(1, 13))) for n in "abc"], [Constraint("sum", "a + b + c <= 30")]
    )

    def cost(c) -> float:
        return 1.0 + abs(c["a"] - 4) + abs(c["b"] - 9) + abs(c["c"] - 6)

    gains, bests = [], []
    for seed in (0,) if name == "gp" else (0, 1, 2):
        searcher = make(name, space, seed, budget=48)
        values = []
        for _ in range(12):
            got = searcher.ask(4)
            times = [Measurement(Status.OK, Evidence.MEASURED, samples=(cost(c),)) for c in got]
            searcher.tell([Observation(c, m) for c, m in zip(got, times, strict=True)])
            values += [math.log(cost(c)) for c in got]
        gains.append(sum(values[:8]) / 8 - sum(values[24:]) / 24)
        bests.append(math.exp(min(values)))
    # A strategy that has found the floor may well look elsewhere from then on.
    assert sum(gains) / len(gains) > 0.1 or sum(bests) / len(bests) <= 2
