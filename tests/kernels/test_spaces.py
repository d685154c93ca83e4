"""Every kernel offers something to measure: whatever shape it says it computes has a valid configuration."""

import random
from dataclasses import replace
from itertools import islice

import pytest

from tests.kernels.draws import DRAW
from tuner import registry
from tuner.core.kernel import Kernel
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.targets import cuda

SIZES = (
    *(1, 2, 3, 5, 7, 8, 15, 16, 17, 24, 31, 32, 33, 40, 48, 63, 64, 65, 100),
    *(128, 129, 250, 512, 1000, 2048),
)
DRAWS, DRAWN = 300, 2  # so many are drawn at most until so many are served
AVX2 = Target(
    "cpu", "avx2", ("avx", "avx2", "f16c", "fma"),
    {"cores": 2, "vector_bytes": 32, "vector_registers": 16, "l1d_bytes": 32768, "l2_bytes": 2**20,
     "l3_bytes": 2**25, "line_bytes": 64},
)  # fmt: skip
# With tile registers: the most that a CPU has.
AVX512 = replace(
    AVX2, arch="avx512",
    features=(*AVX2.features, "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni", "amx-tile",
              "amx-bf16", "amx-int8", "avx512bf16", "avx512vbmi", "avx512vbmi2"),
    limits={**AVX2.limits, "vector_bytes": 64, "vector_registers": 32},
)  # fmt: skip
TARGETS = {"cpu": (AVX2, AVX512), "cuda": (cuda.target("sm_75"), cuda.target("sm_90"))}


def workloads(kernel: Kernel, target: Target, dtype: str, seed: int = 1) -> list[Workload]:
    """The example, its companions, and random ones of any shape and options that the kernel serves."""
    operator, rng = registry.operator(kernel.operator), random.Random(f"{kernel.name} {dtype} {seed}")
    example = operator.parse(operator.example, dtype)
    found = [example, *operator.companions(example)]
    if kernel.operator == "gemm":
        # 48x40x32 and 16x16x32 sit on the edges of "smaller than a block" and "deep enough"; one of any size.
        shapes = [(48, 40, 32), (16, 16, 32), (rng.choice(SIZES), rng.choice(SIZES), rng.choice(SIZES))]
        found += [operator.workload(dtype, m=m, n=n, k=k) for m, n, k in shapes]
    found = [workload for workload in found if kernel.unsupported(workload, target) is None]
    drawn = (DRAW[kernel.operator](rng, dtype) for _ in range(DRAWS))
    return [*found, *islice((w for w in drawn if kernel.unsupported(w, target) is None), DRAWN)]


CASES = [
    pytest.param(kernel, target, id=f"{name}-{target.name}")
    for name, kernel in sorted(registry.kernels().items())
    if not kernel.baseline
    for target in TARGETS[kernel.target_kinds[0]]
]


@pytest.mark.parametrize(("kernel", "target"), CASES)
@pytest.mark.sampled(1, each="kernel")
def test_a_shape_it_computes_has_a_valid_configuration_that_can_be_lowered(kernel, target):
    rng, served = random.Random(3), set()
    for dtype in kernel.dtypes:
        for workload in workloads(kernel, target, dtype):
            space = kernel.space(workload, target)
            assert space.size != 0, f"{workload.key}: {space.names}"
            config = space.default or space.sample(rng)
            assert kernel.lower(workload, config, target).language == kernel.language
            for value in kernel.features(workload, config, target).values():
                assert value == value  # no NaN reaches a model
            served.add(dtype)
    if target is TARGETS[kernel.target_kinds[0]][-1]:
        assert served == set(kernel.dtypes), "it computes nothing of a dtype on the most capable target"


def test_random_workloads_of_every_operator_are_drawn():
    """And what is drawn differs in shape and options: a space of one shape proves nothing of the others."""
    assert DRAW.keys() == registry.operators().keys()
    for name, draw in DRAW.items():
        rng, operator = random.Random(name), registry.operator(name)
        found = [draw(rng, operator.dtypes[0]) for _ in range(60)]
        assert len({w.dims for w in found}) > 50, name
        changed = {option for w in found for option, _ in w.options}
        assert len(changed) >= len(operator.options) / 2, (name, changed)
