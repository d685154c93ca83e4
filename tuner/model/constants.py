"""Constants of a model as arrays, and those of a layer with what is folded into them."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from tuner import registry
from tuner.model import int8_weights
from tuner.model.graph import Graph, Node
from tuner.model.guards import onnx_library
from tuner.model.layer import Binding, Layer
from tuner.model.runtime import run, session


def constant_arrays(model: Any, graph: Graph, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Arrays of constants: stored ones as they are, others as ONNX Runtime computes them, once.

    Args:
        model: the `ModelProto` of `graph`, with weights.
        graph: what was read of it.
        names: of constants.

    Raises:
        ModelError: ONNX Runtime cannot compute them.
    """
    onnx = onnx_library()
    wanted = dict.fromkeys(names)
    stored = {t.name: t for t in model.graph.initializer if t.name in wanted}
    found = {name: np.ascontiguousarray(onnx.numpy_helper.to_array(t)) for name, t in stored.items()}
    made = [name for name in wanted if name not in stored]
    if made:
        part = sub_model(model, graph, constant_nodes(graph, made), (), made)
        found |= dict(zip(made, run(session(part, 1), {}), strict=True))
    return found


def constant_nodes(graph: Graph, names: Iterable[str]) -> list[int]:
    """The nodes that make constants, in order."""
    found: set[int] = set()
    todo = [name for name in names if name in graph.constants]
    while todo:
        node = graph.producers.get(todo.pop())
        if node is not None and node.index not in found:
            found.add(node.index)
            todo += [name for name in (*node.inputs, *node.captures) if name]
    return sorted(found)


def sub_model(
    model: Any, graph: Graph, nodes: Iterable[int], inputs: Iterable[str], outputs: Iterable[str]
) -> Any:
    """A model of some nodes of another one, with the constants they use.

    Args:
        model: the `ModelProto` of `graph`.
        graph: what was read of it.
        nodes: indices, in order.
        inputs: values that are given.
        outputs: values that are asked for.
    """
    onnx = onnx_library()
    chosen = [graph.nodes[index] for index in nodes]
    used = {name for node in chosen for name in (*node.inputs, *node.captures)} | set(outputs)
    part = onnx.ModelProto()
    part.ir_version = max(model.ir_version, 4)  # before it, constants had to be inputs as well
    part.opset_import.extend(model.opset_import)
    part.graph.name = "part"
    part.graph.node.extend(model.graph.node[node.index] for node in chosen)
    part.graph.initializer.extend(t for t in model.graph.initializer if t.name in used)
    known = {v.name: v for v in (*model.graph.value_info, *model.graph.input, *model.graph.output)}
    for name in inputs:
        part.graph.input.append(_info(known[name], graph, name))
    for name in outputs:
        part.graph.output.append(
            _info(known[name], graph, name) if name in known else onnx.ValueInfoProto(name=name)
        )
    return part


def _info(known: Any, graph: Graph, name: str) -> Any:
    """What is known of a value; a shape of which a part is not known is left to ONNX Runtime."""
    if graph.shape(name) is not None or not known.type.HasField("tensor_type"):
        return known
    onnx = onnx_library()
    return onnx.helper.make_tensor_value_info(name, known.type.tensor_type.elem_type, None)


def constants_of(graph: Graph, layer: Layer) -> set[str]:
    """Constants that a layer's kernel needs as arrays."""
    names = {binding.value for binding in layer.inputs if binding.value in graph.constants}
    if layer.quantization is not None:
        names |= {name for name in (layer.quantization.bias, layer.quantization.w.value) if name}
    names &= graph.constants
    for index in layer.folded:
        names |= {name for name in graph.nodes[index].inputs if name in graph.constants}
    return names


def laid_out(binding: Binding, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A constant as the kernel's tensor: reshaped, permuted, in its shape."""
    view = array if binding.shape is None else array.reshape(binding.shape)
    view = view if binding.axes is None else view.transpose(binding.axes)
    return np.ascontiguousarray(view).reshape(shape)


def weights(graph: Graph, layer: Layer, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The constant tensors of a layer's kernel, by the kernel's names, with what is folded into them.

    Args:
        graph: of the model.
        layer: of the graph.
        arrays: of `constants_of`.
    """
    specs = {s.name: s for s in registry.operator(layer.workload.operator).signature(layer.workload)}
    if layer.quantization is not None:
        return int8_weights.tensors(layer, arrays, specs)
    found = {
        b.tensor: laid_out(b, arrays[b.value], specs[b.tensor].shape)
        for b in layer.inputs
        if b.value in arrays
    }
    empty = [b.tensor for b in layer.inputs if not b.value]
    for tensor in empty:
        found[tensor] = np.zeros(specs[tensor].shape, specs[tensor].dtype)
    if layer.folded:
        scale, shift = _affine(graph, layer, arrays, specs["bias"].shape[0])
        filters = found["W"].astype(np.float64) * scale.reshape(-1, *[1] * (found["W"].ndim - 1))
        bias = found["bias"].astype(np.float64) * scale + shift
        found |= {"W": filters.astype(specs["W"].dtype), "bias": bias.astype(specs["bias"].dtype)}
    return found


def normalisation(
    node: Node, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of each channel of a BatchNormalization, in float64.

    y = gamma * (x - mean) / sqrt(variance + epsilon) + beta (Ioffe and Szegedy, arXiv:1502.03167, 2015).

    Args:
        node: has epsilon.
        gamma, beta, mean, variance: a value a channel.
    """
    spread = np.sqrt(variance.astype(np.float64) + float(node.attributes.get("epsilon", 1e-5)))
    scale: np.ndarray = gamma.astype(np.float64) / spread
    shift: np.ndarray = beta.astype(np.float64) - mean.astype(np.float64) * scale
    return scale, shift


def _affine(
    graph: Graph, layer: Layer, arrays: dict[str, np.ndarray], channels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of each channel, in float64, of the nodes that are folded, in their order."""
    scale, shift = np.ones(channels), np.zeros(channels)
    for index in layer.folded:
        node = graph.nodes[index]
        if node.op == "BatchNormalization":
            factor, added = normalisation(node, *(arrays[name] for name in node.inputs[1:5]))
            scale, shift = scale * factor, shift * factor + added
            continue
        other = next(name for name in node.inputs if name in arrays)
        each = np.broadcast_to(arrays[other].astype(np.float64).reshape(-1), (channels,))
        if node.op == "Mul":
            scale, shift = scale * each, shift * each
        else:
            shift = shift + each
    return scale, shift
