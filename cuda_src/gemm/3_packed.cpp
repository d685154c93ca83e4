/*[tuner]
name = "cpp_packed"
operator = "gemm"
summary = "Blocked for three cache levels, operands packed or in place, a register tile, threads in a grid."
dtypes = ["f32", "f16", "int8", "bf16"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k", "batch", "alpha", "beta"]
options = "operator"
use = ["register_tiles", "cores"]

[parameters]
MR = { values = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14], doc = "rows of the register tile" }
MC = { values = [32, 64, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096], doc = "rows of a block of A" }
NC = { values = [64, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096], doc = "columns of a block of B" }
KC = { values = [16, 64, 128, 192, 256, 384, 512, 768, 1024, 2048], doc = "depth of both blocks" }
OUTER = { values = ["n", "m"], doc = "outermost loop: its operand is packed once, the other once a block of it" }
INNER = { values = ["m", "n"], doc = "innermost loop over tiles: m keeps a panel of B in L1, n one of A" }
PACK_A = { values = [true, false], doc = "copy A into panels, or read it in place" }
PACK_B = { values = [true, false], doc = "copy B into panels, or read it in place" }
UNROLL = { values = [1, 2, 4], doc = "steps of k in the body of the microkernel's loop" }
PREFETCH = { values = [0, 8, 32], doc = "steps of k the streamed panel is fetched ahead; 0: hardware only" }
PREFETCH_NEXT = { values = ["no", "l1", "l2"], doc = "fetch the next kept panel meanwhile, and into which cache" }
PREFETCH_D = { values = [false, true], doc = "fetch the tile of D while its sum is computed" }
HUGE_PAGES = { values = [true, false], doc = "ask for 2 MiB pages for the packed operands" }
SPLIT_N = { values = [1, 2, 3, 4, 6, 8, 12, 16], doc = "threads along n; the rest of them along m" }

[let]
vectors = "NR * 4 // vector_bytes"
few_rows = "MR * 2 > m"
# An element takes four bytes when it is packed, an int8 two.
packed_bytes = "2 if element_bytes == 1 else 4"
# Elements of the panel that stays in L1, of the block that its partner comes from, and of its own block.
panel = "KC * (NR if INNER == 'm' else MR)"
streamed = "KC * (MC if INNER == 'm' else NC)"
kept = "KC * (NC if INNER == 'm' else MC)"

[constraints]
# Sums, a row of B and one element of A.
registers = "(MR + 1) * vectors + 1 <= vector_registers"
# 8 sums or more keep two FMA pipes of latency 4 busy; few rows have to do with fewer.
latency_hidden = "MR * vectors >= 8 or few_rows"
# A step loads MR + vectors and multiplies MR * vectors, both at two a cycle: leave the loads a quarter of slack.
loads_hidden = "(MR + vectors) * 4 <= MR * vectors * 3 or few_rows or n * 4 <= vector_bytes"
panel_in_l1 = "panel * packed_bytes <= l1d_bytes"
streamed_block_in_l2 = "streamed * packed_bytes <= l2_bytes"
kept_block_in_l3 = "kept * packed_bytes <= l3_bytes"
# A block larger than the operand is the operand: only the smallest such value is kept.
blocks_used = "(MC < 2 * m or MC == 32) and (NC < 2 * n or NC == 64) and (KC < 2 * k or KC == 16)"
blocks_worth_a_loop = "(MC * KC >= 16384 or MC >= m or MC == 32) and (NC * KC >= 16384 or NC >= n or NC == 64)"
# A kept operand that is read in place and not cut by the outer loop has no blocks: one value is kept.
kept_in_place = """
  (PACK_A or INNER == 'm' or OUTER == 'm' or MC == 32) and \
  (PACK_B or INNER == 'n' or OUTER == 'n' or NC == 64)"""
tile_in_block = "MR <= MC and NR <= NC"
# A pass over D for less than 128 steps of k costs more than it saves, but where m is small D is too.
deep_enough = "KC >= 128 or KC * 2 >= k or m <= 16"
# Other types than f32 are converted when they are packed.
converted = "element_bytes == 4 or PACK_A and PACK_B"
# B in place costs a line and a page for each step of k: worth it where B is used a few times only.
b_in_place = "PACK_B or m <= 512 and not trans_b"
grid = "threads % SPLIT_N == 0"

[features]
panel_bytes = "panel * 4"
streamed_bytes = "streamed * 4"
kept_bytes = "kept * 4"
*/
// Rung 3. The register tile of rung 2 computes as fast as its operands arrive. Packing copies a block of A and
// of B into the order in which the microkernel reads them, so that every line and every page is used up at
// once and nothing collides in a cache; the copy is paid once and read many times. The blocks are sized so
// that a panel of one operand stays in L1, the block that streams past it in L2, and the block that is kept in
// L3 (Goto and van de Geijn, Anatomy of high-performance matrix multiplication, ACM TOMS 34(3), 2008).
// Threads form a grid over D and pack together what they share (Smith et al., Anatomy of high-performance
// many-threaded matrix multiplication, IPDPS 2014).
// Packing also converts: half precision to single (half.h), int8 to pairs of 16 bits (int8.h).
//
// Five rows of A, three steps of k, packed into panels of MR = 2 rows (B likewise, of NR columns):
//
//   a0 a1 a2
//   b0 b1 b2      panel 0            panel 1            panel 2
//   c0 c1 c2      a0 b0 a1 b1 a2 b2  c0 d0 c1 d1 c2 d2  e0 0 e1 0 e2 0
//   d0 d1 d2
//   e0 e1 e2
#include "../common/arena.h"
#include "../common/team.h"
#include "grid.h"
#if !DTYPE_INT8
#include "gemv.h"
#include "../common/pack.h"
#endif

class Gemm {
    const Input *A, *B;
    Output* D;
    Sum* sums;
    int64_t m, n, k;
    Epilogue epilogue;
    Team team;
    Range rows, cols, depth;  // of the present blocks

    int64_t units() const { return ceil_div(depth.size(), GROUP); }  // depth of a packed panel
    const Input* at_a(int64_t i, int64_t p) const { return A + (OPT_TRANS_A ? p * m + i : i * k + p); }
    const Input* at_b(int64_t p, int64_t j) const { return B + (OPT_TRANS_B ? j * k + p : p * n + j); }

    // The threads of a grid row share a block of A: each packs its part of the panels, then all may read.
    void pack_a() const {
        if (PACK_A) {
            Team::wait(team.across);
            Range part = share(rows.size(), MR, team.across, team.col);
            const Input* from = at_a(rows.begin + part.begin, depth.begin);
            Sum* to = team.packed_a + part.begin * units();
            if (OPT_TRANS_A) pack_rows<MR>(to, from, m, part.size(), depth.size());
            else pack_transposed<MR>(to, from, k, part.size(), depth.size());
            Team::wait(team.across);
        } else if (int64_t over = rows.size() % MR) {
            // Laid out as the matrix is, so that one microkernel serves both: [MR][depth], or [depth][MR].
            int64_t i = rows.end - over, size = depth.size();
            for (int64_t p = 0; p < size; ++p) {
                for (int64_t r = 0; r < MR; ++r) {
                    Sum value = r < over ? Sum(*at_a(i + r, depth.begin + p)) : 0;
                    team.edge_a[OPT_TRANS_A ? p * MR + r : r * size + p] = value;
                }
            }
        }
    }

    void pack_b() const {
        if (PACK_B) {
            Team::wait(team.down);
            Range part = share(cols.size(), NR, team.down, team.row);
            const Input* from = at_b(depth.begin, cols.begin + part.begin);
            Sum* to = team.packed_b + part.begin * units();
            if (OPT_TRANS_B) pack_transposed<NR>(to, from, k, part.size(), depth.size());
            else pack_rows<NR>(to, from, n, part.size(), depth.size());
            Team::wait(team.down);
        } else if (int64_t over = cols.size() % NR) {
            pack_rows<NR>(team.edge_b, at_b(depth.begin, cols.end - over), n, over, depth.size());
        }
    }

    // Only single precision is read in place.
    static const Sum* in_place(const Input* p) { return reinterpret_cast<const Sum*>(p); }

    Panel panel_a(int64_t i) const {
        if (PACK_A) return {team.packed_a + (i - rows.begin) * units(), MR};
        if (i + MR <= rows.end) return {in_place(at_a(i, depth.begin)), OPT_TRANS_A ? m : k};
        return {team.edge_a, OPT_TRANS_A ? MR : depth.size()};
    }

    Panel panel_b(int64_t j) const {
        if (PACK_B) return {team.packed_b + (j - cols.begin) * units(), NR};
        if (j + NR <= cols.end) return {in_place(at_b(depth.begin, j)), n};
        return {team.edge_b, NR};
    }

    Tile tile_at(int64_t i, int64_t j) const {
        return {D, sums, n, i, j, min_of(MR, rows.end - i), min_of(NR, cols.end - j),
                depth.begin == 0, depth.end == k, {nullptr, 0}, 0, 1, team.spare};
    }

    void multiply_blocks() const {
        if (M_INSIDE) {
            for (int64_t j = cols.begin; j < cols.end; j += NR) {
                Panel b = panel_b(j), next = j + NR < cols.end ? panel_b(j + NR) : Panel{nullptr, 0};
                for (int64_t i = rows.begin; i < rows.end; i += MR) {
                    Tile at = tile_at(i, j);
                    at.next = next, at.turn = (i - rows.begin) / MR, at.turns = ceil_div(rows.size(), MR);
                    tile(panel_a(i), b, units(), at, epilogue);
                }
            }
        } else {
            for (int64_t i = rows.begin; i < rows.end; i += MR) {
                Panel a = panel_a(i), next = i + MR < rows.end ? panel_a(i + MR) : Panel{nullptr, 0};
                for (int64_t j = cols.begin; j < cols.end; j += NR) {
                    Tile at = tile_at(i, j);
                    at.next = next, at.turn = (j - cols.begin) / NR, at.turns = ceil_div(cols.size(), NR);
                    tile(a, panel_b(j), units(), at, epilogue);
                }
            }
        }
    }

public:
    Gemm(const Input* A, const Input* B, Output* D, Sum* sums, int64_t m, int64_t n, int64_t k,
         const Epilogue& epilogue, const Team& team)
        : A(A), B(B), D(D), sums(sums), m(m), n(n), k(k), epilogue(epilogue), team(team), rows(), cols(), depth() {}

    __attribute__((noinline)) void run() {
        Blocks down(m, MR, MCB, team.down, team.row), across(n, NR, NCB, team.across, team.col);
        int64_t layers = ceil_div(k, KC);
        for (int64_t outer = 0; outer < (N_OUTSIDE ? across.count : down.count); ++outer) {
            for (int64_t layer = 0; layer < layers; ++layer) {
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

extern "C" int gemm(const Input* A, const Input* B, const Output* C, const Output* bias, Output* D, int64_t m,
                    int64_t n, int64_t k, int64_t batch, float alpha, float beta) {
    static thread_local Arena arena;
    const Sizes sizes(m, n, k);
    // Half precision cannot hold sums between blocks of k.
    const int64_t apart = sizeof(Output) == sizeof(Sum) || k <= KC ? 0 : ceil_div(m * n, 16) * 16;
    Sum* memory = arena.reserve((sizes.one() + apart) * threads);
    if (!memory) return 1;

    // Batch entry b on a grid of down x across threads, as its thread `index`, in a place of its team's.
    auto entry = [&](int64_t b, int64_t down, int64_t across, int64_t index, Sum* place) {
        Epilogue epilogue = {C ? C + b * m * n : nullptr, bias, n, Sum(alpha), Sum(beta)};
        const Input *a = A + b * m * k, *x = B + b * k * n;
        Output* d = D + b * m * n;
        Sum* sums = apart ? place : reinterpret_cast<Sum*>(d);
#if !DTYPE_INT8
        if (m == 1 || n == 1) return gemv(a, x, d, m, n, k, epilogue, int(down * across), int(index));
#endif
        const Team team = sizes.place(place + apart, down, across, index);
        Gemm(a, x, d, sums, m, n, k, epilogue, team).run();
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
            wait_for_team();
            entry(b, down, across, index, memory);
        }
    }
#else
    for (int64_t b = 0; b < batch; ++b) entry(b, 1, 1, 0, memory);
#endif
    return 0;
}
