"""What is of conv2d's CUDA ladder alone; tests/kernels/test_gpu_contract.py runs every rung."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.gpu_cases import Case, wrong
from tests.kernels.test_gpu_contract import needs
from tuner import registry
from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
from tuner.core.operator import worst_error
from tuner.devices.emulator.check import check_emulated
from tuner.targets.cuda import target

CONV = registry.operator("conv2d")


def test_the_ladder_is_there() -> None:
    rungs = {
        k.source_files()[0].name[0]: k.name
        for k in registry.kernels_of("conv2d", "cuda")
        if k.language == "nvrtc"
    }
    assert sorted(rungs) == list("012345678")


# The contract's small images have too few channels for F(4x4); 70 are two sums of 32 and a rest.
@pytest.mark.parametrize("channels", [32, 70])
def test_larger_winograd_tiles_keep_the_tolerance(channels: int, tmp_path: Path) -> None:
    kernel, chosen = registry.kernel("cuda_conv_winograd"), target("sm_80")
    needs(kernel)
    workload = CONV.workload(
        "f32", n=1, c=channels, h=9, w=7, k=5, r=3, s=3, pad=1, bias=True, nhwc=channels == 70
    )
    space, rng = kernel.space(workload, chosen), random.Random(channels)
    config = next(c for c in (space.sample(rng) for _ in range(200)) if c["TILE"] == 4)
    assert wrong(Case(kernel, workload, config, chosen, 1), tmp_path / "x", lambda: None) is None


# The contract's small images have channels and pixels that whole pieces of 16 bytes do not divide.
@pytest.mark.parametrize("nhwc", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_int8_on_tensor_cores_in_whole_pieces(nhwc: bool, tmp_path: Path) -> None:
    kernel, chosen = registry.kernel("cuda_conv_tensor_cores"), target("sm_80")
    needs(kernel)
    workload = CONV.workload(
        "int8", n=2, c=32, h=8, w=8, k=64, r=3, s=3, pad=1, groups=2, bias=True, relu=True, nhwc=nhwc,
        scale_channel=nhwc,
    )  # fmt: skip
    config = kernel.space(workload, chosen).sample(random.Random(1))
    assert wrong(Case(kernel, workload, config, chosen, 1), tmp_path / "x", lambda: None) is None


# What the contract's small images do not take: NCHW's pixels turned four at a time, its planes as they lie,
# and NHWC's channels in whole pieces, in several patches of several tiles.
_WGMMA = {
    "turned": ("c72 h6 w10 r3 s3 pad1 bias relu", {"WP": 96, "STAGES": 3}),
    "planes": ("c72 h4 w22 r1 s1 silu", {"WP": 80, "GP": 2}),
    "nhwc": ("c72 h6 w7 r2 s3 pad1 nhwc", {"GF": 2}),
    "a tap at a time": ("c144 h9 w7 r3 s3 pad1 nhwc stride2 groups2 residual", {"SHIFT": 0, "WF": 128}),
}
_WHOLE = {"SHIFT": 1, "WP": 64, "GP": 1, "WF": 64, "GF": 1, "STAGES": 4, "GROUP_M": 1, "MIN_BLOCKS": 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", _WGMMA)
def test_wgmma_in_whole_pieces(name: str, tmp_path: Path) -> None:
    kernel, chosen = registry.kernel("cuda_conv_wgmma"), target("sm_90")
    needs(kernel)
    shape, config = _WGMMA[name]
    workload = CONV.parse(f"n2 k72 {shape}", "f16")
    case = Case(kernel, workload, {**_WHOLE, **config}, chosen, 1)
    assert wrong(case, tmp_path / "x", lambda: None) is None


@pytest.mark.slow
def test_wgmma_turns_filters_itself_where_others_do_not_come(tmp_path: Path) -> None:
    """Blocks of no patience, in one launch: a second one would find what the first turned.

    Values alone are judged, since others write the same ones meanwhile.
    """
    kernel, chosen = registry.kernel("cuda_conv_wgmma"), target("sm_90")
    needs(kernel)
    workload = CONV.parse("n2 k72 c72 h6 w10 r3 s3 pad1", "f16")
    source = kernel.lower(workload, _WHOLE, chosen)
    name, patience = "filter_tiles.cuh", "PATIENCE = 1 << 16"
    text = (kernel.source_files()[0].parent / name).read_text().replace("#pragma once", "")
    assert patience in text and f'#include "{name}"' in source.text
    text = source.text.replace(f'#include "{name}"', text.replace(patience, "PATIENCE = 1"))
    artifact = CudaEmulatedBuilder().build(replace(source, text=text), chosen, tmp_path)
    inputs = CONV.inputs(workload, 1)
    blank = {s.name: np.full(s.shape, np.nan, s.dtype) for s in CONV.signature(workload) if s.output}
    result = check_emulated(artifact, chosen, {**inputs, **blank}, list(blank))
    assert result.completed, result.error
    reference = CONV.reference(workload, inputs)
    assert worst_error(result.outputs, reference, CONV.tolerance(workload, inputs, reference))[0] <= 1


# What the contract's random cases hardly meet: several tiles a block, several groups, windows of uneven
# sides, blocks that fetch for each other or add up their sums, and int8 on its way out in whole runs.
_TMA = {
    "windows": ("c72 h6 w7 k72 r3 s3 pad1 bias relu", "f16", {}),
    "rows of a matrix": ("c72 h5 w9 k40 r1 s1 residual silu", "bf16", {"WINDOWS": 0, "PINGPONG": 1}),
    "sides, strides and gaps": (
        "c16 h9 w14 k72 r2 s3 pad_top2 pad_left1 pad_right3 stride2 dilation2",
        "f16",
        {"BM": 128, "WM": 128, "STAGES": 2},
    ),
    "groups": ("c256 h7 w5 k144 r1 s1 stride2 groups2 bias residual", "f16", {"BM": 128, "BN": 128}),
    "shared filters": ("c72 h6 w12 k72 r1 s3 pad_left1 residual", "f16", {"CLUSTER_M": 2}),
    "shared pixels": ("c72 h6 w12 k72 r3 s1 pad_top1 bias", "bf16", {"CLUSTER_N": 2, "PINGPONG": 1}),
    "shared rows": ("c136 h6 w12 k136 r1 s1 relu6", "f16", {"WINDOWS": 0, "CLUSTER_N": 2}),
    "a split depth": ("c72 h6 w7 k72 r3 s3 pad1 bias residual", "f16", {"SPLIT": 4}),
    "scaled int8": ("c32 h5 w6 k80 r3 s3 pad1 bias relu scale_channel", "int8", {"BN": 128, "WN": 128}),
    "scaled int8, ragged": ("c16 h5 w14 k37 r3 s3 scale_tensor", "int8", {"PINGPONG": 1}),
    "int8 sums, split": ("c144 h5 w14 k72 r1 s1 bias", "int8", {"SPLIT": 2}),
}
_ALONE = {"WINDOWS": 1, "BM": 64, "BN": 64, "WM": 64, "WN": 64, "STAGES": 3, "CLUSTER_M": 1, "CLUSTER_N": 1,
          "PINGPONG": 0, "GROUP_M": 4, "SPLIT": 1}  # fmt: skip


@pytest.mark.parametrize(
    "name", [name if name == "windows" else pytest.param(name, marks=pytest.mark.slow) for name in _TMA]
)
def test_tiles_that_the_copy_engine_fetches(name: str, tmp_path: Path) -> None:
    kernel, two = registry.kernel("cuda_conv_wgmma_tma"), target("sm_90")
    two = replace(two, limits={**two.limits, "sm_count": 2})
    needs(kernel)
    shape, dtype, config = _TMA[name]
    workload = CONV.parse(f"n2 {shape} nhwc", dtype)
    case = Case(kernel, workload, {**_ALONE, **config}, two, 1)
    assert kernel.unsupported(workload, two) is None
    assert wrong(case, tmp_path / "x", lambda: None) is None


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ("c64 h8 w8 k8 r3 s3", "nhwc"),
        ("c20 h8 w8 k8 r3 s3 nhwc", "a multiple of 16 bytes"),
        ("c64 h8 w8 k8 r3 s3 groups2 nhwc", "several groups"),
        ("c64 h300 w300 k8 r3 s3 dilation100 nhwc", "windows up to 128"),
        ("c64 h30 w30 k8 r3 s3 stride9 nhwc", "strides up to 8"),
    ],
)
def test_windows_that_the_copy_engine_does_not_find_are_refused_with_the_reason(shape: str, why: str) -> None:
    reason = registry.kernel("cuda_conv_wgmma_tma").unsupported(
        CONV.parse(f"n2 {shape}", "f16"), target("sm_90")
    )
    assert why in str(reason)


def test_no_other_kernel_than_winograd_claims_fewer_products() -> None:
    workload = CONV.workload("f32", n=1, c=64, h=8, w=8, k=8, r=3, s=3, pad=1)
    fewer = {
        k.name: k.fewer_operations(workload) for k in registry.kernels_of("conv2d", "cuda")
        if not k.baseline and k.fewer_operations(workload) != 1
    }  # fmt: skip
    assert fewer == {"cuda_conv_winograd": 4.0}
