"""AveragePool and GlobalAveragePool of integers, between DequantizeLinear and QuantizeLinear."""

import math
from collections.abc import Sequence

import numpy as np

from tuner.model.glue.linear import linear
from tuner.model.glue.pooling import windows
from tuner.model.glue.program import Call, Program
from tuner.model.graph import Graph, Node
from tuner.model.quantization import BYTES

_NAMES = {"int8": "s8", "uint8": "u8"}
# Of a window, or of the image where that is lower: each thread holds so many rows as floats.
_MOST_ROWS = 1024


def averages(graph: Graph, nodes: Sequence[Node]) -> list[Program]:
    """The programs that such pools are, each with its QuantizeLinear.

    Args:
        graph: of the model.
        nodes: that may be taken, in the graph's order.
    """
    by_index = {node.index: node for node in nodes}
    found = []
    for node in nodes:
        user = graph.only_consumer(node.outputs[0]) if node.outputs else None
        if node.op not in ("AveragePool", "GlobalAveragePool") or node.domain:
            continue
        if user is None or user.op != "QuantizeLinear" or user.index not in by_index:
            continue
        try:
            made = _program(graph, node, user)
        except (TypeError, ValueError, LookupError, ArithmeticError):
            made = None  # ONNX Runtime says what is wrong with the node
        if made is not None:
            found.append(made)
    return found


def _program(graph: Graph, node: Node, quantize: Node) -> Program | None:
    maker = graph.producers.get(node.input(0))
    if maker is None or maker.op != "DequantizeLinear" or maker.outputs[0] in graph.constants:
        return None
    given, wanted = linear(graph, maker), linear(graph, quantize)
    names = maker.input(0), quantize.outputs[0]
    dtypes = {graph.value(name).dtype for name in names}
    shape, result = graph.shape(names[0]) or (), graph.shape(names[1]) or ()
    if given is None or wanted is None or len(dtypes) != 1 or not dtypes <= BYTES:
        return None
    if not math.prod(shape) or not math.prod(result) or len(shape) < 3:
        return None
    kind = _NAMES[dtypes.pop()]
    scales = np.array([given[0], wanted[0]], np.float32)
    if node.op == "GlobalAveragePool":
        width = math.prod(shape[2:])
        if width > 2**23 // 255:
            return None  # sums are floats without rounding up to 2^23
        by = scales[0] / (scales[1] * np.float32(width))
        numbers = np.array([by, given[1] * width, wanted[1]], np.float32)
        call = Call(f"mean_integers_{kind}", "", (math.prod(shape[:2]), width), (names[0], numbers, names[1]))
    else:
        found = windows(node, shape, result)
        if found is None or min(found[1], found[5]) > _MOST_ROWS:
            return None
        numbers = np.array([scales[0], given[1], scales[1], wanted[1]], np.float32)
        call = Call(f"average_integers_{kind}", "", found, (names[0], numbers, names[1]))
    return Program((node, quantize), (names[0],), (names[1],), [call])
