"""What a model's file may be: whole, not endless, with data beside it only, in an order that can run."""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tuner.core.brief import brief
from tuner.core.errors import MissingExtra, TunerError

MOST_FILE_BYTES = 2**31 - 1
"""What protobuf can read of one message."""
MOST_NODES = 200_000
MOST_TENSOR_BYTES = 2**40
MOST_DEPTH = 20
# Attributes that are looked at here, with their types in ONNX: of another type they would be another number.
_ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    "Conv": {"strides": "INTS", "dilations": "INTS", "pads": "INTS", "group": "INT", "auto_pad": "STRING"},
    "Gemm": {"alpha": "FLOAT", "beta": "FLOAT", "transA": "INT", "transB": "INT"},
    "Attention": {"num_heads": "INT", "scale": "FLOAT", "unidirectional": "INT", "is_causal": "INT",
                  "softcap": "FLOAT", "qkv_hidden_sizes": "INTS"},
    "MultiHeadAttention": {"num_heads": "INT", "scale": "FLOAT", "unidirectional": "INT"},
    "Softmax": {"axis": "INT"},
    "Transpose": {"perm": "INTS"},
    "BatchNormalization": {"epsilon": "FLOAT", "training_mode": "INT", "spatial": "INT"},
    "MaxPool": {"kernel_shape": "INTS"},
    "AveragePool": {"kernel_shape": "INTS"},
    "QuantizeLinear": {"axis": "INT", "block_size": "INT"},
    "DequantizeLinear": {"axis": "INT", "block_size": "INT"},
    "QLinearConv": {"strides": "INTS", "dilations": "INTS", "pads": "INTS", "group": "INT",
                    "auto_pad": "STRING"},
    "ConvInteger": {"strides": "INTS", "dilations": "INTS", "pads": "INTS", "group": "INT",
                    "auto_pad": "STRING"},
    "QGemm": {"alpha": "FLOAT", "transA": "INT", "transB": "INT"},
    "Clip": {"min": "FLOAT", "max": "FLOAT"},
}  # fmt: skip


class ModelError(TunerError):
    """A model cannot be read, or not be run: the message names the file and what is wrong with it."""


def onnx_library() -> Any:
    """The `onnx` package.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise MissingExtra("tuner model", "model") from None
    return onnx


def require_file(path: Path) -> None:
    """A model that is not there is said before whatever else is missing.

    Raises:
        ModelError: there is no such file.
    """
    if not path.is_file():
        raise ModelError(f"{path}: {'is no regular file' if path.exists() else 'there is no such file'}")


def parse(path: Path) -> Any:
    """The `ModelProto` of a file, its external data not read.

    Raises:
        ModelError: it is no file, too large, truncated or no model.
        OSError: it cannot be read.
    """
    onnx = onnx_library()
    require_file(path)
    size = path.stat().st_size
    if size > MOST_FILE_BYTES:
        raise ModelError(f"{path}: {size} bytes, a model's file has less than 2 GiB: keep weights beside it")
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError:
        raise ModelError(f"{path}: truncated, or no ONNX model") from None
    if not model.ir_version or not model.graph.node:
        raise ModelError(f"{path}: no ONNX model with nodes")
    return model


def graphs(graph: Any, depth: int = 0) -> Iterator[Any]:
    """A graph and the bodies inside of its nodes.

    Raises:
        ModelError: bodies lie too deep in each other.
    """
    if depth > MOST_DEPTH:
        raise ModelError(f"bodies of loops and branches lie more than {MOST_DEPTH} deep in each other")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            bodies = [attribute.g] if attribute.HasField("g") else []
            for body in (*bodies, *attribute.graphs):
                yield from graphs(body, depth + 1)


def check(model: Any, path: Path) -> None:
    """Looks at everything that could be hostile before a library works with it.

    Raises:
        ModelError: too many nodes, an attribute of another type than its operator's, a tensor whose size is
            not that of its data, data outside of the model's folder, a value made twice or by nobody, a
            cycle.
    """
    try:
        if not all(isinstance(entry.domain, str) for entry in model.opset_import):
            raise ModelError("a domain in it is no UTF-8: the file is damaged")
        _check_functions(model)
        total = 0
        for graph in graphs(model.graph):
            total += len(graph.node)
            _check_texts(graph)
            if total > MOST_NODES:
                raise ModelError(f"more than {MOST_NODES} nodes")
            for node in graph.node:
                _check_attributes(node)
            for tensor in _tensors(graph):
                _check_tensor(tensor, path)
        _sort(model.graph)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _check_attributes(node: Any) -> None:
    wanted = _ATTRIBUTES.get(node.op_type, {})
    for attribute in node.attribute:
        kind = attribute.AttributeType.Name(attribute.type)
        if kind != wanted.get(attribute.name, kind):
            raise ModelError(
                f"node {brief(node.name or node.op_type, 80)}: {attribute.name} is {kind}, "
                f"{node.op_type} takes {wanted[attribute.name]}"
            )


def _check_texts(graph: Any) -> None:
    """Names that are no UTF-8 come as bytes, and nothing that looks for a name expects that."""
    texts: list[Any] = [t.name for t in (*graph.initializer, *graph.input, *graph.output, *graph.value_info)]
    for node in graph.node:
        texts += [node.name, node.op_type, node.domain, *node.input, *node.output]
        texts += [attribute.name for attribute in node.attribute]
    for value in (*graph.input, *graph.output):
        texts += [dim.dim_param for dim in value.type.tensor_type.shape.dim]
    if not all(isinstance(text, str) for text in texts):
        raise ModelError("a name in it is no UTF-8: the file is damaged")


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def itemsize(data_type: int) -> float:
    """Bytes of an element of an ONNX type; 0 for texts and types that are not known."""
    onnx = onnx_library()
    narrow = dict.fromkeys(("INT4", "UINT4", "FLOAT4E2M1"), 0.5) | {"INT2": 0.25, "UINT2": 0.25}
    try:
        name = onnx.TensorProto.DataType.Name(data_type)
        if name in narrow:
            return narrow[name]
        found = onnx.helper.tensor_dtype_to_np_dtype(data_type)
    except (ValueError, KeyError):
        return 0
    return 0 if found.kind == "O" else float(found.itemsize)


def _check_tensor(tensor: Any, path: Path) -> None:
    onnx = onnx_library()
    name = brief(tensor.name or "of an attribute", 80)
    if any(size < 0 for size in tensor.dims) or len(tensor.dims) > 64:
        raise ModelError(f"tensor {name} has the dimensions {brief(list(tensor.dims), 80)}")
    nbytes = math.ceil(math.prod(tensor.dims) * itemsize(tensor.data_type))
    if nbytes > MOST_TENSOR_BYTES:
        raise ModelError(f"tensor {name} would have {nbytes} bytes, the most is {MOST_TENSOR_BYTES}")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        _check_external(tensor, name, nbytes, path)
    elif tensor.HasField("raw_data") and len(tensor.raw_data) != nbytes:
        raise ModelError(
            f"tensor {name} has {len(tensor.raw_data)} bytes of data and dimensions for {nbytes}"
        )


def _check_external(tensor: Any, name: str, nbytes: int, path: Path) -> None:
    told = {entry.key: entry.value for entry in tensor.external_data}
    location = told.get("location", "")
    try:
        offset, length = int(told.get("offset") or 0), int(told.get("length") or nbytes)
    except ValueError:
        raise ModelError(f"tensor {name} has an offset or a length that is no number") from None
    folder = Path(os.path.realpath(path)).parent
    if not location or "\0" in location:
        raise ModelError(f"tensor {name} names no file for its data")
    # As it is spelled, and where it leads: a link may point anywhere.
    spelled = Path(location)
    real = Path(os.path.realpath(folder / spelled))
    if spelled.is_absolute() or ".." in spelled.parts or not real.is_relative_to(folder):
        raise ModelError(
            f"tensor {name} has its data in {brief(location, 200)}, outside of the model's folder: "
            "move it there"
        )
    if not real.is_file():
        raise ModelError(f"tensor {name} has its data in {brief(location, 200)}, which is not there")
    if offset < 0 or length != nbytes or offset + length > real.stat().st_size:
        raise ModelError(
            f"tensor {name} of {nbytes} bytes: {brief(location, 200)} has no such data at {offset} to "
            f"{offset + length}"
        )


def _check_functions(model: Any) -> None:
    """Counts the nodes that functions of the model make when they are written out, before anybody does it."""
    bodies = {(f.domain, f.name): f.node for f in model.functions}
    known: dict[tuple[str, str], int] = {}

    def size(nodes: Any, within: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in within or len(within) > MOST_DEPTH:
                raise ModelError(f"function {brief(node.op_type, 80)} calls itself, or calls go too deep")
            if key in bodies and key not in known:
                known[key] = size(bodies[key], (*within, key))
            total += known.get(key, 1)
            if total > MOST_NODES:
                raise ModelError(f"its functions written out are more than {MOST_NODES} nodes")
        return total

    if bodies:
        for graph in graphs(model.graph):
            size(graph.node, ())


def captured(node: Any) -> list[str]:
    """Values that the bodies of a node take from outside of them."""
    found: dict[str, None] = {}
    for attribute in node.attribute:
        bodies = [attribute.g] if attribute.HasField("g") else []
        for body in (*bodies, *attribute.graphs):
            own = {v.name for v in body.input} | {t.name for t in body.initializer}
            own |= {name for inner in body.node for name in inner.output}
            for inner in body.node:
                found |= dict.fromkeys(n for n in (*inner.input, *captured(inner)) if n and n not in own)
            found |= dict.fromkeys(v.name for v in body.output if v.name not in own)
    return list(found)


def _sort(graph: Any) -> None:
    """Puts the nodes into an order in which they can run, the file's own where it is one (Kahn 1962)."""
    known = {""} | {v.name for v in graph.input} | {t.name for t in graph.initializer}
    known |= {s.values.name for s in graph.sparse_initializer}
    makers: dict[str, int] = {}
    for number, node in enumerate(graph.node):
        for name in node.output:
            if name and (name in makers or name in known):
                raise ModelError(f"value {brief(name, 80)} is made twice")
            if name:
                makers[name] = number
    waits: list[set[int]] = []
    users: dict[int, list[int]] = {}
    for number, node in enumerate(graph.node):
        used = {name for name in (*node.input, *captured(node)) if name not in known}
        missing = next((name for name in sorted(used) if name not in makers), None)
        if missing is not None:
            raise ModelError(f"value {brief(missing, 80)} is used and made by nobody")
        waits.append({makers[name] for name in used})
        for maker in waits[-1]:
            users.setdefault(maker, []).append(number)
    if all(maker < number for number, makers_of in enumerate(waits) for maker in makers_of):
        return
    import heapq

    ready, order = [n for n, makers_of in enumerate(waits) if not makers_of], []
    while ready:
        number = heapq.heappop(ready)
        order.append(number)
        for user in users.get(number, ()):
            waits[user].discard(number)
            if not waits[user]:
                heapq.heappush(ready, user)
    if len(order) < len(graph.node):
        stuck = next(node for n, node in enumerate(graph.node) if waits[n])
        raise ModelError(f"node {brief(stuck.name or stuck.op_type, 80)} is in or behind a cycle")
    nodes = [graph.node[n] for n in order]
    sorted_nodes = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(sorted_nodes)
