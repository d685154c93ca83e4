"""Named expressions: written out they are the expressions that a declaration would have said without them."""

import pytest

from tuner.core.definitions import Definitions
from tuner.core.errors import InvalidSpace

TILE = Definitions({"area": "BM * BN", "threads": "area // (TM * TN)", "share": "area / s if s else 0"})


def test_a_definition_is_one_operand_whatever_stands_around_it() -> None:
    sums = Definitions({"sum": "a + b", "twice": "2 * sum", "turned": "-sum"})
    for text, value in (("sum * sum", 25), ("twice ** 2", 100), ("10 - sum", 5), ("turned - sum", -10),
                        ("100 // twice", 10), ("sum if sum > 4 else twice", 5), ("min(sum, twice)", 5),
                        ("sum in (4, 5)", True), ("not sum", False), ("a + b", 5)):  # fmt: skip
        expression = sums.expand(text)
        assert expression({"a": 2, "b": 3}) == value and expression.names <= {"a", "b"}, text


def test_a_branch_that_is_not_taken_is_not_evaluated() -> None:
    scope = {"BM": 8, "BN": 8, "s": 0}
    assert TILE.expand("share + 1")(scope) == 1
    division = Definitions({"part": "BM // s"})
    assert division.expand("s == 0 or part > 1").holds(scope)
    assert division.explain("part > 1", scope) == "part > 1 (part=undefined), where BM=8, s=0"


def test_an_explanation_names_definitions_and_what_is_behind_them() -> None:
    scope = {"BM": 64, "BN": 32, "TM": 4, "TN": 4, "most": 100, "other": 1}
    assert TILE.explain("threads <= most", scope) == (
        "threads <= most (most=100, threads=128), where BM=64, BN=32, TM=4, TN=4"
    )
    assert TILE.explain("BM <= most", scope) == "BM <= most (BM=64, most=100)"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"a": "a + 1"}, "a: the definitions run in a circle, a -> a"),
        ({"a": "b", "b": "c", "c": "a"}, "a: the definitions run in a circle, a -> b -> c -> a"),
        ({"a": "b", "b": "c", "c": "n"}, "a: it uses b, which stands below it: move b above a"),
        ({"a": "n n"}, "a: expression 'n n' does not parse"),
        ({"a": 5}, "a: an expression is a text, not 5"),
        ({"a b": "n"}, "'a b' is no name"),
        ({"x0": "n + n", **{f"x{i}": f"x{i - 1} * x{i - 1}" for i in range(1, 30)}}, "over 4000 terms"),
        ({"x0": "-n", **{f"x{i}": f"-x{i - 1}" for i in range(1, 300)}}, "nested more than 100 deep"),
    ],
)
def test_wrong_definitions_are_refused_in_one_line(texts: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidSpace, match=message) as error:
        Definitions(texts)
    assert "\n" not in str(error.value)
