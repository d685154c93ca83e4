"""An artifact of several kernels: one call launches all of them in order, on memory they share."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
from tuner.core.kernel import Argument, KernelStep, Launch, Source
from tuner.core.target import Target
from tuner.devices.emulator.check import check_emulated
from tuner.devices.emulator.device import EmulatedDevice

TARGET = Target("cuda", "sm_80", (), {"shared_bytes_block_optin": 48 * 1024, "shared_bytes_block": 48 * 1024})
# sums[i] of rows of 32 through shared memory, then c[i] = sums[i] - sums[0].
TEXT = """
extern "C" __global__ void sum_rows(const float* a, float* sums) {
  __shared__ float row[32];
  row[threadIdx.x] = a[32 * blockIdx.x + threadIdx.x];
  __syncthreads();
  if (threadIdx.x == 0) {
    float sum = 0.0f;
    for (int i = 0; i < 32; ++i) sum += row[i];
    sums[blockIdx.x] = sum;
  }
}
extern "C" __global__ void differences(float* c, const float* sums) {
  __shared__ float first[100];
  if (threadIdx.x == 0) first[0] = sums[0];
  __syncthreads();
  c[threadIdx.x] = sums[threadIdx.x] - first[0];
}
"""
SUMS = Argument("sums", "workspace", 8 * 4)
FIRST = KernelStep("sum_rows", (Argument("a"), SUMS), Launch((8, 1, 1), (32, 1, 1)))
SOURCE = Source(
    "nvrtc", TEXT, "differences", (Argument("c"), SUMS), launch=Launch((1, 1, 1), (8, 1, 1)), before=(FIRST,)
)
A = np.random.default_rng(3).standard_normal((8, 32)).astype(np.float32)
TENSORS = {"a": A, "c": np.zeros(8, np.float32)}
RIGHT = A.sum(1) - A.sum(1)[0]


@pytest.mark.parametrize("sanitize", [False, True])
def test_all_kernels_run_in_order(sanitize: bool, tmp_path: Path) -> None:
    artifact = CudaEmulatedBuilder(sanitize).build(SOURCE, TARGET, tmp_path)
    assert [step.entry for step in artifact.steps] == ["sum_rows", "differences"]
    assert artifact.workspaces == {"sums": 32}
    for launches in (1, 2):
        result = check_emulated(artifact, TARGET, TENSORS, ["c"], launches=launches)
        assert result.clean, result
        np.testing.assert_allclose(result.outputs["c"], RIGHT, rtol=1e-5, atol=1e-5)
    executable = EmulatedDevice(TARGET).load(artifact)
    output = np.full(8, np.nan, np.float32)
    executable.bind({"a": A, "c": output})
    executable.run()
    np.testing.assert_allclose(output, RIGHT, rtol=1e-5, atol=1e-5)


def test_a_finding_names_its_kernel_and_ends_the_sequence(tmp_path: Path) -> None:
    broken = SOURCE.text.replace("sums[blockIdx.x] = sum", "sums[blockIdx.x + 1] = sum")
    artifact = CudaEmulatedBuilder(True).build(replace(SOURCE, text=broken), TARGET, tmp_path)
    (found,) = (
        f
        for f in check_emulated(artifact, TARGET, TENSORS, ["c"]).findings
        if f.kind == "out_of_bounds_global"
    )
    assert found.kernel == "sum_rows"
    assert "sums[blockIdx.x + 1]" in broken.splitlines()[found.place.line - 1]
    assert found.place.block == (7, 0, 0), "block and thread are of this kernel's own grid"


def test_limits_are_those_of_each_kernel(tmp_path: Path) -> None:
    artifact = CudaEmulatedBuilder().build(SOURCE, TARGET, tmp_path)
    # 400 bytes of the second do not count for the first, which has 128.
    small = replace(
        TARGET, limits={**TARGET.limits, "shared_bytes_block": 300, "shared_bytes_block_optin": 300}
    )
    found = check_emulated(artifact, small, TENSORS, ["c"]).findings
    assert {f.kernel for f in found} == {"differences"}
    wide = replace(artifact, before=(replace(FIRST, launch=Launch((8, 1, 1), (2048, 1, 1))),))
    assert {f.kernel for f in check_emulated(wide, TARGET, TENSORS, ["c"]).findings} == {"sum_rows"}


def test_an_output_written_by_the_first_may_be_read_by_the_second(tmp_path: Path) -> None:
    text = """
extern "C" __global__ void fill(float* c) { c[threadIdx.x] = 2.0f; }
extern "C" __global__ void grow(float* c) { c[threadIdx.x] += 1.0f; }
"""
    launch = Launch((1, 1, 1), (8, 1, 1))
    step = KernelStep("fill", (Argument("c"),), launch)
    source = Source("nvrtc", text, "grow", (Argument("c"),), launch=launch, before=(step,))
    (tmp_path / "both").mkdir()
    result = check_emulated(
        CudaEmulatedBuilder(True).build(source, TARGET, tmp_path / "both"), TARGET, TENSORS, ["c"]
    )
    assert result.clean and set(result.outputs["c"].tolist()) == {3.0}
    (tmp_path / "one").mkdir()
    alone = CudaEmulatedBuilder(True).build(replace(source, before=()), TARGET, tmp_path / "one")
    assert {f.kind for f in check_emulated(alone, TARGET, TENSORS, ["c"]).findings} == {
        "uninitialized_global"
    }
