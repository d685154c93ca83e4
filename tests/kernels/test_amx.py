"""The GEMM rungs with tile registers, where there are such: right for every option and ragged shape."""

import random
from pathlib import Path

import pytest

from tests.kernels.draws import served
from tests.kernels.running import Run
from tuner import registry
from tuner.core.target import Target
from tuner.devices.cpu.device import CpuDevice, named_targets

HERE = CpuDevice().target.with_limits(cores=2)
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


@pytest.mark.parametrize("name", KERNELS)
def test_who_has_no_tiles_is_told_so(name: str) -> None:
    target: Target = named_targets()["cpu:avx512"]
    workload = registry.operator("gemm").workload("bf16", m=64, n=64, k=64, frozen=name.endswith("ahead"))
    assert "lacks amx-tile" in str(registry.kernel(name).unsupported(workload, target))
