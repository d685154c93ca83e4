"""`tuner check` and compile-only sweeps: on a machine with no GPU, and never as measured."""

import json
import os
import subprocess
import sys

import pytest

from tests.in_process import run_here
from tuner import registry
from tuner.core.measurement import Evidence, Status
from tuner.engine.examine.check import check_kernel, choose_configs
from tuner.store.store import open_store
from tuner.targets import cuda

pytest.importorskip("cuda.core", reason="needs the extra 'cuda' (NVRTC wheels)")

RACE = """/*[tuner]
name = "mine"
operator = "gemm"
entry = "mine"
arguments = ["A", "B", "D", "m", "n", "k"]
[parameters]
T = [8, 16]
[launch]
grid = ["ceildiv(n, T)", "ceildiv(m, T)"]
block = ["T", "T"]
*/
extern "C" __global__ void mine(const float* A, const float* B, float* D, int m, int n, int k) {
  __shared__ float a[T][T + 1], b[T][T + 1];
  int i = blockIdx.y * T + threadIdx.y, j = blockIdx.x * T + threadIdx.x;
  float sum = 0;
  for (int p = 0; p < k; p += T) {
    a[threadIdx.y][threadIdx.x] = i < m && p + threadIdx.x < k ? A[i * k + p + threadIdx.x] : 0.f;
    b[threadIdx.y][threadIdx.x] = j < n && p + threadIdx.y < k ? B[(p + threadIdx.y) * n + j] : 0.f;
    __syncthreads();
    for (int q = 0; q < T; ++q) sum += a[threadIdx.y][q] * b[q][threadIdx.x];
    LAST
  }
  if (i < m && j < n) D[i * n + j] = sum;
}
"""


def tuner(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "tuner", *arguments], capture_output=True, text=True, timeout=170,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip


def test_check_of_a_ladder_kernel_is_clean():
    done = tuner("check", "cuda_shared_tiles", "--shape", "33x20x17", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["status"] == "ok" and result["evidence"] == "emulated" and "time_s" not in result


def test_check_finds_the_missing_barrier_of_somebodys_own_file(tmp_path):
    path = tmp_path / "mine.cu"
    path.write_text(RACE.replace("LAST", "__syncthreads();"))
    assert tuner("check", str(path), "--shape", "24x24x40", "--config", "T=8").returncode == 0
    path.write_text(RACE.replace("LAST", ""))
    done = tuner("check", str(path), "--shape", "24x24x40", "--config", "T=8", "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    findings = json.loads(done.stdout)["results"][0]["findings"]
    race = next(f for f in findings if f["kind"] == "race_shared")
    lines = path.read_text().splitlines()
    assert race["place"]["file"].endswith("mine.cu")
    assert any(
        word in lines[race["place"]["line"] - 1] for word in ("a[threadIdx.y]", "b[threadIdx.y]", "sum +=")
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cuda_naiv", "--shape", "8x8x8"), ["cuda_naiv", "cuda_naive"]),
        (("cpp_naive", "--shape", "8x8x8"), ["cpp_naive", "cpu"]),
        (
            ("cuda_naive", "--shape", "8x8x8", "--target", "cuda:sm_12"),
            ["cuda:sm_12", "cuda:sm_120", "cuda:sm_80"],
        ),
        (("cuda_naive", "--shape", "8x8x8", "--config", "T"), ["NAME=VALUE"]),
        (("cuda_naive", "--shape", "8x8x8", "--config", "NOPE=1"), ["NOPE", "parameters are"]),
        (("cuda_naive", "--shape", "4000x4000x4000"), ["too large to emulate"]),
        (("nowhere.cu", "--shape", "8x8x8"), ["nowhere.cu"]),
    ],
)
def test_bad_input(arguments, words):
    done = run_here("check", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert any(word in line for word in words)


def test_compile_only_sweep_predicts_and_never_measures(tmp_path):
    db = str(tmp_path / "r.db")
    command = "sweep gemm --shape 256x256x256 --target cuda:sm_80 --no-device --kernel cuda_thread_tiles"
    done = tuner(*command.split(), "--searcher", "random", "--trials", "4", "--db", db, "--json")
    assert done.returncode == 0, done.stderr
    best = json.loads(done.stdout)["sweeps"]["cuda_thread_tiles"]["best"]
    assert best["evidence"] == "predicted"
    with open_store(db, read_only=True) as store:
        trials = store.sweep_history(1)
        assert len(trials) == 4
        for trial in trials:
            m = trial.measurement
            assert m.evidence in (Evidence.PREDICTED, Evidence.COMPILED, Evidence.EMULATED)
            assert m.status in (Status.OK, Status.OVER_RESOURCES)
            assert m.metrics["registers"] > 0
        winner = next(t for t in trials if t.id == best["trial"])
        assert winner.measurement.metrics["emulated_shapes"] >= 1
        assert store.best() == []
    # Nobody who asks for the best is given a prediction, or left in the belief that nothing is there.
    done = tuner("best", "gemm", "--db", db)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("--evidence predicted shows what there is")


def test_gpu_target_without_a_gpu_says_what_to_do(tmp_path):
    done = tuner(
        "sweep", "gemm", "--shape", "8x8x8", "--target", "cuda:sm_90", "--db", str(tmp_path / "r.db")
    )
    assert done.returncode == 2
    assert "--no-device" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_what_tvm_generates_is_emulated_too() -> None:
    if reason := registry.builder("tensorir_cuda").unavailable():
        pytest.skip(reason)
    kernel, target = registry.kernel("tir_cuda"), cuda.target("sm_80")
    workload = registry.operator("gemm").parse("40x24x20")
    configs = choose_configs(kernel.space(workload, target), None, 2, 5)
    results = list(check_kernel(kernel, [workload], configs, target))
    assert [(r.status, r.sanitized) for r in results] == [("ok", True)] * 2, [r.error for r in results]
