"""Products of bf16 by the instruction for pairs (AVX512_BF16): packed as words, and read in place."""

import itertools
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.running import Run
from tests.kernels.test_gemm_cpp import BASE, RUN, options
from tuner import registry
from tuner.core.target import Target
from tuner.devices.cpu.device import CpuDevice, named_targets

GEMM = registry.operator("gemm")
PLAIN = named_targets()["cpu:avx512"]
# Fewer rows than a tile's with an odd depth; depths below and above a step, a line of words, a block.
SHAPES = (*RUN, (3, 70, 33), (6, 33, 1), (8, 48, 2), (40, 100, 257), (9, 31, 65))


def with_words() -> Target:
    """AVX-512 with the instruction, of two cores."""
    features = tuple(sorted({*PLAIN.features, "avx512bf16"}))
    if not set(features) <= set(CpuDevice().target.features):
        pytest.skip("this processor lacks avx512bf16")
    return replace(PLAIN, features=features, limits={**PLAIN.limits, "cores": 2})


def check(run: Run, chosen: dict[str, object]) -> None:
    for seed, (m, n, k) in enumerate(SHAPES):
        at = GEMM.workload("bf16", m=m, n=n, k=k, **chosen)
        error, where = run.error(at, seed)
        assert error <= 1, where
        assert run.mismatch(at, seed) is None, at.key


@pytest.mark.parametrize("name", ["cpp_packed", "cpp_ahead"])
@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(2, 30), marks=pytest.mark.slow)])
def test_random_configurations(name: str, seeds: range, tmp_path: Path) -> None:
    kernel, aim = registry.kernel(name), with_words()
    for seed in seeds:
        rng = random.Random(f"{name} {seed}")
        chosen = {**options(rng), "frozen": kernel.only_frozen}
        tuned = GEMM.workload("bf16", m=300, n=300, k=300, **chosen)
        run = Run(kernel, tuned, kernel.space(tuned, aim).sample(rng), aim, tmp_path / str(seed))
        check(run, chosen)


@pytest.mark.parametrize(("mr", "nr"), [(8, 32), (6, 48), (3, 64), (12, 32)])
@pytest.mark.sampled(2)
def test_operands_in_place_and_packed(mr: int, nr: int, tmp_path: Path) -> None:
    """Every tile's edge and the half word at the end of an odd depth, of each operand either way."""
    kernel, aim, chosen = registry.kernel("cpp_packed"), with_words(), {"beta": 1.0, "bias": True}
    tuned = GEMM.workload("bf16", m=200, n=200, k=200, **chosen)
    for pack_a, pack_b in itertools.product((False, True), repeat=2):
        config = {**BASE, "MR": mr, "NR": nr, "PACK_A": pack_a, "PACK_B": pack_b, "INNER": "nm"[pack_a]}
        config = kernel.space(tuned, aim).check(config)
        check(Run(kernel, tuned, config, aim, tmp_path / f"{pack_a}{pack_b}"), chosen)


def test_neighbours_of_an_odd_depth_are_not_multiplied(tmp_path: Path) -> None:
    """A row of A ends where the next, of NaN, begins; they share a word of memory."""
    kernel, aim = registry.kernel("cpp_packed"), with_words()
    workload = GEMM.workload("bf16", m=16, n=32, k=33)
    config = {**BASE, "MR": 8, "NC": 64, "KC": 64, "PACK_A": False, "PACK_B": False, "threads": 1}
    config = kernel.space(workload, aim).check(config)
    inputs = GEMM.inputs(workload, 1)
    inputs["A"][5] = np.nan
    inputs["A"][9, 32] = np.inf
    found = Run(kernel, workload, config, aim, tmp_path).computed(workload, inputs)["D"].astype(np.float32)
    assert np.isnan(found[5]).all()
    assert np.isinf(found[9]).all()
    assert np.isfinite(np.delete(found, (5, 9), axis=0)).all()


def test_bf16_lies_in_place_only_where_the_processor_multiplies_it() -> None:
    kernel, words = registry.kernel("cpp_packed"), (*PLAIN.features, "avx512bf16")
    workload = GEMM.workload("bf16", m=200, n=200, k=200)
    in_place = {**BASE, "MR": 6, "NR": 32, "PACK_A": False, "PACK_B": False, "KC": 256, "NC": 192}
    reason = kernel.space(workload, PLAIN).why_invalid(in_place)
    assert reason is not None and "converted" in reason
    assert kernel.space(workload, replace(PLAIN, features=words)).why_invalid(in_place) is None
    transposed = GEMM.workload("bf16", m=200, n=200, k=200, trans_a=True)
    assert kernel.space(transposed, replace(PLAIN, features=words)).why_invalid(in_place) is not None
