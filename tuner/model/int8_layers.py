"""Quantized products and convolutions as int8 workloads, in ONNX's three ways to write them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tuner import registry
from tuner.core.errors import InvalidWorkload
from tuner.core.kernel import FROZEN
from tuner.core.workload import Workload
from tuner.model.convolutions import geometry
from tuner.model.graph import Graph, Node
from tuner.model.layer import Binding, Layer, NotTuned
from tuner.model.linear import (
    activation,
    byte_dtype,
    check_symmetric,
    dequantized,
    dequantizer,
    scale_of,
    weights,
    zeros_of,
)  # fmt: skip
from tuner.model.products import matmul_values
from tuner.model.quantization import LARGEST_FACTOR, Linear, Quantization
from tuner.model.requantized import Requantized, check_bias, requantized

COMPUTED = "its second factor is computed, which int8 products take where both zero points are 0 (uint8: 128)"
ZERO_POINTS = "zero_points"
_ONE = np.ones(1, np.float32)


@dataclass(frozen=True)
class _Found:
    """What is the same for all ways to write it."""

    node: Node
    quantization: Quantization
    after: Requantized


def recognize_between(graph: Graph, node: Node) -> Layer | None:
    """The layer of a Conv, Gemm or MatMul whose factors are dequantized and whose result is quantized; `None`
    where a factor is no DequantizeLinear's.

    Raises:
        NotTuned: it is none that the int8 kernels have.
    """
    makers = [dequantizer(graph, node.input(place)) for place in (0, 1)]
    if makers[0] is None or makers[1] is None:
        return None
    x, w = (graph.shape(maker.input(0)) for maker in makers if maker)
    if x is None or w is None:
        raise NotTuned("its shapes are not known before it runs")
    along = 0 if node.op == "Conv" or node.attributes.get("transB", 0) else len(w) - 1
    if not w:
        raise NotTuned("its weights are one number")
    given = activation(graph, *dequantized(graph, makers[0], len(x), None))
    names = dequantized(graph, makers[1], len(w), along)
    factor = _second(graph, given, names, w[along])
    after = requantized(graph, node.outputs[0], node.input(2), w[along])
    bias, bias_scale = _bias(graph, after.bias, w[along])
    if node.op == "Gemm" and any(float(node.attributes.get(n, 1.0)) != 1 for n in ("alpha", "beta")):
        raise NotTuned("alpha or beta other than 1 of a quantized product")
    found = _Found(node, Quantization(given, factor, after.y, bias, bias_scale, along), after)
    return _conv(graph, found, node) if node.op == "Conv" else _product(graph, found)


def recognize_linear(graph: Graph, node: Node) -> Layer:
    """The layer of a QLinearConv, a QLinearMatMul or ONNX Runtime's QGemm.

    Raises:
        NotTuned: it is none that the int8 kernels have.
    """
    gemm = node.op == "QGemm"
    scales, zeros = ((7, 8) if gemm else (6, 7)), node.input
    if gemm and not node.input(7):
        raise NotTuned("its result is not quantized")
    x = activation(graph, zeros(0), zeros(1), zeros(2))
    shape = graph.shape(node.input(3))
    if not shape:
        raise NotTuned("its shapes are not known before it runs")
    along = 0 if node.op == "QLinearConv" or node.attributes.get("transB", 0) else len(shape) - 1
    w = _second(graph, x, (zeros(3), zeros(4), zeros(5)), shape[along])
    y = activation(graph, node.outputs[0], zeros(scales[0]), zeros(scales[1]), "its result")
    if gemm and float(node.attributes.get("alpha", 1.0)) != 1:
        raise NotTuned("alpha other than 1 of a quantized product")
    bias = {"QLinearConv": zeros(8), "QGemm": zeros(6)}.get(node.op, "")
    if bias:
        check_bias(graph, bias, shape[along])
    found = _Found(node, Quantization(x, w, y, bias, None, along), Requantized(node.outputs[0], y))
    return _conv(graph, found, node) if node.op == "QLinearConv" else _product(graph, found)


def recognize_integer(graph: Graph, node: Node) -> Layer:
    """The layer of a MatMulInteger or ConvInteger, whose result are the int32 sums.

    Its input's zero point may be computed in each run, as DynamicQuantizeLinear does.

    Raises:
        NotTuned: it is none that the int8 kernels have.
    """
    dtype = byte_dtype(graph, node.input(0), "its input")
    zero, computed = node.input(2), ""
    if zero and zero not in graph.constants:
        if graph.value(zero).elements != 1 or graph.value(zero).dtype != dtype:
            raise NotTuned("zero points for each row, which int8 kernels have not")
        computed, known = zero, np.zeros(1, np.int64)
    else:
        known = zeros_of(graph, zero, dtype, "its input")
        if known.size > 1:
            raise NotTuned("zero points for each row, which int8 kernels have not")
    x = Linear(node.input(0), _ONE, int(known[0]), dtype == "uint8", computed)
    shape = graph.shape(node.input(1))
    if not shape:
        raise NotTuned("its shapes are not known before it runs")
    if node.input(1) not in graph.constants:
        raise NotTuned(COMPUTED)
    kind = byte_dtype(graph, node.input(1), "its weights")
    check_symmetric(graph, node.input(3), kind, "its weights")
    along = 0 if node.op == "ConvInteger" else len(shape) - 1
    w = Linear(node.input(1), _ONE, 0, kind == "uint8")
    found = _Found(node, Quantization(x, w, None, "", None, along), Requantized(node.outputs[0], None))
    return _conv(graph, found, node) if node.op == "ConvInteger" else _product(graph, found)


def alike(layers: Sequence[Layer]) -> list[Layer]:
    """Layers of one shape as one workload, each with zero points and bias where another one has them.

    A zero point may happen to be 0 among others that are not, and a layer have no bias where the others of
    its shape do: no reason to tune it by itself.
    """
    found = list(layers)
    for option, tensor in ((ZERO_POINTS, "Z"), ("bias", "bias")):
        having = {_shape(each) for each in found if each.quantization and each.workload.option(option, False)}
        found = [
            _with(each, option, tensor) if each.quantization and _shape(each) in having else each
            for each in found
        ]
    return found


def _shape(layer: Layer) -> Workload:
    """The workload whether or not it has zero points and bias."""
    w = layer.workload
    options = tuple((name, value) for name, value in w.options if name not in (ZERO_POINTS, "bias"))
    return Workload(w.operator, w.dtype, w.dims, options)


def _with(layer: Layer, option: str, tensor: str) -> Layer:
    if layer.workload.option(option, False):
        return layer
    values = {**dict(layer.workload.dims), **dict(layer.workload.options), option: True}
    workload = registry.operator(layer.workload.operator).workload("int8", **values)
    return replace(layer, workload=workload, inputs=(*layer.inputs, Binding(tensor, "")))


def _second(graph: Graph, x: Linear, names: tuple[str, str, str], channels: int) -> Linear:
    """Weights, or a factor that is computed and needs no correction for a zero point."""
    if names[0] in graph.constants:
        return weights(graph, *names, channels)
    found = activation(graph, *names, "its second factor")
    if x.zero or found.zero:
        raise NotTuned(COMPUTED)
    return found


def _bias(graph: Graph, name: str, channels: int) -> tuple[str, np.ndarray | None]:
    """The constant that a bias is, and its scale where it is dequantized."""
    if not name:
        return "", None
    maker = dequantizer(graph, name)
    if maker is None:
        return name, None
    value, scale, zero = dequantized(graph, maker, 1, 0)
    if graph.value(value).dtype != "int32" or np.any(zeros_of(graph, zero, "int32", "its bias")):
        raise NotTuned("a bias that is not int32 with zero point 0")
    found = scale_of(graph, scale, "its bias")
    if found.size not in (1, channels):
        raise NotTuned(f"its bias has {found.size} scales for {channels} channels")
    return value, found


def _conv(graph: Graph, found: _Found, node: Node) -> Layer:
    q = found.quantization
    if q.w.value not in graph.constants:
        raise NotTuned("a quantized convolution whose weights are computed")
    dims, values = geometry(node, graph.shape(q.x.value), graph.shape(q.w.value))
    padded = any(values.get(side) for side in ("pad_top", "pad_left", "pad_bottom", "pad_right"))
    if padded and q.y is None and (q.x.zero or q.x.computed):
        raise NotTuned("padding with a zero point, which int8 convolutions have of scaled results only")
    return _layer(found, "conv2d", {**dims, **values}, padded, ("X", "W"), frozen=True)


def _product(graph: Graph, found: _Found) -> Layer:
    q, given = found.quantization, found.node.attributes
    a, b = graph.shape(q.x.value), graph.shape(q.w.value)
    values: dict[str, Any] = {}
    if found.node.op in ("Gemm", "QGemm"):
        if a is None or b is None or len(a) != 2 or len(b) != 2:
            raise NotTuned("its shapes are not known before it runs")
        values = {name: bool(given.get(at, 0)) for name, at in (("trans_a", "transA"), ("trans_b", "transB"))}
        a, b = (a[::-1] if values["trans_a"] else a), (b[::-1] if values["trans_b"] else b)
    values |= matmul_values(a, b)
    return _layer(found, "gemm", values, False, ("A", "B"), frozen=q.w.value in graph.constants)


def _layer(
    found: _Found, operator: str, values: dict[str, Any], padded: bool, names: tuple[str, str], frozen: bool
) -> Layer:
    q = found.quantization
    bias = bool(q.bias or q.x.zero or q.x.computed)
    options: dict[str, Any] = {**values, "relu": found.after.relu, "bias": bias, FROZEN: frozen}
    inputs = [Binding(names[0], q.x.value), Binding(names[1], q.w.value)]
    if bias:
        # Computed of a zero point that is computed.
        inputs.append(Binding("bias", q.x.computed))
    if q.y is not None:
        if not np.all((q.multiplier > 0) & (q.multiplier < LARGEST_FACTOR)):
            raise NotTuned("scales whose ratio is no f32 of use")
        per_channel = q.w.scale.size > 1
        zero_points = bool(q.y.zero or (padded and q.x.zero))
        options |= {"scale_channel": per_channel, "scale_tensor": not per_channel, ZERO_POINTS: zero_points}
        inputs.append(Binding("scale", ""))
        inputs += [Binding("Z", "")] * zero_points
    try:
        workload = registry.operator(operator).workload("int8", **options)
    except InvalidWorkload as error:
        raise NotTuned(str(error)) from None
    nodes = (found.node.index, *found.after.nodes)
    return Layer(workload, nodes, inputs, found.after.output, quantization=q)
