"""The TensorIR GEMMs for CUDA: what TVM generates, run on the emulator and compiled by NVRTC.

Random configurations on ragged shapes: `test_gpu_contract.py`, for every GPU kernel.
"""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
from tuner.builders.tvm.tensorir_cuda import TensorIRCudaBuilder
from tuner.core.errors import BuildError, Unavailable
from tuner.core.kernel import Kernel, Launch
from tuner.core.operator import worst_error
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.devices.emulator.check import check_source
from tuner.operators.gemm import Gemm
from tuner.schedules.gemm.tensorir_cuda.tiled import TensorIRThreads, TensorIRWmma
from tuner.targets.cuda import target
from tuner.targets.gpu_model.occupancy import resource_problem

GEMM, BUILDER = Gemm(), TensorIRCudaBuilder()
KERNELS: list[Kernel] = [TensorIRThreads(), TensorIRWmma()]
PLAIN, SANITIZED = CudaEmulatedBuilder(), CudaEmulatedBuilder(sanitize=True)
SM_80 = target("cuda:sm_80")
needs_gcc = pytest.mark.skipif(PLAIN.unavailable() is not None, reason=str(PLAIN.unavailable()))
needs_nvrtc = pytest.mark.skipif(BUILDER.unavailable() is not None, reason=str(BUILDER.unavailable()))


def ids(kernel: Kernel) -> str:
    return kernel.name


def large(kernel: Kernel, dtype: str, **options: Any) -> Workload:
    return GEMM.workload(dtype, m=1024, n=1024, k=1024, **options)


def emulate(
    kernel: Kernel, workload: Workload, config: Config, chosen: Target, builder: CudaEmulatedBuilder
) -> None:
    source = TensorIRCudaBuilder().cuda_source(kernel.lower(workload, config, chosen), chosen)
    inputs = GEMM.inputs(workload, 1)
    outputs = {s.name: np.zeros(s.shape, s.dtype) for s in GEMM.signature(workload) if s.output}
    result = check_source(builder, source, chosen, {**inputs, **outputs}, list(outputs), seed=7)
    said = f"{kernel.name} {workload.key} {dict(config)}"
    assert result.completed, f"{said}: {result.error}"
    assert not result.findings, f"{said}: {[str(f) for f in result.findings[:3]]}"
    reference = GEMM.reference(workload, inputs)
    error, where = worst_error(result.outputs, reference, GEMM.tolerance(workload, inputs, reference))
    assert error <= 1, f"{said}: {where}"


@needs_gcc
@pytest.mark.parametrize("double_buffer", [0, 1])
@pytest.mark.parametrize("kernel", KERNELS, ids=ids)
def test_clean_with_and_without_the_pipeline(kernel: Kernel, double_buffer: int) -> None:
    dtype = kernel.dtypes[0]
    space = kernel.space(large(kernel, dtype), SM_80)
    rng = random.Random(double_buffer)
    config = next(c for c in iter(lambda: space.sample(rng), None) if c["DOUBLE_BUFFER"] == double_buffer)
    emulate(kernel, GEMM.workload(dtype, m=70, n=40, k=200, bias=True), config, SM_80, SANITIZED)


@needs_nvrtc
@pytest.mark.parametrize("kernel", KERNELS, ids=ids)
def test_compiled_with_resources(kernel: Kernel, tmp_path: Path) -> None:
    config: dict[str, Any] = {"BM": 64, "BN": 64, "BK": 32, "VECTOR": 4, "PAD": 1, "DOUBLE_BUFFER": 1}
    if kernel.name == "tir_cuda":
        config |= {"BK": 16, "TM": 8, "TN": 4, "VM": 2, "VN": 1, "UNROLL": 4}
    else:
        config |= {"WM": 32, "WN": 32, "VECTOR": 8}
    dtype = kernel.dtypes[0]
    workload = GEMM.workload(dtype, m=1024, n=1024, k=1024, bias=True, relu=True)
    kernel.space(workload, SM_80).check(config)
    artifact = BUILDER.build(kernel.lower(workload, config, SM_80), SM_80, tmp_path)
    assert artifact.format == "cubin" and artifact.entry == "main_kernel"
    assert resource_problem(artifact.metrics, SM_80) is None
    assert artifact.metrics["load_bits"] == 128
    assert (artifact.metrics["loop_tensor"] > 0) == (kernel.name == "tir_cuda_wmma")
    # All arguments, in whatever order TVM came upon them.
    assert sorted(a.name for a in artifact.arguments) == ["A", "B", "D", "bias"]
    text = (tmp_path / "kernel.cu").read_text()
    places = [text.index(f"{a.name}_ptr") for a in artifact.arguments]
    assert places == sorted(places)
    assert "T.prim_func" in (tmp_path / "kernel.tvm").read_text()


def test_constraints_are_named() -> None:
    space = KERNELS[0].space(GEMM.workload("f32", m=512, n=510, k=512), SM_80)
    config = {"BM": 64, "BN": 64, "BK": 16, "TM": 8, "TN": 4, "VM": 2, "VN": 1, "UNROLL": 4, "VECTOR": 4,
              "PAD": 1, "DOUBLE_BUFFER": 0}  # fmt: skip
    assert "vector_divides" in (space.why_invalid(config) or "")
    assert space.why_invalid({**config, "VECTOR": 2}) is None
    assert "pieces_divide" in (space.why_invalid({**config, "VECTOR": 2, "TM": 1}) or "")
    assert "shared_fits" in {c.name for c in space.constraints}


@pytest.mark.parametrize("kernel", KERNELS, ids=ids)
def test_spaces_are_counted(kernel: Kernel) -> None:
    for dtype in kernel.dtypes:
        assert (kernel.space(large(kernel, dtype), SM_80).size or 0) > 1000


def test_what_cannot_be_served_is_said() -> None:
    assert "no dtype f32" in (KERNELS[1].unsupported(GEMM.workload("f32", m=4, n=4, k=4), SM_80) or "")
    huge = GEMM.workload("f32", m=2**16, n=2**16, k=16)
    assert "2^30" in (KERNELS[0].unsupported(huge, SM_80) or "")
    plain = replace(SM_80, features=("cp_async",))
    assert "lacks wmma_f16" in (KERNELS[1].unsupported(GEMM.workload("f16", m=4, n=4, k=4), plain) or "")


def test_what_tvm_cannot_make_is_a_build_error() -> None:
    source = KERNELS[0].lower(GEMM.workload("f32", m=64, n=64, k=64), {
        "BM": 64, "BN": 64, "BK": 16, "TM": 8, "TN": 4, "VM": 1, "VN": 1, "UNROLL": 4, "VECTOR": 4, "PAD": 1,
        "DOUBLE_BUFFER": 0}, SM_80)  # fmt: skip
    with pytest.raises(BuildError, match=r"^TVM cannot make it: .*nothing"):
        missing = replace(source, text="tuner.schedules.gemm.tensorir_cuda.schedule:nothing")
        TensorIRCudaBuilder().cuda_source(missing, SM_80)
    # Another block than the one that would be launched.
    wrong = replace(source, launch=Launch((1, 1, 1), (64, 1, 1)))
    with pytest.raises(BuildError, match="a block of 128 threads"):
        TensorIRCudaBuilder().cuda_source(wrong, SM_80)


def test_a_cpu_target_is_refused(tmp_path: Path) -> None:
    source = KERNELS[0].lower(GEMM.workload("f32", m=4, n=4, k=4), {
        "BM": 16, "BN": 16, "BK": 4, "TM": 2, "TN": 2, "VM": 1, "VN": 1, "UNROLL": 1, "VECTOR": 1, "PAD": 0,
        "DOUBLE_BUFFER": 0}, SM_80)  # fmt: skip
    with pytest.raises(Unavailable, match="cpu:avx2"):
        BUILDER.build(source, Target("cpu", "avx2"), tmp_path)
