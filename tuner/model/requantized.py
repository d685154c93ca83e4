"""What lies between a product of dequantized factors and the QuantizeLinear behind it."""

import math
from dataclasses import dataclass, field

import numpy as np

from tuner.model.epilogues import LARGEST, clip_limits
from tuner.model.graph import Graph, Node
from tuner.model.layer import NotTuned
from tuner.model.linear import activation, dequantized, dequantizer
from tuner.model.quantization import Linear

_LOW, _HIGH = -128, 127


@dataclass
class Requantized:
    """A result that is quantized.

    Attributes:
        output: the quantized value.
        y: how.
        nodes: up to the QuantizeLinear.
        relu: whether values below 0 are cut off, above what int8 cuts off anyway.
        bias: constant that is added to each channel; empty for none.
    """

    output: str
    y: Linear | None
    nodes: list[int] = field(default_factory=list)
    relu: bool = False
    bias: str = ""


def requantized(graph: Graph, value: str, bias: str, channels: int) -> Requantized:
    """Follows a product to its QuantizeLinear, through a bias, Relu and Clip.

    Rounding and Clip may change places, since rounding keeps the order: what Clip cuts off outside of the
    values that 8 bits hold is cut off there anyway.

    Args:
        graph: of the model.
        value: of the product.
        bias: of its own; empty for none.
        channels: of the bias.

    Raises:
        NotTuned: something else lies between.
    """
    found, low, high = Requantized(value, None, bias=bias), -LARGEST, LARGEST
    while True:
        node = graph.only_consumer(found.output)
        if node is None:
            raise NotTuned("its result is used before it is quantized")
        if node.op == "QuantizeLinear":
            break
        if node.op in ("Relu", "Clip") and not node.domain:
            limits = (0.0, LARGEST) if node.op == "Relu" else clip_limits(graph, node)
            if limits is None:
                raise NotTuned("a Clip whose limits are not constant")
            least, most = limits
            low, high = max(low, least), min(max(high, least), most)
        elif node.op == "Add" and not found.bias and (low, high) == (-LARGEST, LARGEST):
            found.bias = _added(graph, node, found.output, channels)
        else:
            raise NotTuned(f"its result is not quantized: {node.spelled} follows")
        found.nodes.append(node.index)
        found.output = node.outputs[0]
    if found.bias:
        maker = dequantizer(graph, found.bias)
        check_bias(graph, maker.input(0) if maker else found.bias, channels)
    rank = len(graph.shape(found.output) or ())
    found.y = activation(graph, *dequantized(graph, node, rank, None), "its result")
    found.nodes.append(node.index)
    found.output = node.outputs[0]
    least, most = (_as_stored(limit, found.y) for limit in (low, high))
    if most < _HIGH or (least > _LOW and low != 0):
        raise NotTuned("a Clip inside of what its quantized result holds")
    found.relu = least > _LOW
    return found


def _as_stored(limit: float, y: Linear) -> float:
    if abs(limit) >= LARGEST:
        return limit
    return float(np.rint(np.float32(limit) / y.scale[0])) + y.zero


def _added(graph: Graph, node: Node, value: str, channels: int) -> str:
    other = node.inputs[1] if node.inputs[0] == value else node.inputs[0]
    shape = graph.shape(other)
    if other not in graph.constants or shape is None or shape[-1:] != (channels,):
        raise NotTuned("its result is not quantized: Add follows")
    # Over rows of a product: channels are the last axis there, and not those of a convolution.
    rank = len(graph.shape(value) or ())
    maker = graph.producers.get(value)
    if maker is None or maker.op == "Conv" or len(shape) > rank or math.prod(shape) != channels:
        raise NotTuned("its result is not quantized: Add follows")
    return other


def check_bias(graph: Graph, bias: str, channels: int) -> None:
    """Holds a bias to be a constant of one number a channel.

    Raises:
        NotTuned: it is not.
    """
    shape = graph.shape(bias)
    if bias not in graph.constants or not shape or shape[-1] != channels or math.prod(shape) != channels:
        raise NotTuned("a bias that is not constant, or not one number a channel")
