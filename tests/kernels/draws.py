"""Random workloads of every operator."""

import random

import pytest

from tests.kernels import attention_cases, conv2d_cases, gemm_cases
from tests.kernels.running import lacking
from tuner.core.kernel import Kernel
from tuner.core.target import Target
from tuner.core.workload import Workload

DRAW = {"gemm": gemm_cases.draw, "conv2d": conv2d_cases.draw, "attention": attention_cases.draw}
"""A random workload of each operator: (rng, dtype)."""


def served(kernel: Kernel, target: Target, rng: random.Random, dtype: str) -> Workload:
    """A random workload that the kernel supports; a skip where the target lacks what that requires."""
    if "cpu" in kernel.target_kinds and (missing := lacking(kernel, target, dtype)):
        pytest.skip(f"{target.name} lacks {min(missing)}")
    for _ in range(3000):
        workload = DRAW[kernel.operator](rng, dtype)
        if kernel.unsupported(workload, target) is None:
            return workload
    raise AssertionError(f"{kernel.name} supports next to nothing")
