"""An ONNX file as a `Graph`: symbolic dimensions bound, shapes inferred, nothing executed."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.brief import brief
from tuner.model import integer_shapes
from tuner.model.graph import Graph, Node, Value
from tuner.model.guards import MOST_TENSOR_BYTES, ModelError, captured, check, itemsize, onnx_library, parse
from tuner.model.identities import without_identities
from tuner.model.pools import without_empty_windows

# Constants of so many elements are kept: shapes, axes, scales and zero points of channels.
SMALL = 8192
# Operators of other domains whose first output has the shape and dtype of their first input.
ALIKE = frozenset(
    {"MultiHeadAttention", "SkipLayerNormalization", "LayerNormalization", "EmbedLayerNormalization",
     "SkipSimplifiedLayerNormalization", "SimplifiedLayerNormalization", "BiasGelu", "FastGelu", "Gelu",
     "QuickGelu", "RotaryEmbedding"}
)  # fmt: skip
_PASSES = 200


def read_model(path: Path, dims: Mapping[str, int] | None = None, batch: int | None = None) -> Graph:
    """Reads a model.

    Args:
        path: of the `.onnx` file.
        dims: sizes of symbolic dimensions, by name; one without a name is `INPUT.AXIS`.
        batch: the first dimension of every input, in place of what the file says.

    Raises:
        ModelError: the file is not what `guards` lets pass, a symbolic dimension has no size, shapes
            contradict each other, a tensor would be endless.
        MissingExtra: `onnx` is not installed.
    """
    return graph_of(prepared(path, dims or {}, batch), path, dims or {})


def prepared(path: Path, dims: Mapping[str, int], batch: int | None = None, weights: bool = False) -> Any:
    """The `ModelProto` with sizes in place of symbols, functions written out, no copies, shapes inferred.

    Args:
        path, dims, batch: as for `read_model`.
        weights: keep the contents of large constants, and read those that lie in files beside the model.

    Raises:
        ModelError, MissingExtra: as `read_model`.
    """
    onnx = onnx_library()
    model = parse(path)
    check(model, path)
    if model.functions:
        import onnx.inliner

        model = onnx.inliner.inline_local_functions(model)
        check(model, path)
    without_identities(model.graph)
    if weights:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    else:
        _strip(model.graph, path)
    _bind(model.graph, dims, batch, path)
    return _inferred(model, path)


def _strip(graph: Any, path: Path) -> None:
    """Takes the contents of large constants away: shapes need none of them, and copies would be of GiB."""
    onnx = onnx_library()
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= SMALL:
            if tensor.external_data:
                onnx.external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
        else:
            name, dims, kind = tensor.name, list(tensor.dims), tensor.data_type
            tensor.Clear()
            tensor.name, tensor.data_type = name, kind
            tensor.dims.extend(dims)


def model_inputs(graph: Any) -> list[Any]:
    """What is given in each run: inputs that are no weights."""
    stored = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in stored]


def _bind(graph: Any, dims: Mapping[str, int], batch: int | None, path: Path) -> None:
    asked: dict[str, int] = dict(dims)
    missing: list[str] = []
    before: set[int] = set()
    for value in model_inputs(graph):
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
            raise ModelError(f"{path}: input {brief(value.name, 80)} is no tensor with a shape")
        for axis, dim in enumerate(kind.shape.dim):
            name = dim.dim_param or f"{value.name}.{axis}"
            if batch is not None and axis == 0 and not (dim.HasField("dim_value") and dim.dim_value < 1):
                before.add(dim.dim_value)
                dims_name = dim.dim_param
                dim.dim_value = batch
                if dims_name:
                    dims = {**dims, dims_name: batch}
                asked.pop(name, None)
            elif not dim.HasField("dim_value") or dim.dim_value < 0:
                asked.pop(name, None)
                if name in dims:
                    dim.dim_value = dims[name]
                else:
                    missing.append(name)
    if missing:
        wanted = " ".join(f"--dim {name}=1" for name in dict.fromkeys(missing))
        raise ModelError(f"{path}: its inputs have symbolic dimensions: give their sizes, as {wanted}")
    if asked:
        raise ModelError(f"{path}: no input has a symbolic dimension {brief(next(iter(asked)), 80)}")
    if batch is not None:
        _free_reshapes(graph, before, batch)
    # What the file says of sizes in between is of other symbols, or of another batch: all is inferred anew.
    del graph.value_info[:]
    for value in graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")


def _free_reshapes(graph: Any, before: set[int], batch: int) -> None:
    """Lets reshapes whose target begins with the old batch take the new one.

    The 0 that ONNX's Reshape takes for "as in the input" stands for the same number where the input's first
    dimension is the batch; where it is not, the shapes inferred afterwards do not fit and that is an error.
    """
    onnx = onnx_library()
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Reshape" or len(node.input) < 2 or node.input[1] not in stored:
            continue
        tensor = stored[node.input[1]]
        target = onnx.numpy_helper.to_array(tensor)
        if target.ndim == 1 and len(target) > 1 and int(target[0]) in before and batch != int(target[0]):
            changed = target.copy()
            changed[0] = 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))


def _inferred(model: Any, path: Path) -> Any:
    """Shapes of all values, those of other domains' operators too, as far as they follow from the inputs'."""
    onnx = onnx_library()
    domains = {entry.domain for entry in model.opset_import}
    for graph_node in model.graph.node:
        if graph_node.domain not in domains:
            domains.add(graph_node.domain)
            model.opset_import.append(onnx.helper.make_opsetid(graph_node.domain, 1))
    for _ in range(_PASSES):
        try:
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except Exception as error:  # the library's own kinds of errors, from C++
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(f"{path}: shapes cannot be inferred: {brief(said, 300)}") from None
        if without_empty_windows(model):
            continue
        alike, integers = _infer_alike(model), integer_shapes.infer(model)
        if not alike and not integers:
            break
    return model


def _infer_alike(model: Any) -> bool:
    known = {v.name: v for v in (*model.graph.value_info, *model.graph.input)}
    stored = {t.name: t.dims for t in model.graph.initializer}
    changed = False
    for node in model.graph.node:
        if node.domain in ("", "ai.onnx") or node.op_type not in (*ALIKE, "Attention") or not node.output:
            continue
        name, first = node.output[0], known.get(node.input[0])
        if first is None or not first.type.tensor_type.HasField("shape"):
            continue
        if name in known and known[name].type.tensor_type.HasField("shape"):
            continue
        output = next((v for v in model.graph.output if v.name == name), None)
        if output is not None and output.type.tensor_type.HasField("shape"):
            continue
        made = output if output is not None else model.graph.value_info.add(name=name)
        made.type.CopyFrom(first.type)
        if (
            node.op_type == "Attention"
        ):  # of com.microsoft: Q, K and V are a third of its weights' columns each
            made.type.tensor_type.shape.dim[-1].dim_value = stored.get(node.input[1], (0, 0))[1] // 3
        known[name] = made
        changed = True
    return changed


def graph_of(model: Any, path: Path, dims: Mapping[str, int]) -> Graph:
    """The plain graph of what `prepared` returns.

    Raises:
        ModelError: a value would be endless.
    """
    onnx = onnx_library()
    graph = model.graph
    values = {t.name: _value(t.name, list(t.dims), t.data_type) for t in graph.initializer}
    for info in (*graph.input, *graph.value_info, *graph.output):
        if info.name not in values and info.type.HasField("tensor_type"):
            values[info.name] = _value(info.name, _sizes(info), info.type.tensor_type.elem_type)
    for value in values.values():
        if (value.nbytes or 0) > MOST_TENSOR_BYTES:
            raise ModelError(f"{path}: {brief(value.name, 80)} would have {value.nbytes} bytes")
    small: dict[str, np.ndarray] = {}
    for tensor in graph.initializer:
        _keep_small(small, tensor.name, tensor, path)
    nodes = []
    for number, node in enumerate(graph.node):
        nodes.append(_node(number, node))
        if node.op_type == "Constant" and len(node.output) == 1 and node.attribute:
            attribute, name = node.attribute[0], node.output[0]
            if attribute.HasField("t"):
                _keep_small(small, name, attribute.t, path)
            elif attribute.name in ("value_float", "value_int", "value_floats", "value_ints"):
                small[name] = np.asarray(onnx.helper.get_attribute_value(attribute))
    return Graph(
        path, nodes, values, [v.name for v in model_inputs(graph)], [v.name for v in graph.output],
        frozenset(t.name for t in graph.initializer), small, dict(dims),
        max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0),
    )  # fmt: skip


def _sizes(info: Any) -> list[int] | None:
    kind = info.type.tensor_type
    if not kind.HasField("shape") or any(
        not d.HasField("dim_value") or d.dim_value < 0 for d in kind.shape.dim
    ):
        return None
    return [d.dim_value for d in kind.shape.dim]


def _value(name: str, sizes: list[int] | None, data_type: int) -> Value:
    onnx = onnx_library()
    try:
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(data_type))
    except (KeyError, ValueError):
        dtype = ""
    return Value(name, None if sizes is None else tuple(sizes), dtype, int(itemsize(data_type)))


def _node(number: int, node: Any) -> Node:
    onnx = onnx_library()
    plain = {onnx.AttributeProto.FLOAT, onnx.AttributeProto.INT, onnx.AttributeProto.STRING,
             onnx.AttributeProto.FLOATS, onnx.AttributeProto.INTS, onnx.AttributeProto.STRINGS}  # fmt: skip
    attributes = {}
    for attribute in node.attribute:
        if attribute.type in plain:
            found = onnx.helper.get_attribute_value(attribute)
            attributes[attribute.name] = (
                found.decode("utf-8", "replace") if isinstance(found, bytes) else found
            )
    domain = "" if node.domain == "ai.onnx" else node.domain
    return Node(number, node.name, node.op_type, domain, tuple(node.input), tuple(node.output), attributes,
                tuple(captured(node)))  # fmt: skip


def _keep_small(small: dict[str, np.ndarray], name: str, tensor: Any, path: Path) -> None:
    onnx = onnx_library()
    if tensor.data_type == onnx.TensorProto.STRING or math.prod(tensor.dims) > SMALL:
        return
    try:
        small[name] = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{path}: constant {brief(name, 80)} cannot be read: {brief(said, 200)}") from None
