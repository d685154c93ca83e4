"""Who else runs a whole model takes part where it is installed, and is missed with the reason where not."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.model.graphs import convolutional
from tuner.model import peers
from tuner.model.comparing import check
from tuner.model.contestants import Contestant, runtimes
from tuner.model.guards import ModelError
from tuner.model.reading import graph_of, prepared
from tuner.model.runtime import random_inputs

pytest.importorskip("onnxruntime", reason="needs the extra 'model'")


def opened(tmp_path: Path) -> tuple[Any, Any, dict[str, np.ndarray]]:
    path = convolutional(tmp_path / "m.onnx")
    model = prepared(path, {}, weights=True)
    graph = graph_of(model, path, {})
    return model, graph, random_inputs(graph, 1)


def test_who_is_missing_is_said_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("openvino", "onnx2torch"):
        monkeypatch.setitem(sys.modules, name, None)
    found, missing = peers.peers(*opened(tmp_path), 1)
    assert found == [] and missing.keys() == {"openvino", "torch", "tensorrt"}
    assert "pip install openvino" in missing["openvino"]
    assert "kernel-tuner-lab[model-torch]" in missing["torch"]
    assert "onnxruntime-gpu" in missing["tensorrt"]


def test_a_tensorrt_that_onnx_runtime_leaves_out_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its libraries do not load, ONNX Runtime goes on with the CPU and says so in a log alone."""

    class Session:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    fake = SimpleNamespace(
        InferenceSession=Session, SessionOptions=SimpleNamespace,
        get_available_providers=lambda: ["TensorrtExecutionProvider", "CPUExecutionProvider"],
    )  # fmt: skip
    monkeypatch.setattr(peers, "onnxruntime_library", lambda: fake)
    model, _, inputs = opened(tmp_path)
    with pytest.raises(ModelError, match="GPU"):
        peers.tensorrt(model, inputs)


def test_torch_runs_what_onnx2torch_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The conversion is `onnx2torch`'s; here a module that does the same stands in for it."""
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    model, graph, inputs = opened(tmp_path)
    stored = {w.name: torch.from_numpy(_array(w)) for w in model.graph.initializer}

    class Module(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            f, w = torch.nn.functional, stored
            y = f.conv2d(x, w["w1"], padding=1)
            y = f.batch_norm(y, w["mean"], w["variance"], w["scale"], w["shift"]).relu()
            y = (f.conv2d(y, w["w2"], padding=1) + y).mean((2, 3))
            return f.linear(y, w["w3"], w["b3"])

    before = torch.get_num_threads()
    monkeypatch.setitem(sys.modules, "onnx2torch", SimpleNamespace(convert=lambda _: Module()))
    ways = peers.torch_ways(model, graph, inputs, 1)
    torch.set_num_threads(before)
    assert [way.name for way in ways] == ["torch", "torch traced"]
    wanted = runtimes(model, graph, inputs, 1)[0]
    right, wrong = check([wanted, *ways], inputs.values())
    assert len(right) == 3 and not wrong


def test_a_graph_that_onnx2torch_cannot_convert_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(_: Any) -> Any:
        raise NotImplementedError("Converter is not implemented\nOperationDescription(...)")

    pytest.importorskip("torch", reason="needs the extra 'torch'")
    monkeypatch.setitem(sys.modules, "onnx2torch", SimpleNamespace(convert=convert))
    found, missing = peers.peers(*opened(tmp_path), 1)
    assert "torch" not in [c.name for c in found if isinstance(c, Contestant)]
    assert "cannot convert" in missing["torch"] and "\n" not in missing["torch"]


def _array(tensor: Any) -> np.ndarray:
    from onnx import numpy_helper

    return np.array(numpy_helper.to_array(tensor))
