"""How far a quantized model's outputs may be apart where both ways to compute them are right."""

from dataclasses import dataclass

from tuner.model.graph import Graph
from tuner.model.quantization import BYTES, MOVERS

_QUANTIZED = ("QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinear", "QGemm")
_SUMS = ("MatMulInteger", "ConvInteger")
_MOVERS = MOVERS | {"Relu"}


@dataclass(frozen=True)
class Step:
    """What is allowed beside the rounding of floats.

    Attributes:
        size: in the output's own unit.
        share: of the output's largest element.
    """

    size: float = 0.0
    share: float = 0.0


EXACT = Step()
OF_RANGE = Step(share=1 / 127)
"""Of an output that floats are computed for behind the last quantization: one step of 8 bits of its range."""


def output_steps(graph: Graph) -> list[Step]:
    """For each output: one step of the last quantization.

    A sum that is a rounding error from the middle between two integers becomes one or the other: elements may
    be one step apart. Where a DequantizeLinear is the last node, the step is its scale; of an integer output
    it is 1, of int32 sums 0. Of an output that floats are computed for behind it, it is 1/127 of its largest
    element. A model without quantization has none.
    """
    if not any(node.op.startswith(_QUANTIZED) for node in graph.nodes):
        return [EXACT] * len(graph.outputs)
    return [_step(graph, name) for name in graph.outputs]


def _step(graph: Graph, name: str) -> Step:
    node = graph.producers.get(name)
    while node is not None and node.op in _MOVERS:
        node = graph.producers.get(node.input(0))
    if node is None or node.op in _SUMS:
        return EXACT
    if node.op == "DequantizeLinear":
        scale = graph.small.get(node.input(1))
        return OF_RANGE if scale is None or not scale.size else Step(float(scale.astype("f8").max()))
    integer = node.op.startswith(("QuantizeLinear", "DynamicQuantizeLinear", "QLinear", "QGemm"))
    return Step(1.0) if integer and graph.value(name).dtype in BYTES else OF_RANGE
