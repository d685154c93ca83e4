"""Libraries on GPUs: called as the operators are defined, on stand-ins, and on a GPU where there is one."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.devices.test_cuda import GEMM, is_right
from tuner import registry
from tuner.core.dtypes import dtype_named
from tuner.core.operator import worst_error
from tuner.devices.cuda.device import CudaDevice
from tuner.engine.candidate.domain import companions_of
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.choice import requests_of
from tuner.engine.tuning.plan import Plan
from tuner.schedules import cublaslt
from tuner.targets.cuda import target

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The stand-in for libcublasLt."""
    made = tmp_path_factory.mktemp("cublaslt") / "libcublasLt.so"
    source = ROOT / "tests" / "devices" / "fake_cublaslt.cpp"
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", str(source), "-o", str(made)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return str(made)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [("12x20x28", "f32"),
     ("m12 n20 k28 trans_a alpha=0.5 beta=2 bias relu", "f32"),
     ("m5 n7 k9 batch=3 trans_b", "f32"),
     ("m12 n20 k28 trans_a trans_b beta=1 bias relu", "f16"),
     ("m12 n20 k28 alpha=2 beta=1 bias relu", "int8"),
     ("m12 n20 k28 bias", "tf32"),
     ("m12 n32 k48 trans_b bias", "e4m3")],
)  # fmt: skip
def test_every_algorithm_of_cublaslt_is_a_configuration(
    fake_gpu: ModuleType,
    tmp_path: Path,
    library: str,
    monkeypatch: pytest.MonkeyPatch,
    shape: str,
    dtype: str,
) -> None:
    monkeypatch.setattr(cublaslt, "library_path", lambda: library)
    (device,) = CudaDevice.discover()
    kernel, workload = registry.kernel("cublaslt"), GEMM.parse(shape, dtype)
    assert kernel.unavailable() is None and kernel.unsupported(workload, device.target) is None
    fast = [{"FAST_ACCUM": flag} for flag in (0, 1)] if dtype == "e4m3" else [{}]
    assert kernel.space(workload, device.target).size == 8 * len(fast)
    tensors = GEMM.inputs(workload, 3)
    for spec in GEMM.signature(workload):
        if spec.output:
            tensors[spec.name] = np.full(
                spec.shape, -1 if "int" in spec.dtype else np.nan, dtype_named(spec.dtype)
            )
    for number, more in ((number, more) for number in (0, 2, 3) for more in fast):
        folder = tmp_path / f"{number}{more}"
        folder.mkdir()
        source = kernel.lower(workload, {"ALGO": number, **more}, device.target)
        artifact = registry.builder("python").build(source, device.target, folder)
        executable = device.load(artifact)
        if number == 3:
            with pytest.raises(RuntimeError, match="lists 3 algorithms for this product: there is no 3"):
                executable.bind(tensors)
            continue
        executable.bind(tensors)
        for _ in range(2):
            executable.run()
        assert is_right({"workload": workload}, executable.read("D")) and executable.damage() is None


def test_all_algorithms_of_a_library_are_timed_and_one_call_of_any_other() -> None:
    kernels = [registry.kernel(name) for name in ("cublaslt", "cublas", "cuda_naive")]
    plan = Plan(budget=Budget(trials=40))
    asked = requests_of(GEMM.parse("8x8x8"), kernels, plan, target("cuda:sm_90"))
    assert [request.budget.trials for request in asked] == [8, 1, 40]


@pytest.mark.parametrize(
    "name",
    ["conv_cudnn", "conv_cudnn_channels_last", "attn_sdpa_flash", "attn_sdpa_efficient", "attn_sdpa_cudnn",
     "attn_sdpa_math", "attn_flash_attn", "cublas", "cublaslt"],
)  # fmt: skip
def test_a_library_that_is_not_here_says_what_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = registry.kernel(name)
    reason = kernel.unavailable()
    if reason is None:
        pytest.skip(f"{name} is here")
    assert "\n" not in reason and ("pip install" in reason)
    assert kernel.baseline and kernel.target_kinds == ("cuda",)


def test_what_a_backend_of_torch_does_not_take_is_said_before_it_is_called() -> None:
    attention, sm90 = registry.operator("attention"), target("cuda:sm_90")
    for name, shape, dtype, words in (
        ("attn_sdpa_flash", "b1 h4 q8 kv16 d64 causal", "f16", "equal lengths"),
        ("attn_sdpa_flash", "b1 h4 q8 kv8 d64", "f32", "f32"),
        ("attn_sdpa_efficient", "b1 h4 q8 kv8 d64 kv_heads=2", "f16", "groups"),
    ):
        assert words in str(registry.kernel(name).unsupported(attention.parse(shape, dtype), sm90))
    gemm = registry.kernel("cublaslt")
    assert "trans_b" in str(gemm.unsupported(GEMM.parse("m16 n16 k16", "e4m3"), sm90))
    assert "16 elements" in str(gemm.unsupported(GEMM.parse("m16 n24 k16 trans_b", "e4m3"), sm90))
    decode = attention.parse("b1 h4 q1 kv16 d64 causal", "f16")
    assert registry.kernel("attn_sdpa_flash").unsupported(decode, sm90) is None


def test_a_backend_that_refuses_by_rules_of_its_own_is_verified_where_it_was_asked_alone() -> None:
    # cuDNN's took 64 columns a head and was thrown out of a final for "No available kernel" at 67.
    workload = registry.operator("attention").parse("b4 h16 q2048 kv2048 d64 causal", "f16")
    assert companions_of(registry.kernel("attn_sdpa_cudnn"), workload, target("sm_90")) == ()
    assert companions_of(registry.kernel("cuda_attn_wgmma"), workload, target("sm_90a"))


@pytest.mark.parametrize("backend", ["MATH", "FLASH_ATTENTION"])
def test_a_forced_backend_computes_the_operator(backend: str) -> None:
    """On the CPU, whose backends torch forces in the same way."""
    torch = pytest.importorskip("torch")
    from tuner.schedules.attention.baselines.torch import attention
    from tuner.schedules.attention.baselines.torch_cuda import forced

    operator = registry.operator("attention")
    workload = operator.parse("b2 h4 q8 kv8 d16 causal")
    inputs = operator.inputs(workload, 3)
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    tensors["O"] = torch.full((2, 4, 8, 16), float("nan"))
    forced(attention(workload, tensors), backend)()
    reference = operator.reference(workload, inputs)
    share, _ = worst_error(
        {"O": tensors["O"].numpy()}, reference, operator.tolerance(workload, inputs, reference)
    )
    assert share <= 1.0


def test_flash_attn_is_given_lengths_before_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from tuner.schedules.attention.baselines.flash_attn import attention

    seen: dict[str, Any] = {}

    def flash_attn_func(q: Any, k: Any, v: Any, **named: Any) -> Any:
        seen.update(shapes=[tuple(x.shape) for x in (q, k, v)], **named)
        return v[:, :8] + 1

    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace(flash_attn_func=flash_attn_func))
    operator = registry.operator("attention")
    workload = operator.parse("b2 h4 q8 kv24 d16 causal scale=0.5", "f16")
    tensors = {name: torch.from_numpy(array) for name, array in operator.inputs(workload, 3).items()}
    tensors["O"] = torch.zeros(2, 4, 8, 16, dtype=torch.float16)
    attention(workload, tensors)()
    assert seen["shapes"] == [(2, 8, 4, 16), (2, 24, 4, 16), (2, 24, 4, 16)]
    assert seen["causal"] is True and seen["softmax_scale"] == 0.5
    assert torch.equal(tensors["O"], tensors["V"][:, :, :8] + 1)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("operator", "shape", "dtype", "kernel"),
    [("gemm", "m128 n96 k64 bias relu", "f16", "cublaslt"),
     ("conv2d", "n1 c32 h14 w14 k64 r3 s3 pad=1 relu", "f32", "conv_cudnn"),
     ("conv2d", "n1 c32 h14 w14 k64 r3 s3 pad=1 relu", "f16", "conv_cudnn_channels_last"),
     *(("attention", "b1 h4 q128 kv128 d64 causal", "f16", f"attn_sdpa_{backend}")
       for backend in ("flash", "efficient", "cudnn", "math")),
     ("attention", "b1 h4 q64 kv128 d64 causal", "f16", "attn_flash_attn")],
)  # fmt: skip
def test_on_a_gpu_a_library_runs_right(
    tmp_path: Path, operator: str, shape: str, dtype: str, kernel: str
) -> None:
    if reason := registry.kernel(kernel).unavailable():
        pytest.skip(reason)
    done = subprocess.run(
        [sys.executable, "-m", "tuner", "sweep", operator, "--shape", shape, "--dtype", dtype, "--device",
         "cuda:0", "--kernel", kernel, "--no-baselines", "--rounds", "0", "--json",
         "--db", str(tmp_path / "gpu.db")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (sweep,) = json.loads(done.stdout)["sweeps"].values()
    assert sweep["best"]["evidence"] == "measured" and sweep["best"]["time_s"] > 0
