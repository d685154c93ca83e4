"""A model run by tuned kernels gives what ONNX Runtime gives; what is wrong is not timed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.export.real import stored_here
from tests.in_process import run_here
from tests.model.graphs import attending, convolutional, helper, onnx, save, weight
from tuner import registry
from tuner.core.default_config import default_config
from tuner.core.kernel import unfrozen
from tuner.devices.cpu.shared_library import SharedLibrary
from tuner.engine.candidate.devices import default_device
from tuner.engine.program.build_cache import build_cached
from tuner.engine.program.tuned_kernel import Origin, TunedKernel
from tuner.model.chart import batch_chart
from tuner.model.comparing import AtBatch, check, compared_plain, difference, race
from tuner.model.contestants import Contestant, ours
from tuner.model.executor import Executor
from tuner.model.graph import Graph
from tuner.model.layer import Layer
from tuner.model.layers import find_layers
from tuner.model.reading import graph_of, prepared
from tuner.model.runtime import random_inputs, run, session
from tuner.model.stages import Part, buffers, stages
from tuner.store.store import open_store

ort = pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
KERNELS = {"conv2d": "conv_naive", "gemm": "cpp_naive", "attention": "attn_naive"}
AHEAD = {"conv2d": "conv_direct_ahead", "gemm": "cpp_ahead"}


def opened(path: Path, batch: int | None = None) -> tuple[Any, Graph]:
    model = prepared(path, {}, batch, weights=True)
    return model, graph_of(model, path, {})


def untuned(
    model: Any, graph: Graph, names: Mapping[str, str] = KERNELS, layers: Sequence[Layer] | None = None
) -> Executor:
    """The model run by the plainest kernel of each operator, which compiles in no time, or by those named.

    Of all layers, or of some; the others are ONNX Runtime's.
    """
    device = default_device()
    target, chosen = device.target_for(1), []
    for layer in find_layers(graph, target).layers if layers is None else layers:
        workload = layer.workload
        own = names if workload.option("frozen", False) else KERNELS
        kernel = registry.kernel(own[workload.operator])
        config = default_config(kernel.space(workload, target))
        artifact = build_cached(kernel, workload, config, target)
        chosen.append((layer, TunedKernel(workload, kernel, config, artifact, device, Origin(0))))
    return Executor(model, graph, chosen, 1)


def branches(path: Path, batch: Any = 1) -> Path:
    """Two branches that meet, a view between kernels, a value used late, an output in the middle."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Add", ["a", "b1"], ["a1"]),
        helper.make_node("Sigmoid", ["a1"], ["s"]),
        helper.make_node("Flatten", ["s"], ["i"]),
        helper.make_node("MatMul", ["i", "w2"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Mul", ["d", "s"], ["middle"]),
        helper.make_node("MatMul", ["middle", "w2"], ["e"]),
        helper.make_node("Abs", ["e"], ["t"]),
        helper.make_node("Add", ["t", "a1"], ["y"]),
    ]
    weights = [weight("w1", 8, 16), weight("b1", 16), weight("w2", 16, 16)]
    return save(path, nodes, {"x": [3, 8]}, ["y", "middle"], weights)


def residual(path: Path, batch: Any = 1) -> Path:
    """Sums and activations behind convolutions: of two of them, of one with itself, in two exports of each.

    All nodes are part of a convolution but `late`, whose value a second node uses.
    """
    padded = {"pads": [1, 1, 1, 1]}
    statistics = [weight(n, 4, seed=i) for i, n in enumerate(("scale", "shift", "mean"))]
    numbers = {"variance": np.full(4, 0.7, np.float32), "zero": np.float32(0), "six": np.float32(6)}
    nodes = [
        helper.make_node("Conv", ["x", "w3"], ["c1"], **padded),
        helper.make_node("Sigmoid", ["c1"], ["s1"]),
        helper.make_node("Mul", ["c1", "s1"], ["silu"]),
        helper.make_node("Conv", ["silu", "w1"], ["short"]),
        helper.make_node("BatchNormalization", ["short", "scale", "shift", "mean", "variance"], ["shifted"]),
        helper.make_node("Conv", ["silu", "w4"], ["c2"], **padded),
        helper.make_node("Clip", ["c2", "zero", "six"], ["relu6"]),
        helper.make_node("Conv", ["relu6", "w1"], ["c3"]),
        helper.make_node("Add", ["shifted", "c3"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["relu"]),
        helper.make_node("Conv", ["relu", "w4"], ["c4"], **padded),
        helper.make_node("Add", ["c4", "relu"], ["again"]),
        helper.make_node("HardSwish", ["again"], ["hard"]),
        helper.make_node("Conv", ["hard", "w1"], ["c5"]),
        helper.make_node("HardSigmoid", ["c5"], ["gate"], alpha=1 / 6, beta=0.5),
        helper.make_node("Mul", ["gate", "c5"], ["hard2"]),
        helper.make_node("Conv", ["hard2", "w1"], ["c6"]),
        helper.make_node("Add", ["c6", "c6"], ["late"]),
        helper.make_node("Conv", ["late", "w1"], ["c7"]),
        helper.make_node("Sum", ["hard", "c7"], ["y"]),
    ]
    weights = [weight("w3", 4, 3, 3, 3), weight("w4", 4, 4, 3, 3), weight("w1", 4, 4, 1, 1), *statistics]
    weights += [onnx.numpy_helper.from_array(value, name) for name, value in numbers.items()]
    return save(path, nodes, {"x": [batch, 3, 6, 6]}, ["y"], weights)


def test_sums_and_activations_are_part_of_the_convolution_before_them(tmp_path: Path) -> None:
    graph = graph_of(prepared(residual(tmp_path / "m.onnx"), {}, None, weights=True), tmp_path, {})
    found = find_layers(graph)
    beyond = [
        {name for name, _ in layer.workload.options} - {"bias", "frozen", "pad"} for layer in found.layers
    ]
    assert beyond == [
        {"silu"}, set(), {"relu6"}, {"residual", "relu"}, {"residual", "hardswish"}, {"hardswish"}, set(),
        {"residual"},
    ]  # fmt: skip
    assert [graph.nodes[i].outputs[0] for i in found.reasons] == ["late"]
    # The sum of two convolutions is the main path's, and waits for the other.
    assert found.layers[3].bound("residual").value == "shifted"


@pytest.mark.parametrize("upper", [(), ("largest",)])
def test_a_clip_to_the_largest_number_is_one_without_a_limit(upper: tuple[str, ...], tmp_path: Path) -> None:
    clip = helper.make_node("Clip", ["c", "zero", *upper], ["y"])
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), clip]
    limits = {"zero": np.float32(0), "largest": np.finfo(np.float32).max}
    weights = [weight("w", 4, 3, 1, 1), *(onnx.numpy_helper.from_array(v, n) for n, v in limits.items())]
    path = save(tmp_path / "m.onnx", nodes, {"x": [1, 3, 6, 6]}, ["y"], weights)
    (layer,) = find_layers(opened(path)[1]).layers
    assert layer.workload.option("relu", False)


@pytest.mark.parametrize("make", [convolutional, attending, branches, residual])
def test_kernels_and_parts_give_what_onnx_runtime_gives(make: Any, tmp_path: Path) -> None:
    model, graph = opened(make(tmp_path / "m.onnx"))
    executor = untuned(model, graph)
    assert executor.kernels == len(find_layers(graph).layers)
    plain = session(model, 1)
    for seed in (1, 2, 1):
        inputs = random_inputs(graph, seed)
        assert difference(executor(inputs), run(plain, inputs)) <= 1
    with pytest.raises(KeyError):
        executor({})


def test_weights_are_laid_out_once_and_not_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer has a layout of its own weights."""
    laid: list[object] = []
    lay_out = SharedLibrary._lay_out
    monkeypatch.setattr(SharedLibrary, "_lay_out", lambda *given: (laid.append(given[0]), lay_out(*given)))
    model, graph = opened(convolutional(tmp_path / "m.onnx"))
    executor, plain = untuned(model, graph, AHEAD), session(model, 1)
    assert len(set(map(id, laid))) == executor.kernels == len(laid)
    for seed in (1, 2):
        inputs = random_inputs(graph, seed)
        assert difference(executor(inputs), run(plain, inputs)) <= 1
    assert len(laid) == executor.kernels


def test_what_was_tuned_for_weights_that_change_serves_until_there_is_better(tmp_path: Path) -> None:
    """As databases have it that are older than frozen weights."""
    model, graph = opened(convolutional(tmp_path / "m.onnx"))
    device, inputs = default_device(), random_inputs(graph, 1)
    workloads = [layer.workload for layer in find_layers(graph).layers]
    assert all(w.option("frozen", False) for w in workloads)
    with open_store(tmp_path / "r.db") as store:
        plain = [(unfrozen(w).key, KERNELS[w.operator], {}, 1e-3) for w in workloads]
        stored_here(store, plain, threads=1)
        before = ours(model, graph, inputs, store, device, 1)
        stored_here(store, [(workloads[0].key, AHEAD["conv2d"], {"threads": 1}, 2e-3)], threads=1)
        after = ours(model, graph, inputs, store, device, 1)
    assert [(o.exact, o.near, o.left) for o in (before, after)] == [(0, 3, 0), (1, 2, 0)]
    wanted = run(session(model, 1), inputs)
    assert all(difference(o.contestant.call(), wanted) <= 1 for o in (before, after))


def test_what_was_tuned_without_sums_serves_until_there_is_better(tmp_path: Path) -> None:
    """As databases have it that are older than sums and activations of convolutions."""
    model, graph = opened(residual(tmp_path / "m.onnx"))
    device, inputs, conv = default_device(), random_inputs(graph, 1), registry.operator("conv2d")
    former = set()
    for layer in find_layers(graph).layers:
        options = {name: value for name, value in layer.workload.options if name in ("bias", "pad", "frozen")}
        former.add(conv.workload(**dict(layer.workload.dims), **options).key)
    with open_store(tmp_path / "r.db") as store:
        stored_here(store, [(key, KERNELS["conv2d"], {}, 1e-3) for key in sorted(former)], threads=1)
        found = ours(model, graph, inputs, store, device, 1)
    assert (found.exact, found.near, found.left) == (2, 6, 0)
    assert difference(found.contestant.call(), run(session(model, 1), inputs)) <= 1


def test_another_batch_is_run_as_well(tmp_path: Path) -> None:
    model, graph = opened(convolutional(tmp_path / "m.onnx"), batch=3)
    inputs = random_inputs(graph, 1)
    (found,) = untuned(model, graph)(inputs)
    assert found.shape == (3, 5)
    assert difference([found], run(session(model, 1), inputs)) <= 1


def test_parts_are_as_few_as_chains_of_kernels(tmp_path: Path) -> None:
    _, graph = opened(branches(tmp_path / "m.onnx"))
    order = stages(graph, find_layers(graph).layers)
    parts = [stage for stage in order if isinstance(stage, Part)]
    assert [[node.op for node in part.nodes] for part in parts] == [
        ["Sigmoid", "Flatten"],
        ["Mul"],
        ["Abs", "Add"],
    ]
    names = {name for part in parts for name in (*part.inputs, *part.outputs)} | {"a1", "d", "e", "x"}
    pieces = buffers(graph, order, dict.fromkeys(names, 192))
    # The sum lives until the end; what is read and written in one step lies apart; outputs are nobody else's.
    assert len({pieces[name] for name in ("a1", "s", "i")}) == 3
    assert [list(pieces.values()).count(pieces[name]) for name in ("y", "middle", "x")] == [1, 1, 1]
    assert len(set(pieces.values())) < len(pieces)


def test_what_differs_is_found() -> None:
    wanted = [np.linspace(-1, 1, 9, dtype=np.float32)]
    assert difference([wanted[0].copy()], wanted) == 0
    assert difference([wanted[0] + np.float32(2e-5)], wanted) <= 1
    for bad in (wanted[0] + np.float32(2e-3), wanted[0][:8], np.where(wanted[0] == 0, np.nan, wanted[0])):
        assert difference([bad.astype(np.float32)], wanted) > 1
    both = np.array([np.nan, np.inf, 1], np.float32)
    assert difference([both.copy()], [both]) == 0
    assert difference([np.array([1, 2])], [np.array([1, 3])]) > 1


def test_a_wrong_way_is_not_timed() -> None:
    right = [np.ones(4, np.float32)]
    ways = [Contestant("onnxruntime", lambda: right), Contestant("off", lambda: [right[0] * 1.5])]
    kept, wrong = check(ways)
    assert [c.name for c, _ in kept] == ["onnxruntime"] and wrong["off"] > 1
    other = Contestant("same", lambda: right)
    timed = race([*kept, (other, 0.0)], rounds=3, turn_s=0.001)
    assert {t.name for t in timed} == {"onnxruntime", "same"}
    assert all(t.calls >= 9 and t.p50 <= t.p95 <= t.p99 and len(t.turns) == 3 for t in timed)
    assert next(t for t in timed if t.name == "same").speedup is not None


def test_who_is_right_by_its_first_run_alone_is_not_timed() -> None:
    given = np.arange(4, dtype=np.float32)
    kept_from_first = given.copy()
    ways = [
        Contestant("onnxruntime", lambda: [2 * given]),
        Contestant("right", lambda: [given + given]),
        Contestant("stale", lambda: [2 * kept_from_first]),
    ]
    kept, wrong = check(ways, [given])
    assert [c.name for c, _ in kept] == ["onnxruntime", "right"] and list(wrong) == ["stale"]
    assert given.tolist() == [0, 1, 2, 3], "what is timed has the inputs it began with"


def test_a_busy_machine_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tuner.model import comparison

    monkeypatch.setattr(comparison, "watching", lambda threads: lambda: "other programs took 1.0 of 2 cores")
    monkeypatch.setattr(comparison, "race", lambda right, rounds: [])
    path = save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], {"x": [2, 2]}, ["y"])
    with open_store(tmp_path / "r.db") as store:
        (found,) = comparison.compare_model(
            comparison.ComparisonAsked(path, rounds=3), store, default_device(), 1
        )
    assert compared_plain(found, 1)["disturbed"] == "other programs took 1.0 of 2 cores"


def test_models_are_compared_on_the_inputs_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rows are repeated in turn where a larger batch is asked for."""
    from tuner.model import comparison

    seen: list[np.ndarray] = []
    monkeypatch.setattr(comparison, "race", lambda right, rounds: seen.append(right[0][0].call()[0]) or [])
    path = save(tmp_path / "m.onnx", [helper.make_node("Neg", ["x"], ["y"])], {"x": [2, 2]}, ["y"])
    file = tmp_path / "inputs.npz"
    np.savez(file, x=np.array([[1, 2], [3, 4]], np.float32))
    with open_store(tmp_path / "r.db") as store:
        asked = comparison.ComparisonAsked(path, batches=[None, 3], inputs=file)
        comparison.compare_model(asked, store, default_device(), 1)
    assert [found.tolist() for found in seen] == [[[-1, -2], [-3, -4]], [[-1, -2], [-3, -4], [-1, -2]]]
    np.savez(file, x=np.ones((2, 3), np.float32))
    done = run_here("model", "compare", str(path), "--inputs", str(file), "--db", str(tmp_path / "r.db"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and str(file) in done.stderr


def test_the_chart_has_one_curve_for_all_of_onnx_runtime(tmp_path: Path) -> None:
    right = [np.ones(4, np.float32)]
    ways = [
        (Contestant(name, lambda: right), 0.0)
        for name in ("onnxruntime", "onnxruntime bound", "tuned kernels")
    ]
    found = [AtBatch(batch, race(ways, rounds=2, turn_s=0.001)) for batch in (1, 8)]
    drawn = batch_chart("a model", "a device", found, tmp_path / "c")
    assert [file.name for file in drawn] == ["c.png", "c.svg"]
    text = drawn[1].read_text()
    assert text.count(">ONNX Runtime, best<") == text.count(">tuned kernels<") == 1 and "bound" not in text
    refused = run_here("model", "compare", "m.onnx", "--batch", "4", "--chart", str(tmp_path / "d"))
    assert refused.returncode == 2 and "--chart" in refused.stderr


def test_without_tuned_kernels_the_command_says_what_to_run(tmp_path: Path) -> None:
    path = convolutional(tmp_path / "m.onnx")
    database = str(tmp_path / "r.db")
    assert run_here("best", "--db", database).returncode == 2  # a database that is not there stays so
    done = run_here("model", "compare", str(path), "--batch", "0", "--db", database)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "--batch 0" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_tuned_model_is_compared_whole(tmp_path: Path) -> None:
    path, database = convolutional(tmp_path / "m.onnx"), str(tmp_path / "r.db")
    tuned = run_here("model", "tune", str(path), "--trials", "2", "--rounds", "1", "--kernel", "conv_direct",
                     "--kernel", "cpp_packed", "--no-baselines", "--json", "--db", database)  # fmt: skip
    assert tuned.returncode == 0, tuned.stderr
    done = run_here(
        "model", "compare", str(path), "--batch", "1,2", "--rounds", "2", "--json", "--db", database
    )
    assert done.returncode == 0, done.stderr
    one, two = json.loads(done.stdout)
    for found in (one, two):
        assert {"onnxruntime", "tuned kernels"} <= {t["name"] for t in found["timed"]} and not found["wrong"]
    assert one["executor"]["exact"] == 3 and two["executor"]["near"] == 3
