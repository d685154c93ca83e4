"""The sum of integers behind a quantized convolution as part of its layer, and a ReLU behind that."""

from collections.abc import Container
from dataclasses import dataclass, replace

import numpy as np

from tuner import registry
from tuner.core.errors import InvalidWorkload
from tuner.model.graph import Graph, Node
from tuner.model.layer import Binding, Layer, NotTuned
from tuner.model.linear import activation, dequantized, dequantizer
from tuner.model.quantization import LARGEST_FACTOR, Linear
from tuner.model.requantized import Requantized, requantized

RESIDUAL, ZERO_POINTS = "quantized_residual", "zero_points"
_NO_INPUT = -1


@dataclass(frozen=True)
class _Sum:
    """One of two quantized tensors.

    Attributes:
        own, other: what is added up; `own` is the layer's result.
        after: the sum.
        nodes: from the layer's result up to the sum.
    """

    own: Linear
    other: Linear
    after: Requantized
    nodes: tuple[int, ...]


def with_residual(graph: Graph, layer: Layer, claimed: Container[int] = ()) -> Layer | None:
    """The same layer with the sum behind it; `None` where there is none that it can take.

    That is `QLinearAdd`, or `DequantizeLinear` of both, `Add`, a ReLU or none, and `QuantizeLinear`. A sum of
    two convolutions belongs to the one whose input is made later, as in float models (`epilogues`).
    Depthwise convolutions take none: their kernels have no residual.

    Args:
        graph: of the model.
        layer: any.
        claimed: nodes of other layers.
    """
    w, q = layer.workload, layer.quantization
    operator = registry.operator(w.operator)
    if q is None or q.y is None or RESIDUAL not in operator.options or w.option("relu", False):
        return None
    sizes = operator.derived(w)
    if sizes["group_c"] == sizes["group_k"] == 1:
        return None
    try:
        found = _sum(graph, layer.output, w["k"])
    except NotTuned:
        return None
    if found is None or any(index in claimed for index in found.nodes):
        return None
    own, total = found.own, found.after.y
    if total is None or (own.scale[0], own.zero) != (q.y.scale[0], q.y.zero):
        return None
    if not _of_use((q.y, found.other), total):
        return None
    if _convolution_of(graph, found.other.value) > _convolution_of(graph, layer.output):
        return None
    zeros = bool(w.option(ZERO_POINTS, False) or (found.after.relu and total.zero))
    options = {**dict(w.options), RESIDUAL: True, "relu": found.after.relu, ZERO_POINTS: zeros}
    try:
        workload = operator.workload(w.dtype, **dict(w.dims), **options)
    except InvalidWorkload:
        return None
    inputs = [*layer.inputs, Binding("residual", found.other.value), Binding("ratios", "")]
    if zeros and layer.bound("Z") is None:
        inputs.append(Binding("Z", ""))
    return replace(
        layer, workload=workload, nodes=(*layer.nodes, *found.nodes), inputs=inputs,
        output=found.after.output, quantization=replace(q, residual=found.other, total=total),
    )  # fmt: skip


def _of_use(terms: tuple[Linear, Linear], total: Linear) -> bool:
    """Whether the terms' factors are numbers that kernels take."""
    with np.errstate(over="ignore", divide="ignore"):
        factors = [np.float32(term.scale[0]) / np.float32(total.scale[0]) for term in terms]
    return all(0 < factor < LARGEST_FACTOR for factor in factors)


def _sum(graph: Graph, value: str, channels: int) -> _Sum | None:
    """The sum that alone uses a quantized value; `None` where something else does.

    Raises:
        NotTuned: it is quantized as the kernels have it not.
    """
    node, found = graph.only_consumer(value), None
    if node is not None and (node.domain, node.op) == ("com.microsoft", "QLinearAdd"):
        found = _in_one_node(graph, node, value)
    elif node is not None and node.op == "DequantizeLinear":
        found = _between(graph, node, channels)
    if found is None:
        return None
    other, shape = found.other.value, graph.shape(value)
    same = other != value and shape is not None and graph.shape(other) == shape
    return found if same and other not in graph.constants else None


def _in_one_node(graph: Graph, node: Node, value: str) -> _Sum:
    places = (0, 3) if node.input(0) == value else (3, 0)
    own, other = (activation(graph, *(node.input(place + i) for i in range(3))) for place in places)
    total = activation(graph, node.outputs[0], node.input(6), node.input(7), "its sum")
    return _Sum(own, other, Requantized(node.outputs[0], total), (node.index,))


def _between(graph: Graph, node: Node, channels: int) -> _Sum | None:
    """Of the DequantizeLinear of the layer's result."""
    add = graph.only_consumer(node.outputs[0])
    if add is None or add.domain or add.op not in ("Add", "Sum") or len(add.inputs) != 2:
        return None
    maker = dequantizer(graph, add.inputs[1] if add.inputs[0] == node.outputs[0] else add.inputs[0])
    if maker is None or maker is node:
        return None
    rank = len(graph.shape(node.input(0)) or ())
    own, other = (activation(graph, *dequantized(graph, each, rank, None)) for each in (node, maker))
    after = requantized(graph, add.outputs[0], "", channels)
    return None if after.bias else _Sum(own, other, after, (node.index, add.index, *after.nodes))


def _convolution_of(graph: Graph, value: str) -> tuple[int, int]:
    """Of the convolution whose quantized result a value is: index of the node that makes its input, and its
    own; (-1, -1) where it is of none."""
    node = graph.producers.get(value)
    while node is not None and node.op in ("QuantizeLinear", "Relu", "Clip"):
        node = graph.producers.get(node.input(0))
    if node is None or node.op not in ("Conv", "QLinearConv"):
        return _NO_INPUT, _NO_INPUT
    maker = dequantizer(graph, node.input(0))
    source = graph.producers.get(maker.input(0) if maker else node.input(0))
    return (_NO_INPUT if source is None else source.index), node.index
