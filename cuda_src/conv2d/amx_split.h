// The f32 convolution in tile registers: an implicit matrix product of weights and a slab of the image, each number three
// of bf16 (amx_split_image.h, amx_split_weights.h), six products a pair (amx_split_tiles.h). For planes (NCHW) weights
// are the left operand and 16 pixels of a channel a row of the result, for NHWC pixels are and a row is 16 channels: as Y
// has them. The configuration's macros are defined before this is included.
/*[tuner.shared]
[amx_split_slabs.parameters]
DOWN = { values = [2, 1], doc = "tiles of 16 output channels that are computed together" }
ACROSS = { values = [2, 1], doc = "tiles of 16 pixels that are computed together" }
SLAB = { values = [1, 2, 4, 8, 16, 32, 64, 128, 256], doc = "so many times these pixels are split for all output channels before the next" }
BETWEEN = { values = [true, false], doc = "the next slab is split between the products of this one, or before its own" }
FETCH_W = { values = [true, false], doc = "fetch the next output channels' weights into L2 meanwhile, where they are laid out" }
WINDOWS = { values = [false, true], doc = "a window's columns are part of the depth, so that few channels fill a tile's row" }
SPLIT_K = { values = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64], doc = "threads along the output channels, which share a slab; the rest of them along pixels" }

[amx_split_slabs.let]
chunks = "ceildiv(s * group_c if WINDOWS else group_c, 32)"
pixels = "SLAB * 16 * ACROSS"
# An element takes six bytes; below the pixels are the other lines of their windows.
slab = "groups * chunks * 192 * (pixels + (r - 1) * dilation * (w + left + right) // stride)"
panel = "chunks * (r if WINDOWS else r * s) * DOWN * 3072"

[amx_split_slabs.constraints]
down_used = "group_k > 16 if DOWN == 2 else group_k <= 48"
# Four tiles of sums do not wait for each other; two do.
across_used = "p * q > 16 if ACROSS == 2 else p * q <= 48"
# A slab larger than the image is the image: only the smallest such value is kept.
slab_used = "SLAB == 1 or pixels < 2 * n * p * q"
slab_in_l2 = "SLAB == 1 or slab * (2 if BETWEEN else 1) * 4 <= l2_bytes * 3"
# A single slab has no next one.
between_used = "not BETWEEN or pixels * threads < n * p * q * SPLIT_K"
fetch_used = "not FETCH_W or group_k * groups > 16 * DOWN * SPLIT_K"
windows_used = "not WINDOWS or s > 1 and group_c % 32 != 0"
grid = "threads % SPLIT_K == 0 and (SPLIT_K == 1 or SPLIT_K * 16 * DOWN < 2 * k)"

[amx_split_slabs.features]
slab_bytes = "slab"
panel_bytes = "panel"
*/
#pragma once
#define HUGE_PAGES 1
#include "../common/arena.h"
#include "../common/team.h"
#include "../common/text.h"
#include "amx_split_plain.h"
#include "amx_split_tiles.h"
#include "results.h"

static_assert(int(LANES) == int(TILE), "a vector is a row of a tile");

// PACK_W is `whole` (all threads pack all weights first), `blocks` (each what it multiplies next) or `ahead`.
static constexpr bool OWN_W = TEXT(PACK_W)[0] == 'b', AHEAD = TEXT(PACK_W)[0] == 'a';

// What one thread does.
struct Worker {
    const Convolution& work;
    const Layout& lay;
    Splitter splitter;       // of the next slab
    float* sums;             // tiles: of planes [DOWN][ACROSS], of NHWC [ACROSS][DOWN]
    int64_t first_line = 0;  // of the slab that is multiplied

    // Sums that are complete, and which of their rows comes next: they are finished while the block after them is
    // multiplied, which leaves most cycles to vectors.
    Results results[2] = {};
    int64_t image = 0, filter = 0, channels = 0, next_row = 0, last_row = 0;
    // How many rows, and how many items of the next slab, after each of a step's six products.
    int64_t rows_each = 0, items_each = 0;

    // What is left to fetch of the next panel of weights, and how much of it at each step.
    const char *coming = nullptr, *last_coming = nullptr;
    int64_t coming_each = 0;

    void put(float* to, vec sum, __mmask16 there) const {
        if (OPT_RESIDUAL) sum += (vec)_mm512_maskz_loadu_ps(there, work.epilogue.residual + (to - work.Y));
        _mm512_mask_storeu_ps(to, there, (__m512)activated(sum));
    }

    // Row i of the complete sums: a filter's pixels.
    void finish_filter(int64_t i) const {
        const float* row = sums + i / TILE * ACROSS * TILE_UNITS + i % TILE * TILE;
        float* to = work.Y + (image * lay.at.k + filter + i) * lay.at.rows * lay.at.columns;
        for (int64_t tile = 0; tile < ACROSS; ++tile, row += TILE_UNITS) {
            const Results& of = results[tile];
            vec sum = load(row);
            if (of.there != of.written) sum = (vec)_mm512_maskz_compress_ps(of.there, (__m512)sum);
            put(to + of.pixel, OPT_BIAS ? sum + splat(work.epilogue.bias[filter + i]) : sum, of.written);
        }
    }

    // Row i of the complete sums: a pixel's filters.
    void finish_pixel(int64_t i) const {
        const Results& of = results[i / TILE];
        const unsigned bit = 1u << i % TILE;
        if (!(of.there & bit)) return;
        const int64_t pixel = of.pixel + __builtin_popcount(of.there & (bit - 1));
        float* to = work.Y + (image * lay.at.rows * lay.at.columns + pixel) * lay.at.k + filter;
        const float* row = sums + i / TILE * DOWN * TILE_UNITS + i % TILE * TILE;
        for (int64_t j = 0; j < channels; j += TILE, row += TILE_UNITS) {
            vec sum = load(row);
            const __mmask16 there = first_lanes(channels - j);
            if (OPT_BIAS) sum += (vec)_mm512_maskz_loadu_ps(there, work.epilogue.bias + filter + j);
            put(to + j, sum, there);
        }
    }

    void finish(int64_t end) {
        for (; next_row < end; ++next_row) OPT_NHWC ? finish_pixel(next_row) : finish_filter(next_row);
    }

    __attribute__((noinline)) void meanwhile() {
        finish(min_of(next_row + rows_each, last_row));
        if (BETWEEN) splitter.some(items_each);
    }

    // The next part of the next panel, into L2.
    __attribute__((always_inline)) void fetch_coming() {
        if (OWN_W || !FETCH_W) return;
        const char* const end = coming + coming_each < last_coming ? coming + coming_each : last_coming;
        for (const char* line = coming; line < end; line += 64) __builtin_prefetch(line, 0, 2);
        coming = end;
    }

    // DOWN x ACROSS tiles of Y: a panel of filters and a block of pixels whose first place lies at `at`.
    __attribute__((noinline)) void multiply(const char* panel, const char* at) {
        clear_sums<OPT_NHWC ? ACROSS : DOWN, OPT_NHWC ? DOWN : ACROSS>();
        const int64_t row = OPT_NHWC ? int64_t(TILE_ROW_BYTES) : lay.room * 4;
        const int64_t tile = OPT_NHWC ? int64_t(TILE_BYTES) : int64_t(TILE_ROW_BYTES);
        rows_each = ceil_div(last_row - next_row, lay.steps * 6);
        const auto between = [&]() __attribute__((always_inline)) {
            if (next_row < last_row || (BETWEEN && splitter.busy())) meanwhile();
        };
        for (int64_t step = 0; step < lay.steps; ++step, panel += STEP_BYTES) {
            const Operand filters = {panel, TILE_ROW_BYTES, TILE_BYTES, PART_BYTES};
            const Operand pixels = {at + work.offsets[step], row, tile, lay.part_bytes};
            fetch_coming();
            if (OPT_NHWC) multiply_step<ACROSS, DOWN>(pixels, filters, between);
            else multiply_step<DOWN, ACROSS>(filters, pixels, between);
        }
        keep_sums<OPT_NHWC ? ACROSS : DOWN, OPT_NHWC ? DOWN : ACROSS>(sums);
    }

    // All blocks of a slab with one panel.
    void panel_of_filters(int64_t panel, const char* packed, Range blocks, const char* slab) {
        const int64_t group = panel / work.weights.panels_of_group();
        for (int64_t block = blocks.begin; block < blocks.end; ++block) {
            const int64_t place = block % lay.blocks_of_image * PIXELS, n = block / lay.blocks_of_image;
            const int64_t line = n * lay.lines_of_image - first_line;
            multiply(packed, slab + group * lay.chunks * lay.chunk_bytes + (line * lay.pitch + place) * Layout::PLACE_BYTES);
            for (int64_t tile = 0; tile < ACROSS; ++tile) {
                results[tile] = results_from(place + tile * TILE, lay.pitch, lay.at.columns, lay.length);
            }
            image = n, filter = work.weights.first_filter(panel), channels = work.weights.filters(panel);
            next_row = 0, last_row = OPT_NHWC ? PIXELS : channels;
        }
    }

    // A slab with some panels; `own` is where a panel is packed.
    void multiply_slab(Range blocks, Range panels, const char* slab, char* own) {
        if (blocks.size() <= 0 || panels.size() <= 0) return;
        first_line = lay.first_line(blocks.begin);
        const int64_t size = work.weights.panel_bytes(), steps = blocks.size() * lay.steps;
        items_each = ceil_div(splitter.left, panels.size() * steps * 6);
        coming_each = ceil_div(size, steps * 64) * 64;
        for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
            const char* packed = OWN_W ? own : work.packed + panel * size;
            if (OWN_W) work.pack(own, panel);
            coming = packed + size;
            last_coming = panel + 1 < panels.end ? coming + size : coming;
            panel_of_filters(panel, packed, blocks, slab);
        }
    }
};

// What thread `index` of `team` does: with others along the output channels it splits a slab, and multiplies its own
// channels' weights with it.
static void run(const Convolution& work, int64_t team, int64_t index) {
    const Layout& lay = work.lay;
    const int64_t panel_bytes = work.weights.panel_bytes();
    const bool whole_team = team == threads;  // else memory is for fewer along pixels
    const int64_t down = whole_team ? SPLIT_K : 1, across = threads / SPLIT_K, column = index / down;
    if (!AHEAD && !OWN_W) {
        const Range mine = share(work.weights.panels(), 1, team, index);
        for (int64_t panel = mine.begin; panel < mine.end; ++panel) work.pack(work.packed + panel * panel_bytes, panel);
        wait_for_team();
    }
    const Range panels = share(work.weights.panels(), 1, down, index % down);
    const int64_t parts = whole_team ? across : min_of(team, across);
    const Range blocks = column < parts ? share(lay.blocks, 1, parts, column) : Range{0, 0};
    const int64_t rounds = ceil_div(ceil_div(lay.blocks, parts), lay.most);  // of whoever has most
    char *const slabs = work.slabs + min_of(column, across - 1) * (BETWEEN ? 2 : 1) * lay.bytes;
    char* const own = OWN_W ? work.packed + index * panel_bytes : nullptr;
    const auto slab_of = [&](int64_t round) { return slabs + (BETWEEN ? round % 2 : 0) * lay.bytes; };
    const auto blocks_of = [&](int64_t round) {
        const int64_t begin = blocks.begin + round * lay.most;
        return Range{min_of(begin, blocks.end), min_of(begin + lay.most, blocks.end)};
    };
    const auto wait = [&] { if (down > 1) wait_for_team(); };
    alignas(64) float sums[DOWN * ACROSS * TILE_UNITS];
    Worker worker = {work, lay, {lay, work.X, work.special_image}, sums};
    const Tiles tiles;
    const auto begin_split = [&](int64_t round) {
        if (round < rounds) worker.splitter.begin(slab_of(round), blocks_of(round), down, index % down);
    };
    const auto end_split = [&] { worker.splitter.some(worker.splitter.left); };
    begin_split(0), end_split(), wait();
    for (int64_t round = 0; round < rounds; ++round) {
        if (BETWEEN) begin_split(round + 1);
        worker.multiply_slab(blocks_of(round), panels, slab_of(round), own);
        if (!BETWEEN) wait(), begin_split(round + 1);
        end_split(), wait();
    }
    worker.finish(worker.last_row);
    repair(work, blocks, panels);
}

// `ahead` is all panels, and behind them of each whether it is special; null where they are packed in the call.
static int convolve(const float* X, const float* W, char* ahead, const Epilogue& epilogue, float* Y, const Shape& at) {
    if (!may_use_tiles()) return 3;
    static thread_local Arena arena;
    const Layout lay(at);
    const Weights weights = {lay, W};
    const auto lines = [](int64_t bytes) { return ceil_div(bytes, 64) * 64; };
    const int64_t table = lines(lay.steps * 8), of_image = lines((1 + at.n * at.h) * 4);
    const int64_t of_weights = AHEAD ? 0 : lines(weights.panels() * 4);
    const int64_t packed = AHEAD ? 0 : (OWN_W ? threads : weights.panels()) * weights.panel_bytes();
    const int64_t slabs = threads / SPLIT_K * (BETWEEN ? 2 : 1) * lay.bytes;
    char* memory = reinterpret_cast<char*>(arena.reserve((table + of_image + of_weights + packed + slabs) / 4));
    if (!memory) return 1;
    int64_t* offsets = reinterpret_cast<int64_t*>(memory);
    lay.offsets(offsets);
    memset(memory + table, 0, size_t(of_image + of_weights));
    const auto flags = [](char* at) { return reinterpret_cast<int32_t*>(at); };
    char *const special = memory + table, *const own = special + of_image + of_weights;
    int32_t* const of_panels = flags(AHEAD ? ahead + weights.panels() * weights.panel_bytes() : special + of_image);
    const Convolution work = {lay, weights, X, epilogue, Y, offsets, AHEAD ? ahead : own, of_panels, flags(special),
                              own + packed};
    BY_TEAM
    run(work, TEAM_SIZE, TEAM_INDEX);
    return 0;
}
