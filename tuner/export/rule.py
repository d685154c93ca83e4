"""One rule for all shapes: few configurations, a tree that picks among them, and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.core.errors import TunerError
from tuner.core.workload import Workload
from tuner.export.cover import regrets, smallest_cover
from tuner.export.distilled import distilled
from tuner.export.matrix import Group, KernelChoice, Matrix
from tuner.export.pooled import FEWEST, PooledModel
from tuner.export.tree import Node, features, grow_no_deeper_than_helps, leaf_of, to_plain

_REACH = 2.0
"""How far beyond the tuned shapes a tree is still asked: a dimension of twice the largest or half the
smallest."""
_GOOD_ENOUGH = 0.5


@dataclass(frozen=True)
class Picked:
    """What a rule says of a shape.

    Attributes:
        choice: the configuration to use, adapted where it is not valid as it is.
        sure: whether tuned shapes like it are served well by this.
        why: where not sure, the reason, for people.
    """

    choice: KernelChoice
    sure: bool
    why: str = ""


@dataclass(frozen=True)
class Rule:
    """Few configurations for all shapes.

    Attributes:
        choices: the configurations.
        tree: picks one of them, by its place.
        default: place of the one to use far from all tuned shapes: the least slow over all of them.
        table: of each tuned shape the place of its choice and its time over the shape's own best.
        ranges: smallest and largest value of each feature among the tuned shapes.
        within: what was asked: 0.05 for 5%.
        served: share of the weight of the tuned shapes that has a choice within that; 1 unless the number of
            configurations was bounded.
    """

    operator: str
    dtype: str
    group: Group
    choices: tuple[KernelChoice, ...]
    tree: Node
    default: int
    table: Mapping[Workload, tuple[int, float]]
    ranges: Mapping[str, tuple[float, float]]
    within: float
    served: float

    def pick(self, workload: Workload) -> Picked:
        """What to use for a shape of this operator, tuned or not."""
        known = self.table.get(workload)
        if known is not None:
            return Picked(self.choices[known[0]], True)
        return self.predict(workload)

    def predict(self, workload: Workload) -> Picked:
        """What the tree says, as if the shape had not been tuned."""
        if why := self._beyond(workload):
            return Picked(self.choices[self.default], False, f"its default: {why}")
        leaf = leaf_of(self.tree, workload)
        if leaf.good < _GOOD_ENOUGH:
            # Still the least slow of shapes like it: measured, better than what is the least slow of all.
            why = f"of the {leaf.shapes} tuned shapes like it {1 - leaf.good:.0%} need something else"
        return Picked(self.choices[leaf.choice], not why, why)

    def _beyond(self, workload: Workload) -> str:
        for name, value in features(workload).items():
            low, high = self.ranges.get(name, (value, value))
            if name in dict(workload.dims) and not low / _REACH <= value <= high * _REACH:
                return f"{name}={value:g} is far from the tuned ones, {low:g} to {high:g}"
        return ""

    def as_plain(self) -> dict[str, Any]:
        """Plain values, for JSON: with what it was made of."""
        group = self.group
        return {
            "operator": self.operator, "dtype": self.dtype, "device": group.device.name,
            "fingerprint": group.device.fingerprint, "threads": group.threads, "cache": group.cache,
            "evidence": group.evidence, "within": self.within, "served": self.served,
            "choices": [{"kernel": c.kernel, "config": dict(c.config)} for c in self.choices],
            "default": self.default, "tree": to_plain(self.tree),
            "ranges": {name: list(ends) for name, ends in self.ranges.items()},
            "table": {w.key: {"choice": i, "ratio": ratio} for w, (i, ratio) in self.table.items()},
        }  # fmt: skip


def make_rule(matrix: Matrix, within: float = 0.05, at_most: int | None = None) -> Rule:
    """The rule of a table.

    Args:
        matrix: the times. Shapes that were only tried choose no configurations; they teach the tree.
        within: every tuned shape is to have a choice within this share of its own best.
        at_most: configurations; where that is too few, those that serve the most weight.
    """
    ratios, weights = matrix.ratios(), matrix.weights
    searched = matrix.searched
    rows = smallest_cover(ratios[:, searched], within, [weights[c] for c in searched], at_most)
    # A shape that was tried with another rule's configurations tells nothing of those that it lacks.
    known = ~np.isnan(ratios[rows]).any(axis=0)
    columns = [c for c in range(len(matrix.shapes)) if known[c] or c not in matrix.tried]
    shapes, kept, weight = (
        [matrix.shapes[c] for c in columns],
        ratios[np.ix_(rows, columns)],
        np.array(weights)[columns],
    )
    costs, good = regrets(kept), np.nan_to_num(kept, nan=np.inf) <= 1 + within + 1e-12
    tuned = np.array([c not in matrix.tried for c in columns])
    picked = np.argmin(costs, axis=0)
    table = {s: (int(picked[c]), float(kept[picked[c], c])) for c, s in enumerate(shapes)}
    rows_of = [features(shape) for shape in shapes]
    names = dict.fromkeys(name for row in rows_of for name in row)
    ranges = {n: (min(r.get(n, 0.0) for r in rows_of), max(r.get(n, 0.0) for r in rows_of)) for n in names}
    return Rule(
        matrix.operator, matrix.dtype, matrix.group, tuple(matrix.choices[r] for r in rows),
        _tree(matrix, rows, shapes, costs, good, weight.tolist(), within),
        int(np.argmin(costs @ weight)), table, ranges, within,
        float(good.any(axis=0)[tuned] @ weight[tuned] / weight[tuned].sum()),
    )  # fmt: skip


def _tree(
    matrix: Matrix, rows: Sequence[int], shapes: Sequence[Workload], costs: np.ndarray, good: np.ndarray,
    weights: Sequence[float], within: float,
) -> Node:  # fmt: skip
    """Of few shapes the tree is as small as serves those kept out; of more a model says what lies between
    them."""
    if len(matrix.searched) < FEWEST or len(rows) < 2:
        return grow_no_deeper_than_helps(shapes, costs, good, weights)
    return distilled(PooledModel(matrix), rows, shapes, costs, good, weights, within)


@dataclass(frozen=True)
class HeldOut:
    """A tuned shape, served by the rule that all the others make.

    Attributes:
        ratio: time of what the rule picks over the shape's own best; NaN where that was not measured there.
        default: the same of the rule's default.
        sure: whether the shapes like it agreed.
    """

    workload: Workload
    weight: float
    picked: Picked
    ratio: float
    default: float

    @property
    def sure(self) -> bool:
        """Whether the shapes like it agreed."""
        return self.picked.sure


def leave_one_out(matrix: Matrix, within: float = 0.05, at_most: int | None = None) -> list[HeldOut]:
    """Each shape that was searched in turn left out of set and tree, and then served by them.

    Raises:
        TunerError: there are fewer than three shapes.
    """
    if len(matrix.searched) < 3:
        raise TunerError("leaving one shape out needs at least 3 tuned shapes")
    ratios, found = matrix.ratios(), []
    place = {choice.digest: row for row, choice in enumerate(matrix.choices)}
    for column in matrix.searched:
        workload = matrix.shapes[column]
        rule = make_rule(matrix.without(column), within, at_most)
        picked = rule.predict(workload)
        default = rule.choices[rule.default]
        found.append(
            HeldOut(
                workload, matrix.weights[column], picked,
                float(ratios[place[picked.choice.digest], column]),
                float(ratios[place[default.digest], column]),
            )
        )  # fmt: skip
    return found


def summary(held_out: Sequence[HeldOut], within: float) -> dict[str, float]:
    """What serving held-out shapes costs.

    Returns:
        `within`: share of the weight that is within this share of its best, `default_within` the same by the
        default alone; `median` and `worst` ratio over those measured; how many shapes are `unsure` and how
        many picks `unknown`.
    """
    weight = np.array([h.weight for h in held_out])
    ratios = np.array([h.ratio for h in held_out])
    defaults = np.array([h.default for h in held_out])
    known = ratios[~np.isnan(ratios)]

    def share(values: np.ndarray) -> float:
        return float((np.nan_to_num(values, nan=np.inf) <= 1 + within + 1e-12) @ weight / weight.sum())

    return {
        "within": share(ratios), "default_within": share(defaults),
        "median": float(np.median(known)) if len(known) else float("nan"),
        "worst": float(known.max()) if len(known) else float("nan"),
        "unsure": sum(not h.sure for h in held_out), "unknown": len(ratios) - len(known),
    }  # fmt: skip
