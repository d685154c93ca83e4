"""Expressions: what is accepted, what it means, and that rows and columns mean the same."""

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.strategies import FLOATS, INTEGERS, expressions
from tuner.core.columns import ValueColumn, column, evaluate, needs_wide
from tuner.core.errors import InvalidSpace
from tuner.core.expression import Undefined, parse

SCOPE = {"a": 6, "b": 4, "z": 0, "f": 0.5, "flag": True, "order": "row"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a * b + 1", 25),
        ("a // b", 1),
        ("-a // b", -2),
        ("a % b == 2", True),
        ("2 ** b", 16),
        ("1 << b", 16),
        ("a & b", 4),
        ("ceildiv(a, b)", 2),
        ("min(a, b, 5) + max(a, b)", 10),
        ("log2(b)", 2.0),
        ("int(f * 5)", 2),
        ("abs(b - a)", 2),
        ("b < a < 7", True),
        ("b < a < 6", False),
        ("order == 'row' and flag", True),
        ("order in ('row', 'col')", True),
        ("a not in [1, 2, 3]", True),
        ("a if flag else b", 6),
        ("flag + (a > b) + (a > 100)", 2),
        ("a or b", True),
        ("(a and b) + 1", 2),
        ("not a", False),
    ],
)
def test_value(text, value):
    result = parse(text)(SCOPE)
    assert result == value and isinstance(result, bool) == isinstance(value, bool)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__.__bases__[0].__subclasses__()",
        "a.real",
        "a[0]",
        "open('/etc/passwd')",
        "eval('1')",
        "(lambda: 1)()",
        "[x for x in (1, 2)]",
        "{1: 2}",
        "f'{a}'",
        "(x := 5)",
        "min(*(1, 2))",
        "min(a, key=b)",
        "a; b",
        "import os",
        "a = 1",
        "await a",
        "a | b",
        "a @ b",
        "None",
        "...",
        "b'x'",
        "1j",
        "a in 'abc'",
        "(1, 2) * 3",
        "'x' * 1000000000",
        "'%1000000000d' % a",
        "('x' if a else 'y') * 1000000000",
        "max('x', 'y')",
        "",
        "a +",
        "a\0b",
        "(" * 500 + "a" + ")" * 500,
        "-" * 100_000 + "a",
        "+".join(["a"] * 5000),
        "a and " * 50_000,
        "log2()",
        "min(a)",
        "abs(a, b)",
        "int(a, b)",
        "log2(a, b)",
        "ceildiv(a)",
        "ceildiv(a, b, a)",
        "max(a)",
        "_power(2, 3)",
        "__builtins__.open",
        "bool(a)",
    ],
)
def test_what_is_outside_the_subset_is_refused_in_one_short_line(text):
    with pytest.raises(InvalidSpace) as error:
        parse(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_a_value_that_is_no_text_is_refused():
    with pytest.raises(InvalidSpace, match="not 5"):
        parse(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["__builtins__", "_truth", "_power", "min"])
def test_no_name_reaches_what_the_evaluator_uses_itself(name):
    from tuner.core.space import Constraint, Parameter, SearchSpace

    with pytest.raises(InvalidSpace, match=f"constraint c uses unknown {name}"):
        SearchSpace([Parameter("A", (1,))], [Constraint("c", f"{name} == A")])


@pytest.mark.parametrize(
    "text",
    ["a // z", "a / z", "a % z", "ceildiv(a, z)", "z ** -1", "log2(z)", "log2(-a)", "1 << -a", "1 >> -a",
     "9 ** 9 ** 9", "1 << 10 ** 12", "(-a) ** f", "1e200 ** 2", "int(1e308 * 10)",
     "int(1e308 * 10 - 1e308 * 10)"],
)  # fmt: skip
def test_arithmetic_without_a_value_says_so_at_once_in_both_forms(text):
    with pytest.raises(Undefined, match="has no value"):
        parse(text)(SCOPE)
    assert parse(f"{text} >= 0").holds(SCOPE) is False
    known = {name: column([value]) for name, value in SCOPE.items()}
    assert not evaluate(parse(text), known, wide=True).holds(1).any()
    assert not evaluate(parse(f"{text} >= 0"), known, wide=True).holds(1).any()


@pytest.mark.parametrize(
    "text",
    [
        "z == 0 or a % z == 0",
        "not (z != 0 and a // z > 1)",
        "(a // z if z else 1) == 1",
        "0 > z > a // z or 1",
    ],
)
def test_a_guard_keeps_what_has_no_value_from_being_evaluated(text):
    assert parse(text).holds(SCOPE)
    known = {name: column([value, value]) for name, value in SCOPE.items()}
    assert evaluate(parse(text), known).holds(2).tolist() == [True, True]


def test_the_unguarded_side_first_has_no_value():
    assert not parse("a % z == 0 or z == 0").holds(SCOPE)
    known = {name: column([value]) for name, value in SCOPE.items()}
    assert not evaluate(parse("a % z == 0 or z == 0"), known).holds(1)[0]


@pytest.mark.parametrize("text", ["order < 3", "order + a", "f << 1", "missing + 1"])
def test_wrong_types_and_names_are_invalid_spaces_in_both_forms(text):
    known = {name: column([value]) for name, value in SCOPE.items()}
    with pytest.raises(InvalidSpace):
        parse(text)(SCOPE)
    with pytest.raises(InvalidSpace):
        evaluate(parse(text), known)


def test_explain_shows_what_names_stand_for():
    assert parse("a * b <= 8").explain(SCOPE) == "a * b <= 8 (a=6, b=4)"


def test_fold_keeps_the_sign_of_a_constant_together():
    folded = parse("x ** 2 + y").fold({"x": -3})
    assert folded.names == {"y"} and folded({"y": 1}) == 10


def test_fold_takes_numpy_numbers_and_refuses_what_is_no_number():
    assert parse("x + y").fold({"x": np.int64(4)})({"y": 1}) == 5
    with pytest.raises(InvalidSpace, match="constant x"):
        parse("x + y").fold({"x": [1]})
    with pytest.raises(InvalidSpace, match="constant x"):
        parse("x + y").fold({"x": math.nan})


def test_bound_parts_are_the_largest_known_subexpressions():
    parts = parse("a * b * c <= 64 and (a + 1) % b == 0").bound_parts(frozenset("ab"))
    assert [p.text for p in parts] == ["a * b", "(a + 1) % b == 0"]


def test_reordered_brings_what_is_bound_first_together():
    assert parse("c * a * b").reordered({"a": 0, "b": 1, "c": 2}).text == "a * b * c"
    # Whole numbers multiply exactly in any order, with a float the order is kept.
    assert parse("c * a * 0.1").reordered({"a": 0, "c": 1}).text == "a * c * 0.1"
    assert parse("c * 0.1 * a").reordered({"a": 0, "c": 1}).text == "c * 0.1 * a"
    assert parse("c + f + a").reordered({"a": 0, "c": 1, "f": 2}, frozenset("f")).text == "c + f + a"


ROWS = [dict(zip(("a", "b", "f", "t", "s"), row, strict=True)) for row in itertools.product(
    (-7, 0, 3, 64), (-1, 0, 2), (-0.25, 0.0, 3.0), (False, True), ("row", "tile"))]  # fmt: skip
DOMAINS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


def outcome(expression, row):
    try:
        return expression(row)
    except Undefined:
        return None


def agree(expression, wide):
    result = evaluate(expression, {n: column(v, wide) for n, v in DOMAINS.items()}, wide)
    values = np.broadcast_to(result.values, len(ROWS))
    undefined = np.broadcast_to(False if result.undefined is None else result.undefined, len(ROWS))
    for row, value, missing in zip(ROWS, values.tolist(), undefined, strict=True):
        expected = outcome(expression, row)
        assert missing == (expected is None), (row, value, expected)
        same = missing or value == expected or (value != value and expected != expected)
        assert same, (row, value, expected)


@settings(max_examples=300)
@given(st.one_of(expressions(["a", "b", "f", "t"], ["s"], 3, truth) for truth in (False, True)))
def test_rows_and_columns_agree(text):
    expression = parse(text)
    agree(expression, needs_wide(expression, DOMAINS))


@settings(max_examples=100)
@given(expressions(["a", "b", "t"], ["s"], 3))
def test_unlimited_integers_agree_too(text):
    agree(parse(text), wide=True)


@settings(max_examples=100)
@given(expressions(["a", "b", "f"], [], 2, True), INTEGERS, FLOATS)
def test_folding_and_reordering_keep_the_value(text, a, f):
    expression = parse(text)
    other = expression.fold({"a": a, "f": f}).reordered({"b": 0})
    for b in (-1, 0, 2):
        assert outcome(other, {"b": b}) == outcome(expression, {"a": a, "b": b, "f": f})


def test_a_product_beyond_64_bits_is_exact():
    expression = parse("a * b * a * b")
    domains = {"a": [2**31, 3], "b": [2**31, 5]}
    assert needs_wide(expression, domains)
    known = {name: column(values, wide=True) for name, values in domains.items()}
    assert evaluate(expression, known, wide=True).values.tolist() == [2**124, 225]


@pytest.mark.parametrize("text", ["2 ** a", "1 << a", "a * a * a * 1000000000", "a + 9223372036854775807"])
def test_what_could_leave_64_bits_is_seen(text):
    assert needs_wide(parse(text), {"a": [1, 8000]})


@pytest.mark.parametrize("text", ["a * b * 4 <= 1048576", "a % b == 0", "2 ** b <= a", "min(a, b) // 2 > 1"])
def test_ordinary_constraints_stay_in_64_bits(text):
    assert not needs_wide(parse(text), {"a": [1, 8192], "b": [1, 32]})


def test_membership_among_columns_is_row_by_row():
    known = {"a": column([1, 2, 3]), "b": column([3, 2, 1]), "c": column([9, 9, 3])}
    assert evaluate(parse("a in (b, c)"), known).values.tolist() == [False, True, True]


def test_a_column_keeps_undefined_rows_when_rows_are_taken():
    part = ValueColumn(np.array([1, 2, 3]), np.array([False, True, False]))
    taken = part.take(np.array([1, 2]), 3)
    assert taken.values.tolist() == [2, 3] and taken.undefined.tolist() == [True, False]
    assert part.repeat(2).holds(6).tolist() == [True, True, False, False, True, True]


def test_an_expression_travels_after_it_was_used():
    """A kernel carries its expressions into the processes that build it, evaluated or not."""
    used = parse("a * 2 + b")
    assert used({"a": 2, "b": 1}) == 5 and used.texts
    there = pickle.loads(pickle.dumps(used))
    assert there.text == used.text and there({"a": 3, "b": 0}) == 6
    assert set(there.texts.values()) == set(used.texts.values())
