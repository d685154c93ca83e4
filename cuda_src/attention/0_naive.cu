/*[tuner]
name = "cuda_attn_naive"
operator = "attention"
summary = "Three passes: scores to memory, softmax of them in place, values weighted by them. A block a query."
dtypes = ["f32", "f16", "bf16"]
entry = "attention"
arguments = ["Q", "K", "V", "block_table", "O", "kv_h", "rows", "q", "kv", "factor", "scores"]
options = "operator"
shape_generic = false

[supports]
"its scores are 2 GiB at most" = "b * h * q * kv * 4 <= 2**31"

[parameters]
THREADS = { values = [32, 64, 128, 256, 512, 1024], doc = "threads a block" }

[let]
blocks = "b * h * q"
factor = "scale if scale > 0 else d ** -0.5"
shared = "4 * THREADS"

[constraints]
threads_fit = "THREADS <= max_threads_block"
shared_fits = "shared <= shared_bytes_block"
grid_fits = "blocks <= max_grid_x"

[features]
macs = "2 * blocks * kv * d"
# Every query reads all keys and values; scores are written, read and written, read.
traffic_bytes = "blocks * kv * (2 * d * element_bytes + 16)"
threads = "THREADS"

[macros]
HEAD = "d"

[launch]
grid = ["blocks"]
block = ["THREADS"]
shared_bytes = "shared"

[workspace]
scores = "blocks * kv * 4"
*/

// Rung 0: the formula as it stands, one query a block. A pass writes the query's scores to memory, a second one finds
// the largest and turns them into probabilities, a third sums values. Every key and value comes from memory anew for
// every query, and the scores take more of it than all tensors together.
#include "softmax.cuh"

// Combines a number of each thread, which all of them get.
template <typename Combine>
__device__ float across_block(float* shared, float mine, const Combine& combine) {
  shared[threadIdx.x] = mine;
  __syncthreads();
  for (int half = THREADS / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) shared[threadIdx.x] = combine(shared[threadIdx.x], shared[threadIdx.x + half]);
    __syncthreads();
  }
  const float result = shared[0];
  __syncthreads();  // the next combination may write there
  return result;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    attention(const Element* __restrict__ Q, const Element* __restrict__ K, const Element* __restrict__ V,
              const int* __restrict__ block_table, Element* __restrict__ O, int kv_h, int rows, int q, int kv,
              float factor, float* scores) {
  extern __shared__ float shared[];
  const Problem of{kv_h, rows, q, kv};
  const int head = blockIdx.x / rows, seen = of.seen(blockIdx.x % rows);
  const Tokens keys = tokens(K, block_table, of, head, 0), values = tokens(V, block_table, of, head, 0);
  const Element* query = Q + size_t(blockIdx.x) * HEAD;
  scores += size_t(blockIdx.x) * kv;

  float largest = hidden();
  for (int j = threadIdx.x; j < seen; j += THREADS) {
    const Element* key = keys.at(j, 0);
    float sum = 0;
    for (int t = 0; t < HEAD; ++t) sum += widen(query[t]) * widen(key[t]);
    scores[j] = sum * factor;
    largest = fmaxf(largest, scores[j]);
  }

  largest = across_block(shared, largest, [](float a, float b) { return fmaxf(a, b); });
  float total = 0;
  for (int j = threadIdx.x; j < seen; j += THREADS) {
    scores[j] = expf(scores[j] - largest);
    total += scores[j];
  }
  total = across_block(shared, total, [](float a, float b) { return a + b; });

  for (int t = threadIdx.x; t < HEAD; t += THREADS) {
    float sum = 0;
    for (int j = 0; j < seen; ++j) sum += scores[j] * widen(values.at(j, 0)[t]);
    narrow(sum / total, O[size_t(blockIdx.x) * HEAD + t]);
  }
}
