// The microkernel of rung 3: one register tile of D over a block of k, from two panels.
// The configuration's macros MR, NR, PACK_A, ... are defined before this is included.
#pragma once
#include "../common/text.h"
#include "edge.h"
// Units of a packed panel hold GROUP neighbours in k. EXTRA: rows at its end that hold what sums begin with. An operand that
// is not packed has elements of type InPlace.
#if DTYPE_INT8
#include "int8.h"
#define IN_UNITS QUADS
#else
#include "steps.h"
enum : int64_t { EXTRA = 0 };
#define IN_UNITS DOTS16
#if DOTS16
#include "words.h"
static inline vec splat_unit(const bfloat16* from) { return splat_word(word_at(from)); }
static inline vec splat_unit(const bfloat16* from, int64_t, int64_t) { return splat_word(word_of(*from)); }
#endif
#endif
static_assert(bool(IN_PLACE) == bool(IN_UNITS), "the compiler lacks an instruction of the target, and a newer one has it");
#if IN_UNITS
typedef Input InPlace;  // several are a unit, as they lie
#else
typedef Sum InPlace;
#endif

static constexpr bool N_OUTSIDE = TEXT(OUTER)[0] == 'n', M_INSIDE = TEXT(INNER)[0] == 'm';
enum : int64_t {
    NV = NR * 4 / VECTOR_BYTES,
    ENDLESS = int64_t(1) << 40,
    MCB = (PACK_A || M_INSIDE || !N_OUTSIDE ? MC : ENDLESS) / MR * MR,
    NCB = (PACK_B || !M_INSIDE || N_OUTSIDE ? NC : ENDLESS) / NR * NR,
};
// Packed panels lie [depth][MR] and [depth][NR]. An operand that is not packed is read where it is.
static constexpr bool FETCH_NEXT = TEXT(PREFETCH_NEXT)[0] == 'l';
static constexpr int NEXT_LOCALITY = TEXT(PREFETCH_NEXT)[1] == '1' ? 3 : 2;  // of __builtin_prefetch
static constexpr int LINE = 64 / sizeof(InPlace);  // elements in place of a line
static constexpr int64_t AHEAD_A = M_INSIDE ? PREFETCH : 0, AHEAD_B = M_INSIDE ? 0 : PREFETCH;

// A panel of A or B as the microkernel reads it; the stride is a constant where it is packed.
struct Panel {
    const Sum* data;  // units as wide as a sum, also where one holds several int8; in place, elements
    int64_t stride;

    const InPlace* in_place() const { return reinterpret_cast<const InPlace*>(data); }
};

// HALF: a last step of less than a unit, `rest` elements: an operand that is read in place has no more.
static constexpr bool HALVES = GROUP > 1 && !(PACK_A && PACK_B);

// Unit p of row i of A, in all lanes.
template <bool HALF>
static inline vec splat_a(Panel a, int64_t p, int i, int64_t rest) {
#if IN_UNITS
    if (!PACK_A) {
        const Input* from = a.in_place() + i * a.stride + p * GROUP;
        return HALF ? splat_unit(from, rest, p) : splat_unit(from);
    }
#endif
    if (PACK_A) return splat(a.data[p * MR + i]);
    return splat(OPT_TRANS_A ? a.data[p * a.stride + i] : a.data[i * a.stride + p]);
}

static inline const Sum* row_b(Panel b, int64_t p) { return b.data + p * (PACK_B ? NR : b.stride); }

// V vectors of a row of B's units. CUT: `inside` says which lanes of the last one are inside the matrix.
template <int V, bool CUT, bool HALF>
static inline __attribute__((always_inline)) void load_b(vec (&row)[V], Panel b, int64_t p, Lanes inside) {
#if DOTS16
    if (!PACK_B) {
        const Input* from = b.in_place() + p * GROUP * b.stride;
        words_of_rows<V, CUT, HALF>(row, from, b.stride, inside);
        for (int64_t r = 0; AHEAD_B && r < GROUP; ++r) {
            const Input* ahead = from + (AHEAD_B * GROUP + r) * b.stride;
            for (int j = 0; j < V * LANES; j += LINE) __builtin_prefetch(ahead + j);
        }
        return;
    }
#endif
#pragma GCC unroll 16
    for (int j = 0; j < V; ++j) {
        const Sum* from = row_b(b, p) + j * LANES;
#if MASKS
        // A packed panel goes on with zeros.
        if (CUT && !PACK_B && j == V - 1) row[j] = load_first(from, inside);
        else row[j] = load(from);
#else
        row[j] = load(from);
#endif
        if (AHEAD_B) __builtin_prefetch(row_b(b, p + AHEAD_B) + j * LANES);
    }
}

template <int V, bool CUT, bool HALF>
static inline __attribute__((always_inline)) void step(vec (&sums)[MR][V], Panel a, Panel b, int64_t p, Lanes inside,
                                                       int64_t rest = 0) {
    if (AHEAD_A && PACK_A) __builtin_prefetch(a.data + (p + AHEAD_A) * MR);
    vec row[V];
    load_b<V, CUT, HALF>(row, b, p, inside);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
        vec x = in_register(splat_a<HALF>(a, p, i, rest));
#pragma GCC unroll 16
        for (int j = 0; j < V; ++j) sums[i][j] = multiply_add(x, row[j], sums[i][j]);
    }
}

// One tile of D: rows i ..., columns j ..., `rows` x `cols` of them inside the matrix. The first `above` rows belong to the
// tile before: the last tile of a matrix begins so early that it is whole, and stores what is its own.
struct Tile {
    Output* D;
    Sum* sums;   // of the blocks of k so far: D itself, or where D is half precision, a matrix as large as D
    int64_t n, i, j, above, rows, cols;
    bool first, last;     // the first and the last block of k
    Panel next;           // the panel that will be kept in L1 after the present one; null where there is none
    int64_t turn, turns;  // this tile's place among those that the present panel serves
    Sum* spare;           // room for one tile; not on the stack, where a register spill would hide among it
    int64_t rest;         // elements of a step of less than a unit that follows (HALVES); 0: there is none
};

// While 16 steps of k are computed, the next kept panel is fetched by so many steps, its lines dealt out
// among the tiles of the present one: it lies in L3 or, not packed, anywhere, and has all this time to come.
static inline void fetch_next(const Tile& at, int64_t p) {
    const Sum* next = at.next.data;
    const InPlace* there = at.next.in_place() + (M_INSIDE || OPT_TRANS_A ? p * GROUP * at.next.stride : p * GROUP);
    if (M_INSIDE && PACK_B) {
        for (int64_t r = at.turn; r < NR; r += at.turns) {
            __builtin_prefetch(next + p * NR + r * 16, 0, NEXT_LOCALITY);
        }
    } else if (M_INSIDE) {
        for (int64_t r = at.turn; r < 16 * GROUP; r += at.turns) {
            for (int64_t j = 0; j < NR; j += LINE) __builtin_prefetch(there + r * at.next.stride + j, 0, NEXT_LOCALITY);
        }
    } else if (PACK_A) {
        for (int64_t r = at.turn; r < MR; r += at.turns) {
            __builtin_prefetch(next + p * MR + r * 16, 0, NEXT_LOCALITY);
        }
    } else if (OPT_TRANS_A) {
        for (int64_t r = at.turn; r < 16; r += at.turns) {
            __builtin_prefetch(there + r * at.next.stride, 0, NEXT_LOCALITY);
        }
    } else {
        for (int64_t r = at.turn; r < MR; r += at.turns) {
            __builtin_prefetch(there + r * at.next.stride, 0, NEXT_LOCALITY);
        }
    }
}

// WHOLE: MR x NR. Otherwise V vectors hold the columns that are inside.
template <int V, bool WHOLE>
static inline __attribute__((always_inline)) void add_up(vec (&sums)[MR][V], Panel a, Panel b, int64_t depth,
                                                         const Tile& at, Lanes inside) {
    constexpr int STEPS = WHOLE ? UNROLL : 1;
    for (int i = 0; EXTRA && i < MR; ++i) {
        for (int j = 0; j < V; ++j) sums[i][j] = load(row_b(b, depth + (HALVES && at.rest)) + j * LANES);
    }
    int64_t p = 0;
    if (FETCH_NEXT && at.next.data) {
        for (; p + 16 <= depth; p += 16) {
            fetch_next(at, p);
#pragma GCC unroll 1
            for (int64_t q = p; q < p + 16; q += STEPS) {
#pragma GCC unroll 8
                for (int u = 0; u < STEPS; ++u) step<V, !WHOLE, false>(sums, a, b, q + u, inside);
            }
        }
    }
    for (; p + STEPS <= depth; p += STEPS) {
#pragma GCC unroll 8
        for (int u = 0; u < STEPS; ++u) step<V, !WHOLE, false>(sums, a, b, p + u, inside);
    }
    for (; p < depth; ++p) step<V, !WHOLE, false>(sums, a, b, p, inside);
    if constexpr (HALVES) {
        if (at.rest) step<V, !WHOLE, true>(sums, a, b, p, inside, at.rest);
    }
}

static inline __attribute__((always_inline)) void fetch_d(const Tile& at, int64_t begin, int64_t end) {
    for (int64_t i = begin; PREFETCH_D && i < end; ++i) {
        for (int64_t j = 0; j < NR; j += 64 / sizeof(Output)) __builtin_prefetch(at.D + (at.i + i) * at.n + at.j + j, 1);
    }
}

static __attribute__((noinline)) void whole_tile(Panel a, Panel b, int64_t depth, const Tile& at,
                                                 const Epilogue& epilogue) {
    Output* D = at.D + at.i * at.n + at.j;
    Sum* partial = at.sums + at.i * at.n + at.j;
    fetch_d(at, 0, MR);
    vec sums[MR][NV] = {};
    add_up<NV, true>(sums, a, b, depth, at, Lanes{});
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) {
            vec value = sums[i][j];
            const int64_t place = i * at.n + j * LANES;
            if (!at.first) value += load(partial + place);
            if (at.last) store(D + place, epilogue(value, at.i + i, at.j + j * LANES));
            else store(partial + place, value);
        }
    }
}

#if MASKS
// A tile over an edge, of which V vectors are inside at least in part.
template <int V>
static __attribute__((noinline)) void edge_tile(Panel a, Panel b, int64_t depth, const Tile& at,
                                                const Epilogue& epilogue) {
    if (V > 1 && at.cols <= (V - 1) * LANES) return edge_tile<(V > 1 ? V - 1 : 1)>(a, b, depth, at, epilogue);
    const Lanes inside = first_lanes(at.cols - (V - 1) * LANES), all = first_lanes(LANES);
    fetch_d(at, at.above, at.rows);
    vec sums[MR][V] = {};
    add_up<V, false>(sums, a, b, depth, at, inside);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
        if (i < at.above || i >= at.rows) continue;
        Sum* partial = at.sums + (at.i + i) * at.n + at.j;
        Output* D = at.D + (at.i + i) * at.n + at.j;
#pragma GCC unroll 16
        for (int j = 0; j < V; ++j) {
            const Lanes lanes = j == V - 1 ? inside : all;
            vec value = sums[i][j];
            if (!at.first) value += load_first(partial + j * LANES, lanes);
            if (at.last) store_first(D + j * LANES, finished(epilogue, value, at.i + i, at.j + j * LANES, lanes), lanes);
            else store_first(partial + j * LANES, value, lanes);
        }
    }
}
#else
// A tile over an edge was computed whole, on zeros; only what is inside is stored.
template <int V>
static __attribute__((noinline)) void edge_tile(Panel a, Panel b, int64_t depth, const Tile& at,
                                                const Epilogue& epilogue) {
    Sum* whole = at.spare;
    fetch_d(at, at.above, at.rows);
    vec sums[MR][V] = {};
    add_up<V, false>(sums, a, b, depth, at, Lanes{});
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 16
        for (int j = 0; j < V; ++j) store(whole + i * NR + j * LANES, sums[i][j]);
    }
    for (int64_t i = at.above; i < at.rows; ++i) {
        for (int64_t j = 0; j < at.cols; ++j) {
            Sum value = whole[i * NR + j];
            const int64_t place = (at.i + i) * at.n + at.j + j;
            if (!at.first) value += at.sums[place];
            if (at.last) at.D[place] = Output(epilogue(value, at.i + i, at.j + j));
            else at.sums[place] = value;
        }
    }
}
#endif

static inline void tile(Panel a, Panel b, int64_t depth, const Tile& at, const Epilogue& epilogue) {
    if (at.above == 0 && at.rows == MR && at.cols == NR) whole_tile(a, b, depth, at, epilogue);
    else edge_tile<NV>(a, b, depth, at, epilogue);
}
