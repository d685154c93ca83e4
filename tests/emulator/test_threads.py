"""Grids, blocks, warps: geometry, barriers, votes, shuffles, groups, waiting between blocks."""

import numpy as np
import pytest

from tests.emulator.emulate import compute, run

LANES = np.arange(32)


def test_geometry() -> None:
    text = """extern "C" __global__ void k(int* c) {
      unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
      unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
      c[block * blockDim.x * blockDim.y * blockDim.z + thread] =
          blockIdx.x + 10 * blockIdx.y + 100 * blockIdx.z + 1000 * threadIdx.x + 10000 * threadIdx.y +
          100000 * threadIdx.z;
    }"""
    result = compute(text, {"c": np.zeros(24 * 60, np.int32)}, ["c"], grid=(2, 3, 4), block=(5, 4, 3))
    bz, by, bx, tz, ty, tx = np.indices((4, 3, 2, 3, 4, 5)).reshape(6, -1)
    expected = bx + 10 * by + 100 * bz + 1000 * tx + 10000 * ty + 100000 * tz
    np.testing.assert_array_equal(result.outputs["c"], expected)


def test_shared_memory_static_dynamic_templates_and_functions() -> None:
    text = """
    template <int N> __device__ float reversed(float x) {
      __shared__ float s[N];
      s[threadIdx.x] = x;
      __syncthreads();
      return s[N - 1 - threadIdx.x];
    }
    __device__ float* dynamic() { extern __shared__ float other_name[]; return other_name; }
    __constant__ float factors[2] = {2.0f, 3.0f};
    __device__ int counter = 5;
    extern "C" __global__ void k(const float* a, float* c) {
      extern __shared__ __align__(16) unsigned char bytes[];
      float* s = reinterpret_cast<float*>(bytes);
      __shared__ alignas(64) float4 quads[32];
      int t = threadIdx.x;
      s[t] = a[t];
      quads[t % 32].y = 1;
      __syncthreads();
      c[t] = factors[0] * dynamic()[63 - t] + factors[1] * reversed<64>(a[t]) + quads[0].y + counter;
    }"""
    a = np.arange(64, dtype=np.float32)
    # Two threads write each quad: a race, so without sanitizers.
    result = run(text, {"a": a, "c": np.zeros_like(a)}, ["c"], block=(64,), shared=256)
    np.testing.assert_array_equal(result.outputs["c"], 5 * a[::-1] + 6)


def test_barriers_that_count() -> None:
    text = """extern "C" __global__ void k(int* c) {
      int t = threadIdx.x;
      c[t] = __syncthreads_count(t % 3 == 0) + 1000 * __syncthreads_and(t < 70)
           + 2000 * __syncthreads_or(t == 69) + 4000 * __syncthreads_and(t < 69)
           + 8000 * __syncthreads_or(t > 69);
    }"""
    result = compute(text, {"c": np.zeros(70, np.int32)}, ["c"], block=(70,))
    np.testing.assert_array_equal(result.outputs["c"], 24 + 1000 + 2000)


def test_shuffles_and_votes() -> None:
    text = """extern "C" __global__ void k(int* c, double* d) {
      int t = threadIdx.x, v = 100 + t, i = 0;
      const unsigned all = 0xffffffffu;
      c[32 * i++ + t] = __shfl_sync(all, v, 5);
      c[32 * i++ + t] = __shfl_sync(all, v, 3, 8);
      c[32 * i++ + t] = __shfl_up_sync(all, v, 2);
      c[32 * i++ + t] = __shfl_up_sync(all, v, 3, 16);
      c[32 * i++ + t] = __shfl_down_sync(all, v, 4);
      c[32 * i++ + t] = __shfl_down_sync(all, v, 1, 4);
      c[32 * i++ + t] = __shfl_xor_sync(all, v, 16);
      c[32 * i++ + t] = __shfl_xor_sync(all, v, 12, 8);
      c[32 * i++ + t] = (int)__ballot_sync(all, t % 5 == 0);
      c[32 * i++ + t] = __any_sync(all, t == 31) + 2 * __any_sync(all, 0) + 4 * __all_sync(all, 1)
                      + 8 * __all_sync(all, t);
      c[32 * i++ + t] = (int)__match_any_sync(all, t / 4);
      c[32 * i++ + t] = __reduce_add_sync(all, t) + 1000 * __reduce_max_sync(all, t);
      d[t] = __shfl_xor_sync(all, 0.5 * t, 1);
    }"""
    t = LANES
    result = compute(text, {"c": np.zeros((12, 32), np.int32), "d": np.zeros(32)}, ["c", "d"])
    expected = [
        np.full(32, 105), 100 + t // 8 * 8 + 3, np.where(t < 2, 100 + t, 98 + t),
        np.where(t % 16 < 3, 100 + t, 97 + t), np.where(t > 27, 100 + t, 104 + t),
        np.where(t % 4 == 3, 100 + t, 101 + t), 100 + (t ^ 16),
        # xor 12 within 8: a partner in a later segment is out of reach, in an earlier one not
        np.where((t ^ 12) >= t // 8 * 8 + 8, 100 + t, 100 + (t ^ 12)),
        np.full(32, sum(1 << i for i in range(0, 32, 5))), np.full(32, 1 + 4),
        np.array([0xF << (i // 4 * 4) for i in t], np.uint32).view(np.int32),
        np.full(32, 496 + 31000),
    ]  # fmt: skip
    for row, (actual, wanted) in enumerate(zip(result.outputs["c"], expected, strict=True)):
        np.testing.assert_array_equal(actual, wanted, err_msg=f"row {row}")
    np.testing.assert_array_equal(result.outputs["d"], 0.5 * (t ^ 1))


def test_parts_of_a_warp_meet_apart() -> None:
    text = """extern "C" __global__ void k(int* c) {
      int t = threadIdx.x, v = t;
      if (t < 8) v += __shfl_xor_sync(0x000000ffu, v, 1);
      else if (t < 24) { for (int o = 4; o; o /= 2) v += __shfl_xor_sync(0x00ffff00u, v, o, 8); }
      unsigned active = 0;
      if (t % 2) active = __activemask(); else active = ~__activemask();
      c[t] = v;
      c[32 + t] = (int)active;
    }"""
    result = compute(text, {"c": np.zeros(64, np.int32)}, ["c"])
    t = LANES
    np.testing.assert_array_equal(result.outputs["c"][:8], (t + (t ^ 1))[:8])
    np.testing.assert_array_equal(result.outputs["c"][32:].view(np.uint32), 0xAAAAAAAA)


def test_cooperative_groups() -> None:
    text = """#include <cooperative_groups.h>
    #include <cooperative_groups/reduce.h>
    namespace cg = cooperative_groups;
    extern "C" __global__ void k(int* c) {
      cg::thread_block block = cg::this_thread_block();
      auto tile = cg::tiled_partition<8>(block);
      int t = block.thread_rank(), v = t;
      for (int o = tile.size() / 2; o > 0; o /= 2) v += tile.shfl_down(v, o);
      v = tile.shfl(v, 0);
      int largest = cg::reduce(tile, t, cg::greater<int>());
      int odd = 0;
      if (t % 2) {
        auto group = cg::coalesced_threads();
        odd = 100 * group.size() + group.thread_rank();
      }
      tile.sync();
      c[4 * t] = v;
      c[4 * t + 1] = largest + 1000 * tile.thread_rank() + 10000 * tile.meta_group_rank();
      c[4 * t + 2] = odd;
      c[4 * t + 3] = tile.ballot(t % 8 == 3) + 256 * tile.any(t == 9);
    }"""
    t = np.arange(64)
    c = compute(text, {"c": np.zeros(256, np.int32)}, ["c"], block=(64,)).outputs["c"].reshape(64, 4)
    first = t // 8 * 8
    np.testing.assert_array_equal(c[:, 0], 8 * first + 28)
    np.testing.assert_array_equal(c[:, 1], first + 7 + 1000 * (t % 8) + 10000 * (t // 8))
    np.testing.assert_array_equal(c[:, 2], np.where(t % 2, 1600 + t % 32 // 2, 0))
    np.testing.assert_array_equal(c[:, 3], 8 + 256 * (t // 8 == 1))


def test_grid_barrier() -> None:
    text = """#include <cooperative_groups.h>
    extern "C" __global__ void k(int* c, int* scratch) {
      auto grid = cooperative_groups::this_grid();
      int i = grid.thread_rank(), n = grid.size();
      for (int round = 0; round < 3; ++round) {
        scratch[i] = i * (round + 1);
        grid.sync();
        c[i] = scratch[n - 1 - i];
        grid.sync();
      }
    }"""
    tensors = {"c": np.zeros(4 * 64, np.int32), "scratch": np.zeros(4 * 64, np.int32)}
    result = compute(text, tensors, ["c", "scratch"], grid=(4,), block=(64,))
    np.testing.assert_array_equal(result.outputs["c"], 3 * np.arange(255, -1, -1))


SPIN = """extern "C" __global__ void k(int* c, int* box, VOLATILE unsigned* flag) {
  // Block 0 waits for block 1, which has not started when block 0 does.
  if (blockIdx.x == 1) {
    box[threadIdx.x] = 7 + threadIdx.x;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) SIGNAL;
    return;
  }
  if (threadIdx.x == 0) while (READ == 0) WAIT;
  __syncthreads();
  c[threadIdx.x] = box[63 - threadIdx.x];
}"""
BY_ATOMIC = {"VOLATILE ": "", "SIGNAL": "atomicExch(flag, 1u)", "READ": "atomicAdd(flag, 0u)", "WAIT": ""}
BY_VOLATILE = {"VOLATILE": "volatile", "SIGNAL": "*flag = 1", "READ": "*flag", "WAIT": "__threadfence()"}


@pytest.mark.parametrize("words", [BY_ATOMIC, BY_VOLATILE], ids=["atomic", "volatile"])
@pytest.mark.parametrize("sanitize", [False, True], ids=["plain", "sanitized"])
def test_a_block_waits_for_a_later_one(words: dict[str, str], sanitize: bool) -> None:
    text = SPIN
    for name, word in words.items():
        text = text.replace(name, word)
    result = run(text, {"c": np.zeros(64, np.int32)}, ["c"], grid=(2,), block=(64,), sanitize=sanitize,
                 workspace={"box": 256, "flag": 4})  # fmt: skip
    assert result.clean, (result.error, [str(f) for f in result.findings])
    np.testing.assert_array_equal(result.outputs["c"], 70 - np.arange(64))


def test_order_of_threads_is_a_choice() -> None:
    # Which thread comes last is not defined in CUDA; a seed is one answer, and always the same.
    text = """extern "C" __global__ void k(int* c, int* next) { c[atomicAdd(next, 1)] = threadIdx.x; }"""

    def order(seed: int) -> list[int]:
        result = run(text, {"c": np.zeros(32, np.int32)}, ["c"], workspace={"next": 4}, seed=seed)
        return [int(i) for i in result.outputs["c"]]

    assert order(0) == list(range(32))
    assert order(1) == order(1) != order(0)
    assert order(2) != order(1)
    assert sorted(order(2)) == list(range(32))
