"""Kernels that are right in ways a race detector may trip over: none of them gives a finding."""

import numpy as np
import pytest

from tests.emulator.emulate import compute

A = np.random.default_rng(7).random(1024, dtype=np.float32)
HEAD = '#include <cuda_fp16.h>\nextern "C" __global__ void k('

REDUCE_SHUFFLE = (
    HEAD
    + """const float* a, float* c) {
  __shared__ float partial[8];
  int t = threadIdx.x;
  float v = a[blockIdx.x * 256 + t];
  for (int o = 16; o; o /= 2) v += __shfl_down_sync(0xffffffff, v, o);
  if (t % 32 == 0) partial[t / 32] = v;
  __syncthreads();
  if (t < 32) {
    v = t < 8 ? partial[t] : 0.0f;
    for (int o = 4; o; o /= 2) v += __shfl_down_sync(0xffffffff, v, o);
    if (t == 0) c[blockIdx.x] = v;
  }
}"""
)
REDUCE_SYNCWARP = (
    HEAD
    + """const float* a, float* c) {
  __shared__ float s[256];
  int t = threadIdx.x;
  s[t] = a[blockIdx.x * 256 + t];
  __syncthreads();
  for (int o = 128; o >= 32; o /= 2) {
    if (t < o) s[t] += s[t + o];
    __syncthreads();
  }
  if (t < 32) {
    for (int o = 16; o; o /= 2) {
      float x = s[t + o];
      __syncwarp();
      if (t < o) s[t] += x;
      __syncwarp();
    }
  }
  if (t == 0) c[blockIdx.x] = s[0];
}"""
)
SPLIT_ATOMIC = (
    HEAD
    + """const float* a, float* c, float* sum, unsigned* arrived) {
  int t = threadIdx.x;
  __shared__ unsigned ticket;
  atomicAdd(&sum[t], a[blockIdx.x * 256 + t]);
  __threadfence();
  __syncthreads();
  if (t == 0) ticket = atomicAdd(arrived, 1u);
  __syncthreads();
  if (ticket == gridDim.x - 1) {  // the last block to arrive sees the sums of all
    __threadfence();
    float total = 0;
    for (int i = 0; i < 256; ++i) total += sum[i];
    if (t < gridDim.x) c[t] = total;
    if (t == 0) *arrived = 0;
  }
}"""
)
STREAM = (
    HEAD
    + """const float* a, float* c, float* part, unsigned* turn) {
  // Blocks add to one cell in their order: each waits for its turn.
  int t = threadIdx.x;
  float v = a[blockIdx.x * 256 + t];
  if (t == 0) while (atomicAdd(turn, 0u) != blockIdx.x) __nanosleep(20);
  __syncthreads();
  part[t] += v;
  c[blockIdx.x] = 0;
  __threadfence();
  __syncthreads();
  if (t == 0) atomicAdd(turn, 1u);
  if (blockIdx.x == gridDim.x - 1 && t == 0) {
    float total = 0;
    for (int i = 0; i < 256; ++i) total += part[i];
    c[gridDim.x - 1] = total;
  }
}"""
)
HISTOGRAM = (
    HEAD
    + """const float* a, float* c) {
  __shared__ int bins[4];
  int t = threadIdx.x;
  if (t < 4) bins[t] = 0;
  __syncthreads();
  atomicAdd(&bins[int(a[blockIdx.x * 256 + t] * 4)], 1);
  __syncthreads();
  if (t == 0) c[blockIdx.x] = bins[0] + bins[1] + bins[2] + bins[3];
}"""
)
EARLY = (
    HEAD
    + """const float* a, float* c) {
  int i = blockIdx.x * 256 + threadIdx.x;
  if (i >= 4) return;
  c[i] = a[i];
}"""
)
WHOLE_BLOCK_LEAVES = (
    HEAD
    + """const float* a, float* c) {
  __shared__ float s[256];
  if (blockIdx.x == 3) { if (threadIdx.x == 0) c[3] = 0; return; }
  s[threadIdx.x] = a[threadIdx.x];
  __syncthreads();
  if (threadIdx.x == 0) c[blockIdx.x] = s[255];
}"""
)
BYTES = (
    HEAD
    + """const float* a, float* c) {
  // Neighbours write neighbouring bytes and halves of one word.
  __shared__ signed char s[256];
  __shared__ half h[256];
  int t = threadIdx.x;
  s[t] = t % 100;
  h[t] = __float2half(a[t]);
  __syncthreads();
  if (t == 0) c[blockIdx.x] = s[77] + __half2float(h[200]);
}"""
)
FLATTENED = (
    HEAD
    + """const float* a, float* c) {
  __shared__ float s[16][16];
  int t = threadIdx.x;
  (&s[0][0])[t] = a[t];
  __syncthreads();
  float r[3] = {1, 2, 3};
  if (t == 0) c[blockIdx.x] = s[0][17 + 0 * t] + r[t % 3] + *(&s[0][0] + 255);
}"""
)
PING_PONG = (
    HEAD
    + """const float* a, float* c) {
  __shared__ float s[2][256];
  int t = threadIdx.x;
  s[0][t] = a[t];
  __syncthreads();
  for (int i = 0; i < 8; ++i) {
    s[(i + 1) % 2][t] = s[i % 2][(t + 1) % 256] + 1;
    __syncthreads();
  }
  if (t == 0) c[blockIdx.x] = s[0][0];
}"""
)
UNSPECIALIZED = (
    HEAD
    + """const float* a, float* c) {
  // A barrier in a loop that the compiler may unroll, and in a function called from two places.
  __shared__ float s[256];
  int t = threadIdx.x;
  auto step = [&](int o) { float v = s[(t + o) % 256]; __syncthreads(); s[t] = v; __syncthreads(); };
  s[t] = a[t];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 4; ++i) step(i);
  step(5);
  if (t == 0) c[blockIdx.x] = s[0];
}"""
)
KERNELS = {
    "shuffle reduction": (REDUCE_SHUFFLE, {}),
    "warp-synchronous reduction": (REDUCE_SYNCWARP, {}),
    "split sums, the last block finishes": (SPLIT_ATOMIC, {"sum": 1024, "arrived": 4}),
    "blocks take turns": (STREAM, {"part": 1024, "turn": 4}),
    "histogram": (HISTOGRAM, {}),
    "threads out of bounds leave early": (EARLY, {}),
    "a whole block leaves before the barrier": (WHOLE_BLOCK_LEAVES, {}),
    "bytes of one word": (BYTES, {}),
    "an array of arrays as one": (FLATTENED, {}),
    "ping-pong": (PING_PONG, {}),
    "a barrier inlined many times": (UNSPECIALIZED, {}),
}
SUMS = A.reshape(4, 256).sum(axis=1)
EXPECTED = {
    "shuffle reduction": SUMS, "warp-synchronous reduction": SUMS,
    "split sums, the last block finishes": np.full(4, A.sum()), "blocks take turns": [0, 0, 0, A.sum()],
    "histogram": np.full(4, 256), "threads out of bounds leave early": A[:4],
    "a whole block leaves before the barrier": [A[255]] * 3 + [0],
    "bytes of one word": 77 + A[200].astype(np.float16).astype(np.float32),
    "an array of arrays as one": A[17] + 1 + A[255], "ping-pong": A[8] + 8,
    "a barrier inlined many times": A[11],
}  # fmt: skip


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.sampled(11)
def test_no_false_alarm(name: str, seed: int) -> None:
    text, workspace = KERNELS[name]
    result = compute(text, {"a": A, "c": np.zeros(4, np.float32)}, ["c"], grid=(4,), block=(256,), seed=seed,
                     workspace=workspace)  # fmt: skip
    np.testing.assert_allclose(result.outputs["c"], EXPECTED[name], rtol=1e-5)
