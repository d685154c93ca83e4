"""LRN, local response normalisation over neighbouring channels (AlexNet, the first Inception)."""

import math

import numpy as np

from tuner.model.glue.program import Call, Program, floats, of_node
from tuner.model.graph import Graph, Node

OPERATORS = frozenset({"LRN"})
# Powers that square roots make, in quarters.
_QUARTERS = {0.5: 2, 0.75: 3, 1.0: 4}


def program(graph: Graph, node: Node) -> Program | None:
    """The program of a node, or `None` where it is none: another power, or an even number of channels,
    which ONNX Runtime refuses too.

    Raises:
        TypeError, ValueError, LookupError: its attributes are not those of its operator.
    """
    shape, given = graph.shape(node.input(0)) or (), node.attributes
    quarters = _QUARTERS.get(float(given.get("beta", 0.75)))
    size = int(given["size"])
    if node.domain or not floats(graph, node.input(0), node.outputs[0]) or len(shape) < 2:
        return None
    if quarters is None or size < 1 or size % 2 == 0:
        return None
    numbers = np.array([float(given.get("alpha", 1e-4)) / size, float(given.get("bias", 1.0))], np.float32)
    sizes = (shape[0], shape[1], math.prod(shape[2:]), size, quarters)
    return of_node(
        graph, node, [Call("local_response", "", sizes, (node.input(0), numbers, node.outputs[0]))]
    )
