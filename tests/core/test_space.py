"""Search spaces: what is valid, counted, numbered, drawn, repaired, and what is said of a mistake."""

import itertools
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.strategies import spaces
from tuner.core import diagram
from tuner.core.errors import InvalidConfig, InvalidSpace
from tuner.core.expression import parse
from tuner.core.space import Constraint, Parameter, SearchSpace


def combinations(space: SearchSpace):
    for values in itertools.product(*(p.values for p in space.parameters)):
        yield dict(zip(space.names, values, strict=True))


def brute(space: SearchSpace) -> list[dict]:
    """The valid configurations by trying every combination."""
    expressions = [parse(c.expression) for c in space.constraints]
    return [c for c in combinations(space) if all(e.holds({**space.constants, **c}) for e in expressions)]


def key(config: dict) -> tuple:
    # 1 == True == 1.0: the type tells them apart.
    return tuple((name, isinstance(value, bool), value) for name, value in config.items())


def keys(configs) -> list[tuple]:
    return [key(c) for c in configs]


def distance(space: SearchSpace, a: dict, b: dict) -> float:
    total = 0.0
    for p in space.parameters:
        steps = abs(p.index(a[p.name]) - p.index(b[p.name]))
        total += steps / len(p.values) if p.ordinal else min(steps, 1)
    return total


@settings(max_examples=250)
@given(spaces(), st.randoms(use_true_random=False))
def test_a_space_is_what_trying_every_combination_finds(space, rng):
    valid = brute(space)
    assert space.exact and space.size == len(valid)
    listed = list(space)
    assert sorted(keys(listed)) == sorted(keys(valid)) if valid else listed == []
    assert keys(space.at(i) for i in range(space.size)) == keys(listed)
    assert [space.rank(c) for c in listed] == list(range(len(valid)))
    for config in combinations(space):
        is_valid = key(config) in set(keys(valid))
        assert (space.rank(config) is not None) == is_valid == (config in space)
        assert (space.why_invalid(config) is None) == is_valid
    if valid:
        assert key(space.sample(rng)) in set(keys(valid))
    else:
        with pytest.raises(InvalidSpace, match="no configuration meets"):
            space.sample(rng)


@settings(max_examples=150)
@given(spaces(), st.data())
def test_nearest_is_the_closest_valid_configuration(space, data):
    valid = brute(space)
    config = data.draw(st.sampled_from(list(combinations(space))))
    if not valid:
        with pytest.raises(InvalidSpace):
            space.nearest(config)
        return
    found = space.nearest(config)
    assert found in space
    assert distance(space, config, found) == pytest.approx(min(distance(space, config, v) for v in valid))


@settings(max_examples=150)
@given(spaces(), st.data())
def test_neighbours_are_the_valid_configurations_one_parameter_away(space, data):
    valid = brute(space)
    if not valid:
        return
    here = data.draw(st.sampled_from(valid))
    apart = [sum(a != b for a, b in zip(key(v), key(here), strict=True)) for v in valid]
    expected = [v for v, n in zip(valid, apart, strict=True) if n == 1]
    assert sorted(keys(space.neighbours(here))) == sorted(keys(expected))
    for near in space.neighbours(here, reach=1):
        (p,) = [p for p in space.parameters if key(near)[space.names.index(p.name)]
                != key(here)[space.names.index(p.name)]]  # fmt: skip
        assert not p.ordinal or abs(p.index(near[p.name]) - p.index(here[p.name])) == 1


@settings(max_examples=60)
@given(spaces(), st.data())
def test_a_space_too_entangled_to_count_still_lists_and_draws_the_same(space, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagram, "MAX_PAIRS", 0)
        entangled = SearchSpace(space.parameters, space.constraints, space.constants)
        assert not entangled.exact and entangled.size is None
    valid = brute(space)
    assert sorted(keys(entangled)) == sorted(keys(valid))
    with pytest.raises(IndexError, match="entangled"):
        entangled.at(0)
    config = data.draw(st.sampled_from(list(combinations(space))))
    assert entangled.rank(config) is None
    if config in valid:
        assert entangled.nearest(config) == config
    else:
        with pytest.raises(InvalidSpace, match="entangled"):
            entangled.nearest(config)
    if len(valid) * 100 > entangled.product_size:
        assert key(entangled.sample(random.Random(0))) in set(keys(valid))


def test_sampling_is_uniform_over_valid_configurations():
    # Large a leave many more choices than small ones: choosing step by step would favour the small.
    space = SearchSpace(
        [
            Parameter("a", tuple(range(10))),
            Parameter("b", tuple(range(10))),
            Parameter("c", tuple(range(10))),
        ],
        [Constraint("lopsided", "b + c <= a * a // 4 or b == c == 0")],
    )
    valid, rng, draws = brute(space), random.Random(7), 40_000
    counts = Counter(key(space.sample(rng)) for _ in range(draws))
    assert counts.keys() == set(keys(valid))
    expected = draws / len(valid)
    chi2 = sum((counts[k] - expected) ** 2 / expected for k in keys(valid))
    # A chi-square variable with d degrees of freedom: mean d, variance 2d; 5 sigmas with a fixed seed.
    d = len(valid) - 1
    assert abs(chi2 - d) < 5 * (2 * d) ** 0.5


def test_rejection_is_uniform_too(monkeypatch):
    monkeypatch.setattr(diagram, "MAX_PAIRS", 0)
    space = SearchSpace([Parameter("a", (1, 2, 3)), Parameter("b", (1, 2, 3))], [Constraint("c", "a <= b")])
    rng = random.Random(3)
    counts = Counter(key(space.sample(rng)) for _ in range(6000))
    assert len(counts) == 6 and all(abs(n - 1000) < 150 for n in counts.values())


def test_a_billion_combinations_are_counted_without_being_listed(monkeypatch):
    seen = []
    original = diagram.evaluate

    def counted(expression, known, wide=False):
        result = original(expression, known, wide)
        seen.append(np.asarray(result.values).size)
        return result

    monkeypatch.setattr(diagram, "evaluate", counted)
    names = ["MC", "NC", "KC", "MR", "NR", "UNROLL", "PF", "BM", "BN"]
    space = SearchSpace(
        [Parameter(name, tuple(2**i for i in range(10))) for name in names],
        [
            Constraint("product", " * ".join(names) + " == 1048576"),
            Constraint("order", "MR <= MC and NR <= NC"),
        ],
    )
    assert space.product_size == 10**9
    # By the exponents: nine digits 0..9 that add up to 20, with d3 <= d0 and d4 <= d1.
    pairs = Counter(a + b for a in range(10) for b in range(a + 1))
    ways = Counter({0: 1})
    for step in (pairs, pairs, *[Counter(dict.fromkeys(range(10), 1))] * 5):
        ways = Counter({s: sum(ways[s - v] * n for v, n in step.items()) for s in range(21)})
    assert space.size == ways[20]
    assert 0.0005 < space.size / 10**9 < 0.005
    assert sum(seen) < 200_000
    rng = random.Random(1)
    for _ in range(200):
        assert space.sample(rng) in space
    assert space.at(space.size - 1) in space
    first = next(iter(space))
    assert space.rank(first) == 0


def test_a_one_in_a_thousand_needle_of_a_billion_is_found():
    names = [f"d{i}" for i in range(9)]
    space = SearchSpace(
        [Parameter(name, tuple(range(10))) for name in names],
        [Constraint("sum", " + ".join(names) + " >= 70"), Constraint("odd", "d0 % 2 == 1")],
    )
    ways = Counter({0: 1})
    for i in range(9):
        digits = (1, 3, 5, 7, 9) if i == 0 else range(10)
        ways = Counter({s: sum(ways[s - d] for d in digits) for s in range(82)})
    assert space.size == sum(n for s, n in ways.items() if s >= 70)
    assert space.size < 10**9 // 1000
    rng = random.Random(5)
    samples = [space.sample(rng) for _ in range(100)]
    assert all(sum(s.values()) >= 70 and s["d0"] % 2 for s in samples)


def test_counts_beyond_64_bits_are_exact():
    names = [f"p{i}" for i in range(25)]
    space = SearchSpace([Parameter(n, tuple(range(10))) for n in names], [Constraint("c", "p0 < p24")])
    assert space.size == 45 * 10**23
    last = space.at(space.size - 1)
    assert space.rank(last) == space.size - 1 and last["p0"] < last["p24"]
    assert space.rank(space.at(3 * 10**22 + 7)) == 3 * 10**22 + 7
    config = space.sample(random.Random(0))
    assert config in space
    assert space.nearest({**config, "p0": 9, "p24": 9}) in space


def test_products_beyond_64_bits_are_exact():
    big = 3_037_000_500  # its square is just over 2^63
    space = SearchSpace(
        [Parameter("a", (1, big)), Parameter("b", (1, big))],
        [Constraint("c", "a * b * 2 < limit")], {"limit": 2**70},
    )  # fmt: skip
    assert space.size == 4
    over = SearchSpace(
        space.parameters, [Constraint("c", "a * b > 0 and a * b * a * b < limit")], {"limit": 2**70}
    )
    assert keys(over) == keys(brute(over)) and over.size == 3


def test_constraints_over_constants_alone():
    parameters = [Parameter("a", (1, 2))]
    assert SearchSpace(parameters, [Constraint("c", "n >= 4")], {"n": 4}).size == 2
    contradictory = SearchSpace(parameters, [Constraint("c", "n >= 4")], {"n": 3})
    assert contradictory.size == 0 and list(contradictory) == []
    assert "constraint c is broken: n >= 4 (n=3)" in contradictory.why_invalid({"a": 1})
    undefined = SearchSpace(parameters, [Constraint("c", "8 % n == 0")], {"n": 0})
    assert undefined.size == 0


def test_a_contradictory_space_is_empty_and_says_which_constraints():
    space = SearchSpace(
        [Parameter("a", (1, 2)), Parameter("b", (1, 2))],
        [Constraint("less", "a < b"), Constraint("more", "a > b")],
    )
    assert space.size == 0 and list(space) == []
    for call in (lambda: space.sample(random.Random(0)), lambda: space.nearest({"a": 1, "b": 1})):
        with pytest.raises(InvalidSpace, match="less, more"):
            call()
    assert list(space.neighbours({"a": 1, "b": 2})) == []
    with pytest.raises(IndexError):
        space.at(0)


def test_a_space_without_parameters_has_one_configuration_or_none():
    space = SearchSpace()
    assert (space.size, list(space), space.at(0), space.rank({})) == (1, [{}], {}, 0)
    assert (
        space.sample(random.Random(0)) == {} and space.nearest({}) == {} and list(space.neighbours({})) == []
    )
    assert space.encode([{}, {}]).shape == (2, 0)
    none = SearchSpace([], [Constraint("c", "n > 4")], {"n": 3})
    assert none.exact and none.size == 0 and list(none) == [] and none.rank({}) is None
    with pytest.raises(InvalidSpace):
        none.sample(random.Random(0))
    with pytest.raises(IndexError):
        none.at(0)


def test_a_division_by_zero_breaks_the_constraint_and_a_guard_saves_it():
    parameters = [Parameter("split", (0, 3, 4)), Parameter("k", (8,))]
    bare = SearchSpace(parameters, [Constraint("even", "k % split == 0")])
    assert [c["split"] for c in bare] == [4]
    assert "constraint even is broken" in bare.why_invalid({"split": 0, "k": 8})
    guarded = SearchSpace(parameters, [Constraint("even", "split == 0 or k % split == 0")])
    assert [c["split"] for c in guarded] == [0, 4]


def test_at_most_one_of_several_counts_truth_values():
    space = SearchSpace(
        [Parameter(n, (1, 2)) for n in "abc"], [Constraint("one", "(a > 1) + (b > 1) + (c > 1) <= 1")]
    )
    assert space.size == 4


def test_values_of_equal_worth_and_different_type_stay_apart():
    space = SearchSpace([Parameter("a", (1, True, "1")), Parameter("b", (0, False))])
    assert space.size == 6
    for config in space:
        again = space.check(dict(reversed(config.items())))
        assert key(again) == key(config) and list(again) == ["a", "b"]
    assert space.rank({"a": True, "b": False}) != space.rank({"a": 1, "b": 0})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((), "parameter P has no values"),
        ((1, 2, 1), "parameter P lists a value twice"),
        ((1, 1.0), "parameter P lists a value twice"),
        (([1], [2]), r"parameter P: a value is .* not \[1\]"),
        ((None,), "parameter P: .* not None"),
        ((float("nan"),), "parameter P: .* not nan"),
        ((float("inf"),), "parameter P: .* not inf"),
    ],
)
def test_a_bad_value_list_is_refused_by_name(values, message):
    with pytest.raises(InvalidSpace, match=message):
        Parameter("P", values)


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ("a * q <= 4", "constraint fits uses unknown q"),
        ("a +", "constraint fits: expression 'a [+]' does not parse"),
        ("open('x')", "constraint fits: .* may call only"),
        ("order * 2 == 'rowrow'", "constraint fits: order is a text"),
        ("a * name == 4", "constraint fits: name is a text"),
    ],
)
def test_a_bad_constraint_is_refused_by_name(constraint, message):
    with pytest.raises(InvalidSpace, match=message):
        SearchSpace(
            [Parameter("a", (1, 2)), Parameter("order", ("row", "col"))],
            [Constraint("fits", constraint)], {"name": "x"},
        )  # fmt: skip


def test_a_parameter_declared_twice_is_refused():
    with pytest.raises(InvalidSpace, match="declared twice"):
        SearchSpace([Parameter("a", (1,)), Parameter("a", (2,))])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"TILE": 8}, "missing parameter order: the parameters are TILE, order"),
        ({"TILE": 8, "order": "row", "x": 1}, "unknown parameter x"),
        ({"TILE": 9, "order": "row"}, r"parameter TILE: 9 is not one of \[8, 16\]"),
        ({"TILE": True, "order": "row"}, "parameter TILE: True is not one of"),
        (
            {"TILE": 16, "order": "row"},
            r"constraint fits \(cache\) is broken: TILE \* 4 <= l1 \(TILE=16, l1=32\)",
        ),
    ],
)
def test_an_invalid_configuration_is_told_why(config, message):
    space = SearchSpace(
        [Parameter("TILE", (8, 16)), Parameter("order", ("row", "col"))],
        [Constraint("fits", "TILE * 4 <= l1", doc="cache")], {"l1": 32},
    )  # fmt: skip
    with pytest.raises(InvalidConfig, match=message):
        space.check(config)
    assert config not in space


def test_encode_uses_ratios_for_sizes_and_a_column_a_value_for_names():
    space = SearchSpace(
        [Parameter("tile", (8, 32)), Parameter("pad", (0, 3)), Parameter("flag", (False, True)),
         Parameter("order", ("ijk", "jik", "kij")), Parameter("two", ("x", "y"))]
    )  # fmt: skip
    assert space.feature_names == ("tile", "pad", "flag", "order=ijk", "order=jik", "order=kij", "two")
    rows = space.encode(
        [{"tile": 32, "pad": 3, "flag": True, "order": "jik", "two": "y"},
         {"tile": 8, "pad": 0, "flag": False, "order": "kij", "two": "x"}]
    )  # fmt: skip
    assert rows.tolist() == [[5, 3, 1, 0, 1, 0, 1], [3, 0, 0, 0, 0, 1, 0]]


@given(spaces())
@settings(max_examples=50)
def test_encode_tells_valid_configurations_apart(space):
    valid = brute(space)
    assert len(np.unique(space.encode(valid), axis=0)) == len(valid) if valid else True


@pytest.mark.parametrize("config", [{"a": 3}, {}, {"b": 1}])
def test_encode_of_an_unknown_value_names_the_parameter(config):
    with pytest.raises(InvalidConfig, match="parameter"):
        SearchSpace([Parameter("a", (1, 2))]).encode([config])


def test_neighbours_come_nearest_first_within_reach():
    space = SearchSpace([Parameter("a", (1, 2, 4, 8, 16)), Parameter("o", ("x", "y", "z"))])
    here = {"a": 4, "o": "x"}
    near = [(c["a"], c["o"]) for c in space.neighbours(here, reach=1)]
    assert near == [(2, "x"), (8, "x"), (4, "y"), (4, "z")]
    assert [c["a"] for c in space.neighbours(here) if c["o"] == "x"] == [2, 8, 1, 16]
