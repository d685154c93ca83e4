"""Quantized layers of random geometry, types, scales and spelling give bit by bit what ONNX Runtime gives."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.model.graphs import save
from tests.model.int8_graphs import node, stored
from tests.model.test_compare import KERNELS, opened, untuned
from tuner.model.graph import Graph
from tuner.model.layers import find_layers
from tuner.model.reading import graph_of
from tuner.model.runtime import random_inputs, run, session
from tuner.model.signed import signed

pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
AHEAD = {"conv2d": "conv_int8_ahead", "gemm": "cpp_ahead"}
SX = np.float32(0.02)


def constants(
    rng: np.random.Generator, shape: tuple[int, ...], along: int
) -> tuple[list[Any], dict[str, int]]:
    """Weights, scales, zero points and bias of random types; and the axis of scales of channels."""
    activations = str(rng.choice(["uint8", "int8"]))
    kind = str(rng.choice(["int8", "uint8"])) if activations == "uint8" and len(shape) > 2 else "int8"
    low = 0 if activations == "uint8" else -128
    channels, per_channel = shape[along], bool(rng.random() < 0.6)
    scales = (rng.random(channels) * 0.01 + 0.001).astype(np.float32) if per_channel else np.float32(0.004)
    points = rng.integers(low, low + 256, 2).astype(activations)
    given = {
        "sx": SX, "zx": points[0], "sy": np.float32(rng.random() * 0.1 + 0.02), "zy": points[1],
        "w": rng.integers(1 if kind == "uint8" else -127, 128, shape).astype(kind), "sw": scales,
        "zw": np.full_like(scales, 128 if kind == "uint8" else 0, dtype=kind),
        "b": rng.integers(-500, 500, channels).astype(np.int32), "sb": (SX * scales).astype(np.float32),
    }  # fmt: skip
    return stored(**given), {"axis": along} if per_channel else {}


def convolution(path: Path, rng: np.random.Generator) -> Path:
    axes, groups = int(rng.integers(1, 3)), int(rng.choice([1, 2, 4]))
    inner, outer = (int(size) for size in rng.integers(1, 4, 2))
    shape = (groups * outer, inner, *(int(t) for t in rng.integers(1, 4, axes)))
    weights, along = constants(rng, shape, 0)
    geometry = {
        "group": groups, "strides": [int(rng.integers(1, 3))] * axes,
        "dilations": [int(rng.integers(1, 3))] * axes, "pads": [int(p) for p in rng.integers(0, 2, 2 * axes)],
    }  # fmt: skip
    bias = bool(rng.random() < 0.6)
    if rng.random() < 0.4:
        nodes = [node("QLinearConv", "xq sx zx w sw zw sy zy" + " b" * bias, "yq", **geometry)]
    else:
        nodes = [
            node("DequantizeLinear", "xq sx zx", "xd"),
            node("DequantizeLinear", "w sw zw", "wd", **along),
        ]
        nodes += [node("DequantizeLinear", "b sb", "bd", **along)] * bias
        nodes += [node("Conv", "xd wd" + " bd" * bias, "c", **geometry)]
        relu = bool(rng.random() < 0.5)
        nodes += [node("Relu", "c", "r")] * relu + [
            node("QuantizeLinear", f"{'r' if relu else 'c'} sy zy", "yq")
        ]
    image = [2, groups * inner, *(int(size) for size in rng.integers(6, 10, axes))]
    return between(path, nodes, image, weights)


def product(path: Path, rng: np.random.Generator) -> Path:
    m, n, k = (int(size) for size in rng.integers(1, 9, 3))
    kind = str(rng.choice(["Gemm", "MatMul", "QGemm", "QLinearMatMul", "Add"]))
    across = int(rng.integers(0, 2)) if kind in ("Gemm", "QGemm") else 0
    weights, along = constants(rng, (n, k) if across else (k, n), 0 if across else 1)
    if kind == "QLinearMatMul":
        nodes = [node(kind, "xq sx zx w sw zw sy zy", "yq")]
    elif kind == "QGemm":
        nodes = [node(kind, "xq sx zx w sw zw b sy zy", "yq", domain="com.microsoft", transB=across)]
    else:
        nodes = [node("DequantizeLinear", "xq sx zx", "xd"),
                 node("DequantizeLinear", "w sw zw", "wd", **along),
                 node("DequantizeLinear", "b sb", "bd", **({"axis": 0} if along else {}))]  # fmt: skip
        if kind == "Gemm":
            nodes.append(node("Gemm", "xd wd bd", "c", transB=across))
        else:
            nodes.append(node("MatMul", "xd wd", "c"))
        nodes += [node("Add", "bd c", "a")] * (kind == "Add")
        nodes.append(node("QuantizeLinear", f"{'a' if kind == 'Add' else 'c'} sy zy", "yq"))
    return between(path, nodes, [m, k] if kind in ("Gemm", "QGemm") else [2, m, k], weights)


def between(path: Path, nodes: list[Any], shape: list[int], weights: list[Any]) -> Path:
    first, last = node("QuantizeLinear", "x sx zx", "xq"), node("DequantizeLinear", "yq sy zy", "y")
    return save(path, [first, *nodes, last], {"x": shape}, ["y"], weights)


def odd(graph: Graph) -> bool:
    return any(n.op == "QLinearConv" for n in graph.nodes) and graph.value("w").dtype == "uint8"


def check(seed: int, folder: Path, kernels: Mapping[str, str] = KERNELS) -> None:
    rng = np.random.default_rng(seed)
    model, graph = opened((convolution if seed % 2 else product)(folder / "m.onnx", rng))
    changed, values = signed(model, graph)
    again = graph_of(changed, graph.path, {})
    (layer,), (other,) = (find_layers(g).layers for g in (graph, again))
    assert layer.workload == other.workload
    # ONNX Runtime has no QLinearConv of int8 with uint8 weights: it stays as it is.
    assert bool(values) == (graph.value("xq").dtype == "uint8" and not odd(graph))
    inputs = {name: 4 * array - 2 for name, array in random_inputs(graph, seed).items()}
    (wanted,) = run(session(model, 1), inputs)
    for way in (untuned(model, graph), untuned(changed, again, kernels)):
        (got,) = way(inputs)
        # A Relu that cuts something off is in floats in ONNX Runtime: a sum in the middle may go either way.
        step = np.float32(1.01) * graph.small["sy"] if layer.workload.option("relu", False) else 0
        assert np.abs(got - wanted).max() <= step, (seed, layer.workload.key)


@pytest.mark.parametrize("seed", range(8))
def test_a_random_layer_is_exact(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path)


@pytest.mark.slow
def test_many_random_layers_are_exact(tmp_path: Path) -> None:
    for seed in range(8, 300):
        check(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_random_layers_are_exact_with_weights_laid_out_ahead(tmp_path: Path) -> None:
    for seed in range(30):
        check(seed, tmp_path, AHEAD)
