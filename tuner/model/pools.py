"""Pooling with `ceil_mode`: windows counted as ONNX Runtime does, not as ONNX's shape inference."""

import math
from typing import Any

from tuner.model.guards import onnx_library

_POOLS = frozenset({"MaxPool", "AveragePool", "LpPool"})


def without_empty_windows(model: Any) -> bool:
    """Rewrites pools whose last window would begin behind the image: ONNX Runtime leaves it out.

    Where it is left out along every axis that is rounded up, the node is one that rounds down; elsewhere it
    stays as it is.

    Args:
        model: a `ModelProto` whose shapes are all inferred; of a changed one they are taken away.

    Returns:
        Whether a node was changed: shapes are to be inferred again.
    """
    onnx = onnx_library()
    graph = model.graph
    known = {v.name: v for v in (*graph.value_info, *graph.input)}
    changed = False
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in _POOLS or node.input[0] not in known:
            continue
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        shape = known[node.input[0]].type.tensor_type.shape.dim
        if attributes.get("ceil_mode") != 1 or not all(d.HasField("dim_value") for d in shape):
            continue
        if _rounds_down(attributes, [d.dim_value for d in shape[2:]]):
            next(a for a in node.attribute if a.name == "ceil_mode").i = 0
            changed = True
    if changed:
        del graph.value_info[:]
        for value in graph.output:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")
    return changed


def _rounds_down(attributes: dict[str, Any], image: list[int]) -> bool:
    """Whether a window is left out along an axis, and none is added along another."""
    axes = len(image)
    window = attributes.get("kernel_shape", [])
    steps, gaps = (attributes.get(name) or [1] * axes for name in ("strides", "dilations"))
    pads = attributes.get("pads") or [0] * 2 * axes
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", "NOTSET"):
        return False
    if not axes == len(window) == len(steps) == len(gaps) == len(pads) // 2 or min(steps) < 1:
        return False
    left_out = False
    for axis, size in enumerate(image):
        reach = size + pads[axis] + pads[axes + axis] - gaps[axis] * (window[axis] - 1) - 1
        last = math.ceil(reach / steps[axis])
        if reach % steps[axis] == 0:
            continue
        if last * steps[axis] < size + pads[axis]:
            return False
        left_out = True
    return left_out
