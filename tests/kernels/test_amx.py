"""The GEMM rungs with tile registers, where there are such: right for every option and ragged shape."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.kernels.draws import served
from tests.kernels.running import Run, with_tiles
from tuner import registry
from tuner.core.target import Target
from tuner.devices.cpu.device import CpuDevice, named_targets

HERE = with_tiles(CpuDevice().target).with_limits(cores=2)
KERNELS = ("cpp_amx", "cpp_amx_ahead")
RUN = ((1, 1, 1), (1, 67, 131), (83, 1, 19), (37, 29, 53), (130, 200, 270), (48, 64, 128), (7, 300, 40))


@pytest.fixture(params=[("bf16", "amx-bf16"), ("int8", "amx-int8")], ids=lambda case: case[0])
def dtype(request: pytest.FixtureRequest) -> str:
    """A type whose tiles this processor multiplies."""
    name, feature = request.param
    if feature not in HERE.features:
        pytest.skip(f"this processor lacks {feature}")
    return str(name)


def check(name: str, dtype: str, seed: int, folder: Path) -> None:
    """One random configuration and its options, at ragged shapes; those of other rows may not be in place."""
    kernel, rng = registry.kernel(name), random.Random(f"{name} {dtype} {seed}")
    workload = served(kernel, HERE, rng, dtype)
    operator = registry.operator("gemm")
    run = Run(kernel, workload, kernel.space(workload, HERE).sample(rng), HERE, folder)
    options = {option: value for option, value in workload.options if option != "batch"}
    for m, n, k in RUN:
        at = operator.workload(dtype, m=m, n=n, k=k, batch=rng.choice([1, 3]), **options)
        error, where = run.error(at, seed)
        assert error <= 1, where
        assert run.mismatch(at, seed) is None, (at.key, run.config)


@pytest.mark.parametrize("name", KERNELS)
def test_random_configurations_are_right_at_ragged_shapes(name: str, dtype: str, tmp_path: Path) -> None:
    for seed in range(2):
        check(name, dtype, seed, tmp_path / str(seed))


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_many_random_configurations(name: str, dtype: str, tmp_path: Path) -> None:
    for seed in range(100, 140):
        check(name, dtype, seed, tmp_path / str(seed))


@pytest.mark.parametrize(("trans_a", "pack_b"), [(False, "blocks"), (True, "whole")])
def test_rows_that_end_with_a_tile_are_read_in_place(
    trans_a: bool, pack_b: str, dtype: str, tmp_path: Path
) -> None:
    """Several blocks of m, n and k, sums of 2 x 2 tiles; the last panel of rows is over the edge."""
    kernel, operator = registry.kernel("cpp_amx"), registry.operator("gemm")
    workload = operator.workload(dtype, m=200, n=300, k=512, trans_a=trans_a, bias=True)
    config = {
        "MT": 2, "NT": 2, "MC": 64, "NC": 128, "KC": 256 if dtype == "bf16" else 512,
        "KL": 256 if dtype == "bf16" else 512, "PACK_A": trans_a, "PACK_B": pack_b, "STREAM_D": False,
        "SPLIT_N": 2, "threads": 2,
    }  # fmt: skip
    run = Run(kernel, workload, kernel.space(workload, HERE).check(config), HERE, tmp_path)
    for m in (200, 192, 70):
        error, where = run.error(operator.workload(dtype, m=m, n=300, k=512, trans_a=trans_a, bias=True))
        assert error <= 1, where


def test_rows_of_whole_lines_are_written_past_the_caches(dtype: str, tmp_path: Path) -> None:
    """Two panels of L1 a block of A; rows of D that are no whole lines are written as ever."""
    kernel, operator = registry.kernel("cpp_amx"), registry.operator("gemm")
    options = {"bias": True, "relu": True}
    workload = operator.workload(dtype, m=2048, n=2048, k=1024, **options)
    config = {
        "MT": 2, "NT": 2, "MC": 128, "NC": 128, "KC": 1024, "KL": 512 if dtype == "int8" else 256,
        "PACK_A": True, "PACK_B": "whole", "STREAM_D": True, "SPLIT_N": 1, "threads": 2,
    }  # fmt: skip
    run = Run(kernel, workload, kernel.space(workload, HERE).check(config), HERE, tmp_path)
    for m, n, k in ((300, 192, 800), (70, 203, 1100)):
        error, where = run.error(operator.workload(dtype, m=m, n=n, k=k, **options))
        assert error <= 1, where


CONVOLUTIONS = ("conv_amx_bf16", "conv_amx_bf16_ahead")


def check_convolution(name: str, seed: int, folder: Path) -> None:
    """A random configuration on a random workload and its ragged companions."""
    kernel, rng = registry.kernel(name), random.Random(f"{name} {seed}")
    workload = served(kernel, HERE, rng, "bf16")
    run = Run(kernel, workload, kernel.space(workload, HERE).sample(rng), HERE, folder)
    for at in (workload, *registry.operator("conv2d").companions(workload)):
        if kernel.unsupported(at, HERE) is None:
            error, where = run.error(at, seed)
            assert error <= 1, where
            assert run.mismatch(at, seed) is None, (at.key, run.config)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize(
    "seeds", [(0,), pytest.param(range(1, 30), marks=pytest.mark.slow)], ids=("one", "many")
)
def test_convolutions_are_right_with_random_options(name: str, seeds: Sequence[int], tmp_path: Path) -> None:
    for seed in seeds:
        check_convolution(name, seed, tmp_path / str(seed))


@pytest.mark.parametrize(
    ("shape", "windows"),
    [
        ("n2 c64 h9 w20 k40 r1 s1 nhwc bias residual relu", False),  # read where it lies
        ("n1 c40 h19 w35 k48 r3 s3 pad1 stride2 bias residual silu", False),
        ("n1 c3 h23 w41 k17 r7 s7 pad3 stride2 relu", True),
    ],
)
def test_of_an_image_each_way_to_copy_it_is_right(shape: str, windows: bool, tmp_path: Path) -> None:
    kernel, operator = registry.kernel("conv_amx_bf16"), registry.operator("conv2d")
    workload = operator.parse(shape, "bf16")
    if reason := kernel.unsupported(workload, HERE):
        pytest.skip(reason)
    config = {"CHANNELS": 16, "TILES": 2, "BLOCK": 4, "SPLIT_K": 1, "WINDOWS": windows, "threads": 2}
    run = Run(kernel, workload, kernel.space(workload, HERE).nearest(config), HERE, tmp_path)
    assert run.config["WINDOWS"] == windows
    error, where = run.error(workload)
    assert error <= 1, where
    assert run.mismatch(workload, 1) is None


@pytest.mark.parametrize("name", KERNELS)
def test_who_has_no_tiles_is_told_so(name: str) -> None:
    target: Target = named_targets()["cpu:avx512"]
    workload = registry.operator("gemm").workload("bf16", m=64, n=64, k=64, frozen=name.endswith("ahead"))
    assert "lacks amx-tile" in str(registry.kernel(name).unsupported(workload, target))
