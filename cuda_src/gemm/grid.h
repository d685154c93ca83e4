// How rung 3 deals a product out among threads, and the memory they pack into.
// The configuration's macros are defined before this is included.
#pragma once
#include "../common/team.h"
#include "micro.h"

// A grid of threads over D, and the memory they share. With 1 x 1 nothing is shared and nobody waits.
struct Team {
    int64_t down, across;  // threads along m and along n
    int64_t row, col;      // of this thread
    Sum *packed_a, *packed_b;  // of this thread's row, of its column
    Sum *edge_a, *edge_b;      // of this thread alone: the ragged last panel of an operand read in place
    Sum* spare;                // of this thread alone: a tile over the edge

    static void wait(int64_t sharers) {
        if (sharers > 1) wait_for_team();
    }
};

// Blocks of all rows (columns) of the thread grid are counted alike, so that all threads meet at each barrier.
struct Blocks {
    Range mine;
    int64_t unit, count;

    Blocks(int64_t extent, int64_t unit, int64_t limit, int64_t parts, int64_t index)
        : mine(share(extent, unit, parts, index)),
          unit(unit),
          count(ceil_div(ceil_div(ceil_div(extent, unit), parts) * unit, limit)) {}

    Range operator[](int64_t i) const {
        Range part = share(mine.size(), unit, count, i);
        return {mine.begin + part.begin, mine.begin + part.end};
    }

    int64_t longest() const { return ceil_div(ceil_div(mine.size(), unit), count) * unit; }
};

// Units (of four bytes) of the parts of a team's memory.
struct Sizes {
    int64_t a, b, edge_a, edge_b, spare;

    Sizes(int64_t m, int64_t n, int64_t k) {
        int64_t depth = ceil_div(min_of(KC, k), GROUP);
        // Whole lines, so that no two threads write to one.
        auto lines = [](int64_t count) { return ceil_div(count, 16) * 16; };
        a = PACK_A ? lines(min_of(MCB, ceil_div(m, MR) * MR) * depth) : 0;
        b = PACK_B && !B_AHEAD ? lines(min_of(NCB, ceil_div(n, NR) * NR) * (depth + EXTRA)) : 0;
        edge_a = PACK_A || m >= MR ? 0 : lines(MR * depth);
        edge_b = PACK_B || MASKS ? 0 : lines(NR * depth);
        spare = MASKS ? 0 : lines(MR * NR);
    }

    int64_t one() const { return a + b + edge_a + edge_b + spare; }

    // Memory of the thread at (row, col) of a grid: the first thread of a row owns its A, of a column its B; where nothing
    // is packed together, each thread its own.
    Team place(Sum* memory, int64_t down, int64_t across, int64_t index) const {
        Team team = {down, across, index / across, index % across, nullptr, nullptr, nullptr, nullptr, nullptr};
        team.packed_a = memory + (TOGETHER ? team.row * across : index) * one();
        team.packed_b = memory + (TOGETHER ? team.col : index) * one() + a;
        team.edge_a = memory + index * one() + a + b;
        team.edge_b = team.edge_a + edge_a;
        team.spare = team.edge_b + edge_b;
        return team;
    }
};
