"""Tiny quantized graphs, in each of the ways that ONNX has to write them."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.model.graphs import helper, onnx, save

Named = dict[str, np.ndarray]


def stored(**values: Any) -> list[Any]:
    """Initializers of arrays."""
    return [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def integers(*shape: int, seed: int = 0, dtype: str = "int8") -> np.ndarray:
    """All values of a type but int8's -128, which quantizers leave out."""
    low = -127 if dtype == "int8" else 0
    return np.random.default_rng(seed).integers(low, low + 255, shape).astype(dtype)


def node(op: str, inputs: str, output: str, **attributes: Any) -> Any:
    """A node of names in one text; `-` is an input left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op, names, [output], name=f"n_{output}", **attributes)


def residual(path: Path, activations: str = "uint8", channel: bool = True, zero: int = 120) -> Path:
    """Conv, Relu, Conv, a residual sum, pooling and a product between QuantizeLinear and DequantizeLinear.

    The first convolution's input has a zero point, padding and a bias; the second's result has one that cuts
    nothing off, so that its Relu has something to do.
    """
    low = 0 if activations == "uint8" else -128
    point = np.array(zero + low, activations)
    scale = np.linspace(0.001, 0.003, 8, dtype=np.float32) if channel else np.float32(0.002)
    weights = stored(
        sx=np.float32(0.01), zx=point, s1=np.float32(0.02), z1=np.array(low, activations),
        s2=np.float32(0.05), z2=point, s3=np.float32(0.04), z3=np.array(low, activations),
        sy=np.float32(0.004), zy=point,
        w1=integers(8, 3, 3, 3), sw=scale, w2=integers(8, 8, 3, 3, seed=1), w3=integers(8, 5, seed=2),
        sw3=np.float32(0.004), b1=np.arange(-400, 400, 100, dtype=np.int32),
        sb1=np.float32(0.01) * scale, b3=np.arange(5, dtype=np.int32) * 99, sb3=np.float32(0.04 * 0.004),
        flat=np.array([0, -1]),
    )  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x sx zx", "xq"), node("DequantizeLinear", "xq sx zx", "xd"),
        node("DequantizeLinear", "w1 sw", "w1d", **({"axis": 0} if channel else {})),
        node("DequantizeLinear", "b1 sb1", "b1d", **({"axis": 0} if channel else {})),
        node("Conv", "xd w1d b1d", "c1", pads=[1, 1, 1, 1]), node("Relu", "c1", "r1"),
        node("QuantizeLinear", "r1 s1 z1", "q1"), node("DequantizeLinear", "q1 s1 z1", "d1"),
        node("DequantizeLinear", "w2 sw", "w2d", **({"axis": 0} if channel else {})),
        node("Conv", "d1 w2d", "c2", pads=[1, 1, 1, 1]), node("Relu", "c2", "r2"),
        node("QuantizeLinear", "r2 s2 z2", "q2"), node("DequantizeLinear", "q2 s2 z2", "d2"),
        node("Add", "d2 d1", "a"), node("QuantizeLinear", "a s3 z3", "q3"),
        node("DequantizeLinear", "q3 s3 z3", "d3"), node("GlobalAveragePool", "d3", "p"),
        node("QuantizeLinear", "p s3 z3", "q4"), node("DequantizeLinear", "q4 s3 z3", "d4"),
        node("Reshape", "d4 flat", "row"), node("QuantizeLinear", "row s3 z3", "q5"),
        node("DequantizeLinear", "q5 s3 z3", "d5"), node("DequantizeLinear", "w3 sw3", "w3d"),
        node("DequantizeLinear", "b3 sb3", "b3d"), node("Gemm", "d5 w3d b3d", "g"),
        node("QuantizeLinear", "g sy zy", "q6"), node("DequantizeLinear", "q6 sy zy", "y"),
    ]  # fmt: skip
    return save(path, nodes, {"x": [2, 3, 6, 6]}, ["y"], weights)


def summed(path: Path, activations: str = "uint8", zero: int = 120, one_node: bool = False) -> Path:
    """Blocks of a residual network: one with a convolution in its shortcut, one without.

    Sums are one node each, QLinearAdd, or Add and a Relu, which has something to do, between DequantizeLinear
    and QuantizeLinear.
    """
    low = 0 if activations == "uint8" else -128
    scales = {f"s{i}": np.float32(0.01 + 0.01 * i) for i in range(7)}
    points = {f"z{i}": np.array(low + zero * (i % 2 == 0), activations) for i in range(7)}
    weights = stored(
        **scales, **points, w1=integers(8, 3, 3, 3), w2=integers(8, 8, 3, 3, seed=1),
        w3=integers(8, 3, 1, 1, seed=2), w4=integers(8, 8, 1, 1, seed=3),
        sw=np.linspace(0.001, 0.003, 8, dtype=np.float32), zw=np.zeros(8, np.int8),
    )  # fmt: skip
    own = {"domain": "com.microsoft"}

    def convolution(x: int, w: int, y: int, pads: int) -> list[Any]:
        return [node("QLinearConv", f"q{x} s{x} z{x} w{w} sw zw s{y} z{y}", f"q{y}", pads=[pads] * 4)]

    def total(a: int, b: int, y: int) -> list[Any]:
        if one_node:
            return [node("QLinearAdd", f"q{a} s{a} z{a} q{b} s{b} z{b} s{y} z{y}", f"q{y}", **own)]
        return [
            node("DequantizeLinear", f"q{a} s{a} z{a}", f"a{y}"),
            node("DequantizeLinear", f"q{b} s{b} z{b}", f"b{y}"),
            node("Add", f"a{y} b{y}", f"sum{y}"), node("Relu", f"sum{y}", f"r{y}"),
            node("QuantizeLinear", f"r{y} s{y} z{y}", f"q{y}"),
        ]  # fmt: skip

    nodes = [
        node("QuantizeLinear", "x s0 z0", "q0"), *convolution(0, 1, 1, 1), *convolution(1, 2, 2, 1),
        *convolution(0, 3, 3, 0), *total(2, 3, 4), *convolution(4, 4, 5, 0), *total(4, 5, 6),
        node("DequantizeLinear", "q6 s6 z6", "y"),
    ]  # fmt: skip
    return save(path, nodes, {"x": [2, 3, 6, 7]}, ["y"], weights)


def linear(path: Path, activations: str = "uint8") -> Path:
    """QLinearConv with stride and padding, then QLinearMatMul of its rows."""
    point = np.array(131 if activations == "uint8" else 3, activations)
    weights = stored(
        s=np.float32(0.02), z=point, w=integers(4, 3, 3, 3),
        sw=np.linspace(0.001, 0.004, 4, dtype=np.float32), zw=np.zeros(4, np.int8),
        b=np.arange(4, dtype=np.int32) * 50, s2=np.float32(0.03),
        m=integers(3, 6, seed=3), sm=np.float32(0.01), zm=np.int8(0), s3=np.float32(0.05),
    )  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x s z", "xq"),
        node("QLinearConv", "xq s z w sw zw s2 z b", "c", strides=[2, 2], pads=[1, 0, 0, 1]),
        node("QLinearMatMul", "c s2 z m sm zm s3 z", "p"),
        node("DequantizeLinear", "p s3 z", "y"),
    ]
    return save(path, nodes, {"x": [1, 3, 7, 6]}, ["y"], weights)


def dynamic(path: Path) -> Path:
    """DynamicQuantizeLinear, MatMulInteger, what makes floats of it, and a ConvInteger."""
    weights = stored(w=integers(16, 9), sw=np.float32(0.01), zw=np.int8(0), k=integers(4, 2, 1, 1, seed=4),
                     wide=np.array([1, 2, 2, 8]), zk=np.uint8(7))  # fmt: skip
    quantize = helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])
    nodes = [
        quantize, node("MatMulInteger", "q w z zw", "i"), node("Cast", "i", "f", to=onnx.TensorProto.FLOAT),
        node("Mul", "s sw", "ss"), node("Mul", "f ss", "y"), node("Reshape", "q wide", "image"),
        node("ConvInteger", "image k zk", "j"), node("Cast", "j", "v", to=onnx.TensorProto.FLOAT),
    ]  # fmt: skip
    return save(path, nodes, {"x": [2, 16]}, ["y", "v"], weights)


def attending_integers(path: Path) -> Path:
    """A product of two computed factors whose zero points are 0, and one that is not quantized behind."""
    weights = stored(s=np.float32(0.01), z=np.int8(0), w=integers(8, 4), sw=np.float32(0.02))
    nodes = [
        node("QuantizeLinear", "a s z", "aq"), node("DequantizeLinear", "aq s z", "ad"),
        node("QuantizeLinear", "b s z", "bq"), node("DequantizeLinear", "bq s z", "bd"),
        node("MatMul", "ad bd", "p"), node("QuantizeLinear", "p s z", "pq"),
        node("DequantizeLinear", "pq s z", "pd"), node("DequantizeLinear", "w sw", "wd"),
        node("MatMul", "pd wd", "y"),
    ]  # fmt: skip
    return save(path, nodes, {"a": [2, 3, 5], "b": [2, 5, 8]}, ["y"], weights)
