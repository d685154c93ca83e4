"""Types and shapes of ONNX Runtime's own integer operators, which ONNX's shape inference does not know."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuner.model.guards import onnx_library

Known = Callable[[str], tuple[int, Sequence[int]] | None]
"""Type and dimensions of a value; `None` where they are not known."""
_SAME = ("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax")
_FLOAT, _UINT8 = 1, 2  # of ONNX's TensorProto.DataType


def inferred(node: Any, known: Known, attributes: Mapping[str, Any]) -> tuple[int, list[int]] | None:
    """ONNX's type number and the dimensions of a node's first output; `None` where they do not follow.

    Args:
        node: `NodeProto` of the domain `com.microsoft`.
        known: what is known of its inputs.
        attributes: of the node.
    """
    names = list(node.input)
    first = known(names[0]) if names else None
    match node.op_type:
        case "QLinearAdd" | "QLinearMul":
            other = known(names[3]) if len(names) > 3 else None
            return _spread(first, other)
        case "QLinearConcat":
            return _joined(names, known, int(attributes.get("axis", 0)))
        case "QGemm":
            return _product(names, first, known, attributes)
        case _ if first is None:
            return None
        case op if op in _SAME:
            return first[0], list(first[1])
        case "QLinearGlobalAveragePool" if len(first[1]) > 2:
            ones = [1] * (len(first[1]) - 2)
            last = attributes.get("channels_last", 0)
            dims = [first[1][0], *ones, first[1][-1]] if last else [*first[1][:2], *ones]
            return first[0], dims
        case "QuantizeLinear":
            zero = known(names[2]) if len(names) > 2 else None
            return (zero[0] if zero else _UINT8), list(first[1])
        case "DequantizeLinear":
            return _FLOAT, list(first[1])
    return None


def _spread(first: Any, other: Any) -> tuple[int, list[int]] | None:
    """Of NumPy's broadcasting."""
    if first is None or other is None:
        return None
    a, b = list(first[1]), list(other[1])
    width = max(len(a), len(b))
    a, b = [1] * (width - len(a)) + a, [1] * (width - len(b)) + b
    if any(x != y and 1 not in (x, y) for x, y in zip(a, b, strict=True)):
        return None
    return first[0], [y if x == 1 else x for x, y in zip(a, b, strict=True)]


def _joined(names: Sequence[str], known: Known, axis: int) -> tuple[int, list[int]] | None:
    """Inputs are the result's scale and zero point, then values, scale and zero point of each part."""
    parts = [known(name) for name in names[2::3]]
    there = [part for part in parts if part is not None]
    if not there or len(there) < len(parts):
        return None
    dims = list(there[0][1])
    if not -len(dims) <= axis < len(dims) or any(len(part[1]) != len(dims) for part in there):
        return None
    dims[axis] = sum(part[1][axis] for part in there)
    return there[0][0], dims


def _product(
    names: Sequence[str], first: Any, known: Known, attributes: Mapping[str, Any]
) -> tuple[int, list[int]] | None:
    second = known(names[3]) if len(names) > 3 else None
    if first is None or second is None or len(first[1]) != 2 or len(second[1]) != 2:
        return None
    zero = known(names[8]) if len(names) > 8 and names[8] else None
    rows = first[1][1 if attributes.get("transA", 0) else 0]
    columns = second[1][0 if attributes.get("transB", 0) else 1]
    return (zero[0] if zero else _FLOAT), [rows, columns]


def infer(model: Any) -> bool:
    """Writes what `inferred` finds into a `ModelProto`; whether it found anything new.

    Nodes are in an order in which they can run, so one call does all that follow on each other.
    """
    onnx = onnx_library()
    found = {t.name: (int(t.data_type), list(t.dims)) for t in model.graph.initializer}
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        if (dims := _static(value)) is not None:
            found[value.name] = value.type.tensor_type.elem_type, dims
    outputs = {value.name: value for value in model.graph.output}
    changed = False
    for node in model.graph.node:
        if node.domain != "com.microsoft" or not node.output or node.output[0] in found:
            continue
        attributes = {a.name: a.i for a in node.attribute if a.type == onnx.AttributeProto.INT}
        made = inferred(node, found.get, attributes)
        if made is None:
            continue
        name = node.output[0]
        info = onnx.helper.make_tensor_value_info(name, *made)
        if name in outputs:
            outputs[name].CopyFrom(info)
        else:
            model.graph.value_info.append(info)
        found[name] = made
        changed = True
    return changed


def _static(value: Any) -> list[int] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape") or not kind.elem_type:
        return None
    if any(not dim.HasField("dim_value") or dim.dim_value < 0 for dim in kind.shape.dim):
        return None
    return [dim.dim_value for dim in kind.shape.dim]
