"""Cooperative groups as kernels from outside use them, and what lanes may ask of one another."""

import numpy as np

from tests.emulator.emulate import SANITIZED, TARGET, bug_line, compute, kinds, only, run, source
from tuner.builders.emulator.library import shared_variables
from tuner.devices.emulator.check import check_source

N = np.arange(64, dtype=np.float32)


def test_a_tile_is_converted_and_reduced() -> None:
    text = """#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
namespace cg = cooperative_groups;
struct Three { double x; float y; int z; };
__device__ float total(cg::thread_block_tile<32> warp, float v) {
  return cg::reduce(warp, v, cg::plus<float>());
}
__device__ void all_come(cg::thread_group group) { group.sync(); }
extern "C" __global__ void k(const float* x, float* y) {
  cg::thread_block block = cg::this_thread_block();
  cg::thread_block_tile<32> warp = cg::tiled_partition<32>(block);
  cg::thread_block_tile<8> part = cg::tiled_partition<8>(warp);
  static_assert(decltype(warp)::size() == 32, "known when compiled");
  const int i = block.thread_rank();
  Three t{x[i], x[i], i};
  t = cg::reduce(part, t, [](Three a, Three b) {
    return Three{a.x + b.x, a.y > b.y ? a.y : b.y, a.z + b.z}; });
  all_come(block);
  const Three first = part.shfl(t, 0);
  y[i] = total(warp, x[i]) + 1000 * first.x + first.y + cg::inclusive_scan(part, 1)
         + (first.z != t.z) + cg::exclusive_scan(part, x[i] * 0) + cg::tiled_partition(block, 4).size();
}"""
    y = compute(text, {"x": N, "y": np.zeros_like(N)}, ["y"], block=(64,)).outputs["y"]
    eights = N.reshape(8, 8)
    expected = np.repeat(N.reshape(2, 32).sum(1), 32) + np.repeat(1000 * eights.sum(1) + eights.max(1), 8)
    np.testing.assert_allclose(y, expected + np.tile(np.arange(1, 9), 8) + 4)


def test_a_shuffle_from_a_lane_that_takes_no_part() -> None:
    text = """extern "C" __global__ void k(float* y) {
  float v = threadIdx.x;
  if (threadIdx.x < 8) {
    for (int by = FROM; by > 0; by /= 2) v += __shfl_down_sync(0xff, v, by, WIDTH);  // BUG
  }
  y[threadIdx.x] = v;
}"""
    tensors = {"y": np.zeros(32, np.float32)}
    good = text.replace("FROM", "4").replace("WIDTH", "8")
    assert run(good, tensors, ["y"], sanitize=True).clean
    bad = text.replace("FROM", "16").replace("WIDTH", "32")
    finding = only(run(bad, tensors, ["y"], sanitize=True), "warp_divergence")
    assert finding.place.line == bug_line(bad)
    assert "takes no part" in finding.message


def test_the_block_of_shared_memory_ends_with_its_last_variable(tmp_path) -> None:
    """The bytes behind it are the C library's: they were cleared once, up to the alignment."""
    text = """extern "C" __global__ void k(float* y) {
  __shared__ alignas(128) float wide[32];
  __shared__ char odd[3];
  extern __shared__ char dynamic[];
  wide[threadIdx.x] = dynamic[threadIdx.x % 5] = odd[threadIdx.x % 3] = threadIdx.x;
  __syncwarp();
  y[threadIdx.x] = wide[31 - threadIdx.x];
}"""
    made = source(text, {"y": N}, {}, (1,), (32,), shared=5)
    artifact = SANITIZED.build(made, TARGET, tmp_path)
    variables, block = shared_variables(artifact.path)
    last = max(v.offset + v.size for v in variables)
    assert block == last + 1024  # its red zone, and no rounding


FLAGS = """#include <cuda/atomic>
extern "C" __global__ void k(const float* x, float* y, int* flags) {
  cuda::atomic_ref<int, cuda::thread_scope_device> flag(flags[0]);
  __shared__ cuda::atomic<int, cuda::thread_scope_block> count;
  if (threadIdx.x == 0) count.store(0, cuda::memory_order_relaxed);
  __syncthreads();
  count.fetch_add(1);
  __syncthreads();
  if (blockIdx.x == 0) {
    y[32 + threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    if (threadIdx.x == 0) flag.store(1, cuda::memory_order_release);
  } else {
    if (threadIdx.x == 0) while (flag.load(cuda::memory_order_acquire) == 0) {}
    __syncthreads();
    y[threadIdx.x] = y[32 + threadIdx.x] + count.load();
  }
}"""


def test_atomics_of_libcuxx_order_what_they_are_asked_to() -> None:
    tensors = {"x": N[:32], "y": np.zeros(64, np.float32), "flags": np.zeros(1, np.int32)}

    def found(text: str):
        made = source(text, tensors, {}, (2,), (32,))
        return check_source(SANITIZED, made, TARGET, tensors, ["y", "flags"], initial=["flags"])

    good = found(FLAGS)
    assert good.clean, [str(f) for f in good.findings]
    np.testing.assert_array_equal(good.outputs["y"][:32], N[:32] + 32)
    # A relaxed store says nothing of what was written before it.
    assert "race_global" in kinds(found(FLAGS.replace("memory_order_release", "memory_order_relaxed")))
