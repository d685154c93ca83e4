"""A layer: nodes of a graph that are one workload of the lab, and how their tensors are the kernel's."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tuner.core.errors import TunerError
from tuner.core.workload import Workload
from tuner.model.quantization import Quantization

DTYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""The lab's names of element types of graphs."""


class NotTuned(TunerError):
    """A node is no workload of the lab; the message says why, for a table."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a tensor of the kernel is in the graph.

    The value is reshaped to `shape`, its axes are permuted by `axes`, and the elements in that order are the
    kernel's tensor.

    Attributes:
        tensor: the operator's name of it: X, W, ...
        value: name in the graph.
        shape: `None` for the value's own.
        axes: `None` for their own order.
    """

    tensor: str
    value: str
    shape: tuple[int, ...] | None = None
    axes: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """Nodes that one kernel computes.

    Attributes:
        workload: what.
        nodes: their indices; the kernel stands in for all of them.
        inputs: one for each input of the workload.
        output: value that the kernel's output is.
        shape: what the output is reshaped to first; `None`: its elements are the value's in their order.
        axes: how its axes are then permuted.
        folded: nodes among `nodes` that scale or shift channels by constants: they go into weights and bias.
        runs: whether a kernel can stand in for the nodes; if not, `note` says why.
        note: what is to be known of it.
        quantization: of an int8 layer.
    """

    workload: Workload
    nodes: tuple[int, ...]
    inputs: Sequence[Binding]
    output: str
    shape: tuple[int, ...] | None = None
    axes: tuple[int, ...] | None = None
    folded: tuple[int, ...] = ()
    runs: bool = True
    note: str = ""
    quantization: Quantization | None = field(default=None, compare=False)

    def bound(self, tensor: str) -> Binding | None:
        """Where a tensor of the kernel is."""
        return next((b for b in self.inputs if b.tensor == tensor), None)


def dtype_of(found: str) -> str:
    """The lab's name of a graph's element type.

    Raises:
        NotTuned: it has none.
    """
    if found not in DTYPES:
        raise NotTuned(
            f"its element type {found or 'is not known'}{' is' * bool(found)} not tuned from a graph"
        )
    return DTYPES[found]
