"""Models made to work on are models, of the sizes of what they are like."""

from pathlib import Path

import pytest

from tuner.core.errors import TunerError

onnx = pytest.importorskip("onnx", reason="needs the extra 'model'")

from tuner.lab import graphs  # noqa: E402
from tuner.model.inspection import inspect  # noqa: E402
from tuner.model.reading import read_model  # noqa: E402


def test_a_detector_of_the_layers_of_yolov5s(tmp_path: Path) -> None:
    path = tmp_path / "yolov5s.onnx"
    path.write_bytes(graphs.yolov5s(64).SerializeToString())
    found = inspect(read_model(path, {"batch": 1}))
    assert [found.graph.shape(name) for name in found.graph.outputs] == [
        (1, 255, 8, 8), (1, 255, 4, 4), (1, 255, 2, 2),
    ]  # fmt: skip
    assert len(found.layers.layers) == 60
    # YOLOv5s has 16.5 GFLOP at 640 pixels (its repository's table), activations included: 1% of that at 64.
    assert 0.160e9 < found.flops < 0.170e9
    with pytest.raises(TunerError, match="multiple of 32"):
        graphs.yolov5s(100)


def test_an_encoder_of_berts_layers(tmp_path: Path) -> None:
    path = tmp_path / "bert.onnx"
    path.write_bytes(graphs.bert_base(8, layers=2, hidden=128, words=50).SerializeToString())
    found = inspect(read_model(path, {"batch": 2}))
    counts = sorted((workload.operator, count) for workload, count in found.layers.counts.items())
    assert counts == [("attention", 2), ("gemm", 2), ("gemm", 2), ("gemm", 2), ("gemm", 6)]


def test_light_models_get_weights_that_differ() -> None:
    found = graphs.light_models()
    if "squeezenet" not in found:
        pytest.skip("this onnx package carries no light models")
    model = graphs.randomized(found["squeezenet"])
    assert not any(node.op_type == "ConstantOfShape" for node in model.graph.node)
    kernels = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer if len(t.dims) == 4]
    assert len(kernels) == 26 and all(0 < w.std() < 1 for w in kernels)
    with pytest.raises(TunerError, match="bert-base"):
        graphs.make("bert")
