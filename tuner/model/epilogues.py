"""What follows a product and can be part of its kernel: shifts and scales of channels, a bias, ReLU."""

from collections.abc import Container
from dataclasses import dataclass, field

from tuner.model.graph import Graph, Node


@dataclass
class Epilogue:
    """Nodes behind a product that its kernel can do as well.

    Attributes:
        output: value after the last of them.
        nodes: of them, in order.
        folded: those that go into weights and bias.
        bias: value that is added to each channel; empty for none.
        addend: value of the output's own shape that is added; empty for none.
        relu: whether it ends in max(x, 0).
    """

    output: str
    nodes: list[int] = field(default_factory=list)
    folded: list[int] = field(default_factory=list)
    bias: str = ""
    addend: str = ""
    relu: bool = False

    def take(self, node: Node) -> None:
        """The node is part of it."""
        self.nodes.append(node.index)
        self.output = node.outputs[0]


def channel_epilogue(graph: Graph, output: str, channels: int, fold: bool) -> Epilogue:
    """What follows a convolution.

    Batch normalisation with constant parameters, and products and sums with constants of one element a
    channel, are folded: y = s * (W x + b) + t = (s W) x + (s b + t).

    Args:
        graph: of the model.
        output: of the convolution, [n, channels, ...].
        channels: along axis 1.
        fold: whether its weights are constant, so that something can be folded into them.
    """
    found = Epilogue(output)
    while (node := graph.only_consumer(found.output)) is not None and not node.domain:
        if node.op == "Relu":
            found.take(node)
            found.relu = True
            return found
        if not fold or not _is_affine(graph, node, found.output, channels):
            return found
        found.folded.append(node.index)
        found.take(node)
    return found


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
    ReLU.

    Args:
        graph: of the model.
        output: of the product.
        bias, addend: what the product's own node adds already; empty for nothing.
        claimed: nodes of other layers: a sum of two products belongs to the first.
    """
    found = Epilogue(output, bias=bias, addend=addend)
    while (node := graph.only_consumer(found.output)) is not None and not node.domain:
        if node.index in claimed:
            return found
        if node.op == "Relu":
            found.take(node)
            found.relu = True
            return found
        if node.op not in ("Add", "Sum") or len(node.inputs) != 2:
            return found
        other = node.inputs[1] if node.inputs[0] == found.output else node.inputs[0]
        shape, own = graph.shape(other), graph.shape(found.output)
        if shape is None or own is None or other == found.output:
            return found
        width = own[-1:]
        if not found.bias and shape in (width, (*[1] * (len(own) - 1), *width)) and width != (1,):
            found.bias = other
        elif not found.addend and shape == own:
            found.addend = other
        else:
            return found
        found.take(node)
    return found
