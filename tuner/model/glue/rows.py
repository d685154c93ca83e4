"""Softmax and LayerNormalization over the last axes."""

import math

import numpy as np

from tuner.model.glue.program import Call, Program, floats, of_node, operand
from tuner.model.graph import Graph, Node

OPERATORS = frozenset({"Softmax", "LayerNormalization"})


def program(graph: Graph, node: Node) -> Program | None:
    """The program of a node, or `None` where it is none.

    Raises:
        TypeError, ValueError, LookupError: its attributes are not those of its operator.
    """
    outputs = [name for name in node.outputs if name]
    tensors = [name for name in node.inputs if name]
    if node.domain or len(outputs) != 1 or not floats(graph, *tensors, outputs[0]):
        return None
    shape = graph.shape(tensors[0]) or ()
    old = node.op == "Softmax" and graph.opset < 13  # then all axes behind this one are one
    axis = int(node.attributes.get("axis", 1 if old else -1))
    axis = axis + len(shape) if axis < 0 else axis
    if not 0 <= axis < len(shape) or (node.op == "Softmax" and not old and axis != len(shape) - 1):
        return None
    rows, width = math.prod(shape[:axis]), math.prod(shape[axis:])
    if node.op == "Softmax":
        return of_node(graph, node, [Call("softmax", "", (rows, width), (tensors[0], outputs[0]))])
    if any(graph.value(name).elements != width for name in tensors[1:]) or len(tensors) < 2:
        return None
    epsilon = np.array([float(node.attributes.get("epsilon", 1e-5))], np.float32)
    bias = operand(graph, tensors[2]) if len(tensors) > 2 else None
    operands = (operand(graph, tensors[0]), operand(graph, tensors[1]), bias, epsilon, outputs[0])
    return of_node(graph, node, [Call("layer_norm", "", (rows, width), operands)])
