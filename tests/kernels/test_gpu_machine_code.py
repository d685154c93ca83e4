"""At the best-ranked configuration: what a rung claims, and the widest instructions in its main loop."""

from pathlib import Path

import pytest

from tests.kernels.gpu_cases import KERNELS
from tuner import registry
from tuner.builders.cuda.sass import disassemble, instructions
from tuner.core.kernel import Kernel
from tuner.core.protocol import Protocol
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.engine.building.build_stage import BuildStage
from tuner.engine.processes.workers import Workers
from tuner.lab.ladder import BestRanked, row_dtypes, unmet
from tuner.targets.cuda import target

RUNGS = [kernel for kernel in KERNELS if kernel.language == "nvrtc"]
# The largest product of a warp there is of a dtype, as the disassembler spells it (f32 as three of tf32).
WIDEST = {"f16": "HMMA.16816.F32", "bf16": "HMMA.16816.F32.BF16", "int8": "IMMA.16832.S8.S8",
          "f32": "HMMA.1688.F32.TF32"}  # fmt: skip
# Rungs on tensor cores with narrower ones, and why.
NARROWER = {
    "cuda_int8": "wmma has int8 products of 16 in depth only, whose operands are two matrices: see rung 10",
}
# What rungs serve that take neither their operator's large workload nor its example.
FITTING = {
    "gemm": ["m1024 n1024 k1024 trans_b"],
    "conv2d": ["n1 c64 h56 w56 k64 r3 s3 pad=1 nhwc", "n1 c384 h14 w14 k384 r3 s3 pad=1 groups=384"],
    "attention": ["b1 h32 q1 kv4096 d128 kv_heads=8", "b1 h32 q1 kv4096 d128 kv_heads=8 paged"],
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(registry.builder("nvrtc").unavailable() is not None, reason="no NVRTC"),
]


def _fitting(kernel: Kernel, dtype: str, chosen: Target) -> tuple[Workload | None, str]:
    """The first workload that the kernel serves, or why it serves none."""
    operator = registry.operator(kernel.operator)
    reason = ""
    for shape in (operator.large or operator.example, operator.example, *FITTING[operator.name]):
        workload = operator.parse(shape, dtype)
        if (found := kernel.unsupported(workload, chosen)) is None:
            return workload, ""
        reason = reason or found
    return None, reason


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("kernel", RUNGS, ids=lambda kernel: kernel.name)
def test_the_best_ranked_configuration_shows_what_its_rung_claims(
    kernel: Kernel, arch: str, tmp_path: Path
) -> None:
    """No spills, 128-bit global loads, tensor cores; LDSM of four matrices and the largest product."""
    chosen = target(arch)
    workers = Workers(tmp_path)
    try:
        stage = BuildStage(workers, tmp_path, chosen, Protocol(threads=1), 1, None)
        reasons: list[str] = []
        for dtype in (dtypes := row_dtypes(kernel)):
            workload, reason = _fitting(kernel, dtype, chosen)
            if workload is None:
                reasons.append(f"{dtype}: {reason}")
                continue
            ranking = BestRanked(kernel, workload, chosen, stage)
            row = ranking.search(6, 0, 0)
            assert row is not None, f"{workload.key}: {ranking.reason}"
            assert unmet(row) == [], f"{workload.key} {dict(row.config)}"
            if not row.metrics.get("loop_tensor") or kernel.name in NARROWER:
                continue
            folder = tmp_path / f"{dtype}-{arch}"
            folder.mkdir()
            source = kernel.lower(workload, row.config, chosen)
            artifact = registry.builder_of(kernel, chosen).build(source, chosen, folder)
            code, _ = instructions(disassemble(artifact.path), artifact.entry)
            names = {i.operation for i in code}
            if row.metrics["loop_group_tensor"]:  # operands straight from shared memory
                assert row.metrics["loop_group_tensor"] == row.metrics["loop_tensor"]
                assert not {n for n in names if n.split(".")[0] in ("HMMA", "IMMA", "LDSM")}
                continue
            assert {n for n in names if n.split(".")[0] in ("HMMA", "IMMA")} == {WIDEST[dtype]}
            loads = {n for n in names if n.startswith("LDSM")}
            assert loads and all(n.endswith(".4") for n in loads), loads
        if len(reasons) == len(dtypes):
            pytest.skip(f"nothing to look at on {arch}: {'; '.join(reasons)}")
    finally:
        workers.close()
