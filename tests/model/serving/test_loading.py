"""Executors for each batch, made ahead; rows that depend on each other are never put together."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.export.real import stored_here
from tests.model.graphs import attending, convolutional, helper, save, weight
from tuner.cli import model_serve
from tuner.core.errors import TunerError
from tuner.core.kernel import unfrozen
from tuner.engine.candidate.devices import default_device
from tuner.engine.tuning.campaign import default_protocol
from tuner.model.comparing import difference
from tuner.model.contestants import require_tuned
from tuner.model.guards import ModelError
from tuner.model.layers import find_layers
from tuner.model.reading import graph_of, prepared
from tuner.model.runtime import random_inputs, run, session
from tuner.model.serving import loading
from tuner.model.serving.loading import Maker, Served, load, threads_each
from tuner.store.store import open_store

pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
NAIVE = {"conv2d": "conv_naive", "gemm": "cpp_naive"}


def runtime() -> Maker:
    return Maker(1, default_device(), None)


def answered(model: Served, requests: list[Mapping[str, np.ndarray]]) -> list[np.ndarray]:
    """The first output of each of some requests that are run as one batch."""
    sizes = [len(next(iter(one.values()))) for one in requests]
    inputs, batch = model.gather(requests, sum(sizes))
    (output, *_) = model.run(batch, inputs)
    return np.split(np.array(output)[: sum(sizes)], np.cumsum(sizes)[:-1])


def test_batches_are_prepared_and_padded(tmp_path: Path) -> None:
    path = convolutional(tmp_path / "m.onnx")
    model = load("m", path, {}, 6, runtime())
    assert model.batches == [1, 2, 4, 6] and model.signature.most_rows == 6
    assert [(t.name, t.datatype, t.shape) for t in model.signature.inputs] == [("x", "FP32", (3, 6, 6))]
    plain = session(prepared(path, {}, 1, weights=True), 1)
    rng = np.random.default_rng(3)
    for sizes in ([1], [2, 1], [1, 1, 3], [4], [6]):
        requests = [{"x": rng.random((size, 3, 6, 6), np.float32)} for size in sizes]
        for one, found in zip(requests, answered(model, requests), strict=True):
            wanted = [run(plain, {"x": one["x"][i : i + 1]})[0] for i in range(len(one["x"]))]
            assert difference([found], [np.concatenate(wanted)]) <= 1


def test_the_tuned_kernels_serve_what_onnx_runtime_would(tmp_path: Path) -> None:
    path = convolutional(tmp_path / "m.onnx")
    graph = graph_of(prepared(path, {}, None), path, {})
    device = default_device()
    workloads = [layer.workload for layer in find_layers(graph).layers]
    with open_store(tmp_path / "r.db") as store:
        threads = " --threads 1" if default_protocol(device).threads > 1 else ""
        with pytest.raises(TunerError, match=rf"run 'tuner model tune .*m\.onnx{threads}' first"):
            load("m", path, {}, 2, Maker(1, device, store))
        stored_here(store, [(unfrozen(w).key, NAIVE[w.operator], {}, 1e-3) for w in workloads], threads=1)
        model = load("m", path, {}, 2, Maker(1, device, store))
    assert model.batches == [1, 2] and "3 layers by kernels" in model.note
    requests = [random_inputs(graph, seed) for seed in (1, 2)]
    plain = session(prepared(path, {}, 1, weights=True), 1)
    for one, found in zip(requests, answered(model, requests), strict=True):
        assert difference([found], run(plain, one)) <= 1
    inputs, batch = model.gather(requests, 2)
    assert np.shares_memory(inputs["x"], model._made[0][batch].memory["x"]), "put where the kernels read it"


def test_what_is_tuned_for_other_threads_is_said_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all models, before the first one is made; in a database that has others for these threads."""
    made = {name: convolutional(tmp_path / f"{name}.onnx") for name in ("a", "b")}
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    gemm = save(tmp_path / "gemm.onnx", [node], {"x": [1, 8]}, ["y"], [weight("w", 8, 4)])
    graph = graph_of(prepared(made["a"], {}, None), made["a"], {})
    convs = [
        w for w in (unfrozen(layer.workload) for layer in find_layers(graph).layers) if w.operator == "conv2d"
    ]
    monkeypatch.setattr(loading.Maker, "make", lambda *given: pytest.fail("a model was made"))
    device, db = default_device(), str(tmp_path / "r.db")
    with open_store(db) as store:
        stored_here(store, [(w.key, NAIVE[w.operator], {}, 1e-3) for w in convs], threads=1)
        require_tuned(made["a"], {}, store, device, 1)
        with pytest.raises(
            TunerError, match=r"tune .*a\.onnx( --threads 7)?' first, or give --threads 1, which"
        ):
            require_tuned(made["a"], {}, store, device, 7)
        with pytest.raises(TunerError, match=r"no kernel is tuned for gemm\.onnx.* first$"):
            require_tuned(gemm, {}, store, device, 1)
    with pytest.raises(TunerError, match=r"no kernel is tuned for gemm\.onnx"):
        model_serve._loaded({**made, "gemm": gemm}, [], 2, 1, 1, db)
    assert capsys.readouterr() == ("", "")


def test_what_the_batches_take_says_how_many_rows_run_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(np.cumsum([0.0] + [t for took in (1, 2, 4) for t in [took, 0.0] * loading._RUNS]))
    monkeypatch.setattr(loading.time, "perf_counter", lambda: float(next(clock)))
    assert load("m", convolutional(tmp_path / "m.onnx"), {}, 4, runtime()).plan == [0, 1, 1, 1, 4]


def depending(path: Path) -> Path:
    """Each row less the mean of all rows: shapes alone say nothing of it."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["y"]),
    ]
    return save(path, nodes, {"x": ["N", 4]}, ["y"])


def scaled(path: Path) -> Path:
    """Quantized by a scale that is taken from the whole batch."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    return save(path, nodes, {"x": [1, 16]}, ["y"])


def summed(path: Path) -> Path:
    nodes = [helper.make_node("ReduceSum", ["x", "zero"], ["y"], keepdims=0)]
    zero = onnx.numpy_helper.from_array(np.array([0]), "zero")
    return save(path, nodes, {"x": [1, 4]}, ["y"], [zero])


@pytest.mark.parametrize(
    ("make", "dims", "why"),
    [
        (depending, {"N": 2}, "--dim gives N"),
        (scaled, {}, "depend on the other rows"),
        (summed, {}, "'y' is not the batch"),
        (attending, {}, "neither symbolic nor 1"),
    ],
)
def test_rows_that_depend_on_each_other_are_run_as_the_file_says(
    make: object, dims: dict[str, int], why: str, tmp_path: Path
) -> None:
    path = make(tmp_path / "m.onnx")  # type: ignore[operator]
    model = load("m", path, dims, 4, runtime())
    assert why in model.why_alone and not model.batches and model.signature.most_rows == 0
    inputs = {t.name: np.ones(t.shape or (), np.float32) for t in model.signature.inputs}
    given, batch = model.gather([inputs], 1)
    assert batch == 0
    plain = session(prepared(path, dims, None, weights=True), 1)
    assert difference(model.run(0, given), run(plain, inputs)) <= 1


def test_a_symbol_that_cannot_be_a_batch_wants_its_size(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"--dim N=1.*depend on the other rows"):
        load("m", depending(tmp_path / "m.onnx"), {}, 4, runtime())


def test_indices_are_rows_too(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["table", "i"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, {"i": [1, 5]}, ["y"], [weight("table", 7, 2)])
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    onnx.save(model, path)
    found = load("m", path, {}, 2, runtime())
    assert found.batches == [1, 2]
    table = onnx.numpy_helper.to_array(model.graph.initializer[0])
    rows = np.array([[0, 1, 2, 3, 4], [6, 5, 0, 0, 1]])
    one, two = answered(found, [{"i": rows[:1]}, {"i": rows[1:]}])
    assert np.array_equal(one[0], table[rows[0]]) and np.array_equal(two[0], table[rows[1]])


def test_instances_are_made_alike_and_have_memory_of_their_own(tmp_path: Path) -> None:
    path, said = convolutional(tmp_path / "m.onnx"), list[str]()
    model = load("m", path, {}, 2, runtime(), said.append, instances=2)
    assert len(model._made) == 2 and any("instance 2 of 2" in line for line in said)
    rng = np.random.default_rng(3)
    given = [[{"x": rng.random((1, 3, 6, 6), np.float32)} for _ in range(2)] for _ in range(2)]
    gathered = [model.gather(rows, 2, instance) for instance, rows in enumerate(given)]
    plain = session(prepared(path, {}, 1, weights=True), 1)
    for instance, (inputs, batch) in enumerate(gathered):
        (output, *_) = model.run(batch, inputs, instance)
        for row, one in enumerate(given[instance]):
            assert difference([np.array(output)[row : row + 1]], run(plain, one)) <= 1


def test_each_instance_has_its_part_of_the_cores() -> None:
    cores = default_protocol(default_device()).threads
    assert threads_each(default_device(), None, 1) == cores
    assert threads_each(default_device(), None, cores) == 1
    with pytest.raises(TunerError, match=f"--instances {cores + 1} of 1 threads: {cores} cores"):
        threads_each(default_device(), None, cores + 1)
