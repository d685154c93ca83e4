// The blocked product of rungs 3 and 4: what a thread of the grid does with one matrix product.
// The configuration's macros are defined before this is included, and B_AHEAD where B was packed before the call.
/*[tuner.shared]
[packed_blocks.parameters]
MR = { values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14], doc = "rows of the register tile" }
MC = { values = [32, 64, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096], doc = "rows of a block of A" }
NC = { values = [64, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096], doc = "columns of a block of B" }
KC = { values = [16, 64, 128, 192, 256, 384, 512, 768, 1024, 2048], doc = "depth of both blocks" }
OUTER = { values = ["n", "m"], doc = "outermost loop: its operand is packed once, the other once a block of it" }
INNER = { values = ["m", "n"], doc = "innermost loop over tiles: m keeps a panel of B in L1, n one of A" }
PACK_A = { values = [true, false], doc = "copy A into panels, or read it in place" }
UNROLL = { values = [1, 2, 4], doc = "steps of k in the body of the microkernel's loop" }
PREFETCH = { values = [0, 8, 32], doc = "steps of k the streamed panel is fetched ahead; 0: hardware only" }
PREFETCH_NEXT = { values = ["no", "l1", "l2"], doc = "fetch the next kept panel meanwhile, and into which cache" }
PREFETCH_D = { values = [false, true], doc = "fetch the tile of D while its sum is computed" }
HUGE_PAGES = { values = [true, false], doc = "ask for 2 MiB pages for the packed operands" }
SPLIT_N = { values = [1, 2, 3, 4, 6, 8, 12, 16], doc = "threads along n; the rest of them along m" }
TOGETHER = { values = [true, false], doc = "threads pack what they share together, or each all that it reads" }

[packed_blocks.let]
vectors = "NR * 4 // vector_bytes"
few_rows = "MR * 2 > m"
# bf16 is multiplied as it is, in words of two neighbours in k, where the processor does that (common/dots16.h).
words = "dtype == 'bf16' and has_avx512bf16 and has_avx512bw and has_avx512dq and has_avx512vl"
# int8 by VNNI, in quadruples of neighbours in k (common/dots8.h).
quads = "dtype == 'int8' and (has_avx512vnni or has_avxvnni and vector_bytes == 32)"
# Rows of A hold these as they lie.
in_units = "words or quads"
# An element takes four bytes when it is packed, an int8 or one of a word two.
packed_bytes = "2 if element_bytes == 1 or words else 4"
# Bytes of the panel that stays in L1, of the block that its partner comes from, and of its own block.
panel = "KC * (NR if INNER == 'm' else MR) * packed_bytes"
streamed = "KC * (MC if INNER == 'm' else NC) * packed_bytes"
kept = "KC * (NC if INNER == 'm' else MC) * packed_bytes"

[packed_blocks.constraints]
# 8 sums or more keep two FMA pipes of latency 4 busy; few rows have to do with fewer.
latency_hidden = "MR * vectors >= 8 or few_rows"
# A step loads MR + vectors and multiplies MR * vectors, both at two a cycle: leave the loads a quarter of slack.
loads_hidden = "(MR + vectors) * 4 <= MR * vectors * 3 or few_rows or n * 4 <= vector_bytes"
panel_in_l1 = "panel <= l1d_bytes"
streamed_block_in_l2 = "streamed <= l2_bytes"
kept_block_in_l3 = "kept <= l3_bytes"
# A block larger than the operand is the operand: only the smallest such value is kept.
blocks_used = "(MC < 2 * m or MC == 32) and (NC < 2 * n or NC == 64) and (KC < 2 * k or KC == 16)"
blocks_worth_a_loop = "(MC * KC >= 16384 or MC >= m or MC == 32) and (NC * KC >= 16384 or NC >= n or NC == 64)"
tile_in_block = "MR <= MC and NR <= NC"
# A pass over D for less than 128 steps of k costs more than it saves, but where m is small D is too.
deep_enough = "KC >= 128 or KC * 2 >= k or m <= 16"
grid = "threads % SPLIT_N == 0"

[packed_blocks.macros]
IN_PLACE = "in_units"

[packed_blocks.features]
panel_bytes = "panel"
streamed_bytes = "streamed"
kept_bytes = "kept"
*/
#pragma once
#include "../common/arena.h"
#include "../common/team.h"
#include "grid.h"
#if DTYPE_INT8
#define PANEL_OF_A , true
#define PANEL_OF_B , false
#else
#include "gemv.h"
#if !DOTS16
#include "../common/pack.h"
#endif
#define PANEL_OF_A
#define PANEL_OF_B
#endif

// Rows of a panel of all of B before those of a block of k, the `layer`th, that begins with element `first`.
static inline int64_t ahead_rows(int64_t layer, int64_t first) { return first / GROUP + layer * EXTRA; }

class Gemm {
    const Input *A, *B;
    const Sum* ahead;  // all panels of B, block of k after block of k; null where they are packed in the call
    Output* D;
    Sum* sums;
    int64_t m, n, k;
    Epilogue epilogue;
    Team team;
    Range rows = {}, cols = {}, depth = {};  // of the present blocks
    int64_t layer = 0;                       // which block of k that is
    bool reused_a = false, reused_b = false;  // whether what was packed before may still be read by others

    // Threads that pack a block of A (B) together.
    int64_t sharers_a() const { return TOGETHER ? team.across : 1; }
    int64_t sharers_b() const { return TOGETHER ? team.down : 1; }

    int64_t units() const { return ceil_div(depth.size(), GROUP); }  // depth of a packed panel
    int64_t units_b() const { return units() + EXTRA; }
    int64_t rest() const { return HALVES ? depth.size() % GROUP : 0; }
    int64_t steps() const { return units() - (rest() > 0); }  // of whole units
    const Input* at_a(int64_t i, int64_t p) const { return A + (OPT_TRANS_A ? p * m + i : i * k + p); }
    const Input* at_b(int64_t p, int64_t j) const { return B + (OPT_TRANS_B ? j * k + p : p * n + j); }

    // Where the tile of rows i ... begins: the matrix's last tile is whole, so that nothing is filled up and masked, but
    // its first rows are the last of the tile before, computed twice.
    int64_t first_row(int64_t i) const { return i + MR > rows.end && m >= MR ? rows.end - MR : i; }

    // Panels of `count` rows, the first of which is row i.
    void pack_rows_of_a(Sum* to, int64_t i, int64_t count) const {
        const Input* from = at_a(i, depth.begin);
        if (OPT_TRANS_A) pack_rows<MR PANEL_OF_A>(to, from, m, count, depth.size());
        else pack_transposed<MR PANEL_OF_A>(to, from, k, count, depth.size());
    }

    // The threads of a grid row share a block of A: each packs its part of the panels, then all may read.
    void pack_a() {
        if (PACK_A) {
            if (reused_a) Team::wait(sharers_a());
            reused_a = true;
            const Range part = share(rows.size(), MR, sharers_a(), TOGETHER ? team.col : 0);
            const int64_t whole = m >= MR ? part.size() / MR * MR : part.size();
            Sum* to = team.packed_a + part.begin * units();
            pack_rows_of_a(to, rows.begin + part.begin, whole);
            if (whole < part.size()) pack_rows_of_a(to + whole * units(), rows.end - MR, MR);
            Team::wait(sharers_a());
        } else if (m < MR) {
            // Laid out as the matrix is, so that one microkernel serves both: [MR][depth], or [depth][MR].
            const int64_t size = depth.size();
            InPlace* edge = reinterpret_cast<InPlace*>(team.edge_a);
            for (int64_t p = 0; p < size; ++p) {
                for (int64_t r = 0; r < MR; ++r) {
                    edge[OPT_TRANS_A ? p * MR + r : r * size + p] = r < m ? InPlace(*at_a(r, depth.begin + p)) : InPlace{};
                }
            }
        }
    }

    void pack_b() {
        if (B_AHEAD) return;
        if (PACK_B) {
            if (reused_b) Team::wait(sharers_b());
            reused_b = true;
            Range part = share(cols.size(), NR, sharers_b(), TOGETHER ? team.row : 0);
            const Input* from = at_b(depth.begin, cols.begin + part.begin);
            Sum* to = team.packed_b + part.begin * units_b();
            if (OPT_TRANS_B) pack_transposed<NR PANEL_OF_B>(to, from, k, part.size(), depth.size());
            else pack_rows<NR PANEL_OF_B>(to, from, n, part.size(), depth.size());
            Team::wait(sharers_b());
        } else if (int64_t over = MASKS ? 0 : cols.size() % NR) {
            pack_rows<NR PANEL_OF_B>(team.edge_b, at_b(depth.begin, cols.end - over), n, over, depth.size());
        }
    }

    // What is converted is not read in place.
    static const Sum* in_place(const Input* p) { return reinterpret_cast<const Sum*>(p); }

    Panel panel_a(int64_t i) const {
        if (PACK_A) return {team.packed_a + (i - rows.begin) * units(), MR};
        if (m >= MR) return {in_place(at_a(first_row(i), depth.begin)), OPT_TRANS_A ? m : k};
        return {team.edge_a, OPT_TRANS_A ? MR : depth.size()};
    }

    Panel panel_b(int64_t j) const {
        if (B_AHEAD) return {ahead + ahead_rows(layer, depth.begin) * (ceil_div(n, NR) * NR) + j * units_b(), NR};
        if (PACK_B) return {team.packed_b + (j - cols.begin) * units_b(), NR};
        if (MASKS || j + NR <= cols.end) return {in_place(at_b(depth.begin, j)), n};
        return {team.edge_b, NR};
    }

    Tile tile_at(int64_t i, int64_t j) const {
        const int64_t first = first_row(i);
        return {D, sums, n, first, j, i - first, min_of(MR, rows.end - first), min_of(NR, cols.end - j),
                depth.begin == 0, depth.end == k, {nullptr, 0}, 0, 1, team.spare, rest()};
    }

    void multiply_blocks() const {
        if (M_INSIDE) {
            for (int64_t j = cols.begin; j < cols.end; j += NR) {
                Panel b = panel_b(j), next = j + NR < cols.end ? panel_b(j + NR) : Panel{nullptr, 0};
                for (int64_t i = rows.begin; i < rows.end; i += MR) {
                    Tile at = tile_at(i, j);
                    at.next = next, at.turn = (i - rows.begin) / MR, at.turns = ceil_div(rows.size(), MR);
                    tile(panel_a(i), b, steps(), at, epilogue);
                }
            }
        } else {
            for (int64_t i = rows.begin; i < rows.end; i += MR) {
                Panel a = panel_a(i), next = i + MR < rows.end ? panel_a(i + MR) : Panel{nullptr, 0};
                for (int64_t j = cols.begin; j < cols.end; j += NR) {
                    Tile at = tile_at(i, j);
                    at.next = next, at.turn = (j - cols.begin) / NR, at.turns = ceil_div(cols.size(), NR);
                    tile(a, panel_b(j), steps(), at, epilogue);
                }
            }
        }
    }

public:
    Gemm(const Input* A, const Input* B, Output* D, Sum* sums, int64_t m, int64_t n, int64_t k,
         const Epilogue& epilogue, const Team& team, const Sum* ahead = nullptr)
        : A(A), B(B), ahead(ahead), D(D), sums(sums), m(m), n(n), k(k), epilogue(epilogue), team(team) {}

    __attribute__((noinline)) void run() {
        Blocks down(m, MR, MCB, team.down, team.row), across(n, NR, NCB, team.across, team.col);
        int64_t layers = ceil_div(k, KC);
        for (int64_t outer = 0; outer < (N_OUTSIDE ? across.count : down.count); ++outer) {
            for (layer = 0; layer < layers; ++layer) {
                depth = share(k, GROUP, layers, layer);
                (N_OUTSIDE ? cols : rows) = N_OUTSIDE ? across[outer] : down[outer];
                if (N_OUTSIDE) pack_b();
                else pack_a();
                for (int64_t inner = 0; inner < (N_OUTSIDE ? down.count : across.count); ++inner) {
                    (N_OUTSIDE ? rows : cols) = N_OUTSIDE ? down[inner] : across[inner];
                    if (N_OUTSIDE) pack_a();
                    else pack_b();
                    multiply_blocks();
                }
            }
        }
    }
};

// Units of one B packed as a whole.
static inline int64_t ahead_units(int64_t n, int64_t k) {
    return ceil_div(n, NR) * NR * (ceil_div(k, GROUP) + EXTRA * ceil_div(k, KC));
}

// All entries of a batch; `ahead` is B as `pack_ahead` lays it out, or null.
static int multiply(const Input* A, const Input* B, const Sum* ahead, const Addend* C, const Addend* bias, Output* D,
                    int64_t m, int64_t n, int64_t k, int64_t batch, float alpha, float beta, const float* scale,
                    const int32_t* zero) {
    static thread_local Arena arena;
    const Sizes sizes(m, n, k);
    // Half precision cannot hold sums between blocks of k.
    const int64_t apart = sizeof(Output) == sizeof(Sum) || k <= KC ? 0 : ceil_div(m * n, 16) * 16;
    Sum* memory = arena.reserve(max_of(16, (sizes.one() + apart) * threads));
    if (!memory) return 1;

    // Batch entry b on a grid of down x across threads, as its thread `index`, in a place of its team's.
    auto entry = [&](int64_t b, int64_t down, int64_t across, int64_t index, Sum* place) {
        Epilogue epilogue = {C ? C + b * m * n : nullptr, bias, n, Sum(alpha), Sum(beta), scale, zero};
        const Input *a = A + b * m * k, *x = B + b * k * n;
        Output* d = D + b * m * n;
        Sum* sums = apart ? place : reinterpret_cast<Sum*>(d);
#if !DTYPE_INT8
        if (m == 1 || n == 1) return gemv(a, x, d, m, n, k, epilogue, int(down * across), int(index));
#endif
        const Team team = sizes.place(place + apart, down, across, index);
        Gemm(a, x, d, sums, m, n, k, epilogue, team, B_AHEAD ? ahead + b * ahead_units(n, k) : nullptr).run();
    };

#if threads > 1
    BY_TEAM
    {
        const int64_t team = TEAM_SIZE, index = TEAM_INDEX;
        // Whole entries first, each thread its own, with no waiting; the remainder all threads together.
        int64_t alone = batch / team * team;
        for (int64_t b = index; b < alone; b += team) {
            entry(b, 1, 1, 0, memory + index * (sizes.one() + apart));
        }
        int64_t across = team % SPLIT_N == 0 ? SPLIT_N : 1, down = team / across;
        // A dimension with fewer panels than threads along it gives its threads to the other.
        if (ceil_div(m, MR) < down) across = team, down = 1;
        else if (ceil_div(n, NR) < across) across = 1, down = team;
        for (int64_t b = alone; b < batch; ++b) {
            if (b > 0) wait_for_team();
            entry(b, down, across, index, memory);
        }
    }
#else
    for (int64_t b = 0; b < batch; ++b) entry(b, 1, 1, 0, memory);
#endif
    return 0;
}
