// One row or one column: a matrix-vector product, which no packing can help, since every element of the
// matrix is used once. Both forms stream the matrix at the speed of memory.
#pragma once
#include "epilogue.h"
#include "steps.h"

// y[r] = sum over p of M[r * k + p] * x[p] for rows r of a range; put(sum, r) takes the result.
template <class Put>
static void gemv_dot(const Input* M, const Input* x, int64_t k, Range rows, Put put) {
    int64_t r = rows.begin;
    for (; r + 4 <= rows.end; r += 4) {
        const Input* row = M + r * k;
        vec s0 = {}, s1 = {}, s2 = {}, s3 = {};
        int64_t p = 0;
        for (; p + STEP <= k; p += STEP) {
            vec v = load_step(x + p);
            s0 = multiply_add(load_step(row + p), v, s0);
            s1 = multiply_add(load_step(row + k + p), v, s1);
            s2 = multiply_add(load_step(row + 2 * k + p), v, s2);
            s3 = multiply_add(load_step(row + 3 * k + p), v, s3);
        }
        if (DOTS16 && p < k) {
            const int64_t rest = k - p;
            vec v = load_rest(x + p, rest);
            s0 = multiply_add(load_rest(row + p, rest), v, s0);
            s1 = multiply_add(load_rest(row + k + p, rest), v, s1);
            s2 = multiply_add(load_rest(row + 2 * k + p, rest), v, s2);
            s3 = multiply_add(load_rest(row + 3 * k + p, rest), v, s3);
            p = k;
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
        for (; p + 4 * STEP <= k; p += 4 * STEP) {
            s0 = multiply_add(load_step(x + p), load_step(row + p), s0);
            s1 = multiply_add(load_step(x + p + STEP), load_step(row + p + STEP), s1);
            s2 = multiply_add(load_step(x + p + 2 * STEP), load_step(row + p + 2 * STEP), s2);
            s3 = multiply_add(load_step(x + p + 3 * STEP), load_step(row + p + 3 * STEP), s3);
        }
        if (DOTS16) {
            for (; p < k; p += STEP) s0 = multiply_add(load_rest(row + p, k - p), load_rest(x + p, k - p), s0);
        }
        float t = sum(s0 + s1 + s2 + s3);
        for (; p < k; ++p) t += float(row[p]) * float(x[p]);
        put(t, r);
    }
}

// sums[c] += the products of eight rows of M, `width` apart, and x, over columns c of `count`; returns how many of these.
static inline int64_t add_eight_rows(float* sums, const Input* row, const Input* x, int64_t width, int64_t count) {
    int64_t c = 0;
#if DOTS16
    const vec factors[4] = {splat_word(word_at(x)), splat_word(word_at(x + 2)), splat_word(word_at(x + 4)),
                            splat_word(word_at(x + 6))};
    for (; c + 2 * LANES <= count; c += 2 * LANES) {
        vec a = load(sums + c), b = load(sums + c + LANES);
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
            const Input* pair = row + 2 * q * width + c;
            vec left, right;
            rows_of_words(pair, pair + width, left, right);
            a = dot_pairs(factors[q], left, a), b = dot_pairs(factors[q], right, b);
        }
        store(sums + c, a), store(sums + c + LANES, b);
    }
#else
    float factors[8];
    for (int q = 0; q < 8; ++q) factors[q] = float(x[q]);
    for (; c + LANES <= count; c += LANES) {
        vec a = load(sums + c), b = {};
#pragma GCC unroll 4
        for (int q = 0; q < 8; q += 2) {
            a += splat(factors[q]) * load(row + q * width + c);
            b += splat(factors[q + 1]) * load(row + (q + 1) * width + c);
        }
        store(sums + c, a + b);
    }
#endif
    return c;
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
            for (int64_t c = add_eight_rows(sums, row, x + p, width, count); c < count; ++c) {
                for (int q = 0; q < ROWS; ++q) sums[c] += float(x[p + q]) * float(row[q * width + c]);
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
    Range part = share(m == 1 ? n : m, 64 / sizeof(Output), team, index);  // threads share no line of D
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
