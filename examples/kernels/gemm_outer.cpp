/*[tuner]
name = "gemm_outer"
operator = "gemm"
summary = "Example: a row of D at a time, as a sum of rows of B; DEPTH of them are added in one pass."
dtypes = ["f32"]
entry = "gemm"
arguments = ["A", "B", "D", "m", "n", "k"]

[parameters]
DEPTH = { values = [1, 2, 4, 8], doc = "rows of B added to the row of D in one pass over it" }
threads = [1, 2, 4]

[constraints]
threads_on_cores = "threads <= cores"
depth_used = "DEPTH <= k or DEPTH == 1"
*/
#include <cstdint>

extern "C" void gemm(const float* A, const float* B, float* D, int64_t m, int64_t n, int64_t k) {
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < m; ++i) {
        float* d = D + i * n;
        for (int64_t j = 0; j < n; ++j) d[j] = 0;
        int64_t p = 0;
        for (; p + DEPTH <= k; p += DEPTH)
            for (int64_t j = 0; j < n; ++j) {
                float sum = d[j];
                for (int64_t q = 0; q < DEPTH; ++q) sum += A[i * k + p + q] * B[(p + q) * n + j];
                d[j] = sum;
            }
        for (; p < k; ++p)  // what is left of the depth
            for (int64_t j = 0; j < n; ++j) d[j] += A[i * k + p] * B[p * n + j];
    }
}
