"""Tiny graphs for the tests of models; the tests that use them skip without `onnx`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the extra 'model'")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT


def weight(name: str, *shape: int, seed: int = 0) -> Any:
    """A random initializer of standard deviation 0.3."""
    values = np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)
    return onnx.numpy_helper.from_array(values, name)


def save(
    path: Path, nodes: list[Any], inputs: dict[str, list[Any]], outputs: list[str],
    weights: list[Any] = (), opset: int = 17,
) -> Path:  # fmt: skip
    """Writes a model; sizes in `inputs` that are texts are symbolic."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(n, FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, FLOAT, None) for n in outputs], list(weights),
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def convolutional(path: Path, batch: Any = 1) -> Path:
    """Conv, batch normalisation, ReLU, a residual sum, pooling, and a product at the end."""
    statistics = [weight(n, 8, seed=i) for i, n in enumerate(("scale", "shift", "mean"))]
    variance = onnx.numpy_helper.from_array(np.full(8, 0.7, np.float32), "variance")
    pooled = onnx.numpy_helper.from_array(np.array([1, 8]), "flat")
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], pads=[1, 1, 1, 1], name="first"),
        helper.make_node("BatchNormalization", ["c1", "scale", "shift", "mean", "variance"], ["b1"]),
        helper.make_node("Relu", ["b1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1], name="second"),
        helper.make_node("Add", ["c2", "r1"], ["sum"]),
        helper.make_node("GlobalAveragePool", ["sum"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "flat"], ["row"]),
        helper.make_node("Gemm", ["row", "w3", "b3"], ["y"], transB=1),
    ]
    weights = [weight("w1", 8, 3, 3, 3), weight("w2", 8, 8, 3, 3), weight("w3", 5, 8), weight("b3", 5)]
    weights += [*statistics, variance, pooled]
    return save(path, nodes, {"x": [batch, 3, 6, 6]}, ["y"], weights)


def attending(path: Path, mask: bool = False, tokens: Any = 5) -> Path:
    """Attention of two heads of 16 as frameworks export it: transposed keys, a division, a mask if asked."""
    ints = {"heads": [0, 0, 2, 16], "hidden": [0, 0, 32]}
    nodes = []
    for name in ("q", "k", "v"):
        perm = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
        nodes += [
            helper.make_node("MatMul", ["x", f"w{name}"], [f"{name}0"], name=f"project_{name}"),
            helper.make_node("Add", [f"b{name}", f"{name}0"], [f"{name}1"]),
            helper.make_node("Reshape", [f"{name}1", "heads"], [f"{name}2"]),
            helper.make_node("Transpose", [f"{name}2"], [f"{name}3"], perm=perm),
        ]
    nodes += [
        helper.make_node("MatMul", ["q3", "k3"], ["s0"], name="scores"),
        helper.make_node("Div", ["s0", "four"], ["s1"]),
        *([helper.make_node("Add", ["s1", "mask"], ["s2"])] if mask else []),
        helper.make_node("Softmax", ["s2" if mask else "s1"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "v3"], ["o0"]),
        helper.make_node("Transpose", ["o0"], ["o1"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["o1", "hidden"], ["y"]),
    ]
    weights = [weight(f"w{n}", 32, 32, seed=i) for i, n in enumerate("qkv")]
    weights += [weight(f"b{n}", 32, seed=i) for i, n in enumerate("qkv")]
    weights += [onnx.numpy_helper.from_array(np.array(v), n) for n, v in ints.items()]
    weights.append(onnx.numpy_helper.from_array(np.float32(4), "four"))
    inputs: dict[str, list[Any]] = {"x": [2, tokens, 32]}
    if mask:
        inputs["mask"] = [2, 1, 1, tokens]
    return save(path, nodes, inputs, ["y"], weights)


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """The bytes of a file, one to three places changed or a few of them taken out."""
    data = bytearray(whole)
    for place in rng.integers(len(data), size=rng.integers(1, 4)):
        if rng.random() < 0.7:
            data[place % len(data)] = int(rng.integers(256))
        else:
            del data[place : place + int(rng.integers(1, 9))]
    return bytes(data)
