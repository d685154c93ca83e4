"""The CUDA ladder of attention on the emulator: right on ragged shapes and special values, and clean."""

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.kernels.attention_cases import draw
from tuner import registry
from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
from tuner.core.kernel import Kernel
from tuner.core.operator import Tensors, special_mismatch, worst_error
from tuner.core.source_kernel import SourceKernel
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.devices.emulator.check import check_emulated
from tuner.targets.cuda import target

ATTENTION = registry.operator("attention")
RUNGS = sorted(
    name for name, k in registry.kernels().items() if k.language == "nvrtc" and k.operator == "attention"
)
PLAIN, SANITIZED = CudaEmulatedBuilder(), CudaEmulatedBuilder(sanitize=True)
pytestmark = pytest.mark.skipif(PLAIN.unavailable() is not None, reason=str(PLAIN.unavailable()))
LARGEST_WORK = 4e6
"""Multiply-adds of half a product: the emulator does some ten million a second."""


def served(kernel: Kernel, chosen: Target, rng: random.Random, dtype: str, **fixed: Any) -> Workload:
    """A random workload that a rung is for, small enough to be emulated."""
    for _ in range(3000):
        workload = draw(rng, dtype, **fixed)
        work = workload["b"] * workload["h"] * workload["q"] * workload["kv"] * workload["d"]
        if work <= LARGEST_WORK and kernel.unsupported(workload, chosen) is None:
            return workload
    raise AssertionError(f"{kernel.name} supports next to nothing")


def configured(kernel: Kernel, workload: Workload, chosen: Target, rng: random.Random) -> Config:
    """A configuration for many tokens of the same heads and options: tiles straddle and overshoot few."""
    options = {**dict(workload.options), **dict(workload.dims), "kv": 2048}
    longer = [ATTENTION.workload(workload.dtype, **{**options, "q": q}) for q in (512, workload["q"])]
    if workload["q"] == 1 or kernel.unsupported(longer[0], chosen):
        longer.pop(0)
    return kernel.space(longer[0], chosen).sample(rng)


def verify(
    kernel: Kernel, config: Config, chosen: Target, workload: Workload, folder: Path, sanitize: bool = False
) -> None:
    """Two launches on ordinary inputs, then two on special ones."""
    folder.mkdir(parents=True)
    source = kernel.lower(workload, config, chosen)
    artifact = (SANITIZED if sanitize else PLAIN).build(source, chosen, folder)
    said = f"{kernel.name} {workload.key} {dict(config)} on {chosen.name}"
    for special in (False, True):
        inputs = (ATTENTION.special_inputs if special else ATTENTION.inputs)(workload, 1)
        computed = launch(artifact, chosen, workload, inputs, said, seed=7 * sanitize)
        reference = ATTENTION.reference(workload, inputs)
        tolerance = ATTENTION.tolerance(workload, inputs, reference)
        if special:
            assert (wrong := special_mismatch(computed, reference, tolerance)) is None, f"{said}: {wrong}"
        else:
            error, where = worst_error(computed, reference, tolerance)
            assert error <= 1, f"{said}: {where}"


def launch(
    artifact: Any, chosen: Target, workload: Workload, inputs: Tensors, said: str, seed: int = 0
) -> Tensors:
    outputs = {s.name: np.zeros(s.shape, s.dtype) for s in ATTENTION.signature(workload) if s.output}
    result = check_emulated(artifact, chosen, {**inputs, **outputs}, list(outputs), launches=2, seed=seed)
    assert result.completed, f"{said}: {result.error} {result.findings[:3]}"
    assert not result.findings, f"{said}: {[str(f) for f in result.findings[:3]]}"
    return result.outputs


def check(rung: str, i: int, folder: Path, sanitize: bool) -> None:
    kernel = registry.kernel(rung)
    assert isinstance(kernel, SourceKernel)
    rng = random.Random(f"{rung} {i} {sanitize}")
    dtype = kernel.dtypes[i % len(kernel.dtypes)]
    architectures = [target(name) for name in ("sm_75", "sm_80", "sm_86", "sm_90")]
    chosen = rng.choice([a for a in architectures if not set(kernel.requires) - set(a.features)])
    workload = served(kernel, chosen, rng, dtype)
    verify(kernel, configured(kernel, workload, chosen, rng), chosen, workload, folder, sanitize)


def test_the_ladder_is_there() -> None:
    ladder = ["naive", "flash", "tensor_cores", "decode", "paged"]
    assert {f"cuda_attn_{name}" for name in ladder} <= set(RUNGS)
    for rung in RUNGS:
        path = registry.kernel(rung).source_files()[0]
        # The reason for the rung stands behind the declaration.
        assert re.search(r"\*/\s*// Rung \d+: ", path.read_text()), path


@pytest.mark.parametrize("rung", RUNGS)
def test_random_configurations(rung: str, tmp_path: Path) -> None:
    for i in range(2):
        check(rung, i, tmp_path / str(i), sanitize=False)


@pytest.mark.parametrize("rung", RUNGS)
def test_clean_under_all_sanitizers(rung: str, tmp_path: Path) -> None:
    check(rung, 0, tmp_path / "0", sanitize=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("rung", RUNGS)
def test_twenty_random_configurations(rung: str, part: int, tmp_path: Path) -> None:
    for i in range(2 + 5 * part, 7 + 5 * part):
        check(rung, i, tmp_path / str(i), sanitize=i % 2 == 0)
