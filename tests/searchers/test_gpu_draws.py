"""Schedules drawn for GPUs keep their limits, and follow from the seed."""

import json
import math
import re

import pytest

from tuner import registry
from tuner.core.trace_space import trace_text
from tuner.core.tvm_target import target_dict
from tuner.searchers.metaschedule.gpu_draws import _split
from tuner.targets import cuda

SHAPES = {
    "tir_metaschedule_cuda": "256x256x64",
    "conv_metaschedule_cuda": "n1 c16 h14 w14 k32 r3 s3 pad1 stride2",
    "attn_metaschedule_cuda": "1x12x512x512x64",
}


def drawn(name: str, seed: int, count: int) -> list[str]:
    """Traces of schedules that passed MetaSchedule's own checks."""
    from tuner.searchers.metaschedule.evolution import import_tvm
    from tuner.searchers.metaschedule.gpu_draws import GpuDraws

    import_tvm()
    import tvm
    from tvm.s_tir import meta_schedule as ms

    kernel, target = registry.kernel(name), cuda.target("sm_80")
    program = kernel.space(registry.operator(kernel.operator).parse(SHAPES[name]), target).program
    context = ms.TuneContext(
        tvm.script.from_source(program), target=tvm.target.Target(target_dict(target)), num_threads=1,
        space_generator="post-order-apply", search_strategy="evolutionary", rand_state=1,
    )  # fmt: skip
    found = list(GpuDraws(context, context.generate_design_space(), seed).take(count, 12 * count))
    for schedule in found:
        text = schedule.mod.script()
        for virtual in re.findall(r'T.thread_binding\((\d+), thread="vthread', text):
            assert int(virtual) <= 8
        for threads in re.findall(r'T.thread_binding\((\d+), thread="threadIdx.x', text):
            assert int(threads) <= 1024
    return [trace_text(schedule.trace) for schedule in found]


# Most draws of these operators' schedules break a limit: they take a minute.
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n.startswith("tir") else [pytest.mark.slow]) for n in sorted(SHAPES)],
)
@pytest.mark.slow
def test_draws_pass_the_checks_of_the_target(name: str) -> None:
    # Of TVM's own draws of attention's schedules for this shape none of 144 did.
    texts = drawn(name, 7, 4)
    assert len(set(texts)) == 4
    assert drawn(name, 7, 2) == texts[:2] != drawn(name, 8, 2)
    assert json.loads(texts[0])


def test_factors_multiply_to_the_extent_and_keep_the_innermost() -> None:
    import random

    rng = random.Random(1)
    seen = {tuple(_split(96, 4, 16, rng)) for _ in range(300)}
    assert all(math.prod(factors) == 96 and factors[-1] <= 16 for factors in seen)
    assert len(seen) > 50 and max(factors[-1] for factors in seen) == 16
    assert _split(1, 3, 1, rng) == [1, 1, 1] and sorted(_split(997, 2, 16, rng)) == [1, 997]
