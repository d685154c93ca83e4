"""The CUDA ladder of GEMM on the emulator: one shape-generic build for all shapes, mistakes that are seen.

Random configurations on ragged shapes, sanitized: `test_gpu_contract.py`, for every GPU kernel.
"""

import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuner import registry
from tuner.builders.cuda.sass import disassemble, instructions
from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
from tuner.core.operator import worst_error
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.devices.emulator.check import check_emulated
from tuner.operators.gemm import Gemm
from tuner.targets.cuda import target

GEMM = Gemm()
RUNGS = sorted(
    name for name, k in registry.kernels().items() if k.language == "nvrtc" and k.operator == "gemm"
)
PLAIN, SANITIZED = CudaEmulatedBuilder(), CudaEmulatedBuilder(sanitize=True)
pytestmark = pytest.mark.skipif(PLAIN.unavailable() is not None, reason=str(PLAIN.unavailable()))


def verify(
    name: str, dtype: str, config: Config, chosen: Target, shapes: list[tuple[int, int, int]], folder: Path
) -> None:  # fmt: skip
    """Builds once and runs every shape, twice each: what a workspace keeps must not matter."""
    kernel = registry.kernel(name)
    folder.mkdir(parents=True)
    artifact = None
    for m, n, k in shapes:
        workload = GEMM.workload(dtype, m=m, n=n, k=k)
        source = kernel.lower(workload, config, chosen)
        if artifact is None:
            artifact = PLAIN.build(source, chosen, folder)
        here = replace(artifact, arguments=source.arguments, launch=source.launch)
        inputs = GEMM.inputs(workload, 1)
        outputs = {s.name: np.zeros(s.shape, s.dtype) for s in GEMM.signature(workload) if s.output}
        result = check_emulated(here, chosen, {**inputs, **outputs}, list(outputs), launches=2)
        said = f"{workload.key} {dict(config)} on {chosen.name}"
        assert result.completed, f"{said}: {result.error} {result.findings[:3]}"
        assert not result.findings, f"{said}: {[str(f) for f in result.findings[:3]]}"
        reference = GEMM.reference(workload, inputs)
        tolerance = GEMM.tolerance(workload, inputs, reference)
        error, where = worst_error(result.outputs, reference, tolerance)
        assert error <= 1, f"{said}: {where}"


def test_the_ladder_is_there() -> None:
    ladder = ["naive", "coalesced", "shared_tiles", "thread_tiles", "vectorized", "double_buffered",
              "warp_tiles", "tensor_cores", "int8", "split_k", "mma", "mma_f32", "mma_stream_k",
              "wgmma", "wgmma_tma"]  # fmt: skip
    assert {f"cuda_{name}" for name in ladder} <= set(RUNGS)
    for rung in RUNGS:
        path = registry.kernel(rung).source_files()[0]
        # The reason for the rung stands behind the declaration.
        assert re.search(r"\*/\s*// Rung \d+: ", path.read_text()), path


# A rung of the copy engine takes rows on a boundary of 16 bytes only.
@pytest.mark.parametrize("rung", [r for r in RUNGS if not getattr(registry.kernel(r), "map_rule", None)])
@pytest.mark.sampled(5)
def test_alignment_of_one_operand_only(rung: str, tmp_path: Path) -> None:
    # n is a multiple of 16 and k is not, and the other way round: one operand's rows are whole pieces.
    kernel, chosen = registry.kernel(rung), target("sm_80")
    dtype = kernel.dtypes[-1]
    space = kernel.space(GEMM.workload(dtype, m=1024, n=1024, k=1024), chosen)
    config = space.sample(random.Random(rung))
    verify(rung, dtype, config, chosen, [(33, 48, 17), (33, 19, 32)], tmp_path / "a")


def mutate(rung: str, old: str, new: str, tmp_path: Path) -> str:
    """What the check says of a rung with one piece of its text replaced."""
    kernel, chosen = registry.kernel(rung), target("sm_80")
    dtype = kernel.dtypes[0]
    large = GEMM.workload(dtype, m=1024, n=1024, k=1024)
    config = kernel.space(large, chosen).sample(random.Random(3))
    workload = GEMM.workload(dtype, m=70, n=80, k=96)
    source = kernel.lower(workload, config, chosen)
    assert old in source.text
    source = replace(source, text=source.text.replace(old, new, 1))
    inputs = GEMM.inputs(workload, 1)
    reference = GEMM.reference(workload, inputs)
    artifact = SANITIZED.build(source, chosen, tmp_path)
    tensors = {**inputs, "D": np.zeros((70, 80), GEMM.signature(workload)[-1].dtype)}
    result = check_emulated(artifact, chosen, tensors, ["D"], seed=7)
    error = 0.0
    if result.completed:
        error, _ = worst_error(result.outputs, reference, GEMM.tolerance(workload, inputs, reference))
    return " ".join([*(f.kind for f in result.findings), "wrong" if error > 1 else ""])


@pytest.mark.parametrize(
    ("rung", "old", "new", "found"),
    [
        ("cuda_shared_tiles", "__syncthreads();", "", "race"),
        ("cuda_coalesced", "if (row >= m || col >= n) return;", "", "out_of_bounds"),
        ("cuda_naive", "depth < k;", "depth < k - 1;", "wrong"),
        ("cuda_thread_tiles", "__syncthreads();", "", "race"),
    ],
)
def test_planted_mistakes_are_seen(rung: str, old: str, new: str, found: str, tmp_path: Path) -> None:
    assert found in mutate(rung, old, new, tmp_path)


def test_counts_that_are_not_reset_are_seen_by_the_second_launch(tmp_path: Path) -> None:
    kernel, chosen = registry.kernel("cuda_split_k"), target("sm_80")
    workload = GEMM.workload("f32", m=16, n=32, k=64)
    config = {"BM": 16, "BN": 32, "BK": 8, "WM": 8, "WN": 32, "TM": 2, "TN": 4, "STREAM_K": 0, "SPLIT": 4,
              "STAGES": 2, "PAD": 1, "UNROLL": 1}  # fmt: skip
    source = kernel.lower(workload, kernel.space(workload, chosen).check(config), chosen)
    inputs = GEMM.inputs(workload, 1)
    (path,) = kernel.source_files()[:1]
    shares = (path.parent / "shares.cuh").read_text()
    assert "arrived[tile] = 0;" in shares and '#include "shares.cuh"' in source.text
    forgets = shares.replace("arrived[tile] = 0;", ";").replace("#pragma once", "")
    broken = source.text.replace('#include "shares.cuh"', forgets)
    for text, right in ((source.text, True), (broken, False)):
        folder = tmp_path / str(right)
        folder.mkdir()
        artifact = PLAIN.build(replace(source, text=text), chosen, folder)
        tensors = {**inputs, "D": np.zeros((16, 32), np.float32)}
        result = check_emulated(artifact, chosen, tensors, ["D"], launches=2)
        assert result.completed
        reference = GEMM.reference(workload, inputs)
        tolerance = GEMM.tolerance(workload, inputs, reference)
        second = check_emulated(artifact, chosen, tensors, ["D"], launches=1)
        assert worst_error(second.outputs, reference, tolerance)[0] <= 1
        # The second launch of the broken one never sees its last block, and leaves D from the first.
        assert right == (_left_at_zero(artifact, chosen, tensors))


def _left_at_zero(artifact: Any, chosen: Target, tensors: dict[str, np.ndarray]) -> bool:
    """Whether the counts are zero after a launch: `arrived` handed in as a tensor to look at."""
    arguments = tuple(
        replace(a, kind="tensor", value=None) if a.name == "arrived" else a for a in artifact.arguments
    )
    looked = {**tensors, "arrived": np.zeros(1, np.int32)}
    result = check_emulated(replace(artifact, arguments=arguments), chosen, looked, ["D"], launches=1)
    # Left as they were: no input was changed.
    return not any(f.kind == "input_modified" for f in result.findings)


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("scarce", ["max_threads_block", "shared_bytes_block"])
def test_what_does_not_fit_the_target_is_refused_by_name(rung: str, scarce: str) -> None:
    """On a target with next to none of one thing, what is valid elsewhere breaks that constraint first."""
    kernel, chosen = registry.kernel(rung), target("sm_80")
    workload: Workload = GEMM.workload(kernel.dtypes[0], m=512, n=512, k=512)
    space = kernel.space(workload, chosen)
    if scarce == "shared_bytes_block" and "BK" not in space.names and "TILE" not in space.names:
        pytest.skip("it uses no shared memory")
    scarcely = replace(
        chosen, limits={name: 1 if name.startswith(scarce) else v for name, v in chosen.limits.items()}
    )
    there, rng = kernel.space(workload, scarcely), random.Random(rung)
    broken = "threads_fit" if scarce == "max_threads_block" else "shared_fits"
    for _ in range(20):
        config = space.sample(rng)
        assert (there.why_invalid(config) or "").startswith(f"constraint {broken} "), config


# Each operand as it is and transposed: ldmatrix, its transposing form, and pairs taken apart.
@pytest.mark.parametrize(
    ("rung", "dtype", "config"),
    [
        ("cuda_mma", "f16", {"BM": 64, "BN": 32, "BK": 32, "WM": 32, "WN": 16}),
        ("cuda_mma", "f16", {"BM": 64, "BN": 128, "BK": 64, "WM": 32, "WN": 64}),
        ("cuda_mma", "int8", {"BM": 64, "BN": 128, "BK": 64, "WM": 32, "WN": 64}),
        ("cuda_mma", "e4m3", {"BM": 64, "BN": 64, "BK": 64, "WM": 32, "WN": 32}),
        ("cuda_mma", "tf32", {"BM": 64, "BN": 32, "BK": 16, "WM": 32, "WN": 32}),
        ("cuda_mma_f32", "f32", {"BM": 64, "BN": 32, "BK": 16, "WM": 32, "WN": 32}),
    ],
)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.sampled(4)
def test_the_main_loop_meets_no_bank_twice(
    rung: str, dtype: str, config: Config, transposed: bool, tmp_path: Path
) -> None:
    """By the emulator's count of every request to shared memory: loads of blocks, and copies into tiles."""
    kernel, chosen = registry.kernel(rung), target("sm_89")
    workload = GEMM.workload(dtype, m=128, n=128, k=256, trans_a=transposed, trans_b=not transposed)
    config = kernel.space(workload, chosen).check({**config, "STAGES": 3, "GROUP_M": 1, "MIN_BLOCKS": 1})
    artifact = SANITIZED.build(kernel.lower(workload, config, chosen), chosen, tmp_path)
    sums = np.zeros((128, 128), GEMM.signature(workload)[-1].dtype)
    inputs = GEMM.inputs(workload, 1)
    result = check_emulated(artifact, chosen, {**inputs, "D": sums}, ["D"])
    assert result.completed and not result.findings
    reference = GEMM.reference(workload, inputs)
    assert worst_error(result.outputs, reference, GEMM.tolerance(workload, inputs, reference))[0] <= 1
    loop = [use for use in result.banks if Path(use.file).name in ("swizzled.cuh", "mma_blocks.cuh")]
    assert {use.access for use in loop} == {"read", "write"}
    assert not [str(use) for use in loop if use.conflicts]


@pytest.mark.skipif(registry.builder("nvrtc").unavailable() is not None, reason="no NVRTC")
@pytest.mark.parametrize(
    ("dtype", "arch", "depth", "operation"),
    [
        ("f16", "sm_80", 32, "HMMA.16816.F32"),
        ("f16", "sm_90", 32, "HMMA.16816.F32"),
        ("f16", "sm_100", 32, "HMMA.16816.F32"),
        ("bf16", "sm_80", 32, "HMMA.16816.F32.BF16"),
        ("int8", "sm_80", 64, "IMMA.16832.S8.S8"),
        ("tf32", "sm_80", 16, "HMMA.1688.F32.TF32"),
        ("e4m3", "sm_89", 64, "QMMA.16832.F32.E4M3.E4M3"),
        ("e5m2", "sm_120a", 64, "QMMA.16832.F32.E5M2.E5M2"),
    ],
)
@pytest.mark.sampled(3)
def test_the_widest_instructions_are_in_the_main_loop(
    dtype: str, arch: str, depth: int, operation: str, tmp_path: Path
) -> None:
    """In machine code: no spills, 128-bit loads, four matrices an LDSM, the largest product there is."""
    kernel, chosen = registry.kernel("cuda_mma"), target(arch)
    workload = GEMM.workload(dtype, m=4096, n=4096, k=4096)
    config = {
        "BM": 128,
        "BN": 128,
        "BK": depth,
        "WM": 64,
        "WN": 32,
        "STAGES": 3,
        "GROUP_M": 8,
        "MIN_BLOCKS": 1,
    }
    source = kernel.lower(workload, kernel.space(workload, chosen).check(config), chosen)
    artifact = registry.builder_of(kernel, chosen).build(source, chosen, tmp_path)
    assert artifact.metrics["spill_bytes"] == 0 and artifact.metrics["load_bits"] == 128
    assert artifact.metrics["loop_tensor"] == 32  # 4 x 4 products a step, two steps
    code, _ = instructions(disassemble(artifact.path), "gemm")
    tensor = {i.operation for i in code if i.name in ("HMMA", "IMMA", "QMMA")}
    assert len(tensor) == 1 and tensor.pop().startswith(operation)
    loads = {i.operation for i in code if i.name == "LDSM"}
    assert loads and all(load.endswith(".4") for load in loads)


@pytest.mark.parametrize("name", ["cuda_mma", "cuda_mma_stream_k", "triton"])
def test_where_tensor_cores_do_not_know_a_dtype_it_is_refused_with_the_reason(name: str) -> None:
    kernel = registry.kernel(name)
    for dtype, lacking, serving in (("e4m3", "sm_80", "sm_89"), ("e5m2", "sm_86", "sm_90a"),
                                    ("tf32", "sm_75", "sm_80")):  # fmt: skip
        workload = GEMM.workload(dtype, m=64, n=64, k=64)
        reason = kernel.unsupported(workload, target(lacking))
        assert reason and reason.startswith(f"cuda:{lacking} lacks "), reason
        assert kernel.unsupported(workload, target(serving)) is None


def test_a_sum_of_tensor_cores_is_cut_off_and_not_rounded(tmp_path: Path) -> None:
    """By the emulator, as by hardware: what is below the last place of f32 goes, whatever the sign."""
    kernel, chosen = registry.kernel("cuda_mma"), target("sm_80")
    workload = GEMM.workload("tf32", m=1, n=1, k=8)
    config = kernel.space(GEMM.workload("tf32", m=64, n=64, k=64), chosen).sample(random.Random(1))
    artifact = PLAIN.build(kernel.lower(workload, config, chosen), chosen, tmp_path)
    a = np.array([[1, 2.0**-23, 2.0**-24, 2.0**-25, 0, 0, 0, 0]], np.float32)
    b, sums = np.ones((8, 1), np.float32), np.zeros((1, 1), np.float32)
    result = check_emulated(artifact, chosen, {"A": a, "B": b, "D": sums}, ["D"])
    assert float(a.astype(np.float64).sum()) > 1 + 2.0**-23
    assert result.outputs["D"][0, 0] == 1 + 2.0**-23
    result = check_emulated(artifact, chosen, {"A": -a, "B": b, "D": sums}, ["D"])
    assert result.outputs["D"][0, 0] == -1 - 2.0**-23
