// What a thread packs next, fetched into L2 while it multiplies: packing waits for memory and does not compute, the
// microkernel computes and leaves memory alone. Rows of an operand where it lies, a few lines in every 16 steps of k.
//
//     row 0   | line  line  line |   stride   |       begun in one tile of D, ended in another
//     row 1   | line  line  line |
#pragma once
#include "../common/simd.h"

struct Coming {
    enum : int64_t { LINE = 64 / sizeof(Input) };
    const Input* row;
    int64_t stride, width, rows;  // elements; rows to come, the present one among them
    int64_t column;               // of the present row, where the next line begins

    int64_t lines() const { return rows * ceil_div(width, LINE); }

    // Fetches so many lines, or what is left; returns how many of them there were not.
    int64_t fetch(int64_t count) {
        for (; count && rows; --count) {
            __builtin_prefetch(row + column, 0, 2);
            column += LINE;
            if (column >= width) column = 0, row += stride, --rows;
        }
        return count;
    }
};

// Of both operands, one after the other.
struct Arrivals {
    Coming of[2];
    int64_t a_turn;  // lines in 16 steps of k

    void fetch() { of[1].fetch(of[0].fetch(a_turn)); }
};
