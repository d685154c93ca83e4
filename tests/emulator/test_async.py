"""Asynchronous copies: the primitives, cuda::pipeline, cuda::barrier, cooperative groups."""

import numpy as np
import pytest

from tests.emulator.emulate import compute, kinds, run

# Sums of 8 chunks of 64 through shared memory, double-buffered; what differs is who copies and who waits.
HEAD = """#include <cuda_pipeline.h>
#include <cuda/pipeline>
#include <cuda/barrier>
#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
namespace cg = cooperative_groups;
extern "C" __global__ void k(const float* a, float* c) {
  __shared__ alignas(16) float s[2][64];
  const int t = threadIdx.x;
  auto block = cg::this_thread_block();
  float sum = 0;
"""
PRIMITIVES = (
    HEAD
    + """
  auto fetch = [&](int i) {
    if (i < 8) __pipeline_memcpy_async(&s[i % 2][t], &a[i * 64 + t], 4);
    __pipeline_commit();
  };
  fetch(0);
  for (int i = 0; i < 8; ++i) {
    fetch(i + 1);
    __pipeline_wait_prior(1);
    __syncthreads();  // arrived
    sum += s[i % 2][63 - t];
    __syncthreads();  // used
  }
  c[t] = sum;
}"""
)
THREAD_PIPELINE = (
    HEAD
    + """
  cuda::pipeline<cuda::thread_scope_thread> pipe = cuda::make_pipeline();
  auto fetch = [&](int i) {
    pipe.producer_acquire();
    if (i < 8) cuda::memcpy_async(&s[i % 2][t], &a[i * 64 + t], cuda::aligned_size_t<4>(sizeof(float)), pipe);
    pipe.producer_commit();
  };
  fetch(0);
  for (int i = 0; i < 8; ++i) {
    fetch(i + 1);
    cuda::pipeline_consumer_wait_prior<1>(pipe);
    __syncthreads();  // arrived
    sum += s[i % 2][63 - t];
    pipe.consumer_release();
    __syncthreads();  // used
  }
  c[t] = sum;
}"""
)
BLOCK_PIPELINE = (
    HEAD
    + """
  __shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, 2> state;
  auto pipe = cuda::make_pipeline(block, &state);
  auto fetch = [&](int i) {
    pipe.producer_acquire();  // free
    if (i < 8) cuda::memcpy_async(block, s[i % 2], a + i * 64, sizeof(float) * 64, pipe);
    pipe.producer_commit();
  };
  fetch(0);
  for (int i = 0; i < 8; ++i) {
    fetch(i + 1);
    pipe.consumer_wait();  // arrived
    sum += s[i % 2][63 - t];
    pipe.consumer_release();
  }
  c[t] = sum;
}"""
)
ROLES = (
    HEAD
    + """
  __shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, 2> state;
  const bool producer = t < 32;
  using cuda::pipeline_role;
  const auto role = producer ? pipeline_role::producer : pipeline_role::consumer;
  auto pipe = cuda::make_pipeline(block, &state, role);
  for (int i = 0; i < 8; ++i) {
    if (producer) {
      pipe.producer_acquire();  // free
      cuda::memcpy_async(&s[i % 2][2 * t], &a[i * 64 + 2 * t], 8, pipe);
      pipe.producer_commit();
    } else {
      pipe.consumer_wait();  // arrived
      sum += s[i % 2][63 - (t - 32)] + s[i % 2][31 - (t - 32)];
      pipe.consumer_release();
    }
  }
  if (!producer) c[t] = c[t - 32] = sum;
}"""
)
BARRIER = (
    HEAD
    + """
  __shared__ cuda::barrier<cuda::thread_scope_block> bar;
  if (t == 0) init(&bar, 64);
  __syncthreads();
  for (int i = 0; i < 8; ++i) {
    cuda::memcpy_async(&s[0][t], &a[i * 64 + t], 4, bar);
    bar.arrive_and_wait();  // arrived
    sum += s[0][63 - t];
    auto token = bar.arrive();
    bar.wait(std::move(token));  // used
  }
  c[t] = sum;
}"""
)
GROUP = (
    HEAD
    + """
  for (int i = 0; i < 8; ++i) {
    cg::memcpy_async(block, s[0], a + i * 64, sizeof(float) * 64);
    cg::wait(block);  // arrived
    sum += s[0][63 - t];
    block.sync();  // used
  }
  c[t] = sum;
}"""
)
KERNELS = {"primitives": PRIMITIVES, "thread pipeline": THREAD_PIPELINE, "block pipeline": BLOCK_PIPELINE,
           "roles": ROLES, "barrier": BARRIER, "group": GROUP}  # fmt: skip
A = np.random.default_rng(0).random((8, 64), dtype=np.float32)
TENSORS = {"a": A, "c": np.zeros(64, np.float32)}


def expected(name: str) -> np.ndarray:
    sums = A.astype(np.float64).sum(axis=0)[::-1]
    if name == "roles":
        both = sums[:32] + sums[32:]
        return np.concatenate([both, both])
    return sums


@pytest.mark.parametrize("name", KERNELS)
def test_right_and_clean(name: str) -> None:
    result = compute(KERNELS[name], TENSORS, ["c"], block=(64,), seed=3)
    np.testing.assert_allclose(result.outputs["c"], expected(name), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "step"),
    [("primitives", "__syncthreads();  // arrived"), ("primitives", "__syncthreads();  // used"),
     ("primitives", "__pipeline_wait_prior(1);"),
     ("thread pipeline", "cuda::pipeline_consumer_wait_prior<1>(pipe);"),
     ("block pipeline", "pipe.consumer_wait();  // arrived"),
     ("block pipeline", "pipe.producer_acquire();  // free"),
     ("roles", "pipe.consumer_wait();  // arrived"), ("roles", "pipe.producer_acquire();  // free"),
     ("barrier", "bar.arrive_and_wait();  // arrived"), ("barrier", "bar.wait(std::move(token));  // used"),
     ("group", "cg::wait(block);  // arrived"), ("group", "block.sync();  // used")],
)  # fmt: skip
@pytest.mark.sampled(6)
def test_each_wait_is_needed(name: str, step: str) -> None:
    assert step in KERNELS[name]
    result = run(KERNELS[name].replace(step, "", 1), TENSORS, ["c"], block=(64,), sanitize=True)
    assert kinds(result) & {"race_shared", "uninitialized_shared"}, [str(f) for f in result.findings]


def test_zero_fill_and_copies_of_odd_sizes() -> None:
    text = (
        HEAD
        + """
      __pipeline_memcpy_async(&s[0][4 * (t % 16)], &a[4 * (t % 16)], 16, t < 16 ? 12 : 0);
      __pipeline_commit();
      __pipeline_wait_prior(0);
      auto pipe = cuda::make_pipeline();
      pipe.producer_acquire();
      char* to = reinterpret_cast<char*>(s[1]);
      if (t == 0) cuda::memcpy_async(to + 1, reinterpret_cast<const char*>(a) + 1, 200, pipe);
      pipe.producer_commit();
      pipe.consumer_wait();
      __syncthreads();
      c[t] = s[0][t] + (t == 1 ? s[1][t] : 0.0f);
    }"""
    )
    # 64 threads copy 16 places: the last four of them win, which is a race; so the first 16 only.
    text = text.replace("__pipeline_memcpy_async(", "if (t < 16) __pipeline_memcpy_async(")
    out = compute(text, TENSORS, ["c"], block=(64,)).outputs["c"]
    wanted = np.where(np.arange(64) % 4 == 0, A[0], 0)
    wanted[1] += A[0, 1]
    np.testing.assert_array_equal(out, wanted)
