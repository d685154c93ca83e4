"""The CUDA ladder of conv2d on the emulator: every rung right on ragged shapes, and clean under all sanitizers."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuner import registry
from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
from tuner.core.errors import InvalidWorkload
from tuner.core.operator import worst_error
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.devices.emulator.check import check_emulated
from tuner.targets.cuda import target

CONV = registry.operator("conv2d")
RUNGS = sorted(
    name for name, k in registry.kernels().items() if k.language == "nvrtc" and k.operator == "conv2d"
)
PLAIN, SANITIZED = CudaEmulatedBuilder(), CudaEmulatedBuilder(sanitize=True)
pytestmark = pytest.mark.skipif(PLAIN.unavailable() is not None, reason=str(PLAIN.unavailable()))

# A shape that a tile straddles in every direction, one with whole vectors, one smaller than any tile; then what a
# rung may ask for: depthwise, groups, no padding.
SHAPES = [
    {"n": 2, "c": 5, "h": 9, "w": 11, "k": 7, "r": 3, "s": 3},
    {"n": 1, "c": 16, "h": 12, "w": 16, "k": 32, "r": 3, "s": 3},
    {"n": 1, "c": 3, "h": 4, "w": 5, "k": 1, "r": 3, "s": 3},
    {"n": 2, "c": 16, "h": 8, "w": 8, "k": 16, "r": 1, "s": 1},
    {"n": 1, "c": 4, "h": 13, "w": 7, "k": 6, "r": 5, "s": 2},
]
GROUPED = [
    {"n": 2, "c": 6, "h": 9, "w": 10, "k": 6, "r": 3, "s": 3, "groups": 6},
    {"n": 1, "c": 32, "h": 8, "w": 8, "k": 64, "r": 3, "s": 3, "groups": 2},
    {"n": 1, "c": 6, "h": 7, "w": 9, "k": 9, "r": 3, "s": 3, "groups": 3},
]


def drawn(rng: random.Random, dtype: str) -> dict[str, Any]:
    """Options at random, kept for all shapes of one build."""
    if rng.random() < 0.2:
        return {}
    given: dict[str, Any] = {
        "stride": rng.choice([1, 1, 2]), "dilation": rng.choice([1, 1, 2]), "nhwc": rng.random() < 0.5,
        "bias": rng.random() < 0.5, "relu": rng.random() < 0.3,
    }  # fmt: skip
    if rng.random() < 0.3:
        given.update(pad_top=1, pad_right=2)
    else:
        given["pad"] = rng.choice([0, 1, 2])
    if dtype == "int8" and rng.random() < 0.5:
        given[rng.choice(["scale_tensor", "scale_channel"])] = True
    return given


def served(
    rung: str, dtype: str, chosen: Target, rng: random.Random, given: dict[str, Any]
) -> list[Workload]:
    """Some workloads of these options that a rung is for, all of one number of groups."""
    kernel = registry.kernel(rung)
    groups: dict[int, list[Workload]] = {}
    for shape in [*SHAPES, *GROUPED]:
        for options in (given, {**given, "stride": 1, "dilation": 1}):
            try:
                workload = CONV.workload(dtype, **{**options, **shape})
            except InvalidWorkload:  # the window is larger than the image
                continue
            if kernel.unsupported(workload, chosen) is None:
                groups.setdefault(int(shape.get("groups", 1)), []).append(workload)
                break
    chosen_group = groups[rng.choice(sorted(groups))]
    return rng.sample(chosen_group, min(3, len(chosen_group)))


def verify(
    rung: str, config: Config, chosen: Target, workloads: list[Workload], folder: Path, sanitize: bool = False
) -> None:
    """Builds once for each set of options and runs every shape, twice each."""
    kernel = registry.kernel(rung)
    built: dict[Any, Any] = {}
    for i, workload in enumerate(workloads):
        source = kernel.lower(workload, config, chosen)
        if workload.options not in built:
            place = folder / str(i)
            place.mkdir(parents=True)
            built[workload.options] = (SANITIZED if sanitize else PLAIN).build(source, chosen, place)
        here = replace(built[workload.options], arguments=source.arguments, launch=source.launch)
        inputs = CONV.inputs(workload, 1)
        outputs = {s.name: np.zeros(s.shape, s.dtype) for s in CONV.signature(workload) if s.output}
        result = check_emulated(
            here, chosen, {**inputs, **outputs}, list(outputs), launches=2, seed=7 * sanitize
        )
        said = f"{workload.key} {dict(config)} on {chosen.name}"
        assert result.completed, f"{said}: {result.error} {result.findings[:3]}"
        assert not result.findings, f"{said}: {[str(f) for f in result.findings[:3]]}"
        reference = CONV.reference(workload, inputs)
        error, where = worst_error(result.outputs, reference, CONV.tolerance(workload, inputs, reference))
        assert error <= 1, f"{said}: {where}"


def configured(rung: str, workload: Workload, chosen: Target, rng: random.Random) -> Config:
    """A configuration for a large image of the same options and groups: tiles straddle and overshoot small ones."""
    options = dict(workload.options)
    c, k = workload["c"], workload["k"]
    if options.get("groups", 1) in (1,):
        c, k = 256, 256
    large = CONV.workload(
        workload.dtype,
        **{**options, "n": 4, "c": c, "h": 64, "w": 64, "k": k, "r": workload["r"], "s": workload["s"]},
    )
    return registry.kernel(rung).space(large, chosen).sample(rng)


def check(rung: str, i: int, folder: Path, sanitize: bool) -> None:
    kernel = registry.kernel(rung)
    rng = random.Random(f"{rung} {i} {sanitize}")
    dtype = kernel.dtypes[i % len(kernel.dtypes)]
    chosen = target(
        rng.choice([a for a in ("sm_75", "sm_80", "sm_86", "sm_90") if not kernel.requires or a != "sm_75"])
    )
    workloads = served(rung, dtype, chosen, rng, drawn(rng, dtype))
    verify(rung, configured(rung, workloads[0], chosen, rng), chosen, workloads, folder, sanitize)


def test_the_ladder_is_there() -> None:
    assert {
        "cuda_conv_direct",
        "cuda_conv_shared_tiles",
        "cuda_conv_implicit_gemm",
        "cuda_conv_tensor_cores",
        "cuda_conv_depthwise",
    } <= set(RUNGS)


@pytest.mark.parametrize("rung", RUNGS)
def test_random_configurations(rung: str, tmp_path: Path) -> None:
    for i in range(3):
        check(rung, i, tmp_path / str(i), sanitize=False)


@pytest.mark.parametrize("rung", RUNGS)
def test_clean_under_all_sanitizers(rung: str, tmp_path: Path) -> None:
    check(rung, 0, tmp_path, sanitize=True)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("rung", RUNGS)
def test_twenty_random_configurations(rung: str, part: int, tmp_path: Path) -> None:
    for i in range(3 + 5 * part, 8 + 5 * part):
        check(rung, i, tmp_path / str(i), sanitize=i % 5 == 0)
