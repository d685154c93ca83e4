"""Sums of integers behind quantized convolutions: part of the layer whose result they alone use."""

from pathlib import Path

import numpy as np
import pytest

from tests.model.graphs import onnx
from tests.model.int8_graphs import summed
from tests.model.test_compare import opened, untuned
from tuner.model.contestants import of_integers
from tuner.model.layers import find_layers
from tuner.model.reading import read_model
from tuner.model.runtime import random_inputs, run, session


@pytest.mark.parametrize("activations", ["uint8", "int8"])
@pytest.mark.parametrize("one_node", [False, True])
def test_a_sum_of_integers_is_part_of_the_convolution_before(
    activations: str, one_node: bool, tmp_path: Path
) -> None:
    """Of two it is that of the main path; the result is QLinearAdd's but for what a rounding error moves."""
    pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
    model, graph = opened(summed(tmp_path / "m.onnx", activations, one_node=one_node))
    layers = find_layers(graph).layers
    assert [layer.output for layer in layers] == ["q1", "q3", "q4", "q6"]
    sums = [layer.bound("residual") for layer in layers]
    assert [None if found is None else found.value for found in sums] == [None, None, "q3", "q4"]
    assert all(layer.workload.option("relu", False) != one_node for layer in layers[2:])
    changed, again = of_integers(model, graph)
    assert find_layers(again).counts == find_layers(graph).counts
    inputs = {name: 4 * array - 2 for name, array in random_inputs(graph, 1).items()}
    wanted, step = run(session(model, 1), inputs)[0], np.float32(0.07)
    for way in (untuned(model, graph), untuned(changed, again)):
        apart = np.abs(way(inputs)[0] - wanted)
        assert apart.max() <= 1.001 * step and np.count_nonzero(apart) <= wanted.size // 100
    assert len(np.unique(wanted)) > 20


def test_a_sum_that_is_not_the_convolutions_alone_stays_a_node(tmp_path: Path) -> None:
    """Its summand is an output as well, is dequantized by another scale, or something else follows; or a
    ratio of scales is infinite."""
    path = tmp_path / "m.onnx"
    plain = onnx.load(str(summed(path)))
    for change in ("used", "relu", "scale", "tiny"):
        model = onnx.ModelProto()
        model.CopyFrom(plain)
        nodes = model.graph.node
        if change == "used":
            model.graph.output.append(onnx.helper.make_tensor_value_info("q5", onnx.TensorProto.UINT8, None))
        elif change == "scale":
            next(n for n in nodes if n.output[0] == "b6").input[1] = "s0"
        elif change == "tiny":
            last = next(i for i in model.graph.initializer if i.name == "s6")
            last.CopyFrom(onnx.numpy_helper.from_array(np.float32(1e-40), "s6"))
        else:
            next(n for n in nodes if n.output[0] == "r6").op_type = "Tanh"
        path.write_bytes(model.SerializeToString())
        found = find_layers(read_model(path)).layers
        assert [layer.bound("residual") is not None for layer in found] == [False, False, True, False]
