"""A run that reads its inputs where they were given."""

from pathlib import Path

import numpy as np
import pytest

from tests.model.graphs import helper, save
from tests.model.test_glue import constant
from tuner.model.executor import Executor
from tuner.model.reading import graph_of, prepared
from tuner.model.runtime import run, session

pytest.importorskip("onnxruntime", reason="needs the extra 'model'")


def at_line(values: np.ndarray, more: int = 0) -> np.ndarray:
    """A copy that begins so many elements behind a cache line."""
    memory = np.zeros(values.size + 32, np.float32)
    begin = -memory.ctypes.data % 64 // 4 + more
    made = memory[begin : begin + values.size].reshape(values.shape)
    made[...] = values
    return made


def test_an_input_is_read_where_it_lies_and_then_in_the_own_memory_again(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=0),
        helper.make_node("Sub", ["a", "b"], ["c"]),
        helper.make_node("Relu", ["b"], ["d"]),
        helper.make_node("Concat", ["c", "d"], ["y"], axis=0),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": [8, 33]}, ["y"], [constant("sizes", [4, 4])])
    model = prepared(path, {}, None, weights=True)
    executor = Executor(model, graph_of(model, path, {}), [], 2)
    own, rng = executor.memory["x"], np.random.default_rng(1)
    for more in (0, 1, 0):
        own[...] = 7
        given = at_line(rng.standard_normal((8, 33)).astype(np.float32), more)
        wanted = run(session(model, 1), {"x": given.copy()})
        assert np.array_equal(executor({"x": given}, overwrite=True)[0], wanted[0])
        assert bool(np.all(own == 7)) == (not more), "copied where it does not begin at a line only"
        plain = rng.standard_normal((8, 33)).astype(np.float32)
        assert np.array_equal(executor({"x": plain})[0], run(session(model, 1), {"x": plain})[0])


def test_a_run_that_lacks_an_input_leaves_no_address_of_another_one_behind(tmp_path: Path) -> None:
    nodes = [helper.make_node("Concat", ["x", "w"], ["y"], axis=0)]
    path = save(tmp_path / "m.onnx", nodes, {"x": [4, 16], "w": [4, 16]}, ["y"])
    model = prepared(path, {}, None, weights=True)
    executor = Executor(model, graph_of(model, path, {}), [], 1)
    x, w = (np.full((4, 16), value, np.float32) for value in (1, 2))
    with pytest.raises(KeyError, match="w"):
        executor({"x": at_line(np.full((4, 16), np.nan))}, overwrite=True)
    assert np.array_equal(executor({"x": x, "w": w})[0], np.concatenate([x, w]))
