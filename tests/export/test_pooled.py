"""What a model of pairs knows of a shape that nobody tuned, and the tree that is grown on its answers."""

import math
from pathlib import Path

import numpy as np
import pytest

from tests.export.makers import shape, stored
from tuner.core.workload import Workload
from tuner.export.distilled import between
from tuner.export.matrix import Matrix, read_matrix
from tuner.export.pooled import FEWEST, Panel, PooledModel
from tuner.export.rule import make_rule
from tuner.store.store import open_store

CONFIGS = [{"tile": tile, "way": way} for tile in (12, 14, 16) for way in ("by rows", "by columns")]
SHAPES = [shape(m, n, 64) for m in (12, 14, 16, 24, 28, 32, 36, 42, 48, 84) for n in (32, 512)]


def padded(workload: Workload, config) -> float:
    """The rows are rounded up to whole tiles; few columns are best taken by rows."""
    rows = math.ceil(workload["m"] / config["tile"]) * config["tile"]
    right = (config["way"] == "by rows") == (workload["n"] <= 128)
    return rows * workload["n"] * 1e-9 * (1.0 if right else 1.25)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    with open_store(str(tmp_path_factory.mktemp("pooled") / "made.db")) as store:
        stored(store, SHAPES, CONFIGS, padded)
        return read_matrix(store, "made")


@pytest.mark.parametrize(("m", "tile"), [(56, 14), (70, 14), (60, 12), (64, 16)])
def test_what_divides_a_size_nobody_tuned_is_among_the_first_to_be_tried(
    matrix: Matrix, m: int, tile: int
) -> None:
    new = shape(m, 48, 64)
    assert len(SHAPES) >= FEWEST and new not in SHAPES
    pairs = [(choice.kernel, choice.config, new) for choice in matrix.choices]
    panel = Panel(matrix)
    chosen = panel.promising(pairs, 2)
    assert len(chosen) == 2 and all(config["way"] == "by rows" for _, config, _ in chosen)
    assert tile in [config["tile"] for _, config, _ in chosen]
    assert len(panel.promising(pairs, 50)) == len(pairs)


def test_expected_costs_are_those_of_the_best_row(matrix: Matrix) -> None:
    found = PooledModel(matrix).costs(range(len(matrix.choices)), [shape(30, 40, 64), shape(30, 500, 64)])
    assert found.shape == (len(matrix.choices), 2) and np.all(found.min(axis=0) == 0)
    ways = [matrix.choices[row].config["way"] for row in found.argmin(axis=0)]
    assert ways == ["by rows", "by columns"]


def test_the_tree_asks_between_tuned_shapes_and_counts_those_alone(matrix: Matrix) -> None:
    rule = make_rule(matrix, at_most=2)
    for m in (18, 50):
        ways = [rule.predict(shape(m, n, 64)).choice.config["way"] for n in (40, 450)]
        assert ways == ["by rows", "by columns"]

    def leaves(node: object) -> list[int]:
        return [node.shapes] if hasattr(node, "shapes") else leaves(node.low) + leaves(node.high)  # type: ignore[attr-defined]

    assert sum(leaves(rule.tree)) == len(SHAPES)


def test_drawn_shapes_lie_between_the_tuned_ones(tmp_path: Path) -> None:
    drawn = between(SHAPES, 50)
    assert drawn == between(SHAPES, 50)
    assert all(12 <= w["m"] <= 84 and 32 <= w["n"] <= 512 and w["k"] == 64 for w in drawn)
    assert len({w.key for w in drawn}) > 40
