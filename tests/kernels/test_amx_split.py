"""f32 products from bf16 tiles: as right as f32, also where numbers have no parts, and at ragged shapes."""

import random
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.draws import served
from tests.kernels.running import Run, with_tiles
from tuner import registry
from tuner.devices.cpu.device import CpuDevice

HERE = with_tiles(CpuDevice().target).with_limits(cores=2)
KERNELS = ("cpp_amx_split", "cpp_amx_split_ahead")
RUN = ((1, 1, 1), (1, 67, 131), (83, 1, 19), (37, 29, 53), (130, 200, 270), (7, 300, 40))


def check(name: str, seed: int, folder: Path) -> None:
    """One random configuration and its options, at ragged shapes, with special values too."""
    kernel, rng = registry.kernel(name), random.Random(f"{name} {seed}")
    workload = served(kernel, HERE, rng, "f32")
    operator = registry.operator("gemm")
    run = Run(kernel, workload, kernel.space(workload, HERE).sample(rng), HERE, folder)
    options = {option: value for option, value in workload.options if option != "batch"}
    for m, n, k in RUN:
        at = operator.workload("f32", m=m, n=n, k=k, batch=rng.choice([1, 3]), **options)
        error, where = run.error(at, seed)
        assert error <= 1, where
        assert run.mismatch(at, seed) is None, (at.key, run.config)


@pytest.mark.parametrize("name", KERNELS)
def test_random_configurations_are_right_at_ragged_shapes(name: str, tmp_path: Path) -> None:
    check(name, 2, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_many_random_configurations(name: str, tmp_path: Path) -> None:
    for seed in range(100, 130):
        check(name, seed, tmp_path / str(seed))


@pytest.fixture(scope="module", params=["whole", "blocks"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Several blocks of m, n and k, and two parts of the panel of B."""
    kernel, operator = registry.kernel("cpp_amx_split"), registry.operator("gemm")
    workload = operator.workload("f32", m=200, n=300, k=600)
    if reason := kernel.unsupported(workload, HERE):
        pytest.skip(reason)
    config = {
        "MT": 2, "MC": 64, "NC": 128, "KC": 256, "KL": 128, "SPLIT_N": 2, "threads": 2,
        "PACK_B": request.param,
    }  # fmt: skip
    chosen = kernel.space(workload, HERE).nearest({**config, "FETCH_B": request.param == "whole"})
    assert {key: chosen[key] for key in config} == config
    return Run(kernel, workload, chosen, HERE, tmp_path_factory.mktemp("split"))


def wide(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Floats of both signs between 2^-40 and 2^40."""
    return (rng.choice([-1, 1], shape) * np.exp2(rng.uniform(-40, 40, shape))).astype(np.float32)


@pytest.mark.parametrize("ranges", ["near", "wide"])
def test_errs_as_f32_does(run: Run, ranges: str) -> None:
    """Of the sum of magnitudes a share below 2^-22; one bf16 product errs by 2^-9 of it."""
    rng = np.random.default_rng(5)
    draw = wide if ranges == "wide" else lambda rng, shape: rng.uniform(0.5, 1, shape).astype(np.float32)
    a, b = draw(rng, (200, 600)), draw(rng, (600, 300))
    d = run.computed(run.workload, {"A": a, "B": b})["D"]
    exact, size = a.astype(np.float64) @ b, np.abs(a).astype(np.float64) @ np.abs(b)
    assert np.max(np.abs(d - exact) / size) < 2.0**-19
    assert np.mean(np.abs(d - exact) / size) < 2.0**-22


def test_what_has_no_parts_is_multiplied_as_ever(run: Run) -> None:
    """The largest float is rounded to an infinite bf16, an infinity leaves NaN: neither may be seen in D."""
    rng = np.random.default_rng(6)
    a = rng.uniform(-1, 1, (200, 600)).astype(np.float32)
    b = rng.uniform(-1, 1, (600, 300)).astype(np.float32)
    a[3, 500], a[70], a[70, 10], b[17, 33], b[18, 299] = np.inf, 0, np.finfo(np.float32).max, -np.inf, np.nan
    d = run.computed(run.workload, {"A": a, "B": b})["D"]
    with np.errstate(all="ignore"):
        exact = a.astype(np.float64) @ b
    np.testing.assert_array_equal(np.isnan(d), np.isnan(exact))
    infinite = np.isinf(exact)
    np.testing.assert_array_equal(d[infinite], exact[infinite])
    finite = np.isfinite(exact)
    np.testing.assert_allclose(d[finite], exact[finite], rtol=1e-5, atol=1e-4)
