"""The least time that a workload can take here: by arithmetic, by each cache level, by memory.

Below each level lies a smaller, faster memory of S elements, and whatever the blocking, a product of
matrices moves at least 2*m*n*k/sqrt(S) elements across that boundary (Hong and Kung 1981; Smith, Lowery,
Langou and van de Geijn, A tight I/O lower bound for matrix multiplication, 2019, who give 2*m*n*k/sqrt(S) -
2S). An image under a filter of r by s taps is used r*s/stride^2 times, which takes a factor of at most its
square root off (Chen, Demmel et al., Communication-optimal convolutional neural nets, 2018). Never less
than every tensor once, where they do not all fit in the smaller memory: calls are repeated on warm caches.
Of attention only the latter is counted.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tuner import registry
from tuner.core.workload import Workload


@dataclass(frozen=True)
class Rest:
    """What takes the time that no roof explains, in words.

    Attributes:
        fewer: how something is faster than the arithmetic that the definition counts.
        near: beside a roof that most of the time goes to.
        far: where no roof is near.
    """

    fewer: str
    near: str
    far: str


ON_CPUS = Rest(
    "fewer operations than the definition counts (Winograd), tiles in place of FMA",
    "blocking, packing and edges", "starting threads, packing, edges and latency",
)  # fmt: skip


@dataclass(frozen=True)
class Roofs:
    """What a workload costs at least, in seconds.

    Attributes:
        compute: by the peak of the type; `None` where it is not known.
        levels: by memories whose rate was measured: what has to come out of one, over its rate.
    """

    compute: float | None
    levels: Mapping[str, float]

    @property
    def binding(self) -> tuple[str, float]:
        """The highest roof: its name and seconds."""
        found = {**self.levels, **({"compute": self.compute} if self.compute else {})}
        name = max(found, key=lambda each: found[each])
        return name, found[name]


def holds(roofs: Roofs, measured_s: float, rest: Rest = ON_CPUS) -> str:
    """What holds a measured time, in words: the highest roof where it is near, else that none is.

    Args:
        roofs: least times.
        measured_s: the time.
        rest: what takes the time that they do not explain.
    """
    name, least = roofs.binding
    share = least / measured_s
    if share > 1.05:
        fewer = f"{rest.fewer}, or " if name == "compute" else ""
        return f"beyond {name} ({share:.0%}): {fewer}a rate that was measured too low"
    if share >= 0.85:
        return f"{name}: {share:.0%} of that roof"
    if share >= 0.4:
        return f"mostly {name}: {share:.0%} of that roof, the rest is {rest.near}"
    if roofs.compute is None:
        return f"neither caches nor memory ({name}: {share:.0%}); the peak of this type is not measured"
    return f"no roof: {share:.0%} of {name}; {rest.far}"


def least_bytes(workload: Workload, size: float) -> float:
    """Bytes that at least cross into a memory of `size` bytes in each of many calls."""
    operator = registry.operator(workload.operator)
    compulsory = float(operator.min_bytes(workload))
    if compulsory <= size:
        return 0.0
    width = workload.element_bytes
    elements, products = size / width, operator.flops(workload) / 2
    if "kv" in dict(workload.dims):
        return compulsory  # attention: two products through a softmax, which the bound is not for
    stride = int(workload.option("stride", 1))
    taps = dict(workload.dims).get("r", 1) * dict(workload.dims).get("s", 1)
    uses = max(1.0, taps / stride**2)
    moved = 2 * products / math.sqrt(elements * uses) - 2 * elements
    return max(compulsory, width * moved)
