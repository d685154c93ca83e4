"""One rule for all shapes: few configurations, a tree that picks among them, and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.core.errors import TunerError
from tuner.core.workload import Workload
from tuner.export.cover import regrets, smallest_cover
from tuner.export.matrix import Group, KernelChoice, Matrix
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
        sure: whether the tree was followed; else it is the default.
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
        default: place of the one to use where the tree is unsure: the least slow over all tuned shapes.
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
        why = self._beyond(workload)
        leaf = leaf_of(self.tree, workload)
        if not why and leaf.good < _GOOD_ENOUGH:
            why = f"of the {leaf.shapes} tuned shapes like it {1 - leaf.good:.0%} need something else"
        return Picked(self.choices[self.default if why else leaf.choice], not why, why)

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
        matrix: the times.
        within: every tuned shape is to have a choice within this share of its own best.
        at_most: configurations; where that is too few, those that serve the most weight.
    """
    ratios, weights = matrix.ratios(), matrix.weights
    rows = smallest_cover(ratios, within, weights, at_most)
    kept = ratios[rows]
    costs, good = regrets(kept), np.nan_to_num(kept, nan=np.inf) <= 1 + within + 1e-12
    weight = np.asarray(weights)
    picked = np.argmin(costs, axis=0)
    table = {s: (int(picked[c]), float(kept[picked[c], c])) for c, s in enumerate(matrix.shapes)}
    rows_of = [features(shape) for shape in matrix.shapes]
    names = dict.fromkeys(name for row in rows_of for name in row)
    ranges = {n: (min(r.get(n, 0.0) for r in rows_of), max(r.get(n, 0.0) for r in rows_of)) for n in names}
    return Rule(
        matrix.operator, matrix.dtype, matrix.group, tuple(matrix.choices[r] for r in rows),
        grow_no_deeper_than_helps(matrix.shapes, costs, good, weights),
        int(np.argmin(costs @ weight)), table, ranges, within,
        float(good.any(axis=0) @ weight / weight.sum()),
    )  # fmt: skip


@dataclass(frozen=True)
class HeldOut:
    """A tuned shape, served by the rule that all the others make.

    Attributes:
        ratio: time of what the rule picks over the shape's own best; NaN where that was not measured there.
        default: the same of the rule's default.
        sure: whether the tree was followed.
    """

    workload: Workload
    weight: float
    picked: Picked
    ratio: float
    default: float

    @property
    def sure(self) -> bool:
        """Whether the tree was followed."""
        return self.picked.sure


def leave_one_out(matrix: Matrix, within: float = 0.05, at_most: int | None = None) -> list[HeldOut]:
    """Each shape in turn left out of set and tree, and then served by them.

    Raises:
        TunerError: there are fewer than three shapes.
    """
    if len(matrix.shapes) < 3:
        raise TunerError("leaving one shape out needs at least 3 tuned shapes")
    ratios, found = matrix.ratios(), []
    place = {choice.digest: row for row, choice in enumerate(matrix.choices)}
    for column, workload in enumerate(matrix.shapes):
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
