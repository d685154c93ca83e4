"""A unified diff in two columns has every changed line once, at its number."""

import difflib
import random

import pytest

from tuner.report.metric_words import metric
from tuner.report.side_by_side import side_by_side


@pytest.mark.parametrize("seed", range(20))
def test_both_sides_are_the_two_texts_where_they_differ(seed: int) -> None:
    rng = random.Random(seed)
    left = [rng.choice("abcdefgh-+@ ") * rng.randint(0, 3) for _ in range(rng.randint(0, 40))]
    right = [line for line in left if rng.random() > 0.2]
    for _ in range(rng.randint(0, 6)):
        right.insert(rng.randint(0, len(right)), rng.choice("xyz-+"))
    diff = "\n".join(difflib.unified_diff(left, right, "a", "b", lineterm="", n=2))
    rows = side_by_side(diff)
    for row in rows:
        for side, text in ((row.left, left), (row.right, right)):
            assert side is None or text[side[0] - 1] == side[1]
    same = [row for row in rows if row.kind == "same"]
    assert all(row.left and row.right and row.left[1] == row.right[1] for row in same)
    changed = [row for row in rows if row.kind == "changed"]
    removed = [row.left[1] for row in changed if row.left]
    added = [row.right[1] for row in changed if row.right]
    lines = diff.splitlines()[2:]
    assert removed == [line[1:] for line in lines if line.startswith("-")]
    assert added == [line[1:] for line in lines if line.startswith("+")]


def test_no_difference_has_no_rows() -> None:
    assert side_by_side("") == []


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("loop_macs", 64.0, "64 MAC"),
        ("code_bytes", 19152.0, "18.7 KiB"),
        ("occupancy", 0.375, "38%"),
        ("registers", 79.0, "79"),
        ("new_thing_bytes", 2048.0, "2 KiB"),
        ("new_thing", 3.0, "3"),
    ],
)
def test_metrics_have_words_and_units(name: str, value: float, text: str) -> None:
    assert metric(name).text(value) == text
    assert "_" not in metric(name).words
