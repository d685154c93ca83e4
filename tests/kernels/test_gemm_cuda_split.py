"""The depth of a product divided among blocks: SPLIT of cuda_wgmma_tma, on the emulator."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.kernels.gpu_cases import Case, small, wrong
from tuner import registry
from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
from tuner.builders.triton.interpreter import TritonInterpreter
from tuner.core.space import Config
from tuner.devices.emulator.check import check_emulated
from tuner.engine.tuning.known_starts import shipped
from tuner.operators.gemm import Gemm
from tuner.targets.cuda import target

GEMM, KERNEL, HOPPER = Gemm(), registry.kernel("cuda_wgmma_tma"), target("sm_90")
needs_emulator = pytest.mark.skipif(
    CudaEmulatedBuilder().unavailable() is not None, reason=str(CudaEmulatedBuilder().unavailable())
)


def config(dtype: str = "f16", options: Mapping[str, Any] | None = None, **chosen: int) -> Config:
    """A valid configuration for deep products; what is not named is as in the kernel's smallest tile."""
    least = {"BM": 64, "BN": 64, "BK": 64, "WM": 64, "WN": 64, "STAGES": 3, "CLUSTER_M": 1, "CLUSTER_N": 1,
             "PINGPONG": 0, "GROUP_M": 1, "SPLIT": 2}  # fmt: skip
    deep = GEMM.workload(dtype, m=128, n=128, k=8192, **(options or {}))
    return KERNEL.space(deep, HOPPER).check({**least, **chosen})


# Ragged; with fewer steps along k than parts, with uneven parts, with blocks that share operands, also of
# parts that have no step; the last two with more tiles than blocks.
@needs_emulator
@pytest.mark.parametrize(
    ("dtype", "shape", "options", "chosen"),
    [
        ("f16", (70, 72, 136), {"bias": True, "relu": True, "beta": 0.75}, {"SPLIT": 8}),
        ("f16", (16, 136, 328), {"batch": 2, "gelu": True}, {"BN": 128, "WN": 128, "SPLIT": 4, "STAGES": 4}),
        ("bf16", (136, 72, 200), {"trans_a": True, "alpha": -0.5}, {"BM": 128, "CLUSTER_N": 2, "SPLIT": 2}),
        ("f16", (70, 136, 136), {"bias": True}, {"CLUSTER_N": 2, "SPLIT": 8}),
        ("int8", (65, 130, 400), {"trans_b": True, "beta": 2.0}, {"BK": 128, "CLUSTER_M": 2, "SPLIT": 4}),
        ("e4m3", (33, 72, 528), {"trans_b": True, "bias": True},
         {"BK": 128, "BN": 256, "WN": 256, "SPLIT": 4}),
        ("f16", (130, 136, 456), {"bias": True, "silu": True}, {"BM": 128, "WM": 64, "SPLIT": 3}),
        ("bf16", (200, 72, 264), {"batch": 2}, {"PINGPONG": 1, "SPLIT": 2}),
    ],
)  # fmt: skip
@pytest.mark.sampled(3)
def test_parts_of_k_add_up(
    dtype: str, shape: tuple[int, int, int], options: dict[str, Any], chosen: dict[str, int], tmp_path: Path
) -> None:
    m, n, k = shape
    workload = GEMM.workload(dtype, m=m, n=n, k=k, **options)
    assert KERNEL.unsupported(workload, HOPPER) is None
    case = Case(KERNEL, workload, config(dtype, options, **chosen), small(HOPPER), 3)
    assert wrong(case, tmp_path / "built", TritonInterpreter) is None


@needs_emulator
def test_a_sum_does_not_depend_on_who_comes_first_and_who_waits_for_whom(tmp_path: Path) -> None:
    workload = GEMM.workload("f16", m=24, n=72, k=520)
    patient = KERNEL.lower(workload, config(SPLIT=8), HOPPER)
    # Blocks give up their rows at once, and the last to come adds them up: as where not all run at once.
    hasty = replace(patient, text=f"#define PATIENCE_WITH_PARTS 1\n{patient.text}")
    inputs = GEMM.inputs(workload, 1)
    found = set()
    for name, source in (("patient", patient), ("hasty", hasty)):
        (tmp_path / name).mkdir()
        artifact = CudaEmulatedBuilder(sanitize=True).build(source, HOPPER, tmp_path / name)
        for seed in (0, 7, 8):
            tensors = {**inputs, "D": np.zeros((24, 72), np.float16)}
            result = check_emulated(artifact, HOPPER, tensors, ["D"], launches=2, seed=seed)
            assert result.completed, result.error
            assert not result.findings
            found.add(result.outputs["D"].tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("shape", ["16x4096x4096", "64x8192x8192", "128x4096x14336", "512x512x8192"])
def test_products_with_few_tiles_are_divided_and_others_are_not(shape: str) -> None:
    space = KERNEL.space(GEMM.parse(shape, "f16"), HOPPER)
    wide = config(BN=256, WN=256, STAGES=5, SPLIT=4)
    assert space.why_invalid(wide) is None
    large = KERNEL.space(GEMM.parse("4096x4096x4096", "f16"), HOPPER)
    assert (large.why_invalid(wide) or "").startswith("constraint split_needed ")
    assert large.why_invalid({**wide, "SPLIT": 1}) is None


@pytest.mark.skipif(registry.builder("nvrtc").unavailable() is not None, reason="no NVRTC")
@pytest.mark.parametrize("dtype", ["f16", "int8"])
@pytest.mark.parametrize("number", range(3))
@pytest.mark.sampled(2)
def test_shipped_starts_that_divide_k_do_not_spill(number: int, dtype: str, tmp_path: Path) -> None:
    start = [each for each in shipped()[KERNEL.name][dtype] if each["SPLIT"] > 1][number]
    workload = GEMM.parse("512x512x8192", dtype, trans_b=dtype == "int8", bias=True, relu=True)
    source = KERNEL.lower(workload, KERNEL.space(workload, HOPPER).check(start), HOPPER)
    artifact = registry.builder_of(KERNEL, HOPPER).build(source, HOPPER, tmp_path)
    assert artifact.metrics["spill_bytes"] == 0 and artifact.metrics["loop_group_tensor"] > 0
