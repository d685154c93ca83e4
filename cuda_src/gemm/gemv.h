// One row or one column: a matrix-vector product, which no packing can help, since every element of the
// matrix is used once. Both forms stream the matrix at the speed of memory.
#pragma once
#include "epilogue.h"

// y[r] = sum over p of M[r * k + p] * x[p] for rows r of a range; put(sum, r) takes the result.
template <class Put>
static void gemv_dot(const Input* M, const Input* x, int64_t k, Range rows, Put put) {
    int64_t r = rows.begin;
    for (; r + 4 <= rows.end; r += 4) {
        const Input* row = M + r * k;
        vec s0 = {}, s1 = {}, s2 = {}, s3 = {};
        int64_t p = 0;
        for (; p + LANES <= k; p += LANES) {
            vec v = load(x + p);
            s0 += load(row + p) * v;
            s1 += load(row + k + p) * v;
            s2 += load(row + 2 * k + p) * v;
            s3 += load(row + 3 * k + p) * v;
        }
        float t0 = sum(s0), t1 = sum(s1), t2 = sum(s2), t3 = sum(s3);
        for (; p < k; ++p) {
            const float v = float(x[p]);
            t0 += float(row[p]) * v, t1 += float(row[k + p]) * v;
            t2 += float(row[2 * k + p]) * v, t3 += float(row[3 * k + p]) * v;
        }
        put(t0, r), put(t1, r + 1), put(t2, r + 2), put(t3, r + 3);
    }
    for (; r < rows.end; ++r) {
        const Input* row = M + r * k;
        vec s0 = {}, s1 = {}, s2 = {}, s3 = {};
        int64_t p = 0;
        for (; p + 4 * LANES <= k; p += 4 * LANES) {
            s0 += load(row + p) * load(x + p);
            s1 += load(row + p + LANES) * load(x + p + LANES);
            s2 += load(row + p + 2 * LANES) * load(x + p + 2 * LANES);
            s3 += load(row + p + 3 * LANES) * load(x + p + 3 * LANES);
        }
        float t = sum(s0 + s1 + s2 + s3);
        for (; p < k; ++p) t += float(row[p]) * float(x[p]);
        put(t, r);
    }
}

// y[c] = sum over p of x[p] * M[p * width + c] for columns c of a range, eight rows of M at a time: a sum is
// loaded and stored once for eight loads of M, and stays in the L1 cache, 8 KiB of columns at a time.
template <class Put>
static void gemv_axpy(const Input* M, const Input* x, int64_t width, int64_t k, Range columns, Put put) {
    constexpr int64_t CHUNK = 2048, ROWS = 8;
    alignas(64) float sums[CHUNK];
    for (int64_t begin = columns.begin; begin < columns.end; begin += CHUNK) {
        const int64_t count = min_of(CHUNK, columns.end - begin);
        for (int64_t c = 0; c < count; ++c) sums[c] = 0;
        int64_t p = 0;
        for (; p + ROWS <= k; p += ROWS) {
            const Input* row = M + p * width + begin;
            float factors[ROWS];
            for (int q = 0; q < ROWS; ++q) factors[q] = float(x[p + q]);
            int64_t c = 0;
            for (; c + LANES <= count; c += LANES) {
                vec a = load(sums + c), b = {};
#pragma GCC unroll 4
                for (int q = 0; q < ROWS; q += 2) {
                    a += splat(factors[q]) * load(row + q * width + c);
                    b += splat(factors[q + 1]) * load(row + (q + 1) * width + c);
                }
                store(sums + c, a + b);
            }
            for (; c < count; ++c) {
                for (int q = 0; q < ROWS; ++q) sums[c] += factors[q] * float(row[q * width + c]);
            }
        }
        for (; p < k; ++p) {
            for (int64_t c = 0; c < count; ++c) sums[c] += float(x[p]) * float(M[p * width + begin + c]);
        }
        for (int64_t c = 0; c < count; ++c) put(sums[c], begin + c);
    }
}

// The part of one product with m == 1 or n == 1 that falls to thread `index` of `team`.
static __attribute__((noinline)) void gemv(const Input* A, const Input* B, Output* D, int64_t m, int64_t n,
                                           int64_t k, const Epilogue& epilogue, int team, int index) {
    Range part = share(m == 1 ? n : m, 16, team, index);  // 16 floats: threads never share a line of D
    auto column = [&](float sum, int64_t r) { D[r] = Output(epilogue(sum, r, 0)); };
    auto row = [&](float sum, int64_t c) { D[c] = Output(epilogue(sum, 0, c)); };
    if (m == 1) {
        if (OPT_TRANS_B) gemv_dot(B, A, k, part, row);
        else gemv_axpy(B, A, n, k, part, row);
    } else {
        if (OPT_TRANS_A) gemv_axpy(A, B, m, k, part, column);
        else gemv_dot(A, B, k, part, column);
    }
}
