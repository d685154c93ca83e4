"""QuantizeLinear and DequantizeLinear of one constant scale and zero point, as programs have them."""

import numpy as np

from tuner.model.graph import Graph, Node

# Beyond, products with a scale or its reciprocal would leave the normal numbers of f32.
_LEAST, _MOST = 2.0**-60, 2.0**60


def linear(graph: Graph, node: Node) -> tuple[float, float] | None:
    """Scale and zero point; `None` where they are not one constant number each, or no use.

    Args:
        graph: of the model.
        node: a QuantizeLinear or DequantizeLinear.
    """
    plain = not node.attributes.get("block_size", 0) and not node.attributes.get("precision", 0)
    scale = graph.small.get(node.input(1))
    if node.domain or not plain or scale is None or scale.size != 1 or scale.dtype != np.float32:
        return None
    found = float(scale.reshape(-1)[0])
    zero = graph.scalar(node.input(2)) if node.input(2) else 0.0
    return (found, zero) if zero is not None and _LEAST < found < _MOST else None
