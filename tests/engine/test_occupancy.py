"""Occupancy against NVIDIA's own `cuda_occupancy.h`, and what no target can hold."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from tuner.builders.cuda.nvrtc_program import include_folders
from tuner.core.artifact import Artifact, Toolchain
from tuner.core.compute_capability import compute_capability
from tuner.core.kernel import KernelStep, Launch
from tuner.core.target import Target
from tuner.targets.cuda import names, target
from tuner.targets.gpu_model.occupancy import artifact_problem, occupancy, resource_problem, with_occupancy

# Reads cases (device, block, registers, static and dynamic shared memory), prints the active blocks by
# NVIDIA's calculator.
ORACLE = """
#include <climits>
#include <cstdio>
#include <cuda_occupancy.h>
int main() {
  cudaOccDeviceProp p{}; cudaOccFuncAttributes f{}; cudaOccDeviceState s{}; cudaOccResult r{};
  int block; size_t dynamic;
  p.maxThreadsPerBlock = 1024; p.regsPerBlock = 65536; p.warpSize = 32; p.numSms = 100;
  p.sharedMemPerBlock = 49152;
  f.maxThreadsPerBlock = 1024; f.partitionedGCConfig = PARTITIONED_GC_OFF;
  f.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN; f.numBlockBarriers = 1;
  s.cacheConfig = CACHE_PREFER_SHARED; s.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
  while (scanf("%d %d %d %d %zu %zu %zu %d %d %zu %zu", &p.computeMajor, &p.computeMinor,
               &p.maxThreadsPerMultiprocessor, &p.regsPerMultiprocessor, &p.sharedMemPerMultiprocessor,
               &p.sharedMemPerBlockOptin, &p.reservedSharedMemPerBlock, &block, &f.numRegs,
               &f.sharedSizeBytes, &dynamic) == 11) {
    f.maxDynamicSharedSizeBytes = p.sharedMemPerBlockOptin - f.sharedSizeBytes;
    int e = cudaOccMaxActiveBlocksPerMultiprocessor(&r, &p, &f, &s, block, dynamic);
    printf("%d\\n", e ? -e : r.activeBlocksPerMultiprocessor);
  }
}
"""


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("g++") or shutil.which("clang++")
    folders = [f for f in include_folders() if (Path(f) / "cuda_occupancy.h").exists()]
    if compiler is None or not folders:
        pytest.skip("needs a C++ compiler and cuda_occupancy.h (the cuda extra)")
    folder = tmp_path_factory.mktemp("occupancy")
    (folder / "oracle.cpp").write_text(ORACLE)
    program = folder / "oracle"
    subprocess.run(
        [compiler, "-I", folders[0], folder / "oracle.cpp", "-o", program], check=True, timeout=120
    )
    return program


def test_equals_nvidias_calculator(oracle: Path) -> None:
    rng = random.Random(0)
    cases, lines = [], []
    for name in names():
        chosen = target(name)
        version = compute_capability(chosen.arch)
        for _ in range(400):
            threads, registers = (
                rng.choice([32, 64, 96, 128, 160, 256, 384, 512, 768, 1024]),
                rng.randint(16, 255),
            )
            static = rng.choice([0, 0, 16, 1000, 20_000, 48 * 1024])
            dynamic = rng.choice([0, 128, 10_000, rng.randrange(250_000)])
            cases.append((chosen, threads, registers, static + dynamic))
            values = (version.major, version.minor, *(int(chosen.limit(n)) for n in (
                "max_threads_sm", "registers_sm", "shared_bytes_sm", "shared_bytes_block_optin",
                "shared_bytes_reserved")), threads, registers, static, dynamic)  # fmt: skip
            lines.append(" ".join(map(str, values)))
    done = subprocess.run(
        [oracle], input="\n".join(lines), capture_output=True, text=True, timeout=60, check=True
    )
    wrong = [
        (case[0].name, *case[1:], ours, theirs)
        for case, theirs in zip(cases, map(int, done.stdout.split()), strict=True)
        if (ours := occupancy(*case).blocks) != theirs
    ]
    assert not wrong, wrong[:5]


def test_the_limiter_is_named() -> None:
    sm_80 = target("cuda:sm_80")
    # 168 registers: 5376 a warp, three warps in a quarter of 65,536 registers, 12 an SM, one block of 8.
    found = occupancy(sm_80, 256, 168, 0)
    assert (found.blocks, found.warps, found.limiter) == (1, 8, "registers")
    assert found.occupancy == pytest.approx(8 / 64)
    # 100 KiB and the reserved one: one block in 164 KiB.
    assert occupancy(sm_80, 128, 32, 100 * 1024).limiter == "shared memory"
    assert occupancy(sm_80, 1024, 16, 0).limiter == "warps"
    assert occupancy(sm_80, 32, 16, 0).limiter == "blocks"


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"registers": 64, "shared_bytes": 200_000}, "200000 bytes of shared memory"),
        ({"registers": 64, "static_shared_bytes": 50_000, "shared_bytes": 50_000}, "static shared memory"),
        ({"registers": 64, "spill_bytes": 24}, "24 bytes"),
        ({"registers": 64, "threads": 2048}, "2048 threads a block"),
        ({"registers": 128, "threads": 1024, "blocks_sm": 0}, "128 registers a thread times 1024"),
        ({"registers": 255, "shared_bytes": 166_912, "spill_bytes": 0, "blocks_sm": 1}, None),
    ],
)
def test_resource_problem(metrics: dict[str, float], said: str | None) -> None:
    problem = resource_problem(metrics, target("cuda:sm_80"))
    assert problem is None if said is None else said in (problem or "")


def test_a_cpu_target_has_no_such_limits() -> None:
    spilled = Artifact(Path("a"), "cubin", "f", (), "0", Toolchain("t", "1"), metrics={"spill_bytes": 100})
    assert Target("cpu", "avx2").problem(spilled) is None
    assert "spill" in str(target("cuda:sm_80").problem(spilled))


def test_of_several_kernels_the_worst_counts() -> None:
    sm_80 = target("cuda:sm_80")

    def step(entry: str, threads: int, **metrics: float) -> KernelStep:
        base = {"registers": 32.0, "shared_bytes": 0.0, "static_shared_bytes": 0.0, "spill_bytes": 0.0}
        known = {**base, "code_bytes": 100.0, **metrics}
        return KernelStep(entry, (), Launch((10, 1, 1), (threads, 1, 1)), known)

    def artifact(first: KernelStep, last: KernelStep) -> Artifact:
        chain = Toolchain("test", "1")
        return Artifact(
            Path("kernel.cubin"), "cubin", last.entry, (), "0", chain, 1, last.launch, last.metrics, (first,)
        )

    fine = artifact(step("first", 64, registers=200), step("last", 1024, shared_bytes=40_000))
    metrics = with_occupancy(fine, sm_80)
    assert metrics["kernels"] == 2 and metrics["code_bytes"] == 200 and metrics["blocks"] == 20
    assert (metrics["registers"], metrics["threads"], metrics["shared_bytes"]) == (200, 1024, 40_000)
    each = [with_occupancy(artifact(s, s), sm_80)["occupancy"] for s in fine.steps]
    assert metrics["occupancy"] == min(each) < max(each)
    # 200 registers in one kernel and 1024 threads in another are no problem; in one they are.
    assert artifact_problem(fine, sm_80) is None
    both = artifact(step("first", 64), step("last", 1024, registers=200))
    assert (artifact_problem(both, sm_80) or "").startswith("last: 200 registers a thread times 1024")
    spilling = artifact(step("first", 64, spill_bytes=8), step("last", 64))
    assert (artifact_problem(spilling, sm_80) or "").startswith("first: registers spill: 8 bytes")
