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
    assert sorted(rungs) == list("01234567")


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


def test_no_other_kernel_than_winograd_claims_fewer_products() -> None:
    workload = CONV.workload("f32", n=1, c=64, h=8, w=8, k=8, r=3, s=3, pad=1)
    fewer = {
        k.name: k.fewer_operations(workload) for k in registry.kernels_of("conv2d", "cuda")
        if not k.baseline and k.fewer_operations(workload) != 1
    }  # fmt: skip
    assert fewer == {"cuda_conv_winograd": 4.0}
