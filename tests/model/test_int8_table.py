"""A float model beside its quantized one: layers find each other, and each row says what speaks for it."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.in_process import run_here
from tests.model.graphs import convolutional, helper, save, weight
from tests.model.int8_graphs import residual
from tuner.core.workload import Workload
from tuner.model.int8_reasons import Facts, reason

CONV = Workload.from_key("conv2d/f32/n1-c64-h56-w56-k64-r3-s3/frozen,pad=1")
DEEP = Workload.from_key("conv2d/f32/n1-c64-h56-w56-k64-r3-s3/frozen,groups=64,pad=1")


@pytest.mark.parametrize(
    ("wins", "facts", "why"),
    [
        ("int8", Facts(CONV, 10**9, 10**6, 10**6 // 4, True), "VNNI: four"),
        ("int8", Facts(CONV, 10**7, 10**6, 10**6 // 4, True), "4.0 times fewer bytes"),
        ("int8", Facts(CONV, 10**9, 10**6, 10**6 // 4, False), "no VNNI"),
        ("f32", Facts(CONV, 10**9, 10**6, 10**6 // 4, False), "no VNNI"),
        ("f32", Facts(CONV, 10**9, 10**6, 10**6 // 4, True, floats=True), "computes it in floats"),
        ("f32", Facts(CONV, 10**9, 10**6, 10**6 // 4, True, quantizing=0.4), "take 40% of its int8 time"),
        ("even", Facts(DEEP, 10**9, 10**6, 10**6 // 4, True), "depthwise"),
        ("f32", Facts(CONV, 10**3, 10**6, 10**6 // 4, True), "what a call costs"),
        ("f32", Facts(CONV, 10**9, 10**6, 10**6 // 4, True), "neither"),
    ],
)
def test_the_reason_is_what_the_facts_say(wins: str, facts: Facts, why: str) -> None:
    assert why in reason(wins, facts)


def test_both_models_layer_by_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
    model, other = convolutional(tmp_path / "m.onnx"), tmp_path / "q.onnx"
    np.savez(tmp_path / "c.npz", x=np.random.default_rng(0).random((4, 3, 6, 6), dtype=np.float32))
    data = ["--calibration", str(tmp_path / "c.npz"), "-o", str(other)]
    assert run_here("model", "quantize", str(model), *data).returncode == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNER_DB", raising=False)
    done = run_here("model", "int8", str(model), str(other), "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["evidence"] == "measured" and told["int8"]["quantizing_s"] > 0
    assert [layer["name"] for layer in told["layers"]][:2] == ["first", "second"]
    for layer in told["layers"]:
        assert layer["int8"]["workload"].split("/")[1] == "int8" and layer["why"]
        assert layer["f32"]["onnxruntime_profile_s"] > 0 and layer["int8"]["onnxruntime_profile_s"] > 0
        assert layer["f32"]["kernel"] is None  # nothing is stored
        assert layer["int8"]["bytes"] < layer["f32"]["bytes"]
    plain = save(tmp_path / "p.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [2, 4]}, ["y"],
                 [weight("w", 4, 3)])  # fmt: skip
    for models, why in (
        ((other, model), "is quantized: give the float model first"),
        ((model, model), "has no int8 layer"),
        ((plain, residual(tmp_path / "r.onnx")), "other models"),
    ):
        refused = run_here("model", "int8", *map(str, models))
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and why in refused.stderr
