"""A quantized graph whose activations are uint8, with int8 in their place: the same numbers, as kernels have.

q and its zero point both less 128 stand for the same number, and what QuantizeLinear cuts off at 0 and 255 is
cut off at -128 and 127. So no value has to be converted between a kernel and ONNX Runtime's nodes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tuner.model.graph import Graph
from tuner.model.guards import onnx_library
from tuner.model.quantization import MOVERS, SHIFT

# Places of (values, their zero point) among the inputs, and of the result's zero point.
_SLOTS: Mapping[str, tuple[tuple[tuple[int, int], ...], int | None]] = {
    "QuantizeLinear": ((), 2),
    "DequantizeLinear": (((0, 2),), None),
    "QLinearConv": (((0, 2),), 7),
    "QLinearMatMul": (((0, 2),), 7),
    "QGemm": (((0, 2),), 8),
    "QLinearAdd": (((0, 2), (3, 5)), 7),
    "QLinearMul": (((0, 2), (3, 5)), 7),
    "QLinearSigmoid": (((0, 2),), 4),
    "QLinearLeakyRelu": (((0, 2),), 4),
    "QLinearGlobalAveragePool": (((0, 2),), 4),
}
# Concat moves those of all its inputs.
_MOVERS = MOVERS | {"Concat"}
# Their weights' type has to be that of the input, where that is int8.
_WEIGHTS = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}


def signed(model: Any, graph: Graph) -> tuple[Any, frozenset[str]]:
    """The model with int8 in place of uint8 wherever that changes no result, and the values it was done for.

    Inputs and outputs of the model stay, and values that a node takes or makes for which int8 is something
    else or not allowed (DynamicQuantizeLinear).

    Args:
        model: the `ModelProto` of `graph`; not changed.
        graph: what was read of it.
    """
    chosen = frozenset(_chosen(model, graph))
    if not chosen:
        return model, chosen
    changed = type(model)()
    changed.CopyFrom(model)
    made: dict[int, str] = {}
    for node in changed.graph.node:
        for place, zero in _places(node, chosen):
            while len(node.input) <= zero:
                node.input.append("")
            found = _zero(graph, node.input[zero])
            assert found is not None, place
            node.input[zero] = made.setdefault(found, f"tuner_zero_{found}")
        if node.op_type == "QuantizeLinear" and node.output[0] in chosen:
            kept = [a for a in node.attribute if a.name != "output_dtype"]
            del node.attribute[:]
            node.attribute.extend(kept)
    onnx = onnx_library()
    for zero, name in made.items():
        changed.graph.initializer.append(onnx.numpy_helper.from_array(np.int8(zero - SHIFT), name))
    for info in changed.graph.value_info:
        if info.name in chosen:
            info.type.tensor_type.elem_type = onnx.TensorProto.INT8
    return changed, chosen


def _chosen(model: Any, graph: Graph) -> set[str]:
    """Values that can be int8: groups that one node holds together are, or are not, as a whole."""
    fixed = {*graph.inputs, *graph.outputs, *graph.constants}
    fixed |= {name for node in graph.nodes for name in node.captures}
    names = {
        name for node in graph.nodes for name in (*node.inputs, *node.outputs)
        if name and name not in fixed and graph.value(name).dtype == "uint8"
    }  # fmt: skip
    group = {name: name for name in names}

    def root(name: str) -> str:
        while group[name] != name:
            group[name] = name = group[group[name]]
        return name

    blocked = _averaged(graph) & names
    for node in model.graph.node:
        touched = [name for name in (*node.input, *node.output) if name in names]
        others = [
            name for name in (*node.input, *node.output)
            if name in fixed and graph.value(name).dtype == "uint8" and name not in _zeros(node)
        ]  # fmt: skip
        if not touched:
            continue
        if not _takes(node, graph, names) or others:
            blocked.update(touched)
        for name in touched[1:]:
            group[root(name)] = root(touched[0])
    bad = {root(name) for name in blocked}
    return {name for name in names if root(name) not in bad}


def _averaged(graph: Graph) -> set[str]:
    """Values that are dequantized for an average, and those that averages are quantized to.

    ONNX Runtime rounds averages of int8 at other places than those of uint8 (1.23: one step apart in many
    elements): around them the graph stays as it is.
    """
    found: set[str] = set()
    for node in graph.nodes:
        if node.op == "AveragePool":
            makers = [graph.producers.get(name) for name in node.inputs]
            found |= {m.input(0) for m in makers if m is not None and m.op == "DequantizeLinear"}
            users = graph.consumers.get(node.outputs[0], ())
            found |= {user.outputs[0] for user in users if user.op == "QuantizeLinear"}
    return found


def _takes(node: Any, graph: Graph, names: set[str]) -> bool:
    """Whether a node does the same for int8, its uint8 values at the places that are known here."""
    if node.op_type in _MOVERS and node.domain in ("", "ai.onnx"):
        inner = node.input if node.op_type == "Concat" else node.input[:1]
        return all(
            name in inner or name in node.output for name in (*node.input, *node.output) if name in names
        )
    if node.op_type not in _SLOTS and node.op_type != "QLinearConcat":
        return False
    weights = _WEIGHTS.get(node.op_type)
    if weights is not None and graph.value(node.input[weights]).dtype != "int8":
        return False
    slots = list(_places(node, names))
    known = {place for place, _ in slots}
    used = {p for p, name in enumerate(node.input) if name in names}
    used |= {-1 for name in node.output if name in names}
    return used <= known and all(
        _zero(graph, node.input[z] if z < len(node.input) else "") is not None for _, z in slots
    )


def _places(node: Any, names: Any) -> Iterator[tuple[int, int]]:
    """(place, place of the zero point) of those values of a node that are among names; -1: the result."""
    slots, result = _slots(node)
    for place, zero in slots:
        if place < len(node.input) and node.input[place] in names:
            yield place, zero
    if result is not None and node.output and node.output[0] in names:
        yield -1, result


def _slots(node: Any) -> tuple[tuple[tuple[int, int], ...], int | None]:
    if node.op_type == "QLinearConcat":  # scale and zero point of the result, then three for each part
        return tuple((place, place + 2) for place in range(2, len(node.input), 3)), 1
    return _SLOTS.get(node.op_type, ((), None))


def _zeros(node: Any) -> set[str]:
    slots, result = _slots(node)
    places = [zero for _, zero in slots] + ([] if result is None else [result])
    return {node.input[place] for place in places if place < len(node.input)}


def _zero(graph: Graph, name: str) -> int | None:
    """A uint8 zero point; `None` where it is not one constant number."""
    if not name:
        return 0
    found = graph.small.get(name)
    return (
        int(found.reshape(-1)[0])
        if found is not None and found.size == 1 and found.dtype == "uint8"
        else None
    )
