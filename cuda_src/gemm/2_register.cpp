/*[tuner]
name = "cpp_register"
operator = "gemm"
summary = "A tile of D held in vector registers over a block of k, operands read where they are."
dtypes = ["f32"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k", "batch", "alpha", "beta"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["register_tiles", "cores"]

[parameters]
MR = { values = [1, 2, 3, 4, 5, 6, 8, 10, 12, 14], doc = "rows of the register tile" }
KC = { values = [16, 32, 64, 128, 256, 512, 1024], doc = "depth over which a tile stays in registers" }
STRIP = { values = [1, 2, 4, 8, 16, 32], doc = "register tiles along m that a thread takes at a time" }

[constraints]
registers = "(MR + 1) * (NR * 4 // vector_bytes) + 1 <= vector_registers"
depth_used = "KC < 2 * k or KC == 16"
b_panel_in_l1 = "KC * NR * 4 <= l1d_bytes"
strip_used = "STRIP == 1 or MR * STRIP < 2 * m"
*/
// Rung 2. Rung 1 loads and stores D for every multiply-add. Here MR x NR sums stay in registers while k runs:
// MR + NR elements are loaded for MR * NR multiply-adds, and D is touched once in KC steps. A row of B is as
// long as the matrix is wide, so each step of k lies in another line and another page: rung 3 mends that.
#include "epilogue.h"

enum : int64_t { NV = NR * 4 / VECTOR_BYTES };

struct Operands {
    const float *A, *B;
    float* D;
    int64_t m, n, k;

    float a(int64_t i, int64_t p) const { return OPT_TRANS_A ? A[p * m + i] : A[i * k + p]; }
    float b(int64_t p, int64_t j) const { return OPT_TRANS_B ? B[j * k + p] : B[p * n + j]; }

    vec b_vector(int64_t p, int64_t j) const {
        if (!OPT_TRANS_B) return load(B + p * n + j);
        vec v = {};
        for (int l = 0; l < LANES; ++l) v[l] = B[(j + l) * k + p];
        return v;
    }
};

static void whole_tile(const Operands& at, int64_t i0, int64_t j0, int64_t p0, int64_t p1,
                       const Epilogue& epilogue) {
    vec sums[MR][NV] = {};
    for (int64_t p = p0; p < p1; ++p) {
        vec row[NV];
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) row[j] = at.b_vector(p, j0 + j * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) {
            vec x = in_register(splat(at.a(i0 + i, p)));
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) sums[i][j] += x * row[j];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) {
            float* place = at.D + (i0 + i) * at.n + j0 + j * LANES;
            vec value = p0 == 0 ? sums[i][j] : sums[i][j] + load(place);
            store(place, p1 == at.k ? epilogue(value, i0 + i, j0 + j * LANES) : value);
        }
    }
}

static void edge_tile(const Operands& at, Range rows, Range cols, int64_t p0, int64_t p1,
                      const Epilogue& epilogue) {
    for (int64_t i = rows.begin; i < rows.end; ++i) {
        for (int64_t j = cols.begin; j < cols.end; ++j) {
            float* place = at.D + i * at.n + j;
            float value = p0 == 0 ? 0 : *place;
            for (int64_t p = p0; p < p1; ++p) value += at.a(i, p) * at.b(p, j);
            *place = p1 == at.k ? epilogue(value, i, j) : value;
        }
    }
}

extern "C" void gemm(const float* A, const float* B, const float* C, const float* bias, float* D, int64_t m,
                     int64_t n, int64_t k, int64_t batch, float alpha, float beta) {
    const int64_t height = MR * STRIP, strips = ceil_div(m, height);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t strip = 0; strip < batch * strips; ++strip) {
        const int64_t b = strip / strips, begin = strip % strips * height, end = min_of(begin + height, m);
        const Operands at = {A + b * m * k, B + b * k * n, D + b * m * n, m, n, k};
        const Epilogue epilogue = {C ? C + b * m * n : nullptr, bias, n, alpha, beta};
        for (int64_t p0 = 0; p0 < k; p0 += KC) {
            const int64_t p1 = min_of(p0 + KC, k);
            for (int64_t j = 0; j < n; j += NR) {
                for (int64_t i = begin; i < end; i += MR) {
                    Range rows = {i, min_of(i + MR, end)}, cols = {j, min_of(j + NR, n)};
                    if (rows.size() == MR && cols.size() == NR) whole_tile(at, i, j, p0, p1, epilogue);
                    else edge_tile(at, rows, cols, p0, p1, epilogue);
                }
            }
        }
    }
}
