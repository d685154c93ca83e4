"""Every kernel offers something to measure: whatever shape it says it computes has a valid configuration."""

import random
from dataclasses import replace

import pytest

from tuner import registry
from tuner.core.errors import InvalidWorkload
from tuner.core.kernel import Kernel
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.targets import cuda

SIZES = (
    1,
    2,
    3,
    5,
    7,
    8,
    15,
    16,
    17,
    24,
    31,
    32,
    33,
    40,
    48,
    63,
    64,
    65,
    100,
    128,
    129,
    250,
    512,
    1000,
    2048,
)
AVX2 = Target(
    "cpu", "avx2", ("avx", "avx2", "f16c", "fma"),
    {"cores": 2, "vector_bytes": 32, "vector_registers": 16, "l1d_bytes": 32768, "l2_bytes": 2**20,
     "l3_bytes": 2**25, "line_bytes": 64},
)  # fmt: skip
AVX512 = replace(
    AVX2, arch="avx512", features=(*AVX2.features, "avx512f", "avx512bw", "avx512dq", "avx512vl"),
    limits={**AVX2.limits, "vector_bytes": 64, "vector_registers": 32},
)  # fmt: skip
TARGETS = {"cpu": (AVX2, AVX512), "cuda": (cuda.target("sm_75"), cuda.target("sm_90"))}


def workloads(kernel: Kernel, count: int, seed: int = 1) -> list[Workload]:
    """The example, its companions, and GEMMs of any size in between."""
    operator, rng = registry.operator(kernel.operator), random.Random(seed)
    found: list[Workload] = []
    for dtype in kernel.dtypes:
        example = operator.parse(operator.example, dtype)
        found += [example, *operator.companions(example)]
        if kernel.operator != "gemm":
            continue
        # 48x40x32 and 16x16x32 sit on the edges of "smaller than a block" and "deep enough".
        found += [operator.workload(dtype, m=m, n=n, k=32) for m, n in ((48, 40), (16, 16))]
        for _ in range(count):
            try:
                found.append(
                    operator.workload(dtype, m=rng.choice(SIZES), n=rng.choice(SIZES), k=rng.choice(SIZES))
                )
            except InvalidWorkload:
                continue
    return found


CASES = [
    pytest.param(kernel, target, id=f"{name}-{target.name}")
    for name, kernel in sorted(registry.kernels().items())
    if not kernel.baseline
    for target in TARGETS[kernel.target_kind]
]


@pytest.mark.parametrize(("kernel", "target"), CASES)
def test_a_shape_it_computes_has_a_valid_configuration_that_can_be_lowered(kernel, target):
    rng, seen = random.Random(3), 0
    for workload in workloads(kernel, count=1):
        if kernel.unsupported(workload, target) is not None:
            continue
        space = kernel.space(workload, target)
        assert space.size != 0, f"{workload.key}: {space.names}"
        config = space.default or space.sample(rng)
        assert kernel.lower(workload, config, target).language == kernel.language
        for value in kernel.features(workload, config, target).values():
            assert value == value  # no NaN reaches a model
        seen += 1
    if not seen and target is TARGETS[kernel.target_kind][-1]:
        pytest.fail("it computes none of the workloads on the most capable target")
