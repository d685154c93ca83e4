"""Expressions that ask for the dtype and for instruction sets."""

import pytest

from tests.core.test_source_kernel import CPU, WORKLOAD, change, write
from tuner import registry
from tuner.core.errors import InvalidSpace
from tuner.core.target import Target
from tuner.core.workload import Workload


def test_a_constraint_may_ask_for_the_dtype_and_for_instruction_sets(tmp_path):
    """A kernel that multiplies one type otherwise where the processor has instructions for it."""
    asking = "TILE <= (16 if dtype == 'f16' and has_fma and not has_avx512_bf16 else 8)"
    kernel = registry.source_kernel(write(tmp_path, change("TILE <= m and TILE <= n", asking)))
    with pytest.raises(InvalidSpace, match="unknown has_avx512_bf16"):
        kernel.space(WORKLOAD, CPU)
    asking = asking.replace("avx512_bf16", "avx512bf16")
    kernel = registry.source_kernel(write(tmp_path, change("TILE <= m and TILE <= n", asking)))
    half = Workload("gemm", "f16", WORKLOAD.dims, WORKLOAD.options)
    more = Target("cpu", "avx512", (*CPU.features, "avx512bf16"), CPU.limits)
    found = [
        {config["TILE"] for config in kernel.space(workload, target)}
        for workload, target in ((WORKLOAD, CPU), (half, CPU), (half, more))
    ]
    assert found == [{8}, {8, 16}, {8}]
