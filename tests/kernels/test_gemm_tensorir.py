"""TensorIR GEMM schedules: right for every option, shape and configuration, on narrow targets too."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kernels.gemm_cases import draw
from tests.kernels.running import Run
from tuner import registry
from tuner.core.errors import Unavailable
from tuner.core.kernel import Kernel
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice, named_targets

# An open space is no list to draw from: tests/kernels/test_metaschedule.py.
KERNELS = [k for k in registry.kernels_of("gemm", "cpu") if k.language == "tensorir" and not k.searcher]


def served(kernel: Kernel, rng: random.Random) -> Workload:
    """A random workload of options that the kernel has."""
    while True:
        workload = draw(rng)
        if kernel.unsupported(workload, named_targets()["cpu:avx512"]) is None:
            return workload


def check(kernel: Kernel, workload: Workload, config: Config, target: Target, folder: Path) -> None:
    error, where = Run(kernel, workload, config, target, folder).error(workload, seed=3)
    assert error <= 1.0, where


@pytest.fixture(scope="module")
def here() -> Target:
    target = CpuDevice().target
    return replace(target, limits={**target.limits, "cores": 2})


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
@pytest.mark.parametrize("seed", range(14))
@pytest.mark.sampled(4, each="kernel")
def test_random_configurations_of_random_workloads(
    kernel: Kernel, seed: int, here: Target, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    workload = served(kernel, rng)
    check(kernel, workload, kernel.space(workload, here).sample(rng), here, tmp_path / "a")


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_a_configuration_of_one_shape_serves_its_companions(
    kernel: Kernel, here: Target, tmp_path: Path
) -> None:
    """Winners are verified on ragged shapes of the same options, for which they may not be valid."""
    rng, gemm = random.Random(5), registry.operator("gemm")
    workload = gemm.workload(m=512, n=512, k=512, bias=True, relu=True)
    for i, companion in enumerate(gemm.companions(workload)):
        config = kernel.space(workload, here).sample(rng)
        check(kernel, companion, config, here, tmp_path / str(i))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
@pytest.mark.parametrize("arch", ["avx2", "x86_64"])
@pytest.mark.sampled(1, each="kernel")
def test_narrow_targets(kernel: Kernel, arch: str, tmp_path: Path) -> None:
    """What is compiled for fewer features than this machine has runs here too."""
    rng, target = random.Random(9), named_targets()[f"cpu:{arch}"]
    if not set(target.features) <= set(CpuDevice().target.features):
        pytest.skip(f"this machine has not all features of {arch}")
    for i in range(3):
        workload = served(kernel, rng)
        check(kernel, workload, kernel.space(workload, target).sample(rng), target, tmp_path / str(i))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_many_random_configurations(kernel: Kernel, here: Target, tmp_path: Path) -> None:
    rng = random.Random(1000)
    for i in range(400):
        workload = served(kernel, rng)
        check(kernel, workload, kernel.space(workload, here).sample(rng), here, tmp_path / str(i))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_register_tiles_fit_the_target(kernel: Kernel) -> None:
    """Spaces follow the target: no accumulator more than it has vector registers."""
    workload = registry.operator("gemm").workload(m=512, n=512, k=512)
    for arch, registers, lanes in (("avx512", 32, 16), ("avx2", 16, 8)):
        space = kernel.space(workload, named_targets()[f"cpu:{arch}"])
        rng = random.Random(0)
        for _ in range(200):
            config = space.sample(rng)
            assert int(config["NR"]) % lanes == 0
            assert int(config["MR"]) * int(config["NR"]) // lanes < registers


def test_the_scheduled_program_shows_what_was_asked_for(here: Target) -> None:
    kernel = registry.kernel("tir_packed")
    workload = registry.operator("gemm").workload(m=96, n=128, k=256)
    config = {
        "MR": 6, "NR": 32, "UNROLL": 2, "KC": 128, "MC": 32, "NC": 64, "ORDER": "nkm", "INNER": "m",
        "PACK_A": "block", "PACK_B": "ahead", "A_LAYOUT": "rows", "SPLIT_M": 2, "SPLIT_N": 1,
    }  # fmt: skip
    if here.limits["vector_bytes"] != 64:
        pytest.skip("written for 512-bit vectors")
    assert kernel.space(workload, here).why_invalid(config) is None
    text = kernel.lower(workload, config, here).text
    assert text.count("T.parallel") == 2  # packing B ahead, and the parts of D
    assert "T.parallel(2)" in text
    assert '"pack_a"' in text and '"pack_b"' in text
    nothing = kernel.lower(workload, {**config, "PACK_A": "none", "PACK_B": "none", "SPLIT_M": 1}, here).text
    assert "pack_" not in nothing and "T.parallel" not in nothing


def test_features_tell_padding_and_imbalance(here: Target) -> None:
    kernel = registry.kernel("tir_packed")
    workload = registry.operator("gemm").workload(m=9, n=32, k=100)
    config = {
        "MR": 4, "NR": 32, "UNROLL": 1, "KC": 64, "MC": 16, "NC": 32, "ORDER": "nkm", "INNER": "m",
        "PACK_A": "block", "PACK_B": "block", "A_LAYOUT": "rows", "SPLIT_M": 2, "SPLIT_N": 1,
    }  # fmt: skip
    features = kernel.features(workload, config, here)
    assert features["padding"] == pytest.approx(12 / 9)  # 3 tiles of 4 rows for 9
    assert features["imbalance"] == pytest.approx(2 * 2 / 3)  # 2 tiles for one thread, 1 for the other
    assert features["passes_over_d"] == 2
    assert features["panel_bytes"] == 4 * 64 * 32


def test_a_tensor_beyond_32_bit_indices_is_refused_in_words(here: Target) -> None:
    workload = registry.operator("gemm").workload(m=2**16, n=8, k=2**16)
    with pytest.raises(Unavailable, match=r"2\^30 elements"):
        registry.kernel("tir_packed").require(workload, here)
