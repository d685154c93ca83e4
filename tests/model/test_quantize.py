"""A float model is quantized by ONNX Runtime, checked on the calibration data; bad data are one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.in_process import run_here
from tests.model.graphs import convolutional, helper, onnx
from tests.model.int8_graphs import residual
from tuner.model.layers import find_layers
from tuner.model.quantizing import Way, may_saturate
from tuner.model.reading import read_model

pytest.importorskip("onnxruntime", reason="needs the extra 'model'")


def images(path: Path, *shape: int, dtype: str = "float32") -> Path:
    np.savez(path, x=np.random.default_rng(0).random(shape).astype(dtype))
    return path


def test_what_is_quantized_has_int8_layers_and_its_error_is_said(tmp_path: Path) -> None:
    model, out = convolutional(tmp_path / "m.onnx"), tmp_path / "q.onnx"
    data = images(tmp_path / "c.npz", 6, 3, 6, 6)
    done = run_here("model", "quantize", str(model), "--calibration", str(data), "-o", str(out),
                    "--per-channel", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (output,) = told["outputs"]
    assert told["runs"] == 6 and output["name"] == "y" and output["finite"]
    assert 0 < output["rms"] < 0.1 and output["signal_to_noise_db"] > 20
    found = [layer.workload for layer in find_layers(read_model(out)).layers]
    assert [(w.operator, w.dtype) for w in found] == [
        ("conv2d", "int8"),
        ("conv2d", "int8"),
        ("gemm", "int8"),
    ]
    assert [w.option("scale_channel", False) for w in found][:2] == [True, True]


def test_dynamic_quantization_needs_no_scales_of_activations(tmp_path: Path) -> None:
    model = convolutional(tmp_path / "m.onnx")
    data = images(tmp_path / "c.npz", 2, 1, 3, 6, 6)  # an axis of samples before all others
    done = run_here("model", "quantize", str(model), "--calibration", str(data), "--dynamic")
    assert done.returncode == 0 and "on 2 runs" in done.stdout, done.stderr
    found = find_layers(read_model(tmp_path / "m.int8.onnx"))
    assert [w.dtype for w in found.counts] == ["f32", "f32", "int8"]


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({}, "no array for input 'x'"),
        ({"x": np.zeros((2, 3, 6, 6), "f4"), "z": np.zeros(3)}, "has no input 'z': it has x"),
        ({"x": np.zeros((2, 3, 6, 5), "f4")}, "the model takes [1, 3, 6, 6]"),
        ({"x": np.zeros((2, 3, 6, 6), "f8")}, "is float64, the model takes float32"),
        ({"x": np.full((2, 3, 6, 6), np.inf, "f4")}, "not finite"),
        ({"x": np.zeros((0, 3, 6, 6), "f4")}, "no samples"),
        (None, "no .npz file"),
    ],
)
def test_bad_calibration_data_are_one_line(arrays: dict | None, why: str, tmp_path: Path) -> None:
    data = tmp_path / "c.npz"
    if arrays is None:
        data.write_bytes(b"none")
    else:
        np.savez(data, **arrays)
    model = convolutional(tmp_path / "m.onnx")
    done = run_here("model", "quantize", str(model), "--calibration", str(data))
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and why in done.stderr, done.stderr
    assert not (tmp_path / "m.int8.onnx").exists()


def test_a_batch_of_the_model_is_filled_by_whole_samples(tmp_path: Path) -> None:
    model = convolutional(tmp_path / "m.onnx", batch=4)
    done = run_here(
        "model", "quantize", str(model), "--calibration", str(images(tmp_path / "c.npz", 6, 3, 6, 6))
    )
    assert done.returncode == 2 and "a multiple" in done.stderr


def test_what_cannot_be_quantized_is_said(tmp_path: Path) -> None:
    model, data = residual(tmp_path / "m.onnx"), images(tmp_path / "c.npz", 2, 3, 6, 6)
    for arguments, why in (
        ([str(model)], "is quantized already"),
        ([str(tmp_path / "none.onnx")], "there is no such file"),
        ([str(convolutional(tmp_path / "f.onnx")), "-o", str(tmp_path / "f.onnx")], "the float model itself"),
    ):
        done = run_here("model", "quantize", *arguments, "--calibration", str(data))
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and why in done.stderr, done.stderr


def test_a_model_of_an_old_opset_gets_scales_of_channels(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    """Opset 11, which has none, and weights that are inputs as well, as files of that time have them."""
    path = convolutional(tmp_path / "m.onnx")
    model = onnx.load(str(path))
    model.opset_import[0].version = 11
    for tensor in model.graph.initializer:
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        model.graph.input.append(value)
    path.write_bytes(model.SerializeToString())
    data = images(tmp_path / "c.npz", 2, 3, 6, 6)
    done = run_here("model", "quantize", str(path), "--calibration", str(data), "--per-channel")
    assert done.returncode == 0, done.stderr
    found = find_layers(read_model(tmp_path / "m.int8.onnx"))
    assert [w.option("scale_channel", False) for w in found.counts][:2] == [True, True]
    assert "\n" not in capfd.readouterr().err  # ONNX Runtime warns of each weight


def test_a_cpu_without_vnni_is_told_of_7_bits() -> None:
    assert may_saturate(("avx2", "fma"), Way()) and not may_saturate(("avx2",), Way(reduce_range=True))
    assert not may_saturate(("avx2", "avx512vnni"), Way()) and not may_saturate(("neon",), Way())
