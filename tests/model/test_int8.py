"""Quantized graphs: int8 layers are found, odd ones have a reason, kernels give what ONNX Runtime gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.export.real import stored_here
from tests.in_process import run_here
from tests.model.graphs import damaged, helper, onnx, save
from tests.model.int8_graphs import (
    attending_integers,
    dynamic,
    integers,
    linear,
    node,
    residual,
    stored,
)  # fmt: skip
from tests.model.test_compare import KERNELS, opened, untuned
from tuner import registry
from tuner.core.errors import TunerError
from tuner.engine.candidate.devices import default_device
from tuner.lab.graphs import bert_base, light_models, make
from tuner.model.comparing import difference
from tuner.model.constants import constant_arrays, constants_of, weights
from tuner.model.contestants import of_integers, ours
from tuner.model.inspection import as_plain, inspect
from tuner.model.int8_weights import as_int8
from tuner.model.layers import find_layers
from tuner.model.profile import profile
from tuner.model.reading import graph_of, model_inputs, prepared, read_model
from tuner.model.runtime import random_inputs, run, session
from tuner.model.signed import signed
from tuner.model.steps import OF_RANGE, output_steps
from tuner.store.store import open_store

CONV = "conv2d/int8/n2-c3-h6-w6-k8-r3-s3/bias,frozen,pad=1,scale_channel,zero_points"
ROUND = "conv2d/int8/n2-c8-h6-w6-k8-r3-s3/bias,frozen,pad=1,relu,scale_channel,zero_points"


def keys(path: Path) -> list[str]:
    return [layer.workload.key for layer in find_layers(read_model(path)).layers]


def test_a_product_between_quantizers_is_one_int8_layer(tmp_path: Path) -> None:
    graph = read_model(residual(tmp_path / "m.onnx"))
    found = find_layers(graph)
    assert [layer.workload.key for layer in found.layers] == [
        CONV, ROUND, "gemm/int8/m2-n5-k8/bias,frozen,scale_tensor,zero_points",
    ]  # fmt: skip
    ops = [{graph.nodes[i].op for i in layer.nodes} for layer in found.layers]
    assert ops[0] == {"Conv", "Relu", "QuantizeLinear", "DequantizeLinear"}
    # A Relu at the zero point cuts nothing off that int8 does not: only the second one is in the workload.
    left = [graph.nodes[i] for i, why in found.reasons.items() if not why.startswith("constant")]
    shared = graph.producers["d1"]
    assert {"Add", "GlobalAveragePool"} <= {n.op for n in left} and shared in left
    assert all(w.dtype == "int8" for w in found.counts)


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (linear, ["conv2d/int8/n1-c3-h7-w6-k4-r3-s3/"
                  "bias,frozen,pad_right=1,pad_top=1,scale_channel,stride=2,zero_points",
                  "gemm/int8/m12-n6-k3/bias,frozen,scale_tensor,zero_points"]),
        (dynamic, ["gemm/int8/m2-n9-k16/bias,frozen", "conv2d/int8/n1-c2-h2-w8-k4-r1-s1/bias,frozen"]),
        (attending_integers, ["gemm/int8/m3-n8-k5/batch=2,scale_tensor"]),
    ],
)  # fmt: skip
def test_onnx_has_other_ways_to_write_it(make: Any, wanted: list[str], tmp_path: Path) -> None:
    assert keys(make(tmp_path / "m.onnx")) == wanted


@pytest.mark.parametrize("make", [residual, linear, dynamic, attending_integers])
def test_kernels_give_what_onnx_runtime_gives(make: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
    model, graph = opened(make(tmp_path / "m.onnx"))
    changed, values = signed(model, graph)
    again = graph_of(changed, graph.path, {})
    assert all(again.value(name).dtype == "int8" for name in values)
    assert keys(graph.path) == [layer.workload.key for layer in find_layers(again).layers]
    ways = [untuned(model, graph), *([untuned(changed, again)] if values else [])]
    plain, steps = session(model, 1), output_steps(graph)
    for seed in (1, 2):
        inputs = {name: 2 * array - 1 for name, array in random_inputs(graph, seed).items()}
        wanted = run(plain, inputs)
        assert all(len(np.unique(output)) > 8 for output in wanted)
        assert all(difference(way(inputs), wanted, steps) <= 1 for way in ways)


@pytest.mark.parametrize("activations", ["uint8", "int8"])
@pytest.mark.parametrize("channel", [False, True])
def test_a_layer_is_exactly_what_its_integers_say(activations: str, channel: bool, tmp_path: Path) -> None:
    """By ONNX's formula in whole numbers of the file's own tensors: no shifted types, no corrected bias."""
    model, graph = opened(residual(tmp_path / "m.onnx", activations, channel))
    layer, stored_by_name = find_layers(graph).layers[1], {t.name: t for t in model.graph.initializer}

    def array(name: str) -> np.ndarray:
        return onnx.numpy_helper.to_array(stored_by_name[name])

    given = integers(2, 8, 6, 6, seed=5, dtype=activations)
    centred = np.pad(given.astype(np.int64) - int(array("z1")), ((0, 0), (0, 0), (1, 1), (1, 1)))
    w = array("w2").astype(np.int64)
    taps = np.lib.stride_tricks.sliding_window_view(centred, (3, 3), axis=(2, 3))
    sums = np.einsum("ncpqrs,kcrs->nkpq", taps, w).clip(0)
    scale = array("s1") * array("sw").reshape(-1) / array("s2")
    limits, zero = np.iinfo(activations), int(array("z2"))
    wanted = np.rint(sums.astype(np.float32) * scale.astype(np.float32).reshape(1, -1, 1, 1)) + zero
    wanted = wanted.clip(limits.min, limits.max)
    operator = registry.operator("conv2d")
    tensors = weights(graph, layer, constant_arrays(model, graph, constants_of(graph, layer)))
    got = operator.reference(layer.workload, {**tensors, "X": as_int8(given)})["Y"]
    assert np.array_equal(got, wanted - (128 if activations == "uint8" else 0))
    assert len(np.unique(wanted)) > 20


def small(path: Path, **changed: Any) -> Path:
    """One Conv between quantizers, with some of its constants other ones or left out."""
    given: dict[str, Any] = {
        "sx": np.float32(0.02), "zx": np.uint8(9), "w": integers(4, 2, 1, 1), "sw": np.float32(0.01),
        "zw": np.int8(0), "b": np.arange(4, dtype=np.int32), "sb": np.float32(0.0002), "sy": np.float32(0.1),
        "zy": np.uint8(3),
    }  # fmt: skip
    given |= {name: value for name, value in changed.items() if name in given}
    block = {"axis": 1, "block_size": 2} if "block" in changed else {}
    if not block and given["sw"].ndim:
        block = {"axis": 0}
    bias = [node("DequantizeLinear", "b sb", "bd")] if given["b"] is not None else []
    nodes = [
        node("QuantizeLinear", "x sx zx", "xq"), node("DequantizeLinear", "xq sx zx", "xd"),
        node("DequantizeLinear", "w sw zw", "wd", **block), *bias,
        node("Conv", "xd wd bd" if bias else "xd wd", "c"), *changed.get("between", []),
        node("QuantizeLinear", changed.get("quantized", "c") + " sy zy", "yq"),
        node("DequantizeLinear", "yq sy zy", "y"),
    ]  # fmt: skip
    opset = 21 if "block" in changed or changed.get("opset") else 17
    inputs = {"x": [1, 2, 3, 3], **changed.get("inputs", {})}
    names = [name for name in given if name not in inputs and given[name] is not None]
    return save(path, nodes, inputs, ["y"], stored(**{n: given[n] for n in names}), opset)


def why_not(path: Path) -> str:
    graph = read_model(path)
    found = find_layers(graph)
    assert not found.layers
    return next(why for i, why in found.reasons.items() if graph.nodes[i].op == "Conv")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"sx": np.float32(0)}, "no finite number above 0"),
        ({"sw": np.array([0.1, np.nan, 0.1, 0.1], np.float32)}, "no finite number above 0"),
        ({"sy": np.float32(-1)}, "no finite number above 0"),
        ({"sy": np.float32(1e-38)}, "ratio"),
        ({"inputs": {"sy": []}}, "scale that is not constant"),
        ({"zw": np.int8(3)}, "zero point other than 0"),
        ({"w": integers(4, 2, 1, 1).astype(np.uint8), "zw": np.uint8(0)}, "zero point other than 128"),
        ({"b": np.arange(3, dtype=np.int32)}, "one number a channel"),
        ({"between": [node("Tanh", "c", "t")], "quantized": "t"}, "Tanh follows"),
        ({"block": 2, "sw": np.full((4, 1, 1, 1), 0.1, np.float32), "zw": np.zeros((4, 1, 1, 1), np.int8)},
         "in blocks"),
        ({"between": [helper.make_node("Constant", [], ["six"], value_float=6.0),
                      node("Clip", "c - six", "t")], "quantized": "t"}, "Clip inside"),
    ],
)  # fmt: skip
def test_odd_quantization_is_a_reason(changed: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = small(tmp_path / "m.onnx", **changed)
    assert why in why_not(path)
    done = run_here("model", "inspect", str(path))
    assert done.returncode == 0 and why in done.stdout and not done.stderr


def test_types_of_other_sizes_are_a_reason(tmp_path: Path) -> None:
    path = small(tmp_path / "m.onnx", opset=True)
    for kind, name in ((onnx.TensorProto.INT4, "int4"), (onnx.TensorProto.UINT16, "uint16")):
        model = onnx.load(str(path))
        for place, tensor in enumerate(model.graph.initializer):
            if tensor.name in ("w", "zw"):
                values = onnx.numpy_helper.to_array(tensor).reshape(-1).clip(0, 7)
                made = helper.make_tensor(tensor.name, kind, list(tensor.dims), values)
                model.graph.initializer[place].CopyFrom(made)
        other = tmp_path / f"{name}.onnx"
        other.write_bytes(model.SerializeToString())
        assert f"{name}, int8 kernels take int8 and uint8" in why_not(other)


def test_a_bias_may_be_missing_or_float(tmp_path: Path) -> None:
    assert "bias" in keys(small(tmp_path / "none.onnx", b=None, zx=np.uint8(9)))[0]
    assert "bias" not in keys(small(tmp_path / "centred.onnx", b=None, zx=np.uint8(128)))[0]
    model, graph = opened(small(tmp_path / "m.onnx", sb=np.float32(0.0004)))
    (layer,) = find_layers(graph).layers
    got = weights(graph, layer, constant_arrays(model, graph, constants_of(graph, layer)))
    sums = integers(4, 2, 1, 1).astype(np.int64).sum((1, 2, 3))
    # In steps of 0.02 * 0.01, which is half of what the file has: twice the number.
    assert np.array_equal(got["bias"], 2 * np.arange(4) - (9 - 128) * sums)
    assert got["Z"].tolist() == [9 - 128, 3 - 128]


def test_what_a_layer_does_not_claim_stays_with_onnx_runtime(tmp_path: Path) -> None:
    """A DequantizeLinear that a kernel does not need, but a layer without a kernel does."""
    pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
    model, graph = opened(shared(tmp_path / "m.onnx"))
    found = find_layers(graph).layers
    assert len(found) == 2 and any(graph.producers["xd"].index in layer.nodes for layer in found)
    wanted_at = session(model, 1)
    inputs = random_inputs(graph, 1)
    for place in range(2):
        executor = untuned(model, graph, layers=[found[place]])
        assert executor.kernels == 1
        assert difference(executor(inputs), run(wanted_at, inputs), output_steps(graph)) <= 1


def shared(path: Path) -> Path:
    weights = stored(s=np.float32(0.02), z=np.uint8(9), a=integers(4, 6), b=integers(4, 7, seed=1))
    nodes = [
        node("QuantizeLinear", "x s z", "xq"), node("DequantizeLinear", "xq s z", "xd"),
        node("DequantizeLinear", "a s", "ad"), node("DequantizeLinear", "b s", "bd"),
        node("MatMul", "xd ad", "p"), node("QuantizeLinear", "p s z", "pq"),
        node("DequantizeLinear", "pq s z", "y"),
        node("MatMul", "xd bd", "r"), node("QuantizeLinear", "r s z", "rq"),
        node("DequantizeLinear", "rq s z", "v"),
    ]  # fmt: skip
    return save(path, nodes, {"x": [3, 4]}, ["y", "v"], weights)


def test_one_step_of_the_last_quantization_is_allowed(tmp_path: Path) -> None:
    graph = read_model(residual(tmp_path / "m.onnx"))
    (step,) = output_steps(graph)
    assert step.size == np.float32(0.004) and step.share == 0
    wanted = [np.array([0.4, 0.008], np.float32)]
    assert difference([wanted[0] + np.float32(0.004)], wanted, [step]) <= 1
    assert difference([wanted[0] + np.float32(0.0055)], wanted, [step]) > 1
    whole: list[Any] = [np.array([3, 4], np.uint8)]
    integer = type(step)(1.0)
    assert difference([whole[0] + 1], whole, [integer]) <= 1 < difference([whole[0] + 2], whole, [integer])
    assert difference([whole[0] + 1], whole) > 1
    y, v = output_steps(read_model(dynamic(tmp_path / "d.onnx")))
    assert y == v == OF_RANGE


def test_fused_quantizers_are_their_layers_in_the_profile(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
    for build in (residual, linear, dynamic):
        model, graph = opened(build(tmp_path / "m.onnx"))
        found = find_layers(graph)
        told = profile(model, graph, found, random_inputs(graph, 0), default_device(), 1)
        assert all(seconds > 0 for seconds in told.layers) and told.rest_s > 0


def test_inspect_says_what_is_int8(tmp_path: Path) -> None:
    path = residual(tmp_path / "m.onnx")
    done = run_here("model", "inspect", str(path))
    assert done.returncode == 0 and CONV in done.stdout and "Conv+Relu+QuantizeLinear" in done.stdout
    every = run_here("model", "inspect", str(path), "--all")
    assert "uint8" in every.stdout and "a layer takes and gives integers" in every.stdout


def test_integers_stay_integers_between_onnx_runtimes_own_operators(tmp_path: Path) -> None:
    """QLinearAdd and the like, whose shapes ONNX does not infer: no later layer would be known."""
    pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
    weights = stored(s=np.float32(0.02), z=np.uint8(120), w=integers(4, 4, 1, 1), m=integers(8, 5, seed=2),
                     zw=np.int8(0), b=np.arange(5, dtype=np.int32), flat=np.array([0, -1]))  # fmt: skip
    own = {"domain": "com.microsoft"}
    nodes = [
        node("QuantizeLinear", "x s z", "xq"), node("QLinearConv", "xq s z w s zw s z", "c"),
        node("QLinearAdd", "c s z xq s z s z", "a", **own), node("QLinearSigmoid", "a s z s z", "g", **own),
        node("QLinearConcat", "s z a s z g s z", "both", axis=1, **own),
        node("QLinearGlobalAveragePool", "both s z s z", "p", **own), node("Reshape", "p flat", "row"),
        node("QGemm", "row s z m s zw b s z", "q", **own), node("DequantizeLinear", "q s z", "y", **own),
    ]  # fmt: skip
    model, graph = opened(save(tmp_path / "m.onnx", nodes, {"x": [2, 4, 3, 3]}, ["y"], weights))
    assert [graph.shape(name) for name in ("a", "both", "p", "y")] == [
        (2, 4, 3, 3), (2, 8, 3, 3), (2, 8, 1, 1), (2, 5),
    ]  # fmt: skip
    changed, values = signed(model, graph)
    again = graph_of(changed, graph.path, {})
    assert values == {"xq", "c", "a", "g", "both", "p", "row", "q"}
    assert len(find_layers(graph).layers) == 2 and find_layers(again).counts == find_layers(graph).counts
    inputs, steps = random_inputs(graph, 1), output_steps(graph)
    wanted = run(session(model, 1), inputs)
    for way in (untuned(model, graph), untuned(changed, again)):
        assert difference(way(inputs), wanted, steps) <= 1


def test_a_zero_point_that_happens_to_be_0_makes_no_workload_of_its_own(tmp_path: Path) -> None:
    constants = stored(s=np.float32(0.02), a=integers(4, 4), b=np.arange(4, dtype=np.int32),
                     u=np.uint8(9), c=np.uint8(128))  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x s u", "xq"), node("DequantizeLinear", "xq s u", "xd"),
        node("DequantizeLinear", "a s", "ad"), node("MatMul", "xd ad", "p"),
        node("QuantizeLinear", "p s c", "pq"), node("DequantizeLinear", "pq s c", "pd"),
        node("MatMul", "pd ad", "r"), node("QuantizeLinear", "r s u", "rq"),
        node("DequantizeLinear", "rq s u", "y"),
    ]  # fmt: skip
    model, graph = opened(save(tmp_path / "m.onnx", nodes, {"x": [3, 4]}, ["y"], constants))
    found = find_layers(graph)
    assert list(found.counts.values()) == [2]
    arrays = constant_arrays(model, graph, constants_of(graph, found.layers[1]))
    second = weights(graph, found.layers[1], arrays)
    assert not second["bias"].any() and second["Z"].tolist() == [0, 9 - 128]


def test_damaged_quantized_files_are_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "m.onnx"
    for whole in (small(path).read_bytes(), dynamic(path).read_bytes(), linear(path).read_bytes()):
        read = 0
        for _ in range(60):
            path.write_bytes(damaged(whole, rng))
            try:
                found = read_model(path)
                as_plain(inspect(found))
                output_steps(found)
                read += 1
            except TunerError as error:
                assert "\n" not in str(error)
        assert 0 < read < 60


def test_around_an_average_uint8_stays_as_onnx_runtime_rounds_it(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
    constants = stored(s=np.float32(0.02), z=np.uint8(101), w=integers(4, 4, 1, 1), t=np.float32(0.01))
    nodes = [
        node("QuantizeLinear", "x s z", "xq"), node("DequantizeLinear", "xq s z", "xd"),
        node("DequantizeLinear", "w t", "wd"), node("Conv", "xd wd", "c"),
        node("QuantizeLinear", "c s z", "cq"), node("DequantizeLinear", "cq s z", "cd"),
        node("AveragePool", "cd", "p", kernel_shape=[2, 2]),
        node("QuantizeLinear", "p t z", "pq"), node("DequantizeLinear", "pq t z", "pd"),
        node("Conv", "pd wd", "e"), node("QuantizeLinear", "e s z", "eq"),
        node("DequantizeLinear", "eq s z", "y"),
    ]  # fmt: skip
    model, graph = opened(save(tmp_path / "m.onnx", nodes, {"x": [2, 4, 9, 9]}, ["y"], constants))
    changed, values = signed(model, graph)
    assert values == {"xq", "eq"}
    executor = untuned(changed, graph_of(changed, graph.path, {}))
    inputs = {name: 4 * array - 2 for name, array in random_inputs(graph, 1).items()}
    assert np.array_equal(executor(inputs)[0], run(session(model, 1), inputs)[0])


def test_a_layer_that_was_not_tuned_is_computed_as_one_of_another_size(tmp_path: Path) -> None:
    """A part by ONNX Runtime between two kernels takes longer than the layer. A product has no such one."""
    model, graph = opened(residual(tmp_path / "m.onnx"))
    first = find_layers(of_integers(model, graph)[1]).layers[0].workload
    inputs = random_inputs(graph, 1)
    with open_store(tmp_path / "r.db") as store:
        stored_here(store, [(first.key, KERNELS["conv2d"], {}, 1e-3)], threads=1)
        found = ours(model, graph, inputs, store, default_device(), 1)
    assert (found.exact, found.near, found.left) == (1, 1, 1)
    wanted = run(session(model, 1), inputs)
    assert difference(found.contestant.call(), wanted, output_steps(graph)) <= 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["shufflenet", "squeezenet", "bert"])
def test_a_whole_quantized_model_is_what_onnx_runtime_gives(name: str, tmp_path: Path) -> None:
    """Dozens of layers, all by the plainest kernels."""
    pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
    if name != "bert" and name not in light_models():
        pytest.skip("this version of onnx has no light models")
    made = bert_base(16, 2, 128, 500) if name == "bert" else make(name)
    path, quantized, dims = tmp_path / "m.onnx", tmp_path / "q.onnx", {"batch": 2} if name == "bert" else {}
    path.write_bytes(made.SerializeToString())
    rng, (value,) = np.random.default_rng(0), model_inputs(made.graph)
    data = rng.integers(0, 500, (4, 16)) if name == "bert" else rng.random((2, 3, 224, 224), dtype=np.float32)
    np.savez(tmp_path / "c.npz", **{value.name: data})
    done = run_here("model", "quantize", str(path), "--calibration", str(tmp_path / "c.npz"),
                    "-o", str(quantized), "--per-channel")  # fmt: skip
    assert done.returncode == 0, done.stderr
    model = prepared(quantized, dims, weights=True)
    graph = graph_of(model, quantized, dims)
    changed, _ = signed(model, graph)
    executor, inputs = untuned(changed, graph_of(changed, quantized, dims)), random_inputs(graph, 1)
    assert executor.kernels > 10
    assert difference(executor(inputs), run(session(model, 1), inputs), output_steps(graph)) <= 1
