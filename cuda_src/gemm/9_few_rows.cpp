/*[tuner]
name = "cpp_few_rows"
operator = "gemm"
summary = "A few rows of A times rows of B that lie along the depth, as weights of linear layers do: dot products of both as they lie."
dtypes = ["f32", "bf16"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k", "batch", "alpha", "beta"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["cores"]

[supports]
"rows of B lie along the depth, as those of A do: trans_b, not trans_a" = "trans_b and not trans_a"
"A has at most 96 rows" = "m <= 96"

[parameters]
ROWS = { values = [8, 1, 2, 3, 4, 5, 6, 7, 12], doc = "rows of A that are multiplied by the same rows of B together" }
COLUMNS = { values = [3, 1, 2, 4, 6], doc = "rows of B that are multiplied together, columns of D" }
KC = { values = [1024, 256, 512, 2048, 4096, 8192], doc = "depth of a block, whose part of A stays in L1" }
FETCH = { values = [true, false], doc = "fetch the next rows of B while these are multiplied" }

[let]
sums = "ROWS * COLUMNS"

[constraints]
# Sums, a step of each row of B and of one of A.
registers = "sums + COLUMNS + 1 <= vector_registers"
# 8 independent sums keep two pipes of latency 4 busy; few rows have to do with fewer.
latency = "sums >= 8 or ROWS * 2 > m"
rows_used = "ROWS < 2 * m"
columns_used = "COLUMNS < 2 * n"
depth_used = "KC < 2 * k or KC == 256"
rows_in_l1 = "ROWS * KC * element_bytes <= l1d_bytes or KC == 256"
*/
// Rung 9. Rungs 3 and 4 lay B out anew, which pays where it is used often. With few rows each element of B is used a few
// times: here it is read once, as it lies, and multiplied by as many rows of A as there are registers for. Vectors run
// along the depth, so that a sum is one across lanes at the end, of four vectors at a time. Without trans_b vectors run
// along columns, and rung 3 reads B in place.
#define HUGE_PAGES 0
#include "../common/arena.h"
#include "../common/exp2.h"
#include "../common/team.h"
#include "epilogue.h"
#include "steps.h"

struct FewRows {
    const Input *A, *B;
    Output* D;
    float* sums;  // [m][n], of the blocks of the depth so far
    int64_t m, n, k;
    const Epilogue& epilogue;

    // The products of rows i ... of A and j ... of B over a part of the depth.
    template <int R, int C>
    __attribute__((noinline)) void tile(int64_t i, int64_t j, Range depth) const {
        const Input *rows = A + i * k, *columns = B + j * k;
        vec products[R * C] = {};
        auto add = [&](auto fetch, int64_t p) {
            vec column[C];
#pragma GCC unroll 8
            for (int c = 0; c < C; ++c) column[c] = fetch(columns + c * k + p);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) {
                const vec row = in_register(fetch(rows + r * k + p));
#pragma GCC unroll 8
                for (int c = 0; c < C; ++c) products[r * C + c] = multiply_add(row, column[c], products[r * C + c]);
            }
        };
        int64_t p = depth.begin;
        for (; p + STEP <= depth.end; p += STEP) {
#pragma GCC unroll 8
            for (int c = 0; FETCH && c < C; ++c) __builtin_prefetch(columns + (C + c) * k + p);
            add([](const Input* from) { return load_step(from); }, p);
        }
        if (DOTS16 && p < depth.end) {
            const int64_t rest = depth.end - p;
            add([=](const Input* from) { return load_rest(from, rest); }, p);
            p = depth.end;
        }
        float totals[R * C];
#pragma GCC unroll 16
        for (int t = 0; t + 4 <= R * C; t += 4) {
            const vec four = sums_across(products[t], products[t + 1], products[t + 2], products[t + 3]);
            __builtin_memcpy(totals + t, &four, 4 * sizeof(float));
        }
#pragma GCC unroll 4
        for (int t = R * C / 4 * 4; t < R * C; ++t) totals[t] = sum_across(products[t]);
        for (int t = 0; t < R * C; ++t) {
            const int64_t row = i + t / C, column = j + t % C;
            float total = totals[t];
            for (int64_t q = p; q < depth.end; ++q) total += float(A[row * k + q]) * float(B[column * k + q]);
            if (depth.begin > 0) total += sums[row * n + column];
            if (depth.end == k) D[row * n + column] = Output(epilogue(total, row, column));
            else sums[row * n + column] = total;
        }
    }

    // `count` rows of A, at most R, from row i on.
    template <int R, int C>
    void rows(int64_t i, int64_t count, int64_t j, Range depth) const {
        if (count == R) return tile<R, C>(i, j, depth);
        if constexpr (R > 1) rows<R - 1, C>(i, count, j, depth);
    }

    template <int C>
    void columns(int64_t j, Range depth) const {
        for (int64_t i = 0; i < m; i += ROWS) rows<ROWS, C>(i, min_of(ROWS, m - i), j, depth);
    }

    void run(Range mine) const {
        for (int64_t p = 0; p < k; p += KC) {
            const Range depth = {p, min_of(p + KC, k)};
            int64_t j = mine.begin;
            for (; j + COLUMNS <= mine.end; j += COLUMNS) columns<COLUMNS>(j, depth);
            for (; j < mine.end; ++j) columns<1>(j, depth);
        }
    }
};

extern "C" int gemm(const Input* A, const Input* B, const Addend* C, const Addend* bias, Output* D, int64_t m, int64_t n,
                    int64_t k, int64_t batch, float alpha, float beta) {
    static thread_local Arena arena;
    float* sums = arena.reserve(k > KC ? m * n : 16);
    if (!sums) return 1;
    BY_TEAM
    {
        // Threads share no line of D.
        const Range mine = share(n, 64 / sizeof(Output), TEAM_SIZE, TEAM_INDEX);
        for (int64_t b = 0; b < batch; ++b) {
            const Epilogue epilogue = {C ? C + b * m * n : nullptr, bias, n, alpha, beta};
            FewRows{A + b * m * k, B + b * n * k, D + b * m * n, sums, m, n, k, epilogue}.run(mine);
        }
    }
    return 0;
}
