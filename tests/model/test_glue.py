"""Programs between kernels give what ONNX Runtime gives, special values and ragged sizes included."""

import ctypes
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.model.graphs import convolutional, helper, save, weight
from tests.model.test_compare import opened, untuned
from tuner.core.errors import Unavailable
from tuner.engine.candidate.devices import default_device
from tuner.engine.program.bound_call import BoundCall
from tuner.model.comparing import difference
from tuner.model.executor import Executor
from tuner.model.glue.found import programs
from tuner.model.glue.library import Library, _loaded
from tuner.model.glue.moves import copy_of
from tuner.model.glue.walk import joined
from tuner.model.guards import ModelError
from tuner.model.layers import find_layers
from tuner.model.reading import graph_of, prepared
from tuner.model.runtime import random_inputs, run, session
from tuner.model.stages import VIEWS, Part, rest_of, stages

pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
SPECIAL = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40, -1e-40, 88.0, -88.0, 3e38, -100, 12], "f4")


def constant(name: str, values: Any, dtype: str = "int64") -> Any:
    return helper.make_tensor(name, {"int64": 7, "float32": 1}[dtype], np.shape(values), np.ravel(values))


def both(
    path: Path, inputs: Mapping[str, np.ndarray] | None = None, threads: int = 2, parts: int = 0
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Outputs of programs, which are all nodes but those of so many parts, and of ONNX Runtime."""
    model = prepared(path, {}, None, weights=True)
    graph = graph_of(model, path, {})
    executor = Executor(model, graph, [], threads)
    assert (executor.parts, executor.missing) == (parts, "")
    given = inputs or random_inputs(graph, 1)
    return executor(given), run(session(model, 1), given)


ELEMENTWISE: Mapping[str, tuple[Mapping[str, Any], tuple[float, float]]] = {
    "Relu": ({}, (0, 0)), "Sigmoid": ({}, (1e-6, 3e-7)), "Tanh": ({}, (1e-6, 3e-7)), "Abs": ({}, (0, 0)),
    "Erf": ({}, (1e-6, 3e-7)), "Sqrt": ({}, (1e-6, 0)), "Exp": ({}, (2e-6, 1e-37)), "Neg": ({}, (0, 0)),
    "Reciprocal": ({}, (1e-6, 0)), "HardSwish": ({}, (1e-6, 1e-7)), "LeakyRelu": ({"alpha": 0.3}, (0, 0)),
    "HardSigmoid": ({"alpha": 0.3}, (1e-6, 1e-7)),
}  # fmt: skip


def test_functions_of_one_element(tmp_path: Path) -> None:
    """NaN, infinities, both zeros and denormals as ONNX Runtime has them."""
    nodes = [helper.make_node(op, ["x"], [op], **attributes) for op, (attributes, _) in ELEMENTWISE.items()]
    save(tmp_path / "m.onnx", nodes, {"x": [4099]}, list(ELEMENTWISE), [])
    rng = np.random.default_rng(1)
    x = np.concatenate([SPECIAL, rng.normal(0, 5, 4099 - SPECIAL.size)]).astype(np.float32)
    for (op, (_, (share, size))), found, wanted in zip(
        ELEMENTWISE.items(), *both(tmp_path / "m.onnx", {"x": x}), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=share, atol=size, err_msg=op)


@pytest.mark.parametrize(("opset", "limits"), [(10, ()), (17, ()), (17, ("zero",)), (17, ("", "zero"))])
def test_a_clip_without_a_limit_ends_at_the_largest_number(
    opset: int, limits: tuple[str, ...], tmp_path: Path
) -> None:
    node, zero = helper.make_node("Clip", ["x", *limits], ["y"]), constant("zero", 0.0, "float32")
    path = save(tmp_path / "m.onnx", [node], {"x": [SPECIAL.size]}, ["y"], [zero], opset)
    (found,), (wanted,) = both(path, {"x": SPECIAL})
    np.testing.assert_array_equal(found, wanted)


def test_a_power_of_a_half_is_no_root_of_infinity(tmp_path: Path) -> None:
    half = constant("half", 0.5, "float32")
    node = helper.make_node("Pow", ["x", "half"], ["y"])
    path = save(tmp_path / "m.onnx", [node], {"x": [SPECIAL.size]}, ["y"], [half])
    (found,), (wanted,) = both(path, {"x": SPECIAL})
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert not np.signbit(found[SPECIAL == 0]).any()


BROADCASTS = [
    ([2, 3, 5, 7], [3, 1, 1]), ([2, 3, 5, 7], [7]), ([2, 3, 5, 7], []), ([1, 64, 31, 33], [1, 64, 1, 1]),
    ([2, 3, 5, 7], [2, 1, 5, 1]), ([4, 1, 6], [1, 5, 1]), ([1], [1]), ([2, 3, 5, 7], [2, 3, 5, 7]),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), BROADCASTS)
def test_operands_are_broadcast(left: list[int], right: list[int], tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "y"], ["a"]),
        helper.make_node("Div", ["a", "y"], ["b"]),
        helper.make_node("Sub", ["y", "b"], ["c"]),
        helper.make_node("Max", ["c", "x", "y"], ["z"]),
    ]
    save(tmp_path / "m.onnx", nodes, {"x": left, "y": right}, ["z"], [])
    rng = np.random.default_rng(1)
    given = {n: rng.uniform(1, 2, s).astype(np.float32) for n, s in (("x", left), ("y", right))}
    for threads in (1, 3):
        (found,), (wanted,) = both(tmp_path / "m.onnx", given, threads)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def test_a_chain_is_one_pass(tmp_path: Path) -> None:
    """Batch normalisation, scales, SiLU, powers; a value that is asked for ends a chain."""
    nodes = [
        helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["n"], epsilon=1e-3),
        helper.make_node("Identity", ["n"], ["i"]),
        helper.make_node("Mul", ["i", "s"], ["k"]),
        helper.make_node("Sigmoid", ["k"], ["q"]),
        helper.make_node("Mul", ["k", "q"], ["y"]),
        helper.make_node("Pow", ["y", "two"], ["p"]),
        helper.make_node("Clip", ["p", "low", "high"], ["z"]),
    ]
    weights = [weight(name, 6) for name in "gbm"] + [constant("v", [0.5, 1, 2, 3, 4, 5], "float32")]
    weights += [weight("s", 6, 1, 1), constant("two", 2.0, "float32")]
    weights += [constant("low", 0.125, "float32"), constant("high", 0.5, "float32")]
    path = save(tmp_path / "m.onnx", nodes, {"x": [2, 6, 9, 5]}, ["y", "z"], weights)
    found, wanted = both(path)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    model = prepared(path, {}, None, weights=True)
    assert Executor(model, graph_of(model, path, {}), [], 1).programs == 2


def moved() -> list[tuple[str, list[Any], dict[str, list[int]], list[Any]]]:
    node = helper.make_node
    bounds = [constant("from", [1, -4]), constant("to", [9, -1]), constant("axes", [1, 3])]
    shapes = [([1, 6, 5, 4], [0, 2, 3, 1]), ([2, 3, 4, 5], [0, 2, 1, 3]), ([70, 90], [1, 0]),
              ([2, 33, 40], [2, 0, 1]), ([3, 4, 5, 6], [3, 2, 1, 0]),
              ([1, 3, 9, 9], [0, 1, 3, 2])]  # fmt: skip
    turned: list[Any] = [
        (f"transpose{i}", [node("Transpose", ["x"], ["y"], perm=perm)], {"x": shape}, [])
        for i, (shape, perm) in enumerate(shapes)
    ]
    return [
        *turned,
        ("concat", [node("Concat", ["x", "w", "x"], ["y"], axis=-2)], {"x": [2, 3, 4]},
         [weight("w", 2, 5, 4)]),
        ("split", [node("Split", ["x", "s"], ["y", "z"], axis=1)], {"x": [2, 7, 3]}, [constant("s", [3, 4])]),
        ("slice", [node("Slice", ["x", "from", "to", "axes"], ["y"])], {"x": [2, 5, 3, 8]}, bounds),
        ("steps", [node("Slice", ["x", "b", "e", "a", "s"], ["y"])], {"x": [2, 5, 9]},
         [constant("b", [1]), constant("e", [2**40]), constant("a", [-1]), constant("s", [3])]),
        ("resize", [node("Resize", ["x", "", "s"], ["y"], mode="nearest")], {"x": [1, 2, 3, 5]},
         [constant("s", [1, 1, 2, 3], "float32")]),
        ("up", [node("Resize", ["x", "", "s"], ["y"], mode="nearest", nearest_mode="floor",
                     coordinate_transformation_mode="asymmetric")], {"x": [2, 8, 5, 6]},
         [constant("s", [1, 1, 2, 2], "float32")]),
    ]  # fmt: skip


@pytest.mark.parametrize(("nodes", "shapes", "weights"), [pytest.param(*m[1:], id=m[0]) for m in moved()])
def test_elements_go_where_onnx_runtime_puts_them(
    nodes: list[Any], shapes: dict[str, list[int]], weights: list[Any], tmp_path: Path
) -> None:
    path = save(tmp_path / "m.onnx", nodes, shapes, [n for n in ("y", "z") if n in nodes[0].output], weights)
    for threads in (1, 2):
        for one, other in zip(*both(path, threads=threads), strict=True):
            np.testing.assert_array_equal(one, other)


POOLS: Sequence[tuple[str, dict[str, Any], list[int]]] = [
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, [2, 3, 13, 10]),
    ("MaxPool", {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]}, [1, 4, 7, 6]),
    ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 3], "ceil_mode": 1}, [1, 3, 10, 10]),
    ("MaxPool", {"kernel_shape": [3], "strides": [2], "pads": [1, 0]}, [2, 3, 11]),
    # The last window would begin behind the image: it is left out, unlike what ONNX infers.
    ("MaxPool", {"kernel_shape": [2], "strides": [2], "pads": [1, 1], "ceil_mode": 1}, [1, 3, 1]),
    ("AveragePool", {"kernel_shape": [3, 1], "strides": [3, 3], "ceil_mode": 1}, [1, 3, 12, 6]),
    ("MaxPool", {"kernel_shape": [2, 3], "strides": [1, 2], "auto_pad": "SAME_UPPER"}, [1, 3, 9, 8]),
    ("MaxPool", {"kernel_shape": [2, 3], "strides": [1, 2], "auto_pad": "SAME_LOWER"}, [1, 3, 9, 8]),
    ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 2, 1]}, [1, 3, 12, 11]),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, [1, 3, 8, 9]),
    ("AveragePool", {"kernel_shape": [7, 7]}, [1, 33, 7, 7]),
    ("GlobalAveragePool", {}, [2, 17, 5, 3]),
    ("Softmax", {}, [3, 5, 33]),
    ("LRN", {"size": 5}, [2, 7, 33, 33]),
    ("LRN", {"size": 3, "alpha": 0.5, "beta": 0.5, "bias": 2.0}, [2, 3, 9, 1]),
    ("LRN", {"size": 9, "alpha": 2.0, "beta": 1.0, "bias": 0.5}, [1, 20, 3, 5]),
]


@pytest.mark.parametrize(("op", "attributes", "shape"), POOLS)
def test_windows_and_rows(op: str, attributes: dict[str, Any], shape: list[int], tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx", [helper.make_node(op, ["x"], ["y"], **attributes)], {"x": shape}, ["y"], []
    )
    x = np.random.default_rng(2).normal(0, 3, shape).astype(np.float32)
    (found,), (wanted,) = both(path, {"x": x})
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize(("taps", "steps"), [([3, 3], [2, 2]), ([2, 2], [1, 1]), ([1, 5], [3, 3])])
def test_a_nan_in_a_window_is_its_largest(taps: list[int], steps: list[int], tmp_path: Path) -> None:
    """Wherever in the window it lies, as PyTorch has it; in ONNX Runtime that depends on the place."""
    nodes = [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=taps, strides=steps)]
    shape, rng = [2, 3, 21, 37], np.random.default_rng(5)
    x = rng.normal(0, 1, shape).astype(np.float32)
    x[rng.random(shape) < 0.05], x[rng.random(shape) < 0.05] = np.nan, -np.inf
    (found,), _ = both(save(tmp_path / "m.onnx", nodes, {"x": shape}, ["y"], []), {"x": x})
    windows = np.lib.stride_tricks.sliding_window_view(x, taps, (2, 3))[:, :, :: steps[0], :: steps[1]]
    np.testing.assert_array_equal(found, windows.max((-2, -1)))


def test_what_onnx_runtime_fails_to_run_is_one_line(tmp_path: Path) -> None:
    """A window is left out along one axis and one is added along the other, unlike what ONNX infers."""
    rounded = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 0, 1, 0], "ceil_mode": 1}
    nodes = [helper.make_node("MaxPool", ["x"], ["y"], **rounded)]
    model, graph = opened(save(tmp_path / "m.onnx", nodes, {"x": [1, 3, 1, 5]}, ["y"], []))
    executor = Executor(model, graph, [], 1)
    with pytest.raises(ModelError, match=r"^ONNX Runtime fails to run the model: .*MaxPool[^\n]*$"):
        executor(random_inputs(graph, 1))


def test_layer_normalisation(tmp_path: Path) -> None:
    node = helper.make_node("LayerNormalization", ["x", "g", "b"], ["y"], axis=-1, epsilon=1e-6)
    path = save(tmp_path / "m.onnx", [node], {"x": [2, 9, 40]}, ["y"], [weight("g", 40), weight("b", 40)])
    x = np.random.default_rng(3).normal(50, 1, (2, 9, 40)).astype(np.float32)
    (found,), (wanted,) = both(path, {"x": x})
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5)


def concatenated(path: Path) -> Path:
    """Products that are concatenated, that again, and the first of them by itself: one piece of memory; a sum
    in the second is a value of its own, and so is what is joined along another axis."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("MatMul", ["x", "w2"], ["b"]),
        helper.make_node("Concat", ["a", "b"], ["ab"], axis=0),
        helper.make_node("MatMul", ["ab", "w3"], ["c"]),
        helper.make_node("Concat", ["ab", "c"], ["abc"], axis=0),
        helper.make_node("Concat", ["ab", "c", "a"], ["longer"], axis=0),
        helper.make_node("Tanh", ["abc"], ["t"]),
        helper.make_node("Concat", ["t", "abc"], ["wide"], axis=1),
        helper.make_node("Relu", ["longer"], ["y"]),
        helper.make_node("Dropout", ["wide"], ["d", "unused"]),
        helper.make_node("Sigmoid", ["d"], ["z"]),
    ]
    weights = [weight(f"w{i}", 16, 16, seed=i) for i in (1, 2, 3)]
    return save(path, nodes, {"x": [3, 16]}, ["y", "z"], weights)


def test_what_is_concatenated_is_written_where_it_belongs(tmp_path: Path) -> None:
    model, graph = opened(concatenated(tmp_path / "m.onnx"))
    executor = untuned(model, graph)
    # Copied are what another value holds already (`a` once more) and both halves of `wide`.
    assert (executor.kernels, executor.parts, executor.programs) == (3, 0, 3 + 1 + 2)
    for seed in (1, 2):
        inputs = random_inputs(graph, seed)
        assert difference(executor(inputs), run(session(model, 1), inputs)) <= 1


def test_steps_in_c_are_one_call_in_their_order_and_errors_come_back() -> None:
    library = Library([], default_device("cpu").target.features)
    done: list[object] = []
    kernel = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)

    def step(number: int, status: int = 0) -> BoundCall:
        called = kernel(lambda at: (done.append((number, at)), status)[1])
        address = ctypes.cast(called, ctypes.c_void_p).value
        return BoundCall(lambda: called, False, address or 0, 1000 + number, name=f"layer {number}")

    steps = joined(
        [step(1), step(2), lambda: done.append("python"), step(3), step(4, 1), step(5)], library.walk
    )
    assert len(steps) == 3
    steps[0]()
    steps[1]()
    assert done == [(1, 1001), (2, 1002), "python"]
    with pytest.raises(RuntimeError, match=r"^layer 4: the kernel returned error 1, .* no memory$"):
        steps[2]()
    assert done[3:] == [(3, 1003), (4, 1004)]


def test_views_are_copied_whatever_their_axes_and_elements() -> None:
    library, rng = Library([], default_device("cpu").target.features), np.random.default_rng(4)
    for dtype in ("i1", "i2", "f4", "f8"):
        whole = rng.integers(0, 100, (3, 34, 5, 40)).astype(dtype)
        for axes in itertools.permutations(range(4)):
            view = whole.transpose(axes)
            to = np.zeros(view.shape, dtype)
            copy = library.copied(view, to, 2)
            assert copy is not None
            copy()
            np.testing.assert_array_equal(to, view)
    wide = np.zeros((2, 2), complex)
    assert library.copied(wide, wide.copy(), 1) is None


def test_arrays_whose_elements_are_elsewhere_are_refused() -> None:
    library, rows = Library([], default_device("cpu").target.features), np.zeros((4, 6), np.float32)
    call = copy_of(rows)
    assert call is not None
    with pytest.raises(ValueError, match=r"^operand 0 of move4, \[6, 4\] with strides \[4, 24\]"):
        library.bound(call, (rows.T, rows), 1)
    with pytest.raises(ValueError, match="no C-contiguous"):
        library.copied(rows, np.zeros((6, 4), np.float32).T, 1)


def test_what_follows_a_convolution_that_is_left_to_onnx_runtime_stays_with_it(tmp_path: Path) -> None:
    """It fuses them; the rest of the model is not drawn in by the sum that takes what it made."""
    model, graph = opened(convolutional(tmp_path / "m.onnx"))
    _, *others = find_layers(graph).layers
    own = programs(graph, rest_of(graph, others), VIEWS)
    parts = [stage for stage in stages(graph, others, own) if isinstance(stage, Part)]
    assert [[node.op for node in part.nodes] for part in parts] == [["Conv", "BatchNormalization", "Relu"]]
    assert [node.op for program in own for node in program.nodes] == ["GlobalAveragePool"]
    executor, inputs = untuned(model, graph, layers=others), random_inputs(graph, 1)
    assert difference(executor(inputs), run(session(model, 1), inputs)) <= 1


def test_without_a_compiler_onnx_runtime_computes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise Unavailable("no C++ compiler found")

    model, graph = opened(concatenated(tmp_path / "m.onnx"))
    monkeypatch.setattr("tuner.model.glue.library._loaded", none)
    executor = untuned(model, graph)
    assert executor.missing == "no programs between kernels: no C++ compiler found"
    assert executor.parts > 0 == executor.programs
    inputs = random_inputs(graph, 1)
    assert difference(executor(inputs), run(session(model, 1), inputs)) <= 1


def test_programs_that_cannot_be_loaded_are_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the cache is on a file system that executes nothing; ONNX Runtime then computes all."""
    broken = tmp_path / "program.so"
    broken.write_bytes(b"")
    monkeypatch.setattr("tuner.model.glue.library.compiled", lambda *_: broken)
    monkeypatch.setattr("tuner.model.glue.library._loaded", _loaded.__wrapped__)
    with pytest.raises(Unavailable, match=r"^program\.so cannot be loaded: .*$"):
        Library([], ())


def test_arrays_are_put_behind_each_other() -> None:
    library = Library([], default_device("cpu").target.features)
    rng = np.random.default_rng(1)
    for sizes in ([5], [1, 4095, 4096, 4097, 0, 7, 20_000], [30_000] * 3):
        parts = [rng.random((size, 3)).astype(np.float32) for size in sizes]
        to = np.full((sum(sizes) + 2, 3), 7, np.float32)
        library.gather(to, parts)
        assert np.array_equal(to[:-2], np.concatenate(parts)) and np.all(to[-2:] == 7)


def test_arrays_that_do_not_fit_are_not_put_anywhere() -> None:
    library = Library([], default_device("cpu").target.features)
    to = np.zeros((4, 3), np.float32)
    with pytest.raises(ValueError, match="60 bytes do not fit in 48"):
        library.gather(to, [np.ones((5, 3), np.float32)])
    for part in (np.ones((2, 3)), np.ones((2, 6), np.float32)[:, ::2]):
        with pytest.raises(ValueError, match="not all C-contiguous float32"):
            library.gather(to, [part])
    assert not to.any()
