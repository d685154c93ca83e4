/*[tuner]
name = "cpp_tiled"
operator = "gemm"
summary = "Loops reordered so that the compiler vectorizes, and tiled for the caches."
dtypes = ["f32"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k", "batch", "alpha", "beta"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["cores"]

[parameters]
TILE_M = { values = [4, 8, 16, 32, 64, 128], doc = "rows of a tile of D, and the unit of work of a thread" }
TILE_N = { values = [32, 64, 128, 256, 512, 1024], doc = "columns of a tile of D" }
TILE_K = { values = [4, 8, 16, 32, 64, 128, 256], doc = "depth of a tile" }

[let]
b_tile_bytes = "TILE_K * TILE_N * 4"

[constraints]
b_tile_in_l2 = "b_tile_bytes <= l2_bytes // 2"
d_row_in_l1 = "TILE_N * 4 <= l1d_bytes // 4"
tiles_used = """
  (TILE_M < 2 * m or TILE_M == 4) and (TILE_N < 2 * n or TILE_N == 32) and (TILE_K < 2 * k or TILE_K == 4)"""

[features]
b_tile_bytes = "b_tile_bytes"
passes_over_d = "ceildiv(k, TILE_K)"
*/
// Rung 1. With k in the middle and j inside, the innermost loop adds a multiple of a row of B to a row of D: no
// chain of dependent additions, and neighbours in memory, so the compiler makes vectors of it. Tiles keep the
// piece of B in a cache while the rows of A pass by. What is left is the traffic on D: two loads and a store
// for each multiply-add.
#include "epilogue.h"

static inline float at_a(const float* A, int64_t m, int64_t k, int64_t i, int64_t p) {
    return OPT_TRANS_A ? A[p * m + i] : A[i * k + p];
}

static inline float at_b(const float* B, int64_t n, int64_t k, int64_t p, int64_t j) {
    return OPT_TRANS_B ? B[j * k + p] : B[p * n + j];
}

extern "C" void gemm(const float* A, const float* B, const float* C, const float* bias, float* D, int64_t m,
                     int64_t n, int64_t k, int64_t batch, float alpha, float beta) {
    const int64_t strips = ceil_div(m, TILE_M);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t strip = 0; strip < batch * strips; ++strip) {
        const int64_t b = strip / strips, i0 = strip % strips * TILE_M, i1 = min_of(i0 + TILE_M, m);
        const float *a = A + b * m * k, *x = B + b * k * n;
        float* d = D + b * m * n;
        const Epilogue epilogue = {C ? C + b * m * n : nullptr, bias, n, alpha, beta};
        for (int64_t j0 = 0; j0 < n; j0 += TILE_N) {
            const int64_t j1 = min_of(j0 + TILE_N, n);
            for (int64_t i = i0; i < i1; ++i) {
                for (int64_t j = j0; j < j1; ++j) d[i * n + j] = 0;
            }
            for (int64_t p0 = 0; p0 < k; p0 += TILE_K) {
                const int64_t p1 = min_of(p0 + TILE_K, k);
                for (int64_t i = i0; i < i1; ++i) {
                    for (int64_t p = p0; p < p1; ++p) {
                        const float factor = at_a(a, m, k, i, p);
#pragma GCC ivdep
                        for (int64_t j = j0; j < j1; ++j) d[i * n + j] += factor * at_b(x, n, k, p, j);
                    }
                }
            }
            for (int64_t i = i0; i < i1; ++i) {
                for (int64_t j = j0; j < j1; ++j) d[i * n + j] = epilogue(d[i * n + j], i, j);
            }
        }
    }
}
