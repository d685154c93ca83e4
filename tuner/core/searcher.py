"""A searcher: proposes configurations and learns from what came of them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tuner.core.disturbance import is_disturbed
from tuner.core.errors import InvalidSpace, UnknownName
from tuner.core.measurement import Measurement
from tuner.core.space import Config, SearchSpace

_OTHER_KIND = 0.25


@dataclass(frozen=True)
class Observation:
    """What a searcher is told: a configuration and its outcome, failures included."""

    config: Config
    measurement: Measurement

    @property
    def value(self) -> float | None:
        """Seconds to minimise; `None` for a failure."""
        return self.measurement.time_s

    @property
    def disturbed(self) -> bool:
        """Whether other programs had the cores while it was timed: its time is too long."""
        return is_disturbed(self.measurement.metrics)


@dataclass(frozen=True)
class History:
    """Earlier observations of the same kernel on another device or of another shape.

    Attributes:
        observations: failures included.
        space: the space they were taken from.
        device: facts of the device as numbers (SMs, clocks, bandwidth, caches); may be empty.
        workload: its dimensions and options as numbers.
        label: for messages: `gemm/f32/m512-n512-k512 on RTX 3090`.
        dtype: element type; empty where that is not known.
    """

    observations: Sequence[Observation]
    space: SearchSpace
    device: Mapping[str, float] = field(default_factory=dict)
    workload: Mapping[str, float] = field(default_factory=dict)
    label: str = ""
    dtype: str = ""


def similarity(
    device: Mapping[str, float], other_device: Mapping[str, float],
    workload: Mapping[str, float], other_workload: Mapping[str, float],
) -> float:  # fmt: skip
    """exp(-d/2), d the mean distance in octaves over the facts that both sides know; 1 where there are none.

    A device of twice the SMs and twice the bandwidth is one octave away: exp(-1/2) = 0.61. A fact of the
    devices that is yes on one side and no on the other (a vendor, an instruction set) divides by four.
    """
    distances = []
    kinds = 0
    for mine, theirs in ((device, other_device), (workload, other_workload)):
        for name in mine.keys() & theirs.keys():
            a, b = float(mine[name]), float(theirs[name])
            if a > 0 and b > 0 and math.isfinite(a) and math.isfinite(b):
                distances.append(min(abs(math.log2(a / b)), 4.0))
            elif a != b and mine is device and {a, b} == {0.0, 1.0}:
                kinds += 1
            elif a != b:
                distances.append(1.0)
    near = math.exp(-0.5 * sum(distances) / len(distances)) if distances else 1.0
    return near * _OTHER_KIND**kinds


@dataclass(frozen=True)
class Problem:
    """All that a searcher may know of a sweep.

    Attributes:
        space: what may be proposed.
        seed: makes the proposals reproducible: equal seeds and equal observations, equal proposals.
        budget: trials the sweep is going to make, where it is known.
        features: derived quantities of a configuration, declared by the kernel.
        history: what the store already knows, for searchers that transfer.
        device: facts of the device at hand as numbers, like `History.device`.
        workload: dimensions and options at hand as numbers, like `History.workload`.
        options: of the searcher, as the user gave them.
        dtype: element type at hand, like `History.dtype`; empty where that is not known.
    """

    space: SearchSpace
    seed: int = 0
    budget: int | None = None
    features: Callable[[Config], Mapping[str, float]] | None = None
    history: Sequence[History] = ()
    device: Mapping[str, float] = field(default_factory=dict)
    workload: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = ""


class Searcher(ABC):
    """Proposes valid configurations that were not tried before, and learns from the outcomes.

    A subclass in its own file under `tuner/searchers/` is found by the registry. It keeps no state
    that `tell` cannot rebuild: a sweep that was killed resumes by telling a new searcher, in order, all
    that the store holds. `tell` therefore also takes configurations that were never asked for.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    batch: int = 1
    """How many proposals it makes at a time, at least, where that saves time: a sweep then asks for more."""
    open_space: ClassVar[bool] = False
    """Whether it proposes from open spaces, and from no others."""
    wants_history: ClassVar[bool] = False
    """Whether it learns from what is stored of other shapes and devices: `Problem.history`."""
    chooses: ClassVar[bool] = False
    """Whether it hands the work to another searcher: of an open space to the only one that can propose."""
    own_order: bool = False
    """Whether the order of its proposals is the method: then nothing else is measured before them."""
    searches: ClassVar[bool] = True
    """Whether it looks for the fastest one: what it found tells how fast a shape can be. Not where it times
    what somebody names."""
    foresight: bool = True
    """Whether a sweep of it may begin with what the target's model ranks best: not where it has first trials
    of its own."""
    why: str = ""
    """What it decided at the start and why, one line for people; empty where it decides nothing."""

    def __init__(self, problem: Problem) -> None:
        if not self.can_propose(problem):
            only = problem.space.searcher
            raise InvalidSpace(f"only searcher {only} can propose from an open space, not {self.name}")
        self.problem = problem

    @classmethod
    def can_propose(cls, problem: Problem) -> bool:
        """Whether it has configurations of the problem's space: of an open one only that space's own has."""
        return problem.space.searcher in (None, cls.name)

    @classmethod
    def warm_up(cls) -> None:
        """Imports what it needs; called while builders and devices do the same in their processes."""

    @classmethod
    def unavailable(cls) -> str | None:
        """Why it cannot be used here (a library is missing); `None` if it can. Imports nothing heavy."""
        return None

    @classmethod
    def variant(cls, which: str) -> "type[Searcher]":
        """The searcher of the name `name:which`, for a family of searchers such as `optuna:QMCSampler`.

        Raises:
            UnknownName: there is no such member; by default a searcher is no family.
        """
        raise UnknownName("searcher", f"{cls.name}:{which}", [cls.name])

    @abstractmethod
    def ask(self, n: int) -> list[Config]:
        """Up to `n` valid configurations, each neither told nor asked before; none when all were tried."""

    @abstractmethod
    def tell(self, observations: Sequence[Observation]) -> None:
        """Outcomes, in the order of the trials; failures are outcomes too.

        One of status `environment` is none: the machine failed. It is not proposed again, and nothing is
        learned of it. One that is `disturbed` has a time that is too long: `searchers/disturbed.py`.
        """
