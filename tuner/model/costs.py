"""Operations and bytes of nodes, whether or not the lab tunes them."""

import math

from tuner import registry
from tuner.model.graph import Graph, Node
from tuner.model.layer import Layer

# Nothing is computed.
_FREE = frozenset(
    ("Reshape", "Transpose", "Concat", "Split", "Slice", "Gather", "GatherElements", "GatherND", "Unsqueeze",
     "Squeeze", "Flatten", "Expand", "Pad", "Identity", "Dropout", "Cast", "Shape", "Size", "Tile",
     "DepthToSpace", "SpaceToDepth", "Constant", "ConstantOfShape", "ScatterND")
)  # fmt: skip
# No bytes move: another shape of the same elements.
_VIEWS = frozenset(("Reshape", "Unsqueeze", "Squeeze", "Flatten", "Identity", "Dropout", "Shape", "Size"))


def layer_cost(layer: Layer) -> tuple[int, int]:
    """(operations, bytes) of a layer: what its operator counts, every tensor read or written once."""
    operator = registry.operator(layer.workload.operator)
    return operator.flops(layer.workload), operator.min_bytes(layer.workload)


def node_cost(graph: Graph, node: Node) -> tuple[int, int]:
    """(operations, bytes) of a node that is in no layer.

    Products and convolutions: two for each multiply-add. Pooling: one for each element of a window. What
    moves data: none. All others: one for each element of the larger of input and output, a lower bound.
    Bytes: every tensor read or written once; none where only the shape changes, or shapes are not known.
    """
    outputs = [graph.value(name) for name in node.outputs if name]
    inputs = [graph.value(name) for name in dict.fromkeys(node.inputs) if name]
    nbytes = 0 if node.op in _VIEWS else sum(value.nbytes or 0 for value in (*inputs, *outputs))
    made = sum(value.elements or 0 for value in outputs)
    if node.op in _FREE:
        return 0, nbytes
    given = graph.shape(node.input(0)) or ()
    weights = graph.shape(node.input(1)) or ()
    if node.op in ("Conv", "ConvInteger", "QLinearConv"):
        place = 3 if node.op == "QLinearConv" else 1
        taps = graph.shape(node.input(place)) or ()
        return 2 * made * math.prod(taps[1:]), nbytes
    if node.op == "ConvTranspose":
        return 2 * (graph.value(node.input(0)).elements or 0) * math.prod(weights[1:]), nbytes
    if node.op in ("MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul") and given:
        return 2 * made * given[-1], nbytes
    if node.op == "Gemm" and len(given) == 2:
        return 2 * made * given[0 if node.attributes.get("transA") else 1], nbytes
    if node.op in ("LSTM", "GRU", "RNN") and len(given) == 3:
        recurrent = graph.shape(node.input(2)) or ()
        steps = given[0] * given[1]
        return 2 * steps * (math.prod(weights) + math.prod(recurrent)), nbytes
    if node.op in ("MaxPool", "AveragePool"):
        return made * math.prod(node.attributes.get("kernel_shape") or (1,)), nbytes
    return max(made, max((value.elements or 0 for value in inputs), default=0)), nbytes
