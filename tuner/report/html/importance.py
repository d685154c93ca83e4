"""Which parameters move a kernel's time: TreeSHAP of gradient-boosted trees fitted to its trials.

A value of TreeSHAP is a parameter's share of one prediction, averaged over the orders in which parameters
could be told to the model (Lundberg, Erion and Lee, Consistent Individualized Feature Attribution for Tree
Ensembles, 2018; XGBoost computes it itself). The model predicts the logarithm of the time:
shares multiply.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.core.space import Value
from tuner.store.lines import TrialLine

FEWEST = 16
"""Trials with a time below which trees learn nothing worth showing."""
_MOST, _SHARED = 3_000, 600  # trials fitted, and trials whose predictions are shared out
_LONGEST = 120  # a value longer than this is a trace, not a choice
_ROUNDS, _HELD_OUT = 80, 5


@dataclass(frozen=True)
class Choice:
    """A parameter that the trials vary.

    Attributes:
        name: of it.
        values: that occur, numbers ascending.
    """

    name: str
    values: Sequence[Value]

    def place(self, value: Any) -> int:
        """Where a value stands among them."""
        return self.values.index(value)


@dataclass(frozen=True)
class Importance:
    """What the trees say.

    Attributes:
        effect: by parameter, most first: by which factor it typically moves the time; 1.2 is 20% up or down.
        explained: share of the variance of log time on every fifth trial, which the trees had not seen; may
            be negative where they learnt nothing.
        trials: how many were looked at.
    """

    effect: Mapping[str, float]
    explained: float
    trials: int

    @property
    def trusted(self) -> bool:
        """Whether the trees predict what they had not seen well enough to speak of parameters."""
        return self.explained >= 0.3


def choices(lines: Sequence[TrialLine]) -> list[Choice]:
    """The parameters with more than one value among these trials, in the space's order."""
    found: dict[str, dict[tuple[bool, Value], Value]] = {}
    for line in lines:
        for name, value in line.config.items():
            found.setdefault(name, {})[isinstance(value, bool), value] = value
    varied = []
    for name, values in found.items():
        listed = list(values.values())
        if len(listed) < 2 or any(len(str(value)) > _LONGEST for value in listed):
            continue
        numbers = all(isinstance(value, int | float) for value in listed)
        varied.append(Choice(name, sorted(listed) if numbers else sorted(listed, key=str)))
    return varied


def importance(lines: Sequence[TrialLine], varied: Sequence[Choice]) -> Importance | None:
    """The importance of parameters; `None` where there are too few trials, or nothing varies.

    Args:
        lines: trials of one kernel for one workload that have a time and all of these parameters.
        varied: of `choices`.
    """
    import numpy as np
    import xgboost

    timed = lines[:: math.ceil(len(lines) / _MOST) or 1]
    if len(timed) < FEWEST or not varied:
        return None
    places = [{(isinstance(v, bool), v): i for i, v in enumerate(choice.values)} for choice in varied]
    x = np.array(
        [
            [
                at[isinstance(line.config[c.name], bool), line.config[c.name]]
                for c, at in zip(varied, places, strict=True)
            ]
            for line in timed
        ],
        dtype=np.float32,
    )
    y = np.log([line.time_s for line in timed if line.time_s is not None])
    held = np.arange(len(timed)) % _HELD_OUT == _HELD_OUT - 1
    # One thread: two would wait for each other at every level of these small trees.
    settings = {"max_depth": 5, "eta": 0.15, "subsample": 0.9, "nthread": 1, "seed": 0, "verbosity": 0}
    probe = xgboost.train(settings, xgboost.DMatrix(x[~held], y[~held]), _ROUNDS)
    left = y[held] - probe.predict(xgboost.DMatrix(x[held]))
    explained = 1 - float(np.mean(left**2) / max(float(np.var(y[held])), 1e-12))
    model = xgboost.train(settings, xgboost.DMatrix(x, y), _ROUNDS)
    # One column a parameter, the last is the mean prediction.
    shares = np.abs(
        model.predict(xgboost.DMatrix(x[:: math.ceil(len(x) / _SHARED)]), pred_contribs=True)[:, :-1]
    ).mean(axis=0)
    order = sorted(range(len(varied)), key=lambda i: -shares[i])
    return Importance({varied[i].name: float(np.exp(shares[i])) for i in order}, explained, len(timed))
