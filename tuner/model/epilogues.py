"""What follows a product and can be part of its kernel: shifts and scales of channels, sums, activations."""

import math
from collections.abc import Container
from dataclasses import dataclass, field

import numpy as np

from tuner.core.activations import OF_PRODUCTS
from tuner.model.gelu import gelu_nodes
from tuner.model.graph import Graph, Node

LARGEST = float(np.finfo(np.float32).max)
"""What a Clip of floats without a limit ends at."""


@dataclass
class Epilogue:
    """Nodes behind a product that its kernel can do as well.

    Attributes:
        output: value after the last of them.
        nodes: of them, in order.
        folded: those that go into weights and bias.
        bias: value that is added to each channel; empty for none.
        addend: value of the output's own shape that is added; empty for none.
        activation: the last of them, by the name of the operators' option; empty for none.
    """

    output: str
    nodes: list[int] = field(default_factory=list)
    folded: list[int] = field(default_factory=list)
    bias: str = ""
    addend: str = ""
    activation: str = ""

    def take(self, node: Node) -> None:
        """The node is part of it."""
        self.nodes.append(node.index)
        self.output = node.outputs[0]


def channel_epilogue(
    graph: Graph, output: str, channels: int, fold: bool, claimed: Container[int] = ()
) -> Epilogue:
    """What follows a convolution: scales and shifts of channels, a residual sum, an activation.

    Batch normalisation with constant parameters, and products and sums with constants of one element a
    channel, are folded: y = s * (W x + b) + t = (s W) x + (s b + t).

    Args:
        graph: of the model.
        output: of the convolution, [n, channels, ...].
        channels: along axis 1.
        fold: whether its weights are constant, so that something can be folded into them.
        claimed: nodes of other layers.
    """
    found = Epilogue(output)
    while fold and (node := _only_user(graph, found.output)) is not None:
        if not _is_affine(graph, node, found.output, channels):
            break
        found.folded.append(node.index)
        found.take(node)
    node = _only_user(graph, found.output)
    if node is not None and node.index not in claimed and (other := _residual(graph, node, found.output)):
        found.addend = other
        found.take(node)
    found.activation, nodes = activation(graph, found.output)
    for node in nodes:
        found.take(node)
    return found


def _only_user(graph: Graph, value: str) -> Node | None:
    """The node of ONNX's own operators that alone uses a value."""
    node = graph.only_consumer(value)
    return None if node is None or node.domain else node


def _residual(graph: Graph, node: Node, value: str) -> str:
    """The value that a node adds to a convolution's; empty where it adds none of the same shape.

    A sum of two convolutions belongs to the one whose input is made later, which is the main path and not the
    shortcut: all blocks of a network then have it in the same layer. To wait for the other operand makes no
    circle: only the sum uses `value`, so nothing the operand depends on does.
    """
    if node.op not in ("Add", "Sum") or len(node.inputs) != 2:
        return ""
    other = node.inputs[1] if node.inputs[0] == value else node.inputs[0]
    shape = graph.shape(value)
    same = shape is not None and graph.shape(other) == shape and other != value
    same = same and graph.value(other).dtype == graph.value(value).dtype
    later = _convolution_of(graph, other) > _convolution_of(graph, value)
    return other if same and other not in graph.constants and not later else ""


def _convolution_of(graph: Graph, value: str) -> tuple[int, int]:
    """Of the convolution whose scaled and shifted result a value is: index of the node that makes its input,
    and its own; (-1, -1) where it is of none."""
    none = (-1, -1)
    while (node := graph.producers.get(value)) is not None and not node.domain:
        if node.op == "Conv":
            maker = graph.producers.get(node.input(0))
            return (-1 if maker is None else maker.index, node.index)
        given = [name for name in node.inputs if name and name not in graph.constants]
        if node.op not in ("BatchNormalization", "Add", "Mul", "Sum") or len(given) != 1:
            return none
        if graph.only_consumer(value) is None:
            return none
        value = given[0]
    return none


def activation(graph: Graph, value: str) -> tuple[str, list[Node]]:
    """The activation of a value, by the name of the operators' option, and its nodes in their order.

    `silu` is Sigmoid and Mul; `hardswish` HardSwish, or HardSigmoid of a sixth and a half and Mul; `relu6`
    and `relu` may be a Clip. Empty where what follows is none of them, or something else uses the value too.
    """
    node = _only_user(graph, value)
    if node is not None:
        name = {"Relu": "relu", "HardSwish": "hardswish", "Clip": _clip(graph, node)}.get(node.op, "")
        return (name, [node]) if name else ("", [])
    users = graph.consumers.get(value, [])
    if len(users) != 2 or value in graph.outputs or any(user.domain for user in users):
        return "", []
    gate, product = sorted(users, key=lambda user: user.index)
    name = _gate(gate)
    if name and product.op == "Mul" and sorted(product.inputs) == sorted((value, gate.outputs[0])):
        return (name, [gate, product]) if graph.only_consumer(gate.outputs[0]) is not None else ("", [])
    return "", []


def row_activation(graph: Graph, value: str) -> tuple[str, list[Node]]:
    """As `activation`, of those that products have; Tanh and GELU besides."""
    if nodes := gelu_nodes(graph, value):
        return "gelu", nodes
    node = _only_user(graph, value)
    if node is not None and node.op == "Tanh":
        return "tanh", [node]
    name, nodes = activation(graph, value)
    return (name, nodes) if name in ("relu", *OF_PRODUCTS) else ("", [])


def _gate(node: Node) -> str:
    """What x times this function of x is."""
    if node.op == "Sigmoid":
        return "silu"
    slope, shift = (node.attributes.get(name, default) for name, default in (("alpha", 0.2), ("beta", 0.5)))
    sixth = node.op == "HardSigmoid" and abs(slope - 1 / 6) < 1e-6 and shift == 0.5
    return "hardswish" if sixth else ""


def _clip(graph: Graph, node: Node) -> str:
    """The activation that a Clip is: from 0 to 6, or from 0 on."""
    limits = clip_limits(graph, node) if node.op == "Clip" else None
    if limits is None or limits[0] != 0:
        return ""
    return "relu" if limits[1] >= LARGEST else "relu6" if limits[1] == 6 else ""


def clip_limits(graph: Graph, node: Node) -> tuple[float, float] | None:
    """Lower and upper limit of a Clip: inputs, or attributes before opset 11; where it has none, the largest
    finite number of either sign, as ONNX defines it, so that an infinity becomes that.

    `None`: a limit is computed when the model runs, or is NaN.
    """
    found = []
    for place, name, none in ((1, "min", -LARGEST), (2, "max", LARGEST)):
        limit = node.attributes.get(name, none)
        if node.input(place):
            limit = graph.scalar(node.input(place))
        if limit is None or math.isnan(limit):
            return None
        found.append(float(limit))
    return found[0], found[1]


def _is_affine(graph: Graph, node: Node, value: str, channels: int) -> bool:
    if node.op == "BatchNormalization":
        constant = len(node.inputs) == 5 and all(name in graph.constants for name in node.inputs[1:])
        running = not node.attributes.get("training_mode", 0) and not any(node.outputs[1:])
        return node.inputs[0] == value and constant and running and node.attributes.get("spatial", 1) == 1
    rank = len(graph.shape(value) or ())
    if node.op not in ("Add", "Mul", "Sum") or len(node.inputs) != 2:
        return False
    other = node.inputs[1] if node.inputs[0] == value else node.inputs[0]
    shape = graph.shape(other)
    one_each = (channels, *[1] * (rank - 2))
    return other in graph.constants and shape in (one_each, (1, *one_each), (), (1,) * rank)


def row_epilogue(graph: Graph, output: str, bias: str, addend: str, claimed: Container[int]) -> Epilogue:
    """What follows a matrix product [..., m, n]: a constant or computed bias [n], a tensor of the same shape,
    an activation.

    Args:
        graph: of the model.
        output: of the product.
        bias, addend: what the product's own node adds already; empty for nothing.
        claimed: nodes of other layers: a sum of two products belongs to the first.
    """
    found = Epilogue(output, bias=bias, addend=addend)
    while (node := graph.only_consumer(found.output)) is not None and not node.domain:
        if node.index in claimed or node.op not in ("Add", "Sum") or len(node.inputs) != 2:
            break
        other = node.inputs[1] if node.inputs[0] == found.output else node.inputs[0]
        shape, own = graph.shape(other), graph.shape(found.output)
        if shape is None or own is None or other == found.output:
            break
        width = own[-1:]
        if not found.bias and shape in (width, (*[1] * (len(own) - 1), *width)) and width != (1,):
            found.bias = other
        elif not found.addend and shape == own:
            found.addend = other
        else:
            break
        found.take(node)
    name, nodes = row_activation(graph, found.output)
    if not any(node.index in claimed for node in nodes):
        found.activation = name
        for node in nodes:
            found.take(node)
    return found
