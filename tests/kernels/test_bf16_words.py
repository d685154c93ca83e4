"""Convolutions of bf16 in words of two: right however images lie and weights are packed, on any processor."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.running import Run
from tuner import registry
from tuner.core.default_config import default_config
from tuner.core.target import Target
from tuner.devices.cpu.device import CpuDevice, named_targets

HERE = CpuDevice().target.with_limits(cores=2)
CONV = registry.operator("conv2d")


def target_of(arch: str) -> Target:
    """This processor, with or without its instruction for pairs of bf16; AVX2."""
    if arch == "avx2":
        target = named_targets()["cpu:avx2"]
        if not set(target.features) <= set(HERE.features):
            pytest.skip("this processor has no AVX2")
        return target
    if "avx512bf16" not in HERE.features:
        pytest.skip("this processor lacks avx512bf16")
    without = tuple(feature for feature in HERE.features if feature not in ("avx512bf16", "amx-bf16"))
    return HERE if arch == "here" else replace(HERE, features=without)


@pytest.mark.parametrize("arch", ["here", "without", "avx2"])
@pytest.mark.parametrize(
    ("name", "shape", "config"),
    [
        # Where it lies, a last block of some channels; odd runs, whose words lie at odd addresses; padding.
        ("conv_bf16", "n2 c64 h9 w20 k40 r1 s1 nhwc bias residual relu", {"PIXELS": 6, "CHANNELS": 32}),
        ("conv_bf16", "n1 c35 h9 w11 k48 r3 s3 nhwc stride2 bias", {"PIXELS": 5, "CHANNELS": 48}),
        ("conv_bf16", "n1 c3 h23 w41 k17 r7 s7 pad3 stride2 nhwc silu", {"PIXELS": 7, "CHANNELS": 32}),
        # Planes, turned by 16, 8 and 4 pixels, and by less; tiles of an odd number of pixels, one alone.
        ("conv_bf16", "n2 c34 h13 w27 k32 r1 s1 bias residual relu", {"PIXELS": 7, "CHANNELS": 32}),
        ("conv_bf16", "n1 c40 h19 w35 k48 r3 s3 pad1 stride2 bias residual", {"PIXELS": 6, "CHANNELS": 16}),
        ("conv_bf16", "n2 c10 h7 w7 k32 r3 s3 pad1", {"PIXELS": 14, "CHANNELS": 16}),
        ("conv_bf16", "n1 c6 h5 w3 k16 r5 s5 pad2 relu", {"PIXELS": 1, "CHANNELS": 16}),
        ("conv_bf16", "n1 c3 h23 w41 k17 r7 s7 pad3 stride2 relu", {"PIXELS": 7, "CHANNELS": 32}),
        ("conv_bf16", "n1 c12 h9 w9 k20 r3 s3 pad2 groups=2 dilation=2", {"PIXELS": 3, "CHANNELS": 16}),
        # Panels of an image in place to its very end, of a padded one; odd taps; threads that share panels.
        ("conv_implicit_gemm_bf16", "n2 c50 h14 w14 k20 r1 s1 bias residual relu", {"MR": 8, "NR": 48}),
        ("conv_implicit_gemm_bf16", "n1 c35 h15 w15 k20 r1 s1 stride2", {"MR": 6, "NR": 64, "SPLIT_K": 2}),
        ("conv_implicit_gemm_bf16", "n1 c40 h7 w7 k24 r3 s3 pad1 bias", {"MR": 8, "NR": 16, "SPLIT_K": 2}),
        ("conv_implicit_gemm_bf16", "n1 c3 h23 w41 k17 r7 s7 pad3 stride2 silu", {"MR": 4, "NR": 32}),
        ("conv_implicit_gemm_bf16", "n1 c6 h12 w19 k12 r3 s3 groups=2 dilation=2", {"MR": 6, "NR": 16}),
    ],
)  # fmt: skip
@pytest.mark.sampled(4, each="arch")
def test_each_way_is_right(name: str, shape: str, config: dict[str, int], arch: str, tmp_path: Path) -> None:
    target = target_of(arch)
    for kernel in (registry.kernel(name), registry.kernel(f"{name}_ahead")):
        workload = CONV.parse(shape + " frozen" * kernel.only_frozen, "bf16")
        asked = {"PANELS": 2, "INNER": "m", "BLOCK": 4, "UNROLL": 2, "SPLIT_K": 1, "threads": 2, **config}
        space = kernel.space(workload, target)
        chosen = space.nearest({key: value for key, value in asked.items() if key in space.names})
        run = Run(kernel, workload, chosen, target, tmp_path / kernel.name)
        for seed, at in enumerate((workload, *CONV.companions(workload))):
            error, where = run.error(at, seed)
            assert error <= 1, where
            assert run.mismatch(at, seed) is None, (at.key, run.config)


@pytest.mark.parametrize("layout", ["nhwc", ""])
def test_what_lies_behind_an_odd_run_reaches_no_sum(layout: str, tmp_path: Path) -> None:
    """A NaN in the pixel behind: as the other half of a word, times 0, it would spoil the sum."""
    kernel, workload = registry.kernel("conv_bf16"), CONV.parse(f"n1 c3 h1 w8 k16 r1 s1 {layout}", "bf16")
    run = Run(kernel, workload, kernel.space(workload, HERE).sample(random.Random(1)), HERE, tmp_path)
    inputs = CONV.inputs(workload, 0)
    x = inputs["X"]
    (x[0, 0, 4] if layout else x[0, :, 0, 4])[...] = np.nan
    y = run.computed(workload, inputs)["Y"].astype(np.float32)
    spoilt = np.isnan(y).any(axis=-1 if layout else 1).ravel()
    assert spoilt.tolist() == [column == 4 for column in range(8)]


@pytest.mark.parametrize("arch", ["here", "avx2"])
@pytest.mark.parametrize(
    ("shape", "config"),
    [
        # Several chunks of channels, the last of which begins within the one before; less than one, odd.
        ("n1 c70 h9 w15 k70 r3 s3 pad1 groups70 bias relu6", {"PIXELS": 4, "INNER": "channels"}),
        ("n2 c7 h6 w9 k7 r5 s5 pad2 groups7 bias residual silu", {"PIXELS": 5, "INNER": "pixels"}),
        ("n1 c130 h11 w9 k130 r3 s3 pad1 stride2 groups130 residual", {"PIXELS": 3, "SPLIT_C": 2}),
        # Code for any size; rows narrower than the tile is in companions.
        ("n1 c64 h9 w12 k64 r2 s4 pad1 dilation2 groups64 bias", {"PIXELS": 8, "FIXED": False}),
        ("n1 c33 h9 w12 k33 r3 s3 dilation2 groups33", {"PIXELS": 2, "INNER": "pixels", "SPLIT_C": 2}),
    ],
)
@pytest.mark.sampled(3, each="arch")
def test_depthwise_channels_are_halves_of_words(
    shape: str, config: dict[str, int], arch: str, tmp_path: Path
) -> None:
    kernel, target = registry.kernel("conv_depthwise_nhwc"), target_of(arch)
    workload = CONV.parse(shape + " nhwc", "bf16")
    space = kernel.space(workload, target)
    chosen = space.nearest({**default_config(space), "threads": 2, **config})
    run = Run(kernel, workload, chosen, target, tmp_path)
    for seed, at in enumerate((workload, *CONV.companions(workload))):
        error, where = run.error(at, seed)
        assert error <= 1, where
        assert run.mismatch(at, seed) is None, (at.key, run.config)
