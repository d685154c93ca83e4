"""What lies between int8 kernels: programs on integers give what ONNX Runtime gives."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.model.graphs import save
from tests.model.int8_graphs import node, stored
from tuner.model.contestants import of_integers
from tuner.model.executor import Executor
from tuner.model.reading import graph_of, prepared
from tuner.model.runtime import run, session

pytest.importorskip("onnxruntime", reason="needs the extra 'model'")


def both(
    path: Path, inputs: Mapping[str, np.ndarray], parts: int = 0, threads: int = 2
) -> tuple[list[np.ndarray], list[np.ndarray], Executor]:
    """Outputs of programs, which are all nodes but those of so many parts, and of ONNX Runtime."""
    model = prepared(path, {}, None, weights=True)
    theirs = run(session(model, 1, optimization="ORT_DISABLE_ALL"), inputs)
    executor = Executor(*of_integers(model, graph_of(model, path, {})), [], threads)
    assert (executor.parts, executor.missing) == (parts, "")
    return executor(inputs), theirs, executor


def numbers(dtype: str = "uint8", *scales: float) -> list[Any]:
    """Scales s0, s1 ... and their zero points z0, z1 ..., each another one."""
    points = np.array([3, 130, 77, 0], dtype) if dtype == "uint8" else np.array([-125, 2, -51, -128], dtype)
    found = {f"s{i}": np.float32(scale) for i, scale in enumerate(scales)}
    return stored(**found, **{f"z{i}": points[i] for i in range(len(scales))})


SPECIAL = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40, 3e38, -3e38, 0.5, 1.5, 2.5, -0.5], "f4")


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("scale", [1.0, 0.1, 0.0173, 3e-8, 250.0])
def test_quantizing_rounds_as_onnx_runtime_does(scale: float, dtype: str, tmp_path: Path) -> None:
    """Halves go to the even one, what is beyond to the end, quotients are rounded as a division rounds."""
    nodes = [node("QuantizeLinear", "x s0 z0", "q"), node("DequantizeLinear", "q s0 z0", "y")]
    # Also many values that are a rounding error away from the middle between two integers.
    rng = np.random.default_rng(1)
    halves = (rng.integers(-300, 300, 4000) + 0.5).astype(np.float32) * np.float32(scale)
    near = np.nextafter(halves, np.where(rng.random(4000) < 0.5, np.inf, -np.inf).astype(np.float32))
    x = np.concatenate([SPECIAL[1:], halves, near, rng.normal(0, 90, 4001).astype("f4") * np.float32(scale)])
    path = save(tmp_path / "m.onnx", nodes, {"x": [x.size]}, ["y"], numbers(dtype, scale))
    (found,), (wanted,), _ = both(path, {"x": x})
    np.testing.assert_array_equal(found, wanted)


def test_a_sum_of_integers_is_one_pass(tmp_path: Path) -> None:
    """Two operands with a Relu behind, one of them used once more, as in residual networks."""
    nodes = [
        node("QuantizeLinear", "x s0 z0", "a"), node("DequantizeLinear", "a s0 z0", "ad"),
        node("QuantizeLinear", "w s1 z1", "b"), node("DequantizeLinear", "b s1 z1", "bd"),
        node("Sum", "ad bd", "sum"), node("Relu", "sum", "r"), node("QuantizeLinear", "r s2 z2", "c"),
        node("DequantizeLinear", "c s2 z2", "cd"), node("Mul", "cd ad", "m"),
        node("QuantizeLinear", "m s3 z3", "q"), node("DequantizeLinear", "q s3 z3", "y"),
    ]  # fmt: skip
    path = save(
        tmp_path / "m.onnx", nodes, {"x": [2, 5, 37], "w": [2, 5, 37]}, ["y"],
        numbers("uint8", 0.1, 0.07, 0.15, 0.9),
    )  # fmt: skip
    rng = np.random.default_rng(1)
    given = {name: rng.normal(3, 9, (2, 5, 37)).astype(np.float32) for name in "xw"}
    (found,), (wanted,), executor = both(path, given)
    np.testing.assert_array_equal(found, wanted)
    assert executor.programs == 1


@pytest.mark.parametrize("write_out", [False, True])
def test_a_sum_is_that_of_qlinearadd(write_out: bool, tmp_path: Path) -> None:
    """Which ONNX Runtime makes of it too: the same scales' ratios, at most a rounding error apart."""
    last = [
        node("DequantizeLinear", "a s0 z0", "ad"), node("DequantizeLinear", "b s1 z1", "bd"),
        node("Add", "ad bd", "sum"), node("QuantizeLinear", "sum s2 z2", "q"),
    ]  # fmt: skip
    if write_out:
        last = [node("QLinearAdd", "a s0 z0 b s1 z1 s2 z2", "q", domain="com.microsoft")]
    nodes = [
        node("QuantizeLinear", "x s0 z0", "a"), node("QuantizeLinear", "w s1 z1", "b"), *last,
        node("DequantizeLinear", "q s2 z2", "y"),
    ]  # fmt: skip
    path = save(
        tmp_path / "m.onnx", nodes, {"x": [70_000], "w": [70_000]}, ["y"], numbers("uint8", 0.1, 0.07, 0.13)
    )
    rng = np.random.default_rng(1)
    given = {name: rng.normal(0, 5, 70_000).astype(np.float32) for name in "xw"}
    model = prepared(path, {}, None, weights=True)
    executor = Executor(*of_integers(model, graph_of(model, path, {})), [], 2)
    (wanted,) = run(session(model, 1), given)
    apart = np.abs(executor(given)[0] - wanted)
    assert executor.parts == 0 and apart.max() < 0.1301 and np.count_nonzero(apart) < 70


def test_a_relu_behind_a_sum_cuts_off_what_is_under_the_zero_point(tmp_path: Path) -> None:
    """One pass, also where what is left of the chain is another program."""
    nodes = [
        node("QuantizeLinear", "x s0 z0", "a"), node("DequantizeLinear", "a s0 z0", "ad"),
        node("QuantizeLinear", "w s1 z1", "b"), node("DequantizeLinear", "b s1 z1", "bd"),
        node("Add", "ad bd", "sum"), node("Relu", "sum", "r"), node("QuantizeLinear", "r s2 z2", "c"),
        *(node("DequantizeLinear", f"c s{i} z{i}", f"c{i}") for i in range(4)),
        node("Mul", "c0 c1", "m0"), node("Mul", "c2 c3", "m1"), node("Mul", "m0 m1", "m"),
        node("QuantizeLinear", "m s3 z3", "q"), node("DequantizeLinear", "q s3 z3", "y"),
    ]  # fmt: skip
    weights = numbers("uint8", 0.1, 0.07, 0.15, 0.9)
    path = save(tmp_path / "m.onnx", nodes, {"x": [999], "w": [999]}, ["y", "c2"], weights)
    rng = np.random.default_rng(1)
    given = {name: rng.normal(0, 9, 999).astype(np.float32) for name in "xw"}
    (_, found), (_, wanted), _ = both(path, given)
    assert wanted.min() == 0
    assert np.abs(found - wanted).max() < 0.1501 and np.count_nonzero(found != wanted) <= 2


MOVED: Mapping[str, tuple[list[Any], tuple[int, ...]]] = {
    "pool": ([node("MaxPool", "ad", "m", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])],
             (1, 5, 37, 41)),
    "pool by one": ([node("MaxPool", "ad", "m", kernel_shape=[3, 3], pads=[0, 1, 1, 0])], (2, 3, 19, 35)),
    "transpose": ([node("Transpose", "ad", "m", perm=[0, 2, 3, 1])], (2, 5, 6, 7)),
    "reshape": ([node("Reshape", "ad shape", "m")], (2, 5, 6, 7)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("kind", MOVED)
def test_integers_are_moved_as_they_are(kind: str, dtype: str, tmp_path: Path) -> None:
    """Nothing is dequantized between where the scale is the same; where it is another one, once."""
    middle, shape = MOVED[kind]
    nodes = [
        node("QuantizeLinear", "x s0 z0", "a"), node("DequantizeLinear", "a s0 z0", "ad"), *middle,
        node("QuantizeLinear", "m s0 z0", "b"), node("DequantizeLinear", "b s0 z0", "y"),
    ]  # fmt: skip
    more = stored(shape=np.array([-1, 7]))
    path = save(tmp_path / "m.onnx", nodes, {"x": list(shape)}, ["y"], numbers(dtype, 0.1) + more)
    x = np.random.default_rng(1).normal(0, 5, shape).astype(np.float32)
    (found,), (wanted,), executor = both(path, {"x": x})
    np.testing.assert_array_equal(found, wanted)
    assert executor.programs == (2 if kind == "reshape" else 3)


AVERAGED: Mapping[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "by two": ({"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, (2, 3, 9, 37)),
    "padding counts": (
        {"kernel_shape": [3, 2], "strides": [1, 3], "pads": [1, 0, 2, 1], "count_include_pad": 1},
        (1, 5, 8, 50),
    ),
    "taller than the image": ({"kernel_shape": [9, 3], "pads": [4, 1, 8, 1]}, (1, 3, 5, 18)),
    "taller than memory": ({"kernel_shape": [2**30, 3], "pads": [0, 1, 2**30 - 1, 1]}, (1, 3, 5, 18)),
}


@pytest.mark.parametrize("kind", AVERAGED)
def test_averages_of_integers_over_the_edges_of_the_image(kind: str, tmp_path: Path) -> None:
    """One step apart at most, and hardly ever: where a mean is between two."""
    attributes, shape = AVERAGED[kind]
    nodes = [
        node("QuantizeLinear", "x s0 z0", "a"), node("DequantizeLinear", "a s0 z0", "ad"),
        node("AveragePool", "ad", "m", **attributes),
        node("QuantizeLinear", "m s1 z1", "b"), node("DequantizeLinear", "b s1 z1", "y"),
    ]  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, {"x": list(shape)}, ["y"], numbers("uint8", 0.1, 0.07))
    x = np.random.default_rng(1).normal(4, 3, shape).astype(np.float32)
    (found,), (wanted,), executor = both(path, {"x": x}, threads=3)
    apart = np.abs(found - wanted)
    assert executor.programs == 3 and apart.max() < 0.0701 and np.count_nonzero(apart) <= 2


def test_what_is_concatenated_gets_the_scale_of_the_whole(tmp_path: Path) -> None:
    nodes = [
        node("QuantizeLinear", "x s0 z0", "a"), node("DequantizeLinear", "a s0 z0", "ad"),
        node("QuantizeLinear", "w s1 z1", "b"), node("DequantizeLinear", "b s1 z1", "bd"),
        node("Concat", "ad bd ad", "m", axis=1), node("QuantizeLinear", "m s1 z1", "c"),
        node("DequantizeLinear", "c s1 z1", "y"),
    ]  # fmt: skip
    path = save(
        tmp_path / "m.onnx",
        nodes,
        {"x": [1, 4, 16, 16], "w": [1, 3, 16, 16]},
        ["y"],
        numbers("uint8", 0.1, 0.07),
    )
    rng = np.random.default_rng(1)
    given = {n: rng.normal(0, 5, (1, c, 16, 16)).astype(np.float32) for n, c in (("x", 4), ("w", 3))}
    (found,), (wanted,), _ = both(path, given)
    np.testing.assert_array_equal(found, wanted)


def test_operators_of_onnx_runtime_on_integers_are_programs(tmp_path: Path) -> None:
    """Pools, sigmoid and concatenation: one step apart at most, where a mean or function is between two."""
    micro = {"domain": "com.microsoft"}
    nodes = [
        node("QuantizeLinear", "x s0 z0", "a"),
        node("QLinearSigmoid", "a s0 z0 s1 z1", "b", **micro),
        node("QLinearMul", "a s0 z0 b s1 z1 s2 z2", "c", **micro),
        node("QLinearConcat", "s3 z3 c s2 z2 a s0 z0", "d", axis=1, **micro),
        node("QLinearGlobalAveragePool", "d s3 z3 s0 z0", "e", channels_last=0, **micro),
        node("DequantizeLinear", "e s0 z0", "y"),
    ]  # fmt: skip
    path = save(
        tmp_path / "m.onnx", nodes, {"x": [2, 16, 9, 7]}, ["y"], numbers("uint8", 0.05, 1 / 256, 0.04, 0.05)
    )
    x = np.random.default_rng(1).normal(2, 2, (2, 16, 9, 7)).astype(np.float32)
    (found,), (wanted,), _ = both(path, {"x": x})
    assert np.abs(found - wanted).max() < 0.0501 and np.count_nonzero(found != wanted) <= 2


def test_an_operator_that_is_onnx_runtimes_keeps_its_quantizing_nodes(tmp_path: Path) -> None:
    """It computes on the integers only where it has them: no program takes its DequantizeLinear away."""
    nodes = [
        node("QuantizeLinear", "x s0 z0", "a"), node("DequantizeLinear", "a s0 z0", "ad"),
        node("DequantizeLinear", "k s1", "kd"), node("Conv", "ad kd", "m", pads=[1, 1, 1, 1]),
        node("QuantizeLinear", "m s2 z2", "c"), node("DequantizeLinear", "c s2 z2", "cd"),
        node("Add", "cd ad", "sum"), node("QuantizeLinear", "sum s2 z2", "d"),
        node("DequantizeLinear", "d s2 z2", "y"),
    ]  # fmt: skip
    weights = numbers("uint8", 0.1, 0.01, 0.4) + stored(k=np.ones((4, 4, 3, 3), np.int8) * 9)
    path = save(tmp_path / "m.onnx", nodes, {"x": [1, 4, 8, 8]}, ["y"], weights)
    x = np.random.default_rng(1).normal(0, 3, (1, 4, 8, 8)).astype(np.float32)
    (found,), (wanted,), _ = both(path, {"x": x}, parts=1)
    assert np.abs(found - wanted).max() < 0.401
