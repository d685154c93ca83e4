// One row or one column: a matrix-vector product, which no packing can help, since every element of the
// matrix is used once. Both forms stream the matrix at the speed of memory.
#pragma once
#include "epilogue.h"

// y[r] = sum over p of M[r * k + p] * x[p] for rows r of a range; put(sum, r) takes the result.
template <class Put>
static void gemv_dot(const float* M, const float* x, int64_t k, Range rows, Put put) {
    int64_t r = rows.begin;
    for (; r + 4 <= rows.end; r += 4) {
        const float* row = M + r * k;
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
            t0 += row[p] * x[p], t1 += row[k + p] * x[p];
            t2 += row[2 * k + p] * x[p], t3 += row[3 * k + p] * x[p];
        }
        put(t0, r), put(t1, r + 1), put(t2, r + 2), put(t3, r + 3);
    }
    for (; r < rows.end; ++r) {
        const float* row = M + r * k;
        vec s0 = {}, s1 = {}, s2 = {}, s3 = {};
        int64_t p = 0;
        for (; p + 4 * LANES <= k; p += 4 * LANES) {
            s0 += load(row + p) * load(x + p);
            s1 += load(row + p + LANES) * load(x + p + LANES);
            s2 += load(row + p + 2 * LANES) * load(x + p + 2 * LANES);
            s3 += load(row + p + 3 * LANES) * load(x + p + 3 * LANES);
        }
        float t = sum(s0 + s1 + s2 + s3);
        for (; p < k; ++p) t += row[p] * x[p];
        put(t, r);
    }
}

// y[c] = sum over p of x[p] * M[p * width + c] for columns c of a range, eight rows of M at a time: y is
// loaded and stored once for eight loads of M, and stays in the L1 cache by columns of CHUNK.
template <class Put>
static void gemv_axpy(const float* M, const float* x, int64_t width, int64_t k, Range columns, float* y, Put put) {
    constexpr int64_t CHUNK = 2048, ROWS = 8;
    for (int64_t begin = columns.begin; begin < columns.end; begin += CHUNK) {
        int64_t end = min_of(begin + CHUNK, columns.end);
        for (int64_t c = begin; c < end; ++c) y[c] = 0;
        int64_t p = 0;
        for (; p + ROWS <= k; p += ROWS) {
            const float* row = M + p * width;
            int64_t c = begin;
            for (; c + LANES <= end; c += LANES) {
                vec a = load(y + c), b = {};
                for (int q = 0; q < ROWS; q += 2) {
                    a += splat(x[p + q]) * load(row + q * width + c);
                    b += splat(x[p + q + 1]) * load(row + (q + 1) * width + c);
                }
                store(y + c, a + b);
            }
            for (; c < end; ++c) {
                float t = y[c];
                for (int q = 0; q < ROWS; ++q) t += x[p + q] * row[q * width + c];
                y[c] = t;
            }
        }
        for (; p < k; ++p) {
            for (int64_t c = begin; c < end; ++c) y[c] += x[p] * M[p * width + c];
        }
        for (int64_t c = begin; c < end; ++c) put(y[c], c);
    }
}

// The part of one product with m == 1 or n == 1 that falls to thread `index` of `team`.
static __attribute__((noinline)) void gemv(const float* A, const float* B, float* D, int64_t m, int64_t n, int64_t k,
                 const Epilogue& epilogue, int team, int index) {
    Range part = share(m == 1 ? n : m, 16, team, index);  // 16 floats: threads never share a line of D
    auto column = [&](float sum, int64_t r) { D[r] = epilogue(sum, r, 0); };
    auto row = [&](float sum, int64_t c) { D[c] = epilogue(sum, 0, c); };
    if (m == 1) {
        if (TRANS_B) gemv_dot(B, A, k, part, row);
        else gemv_axpy(B, A, n, k, part, D, row);
    } else {
        if (TRANS_A) gemv_axpy(A, B, m, k, part, D, column);
        else gemv_dot(A, B, k, part, column);
    }
}
