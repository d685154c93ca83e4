// The image as parts of bf16 (amx_parts.h), each element split once however many windows it lies in. A slab is some lines
// of the padded image, so many that they stay in L2, and a window's taps are distances in it. It lies
// [chunk][part][16 units][place] for planes (NCHW), where 16 places are the columns of a tile and units its rows, and
// [chunk][part][place][16 units] for NHWC, where places are the rows: of neither anything is transposed.
//
//   chunk   32 elements of the depth: channels, or with WINDOWS those of all of a window's columns
//   unit    elements u and u + 16 of a chunk
//   place   a pixel of the padded image. Lines follow each other, so 16 places may end in the next line; those at a line's
//           end that no result belongs to are computed and dropped. Where windows step by more than one, lines and
//           columns are sorted by their remainders, and a place is one of each.
#pragma once
#include <string.h>

#include "../common/amx_parts.h"
#include "image.h"

enum : int64_t { DEEP = 32, PIXELS = TILE * ACROSS, FILTERS = TILE * DOWN };

// How a slab lies in memory; a block is PIXELS places of one image.
struct Layout {
    const Shape at;
    const int64_t elements = WINDOWS ? at.s * at.inner : at.inner, chunks = ceil_div(elements, DEEP);  // of a group
    const int64_t taps = WINDOWS ? at.r : at.r * at.s, steps = chunks * taps;
    const int64_t down = at.r > 1 ? OPT_STRIDE : 1, across = !WINDOWS && at.s > 1 ? OPT_STRIDE : 1;  // remainders
    const int64_t pitch = WINDOWS ? at.columns : ceil_div(at.wide(), OPT_STRIDE);
    const int64_t lines_of_image = ceil_div(at.high(), OPT_STRIDE);
    const int64_t below = (at.r - 1) * OPT_DILATION / OPT_STRIDE;  // lines of a window after its first
    const int64_t length = (at.rows - 1) * pitch + at.columns;     // of an image's results, in places
    const int64_t blocks_of_image = ceil_div(length, PIXELS), blocks = at.n * blocks_of_image;
    const int64_t most = min_of(SLAB, blocks);  // blocks of a slab
    const int64_t lines = most_lines(), remainder = lines * pitch, room = most_places();
    const int64_t part_bytes = room * TILE_ROW_BYTES, chunk_bytes = PARTS * part_bytes;
    const int64_t bytes = OPT_GROUPS * chunks * chunk_bytes;
    static constexpr int64_t PLACE_BYTES = OPT_NHWC ? int64_t(TILE_ROW_BYTES) : 4;

    explicit Layout(const Shape& at) : at(at) {}

    // Lines are numbered through all images.
    int64_t first_line(int64_t block) const {
        return block / blocks_of_image * lines_of_image + block % blocks_of_image * PIXELS / pitch;
    }
    int64_t last_line(int64_t block) const {
        const int64_t end = min_of(length, (block % blocks_of_image + 1) * PIXELS);
        return block / blocks_of_image * lines_of_image + (end - 1) / pitch + below;
    }

    // Where each step of a window lies, in bytes from its first place: all taps of a chunk, then those of the next.
    void offsets(int64_t* to) const {
        for (int64_t step = 0; step < steps; ++step) {
            const int64_t tap = step % taps, y = (WINDOWS ? tap : tap / at.s) * OPT_DILATION;
            const int64_t x = WINDOWS ? 0 : tap % at.s * OPT_DILATION;
            const int64_t first = (y % OPT_STRIDE * across + x % OPT_STRIDE) * remainder;
            const int64_t place = first + y / OPT_STRIDE * pitch + x / OPT_STRIDE;
            to[step] = step / taps * chunk_bytes + place * PLACE_BYTES;
        }
    }

private:
    // No slab has more: what its first and its last block are apart, within an image or over the end of one.
    int64_t most_lines() const {
        const int64_t images = (most - 1) / blocks_of_image, rest = (most - 1) % blocks_of_image;
        const int64_t inside = images * lines_of_image + rest * PIXELS / pitch + 1;
        const int64_t over = (images + 1) * lines_of_image - (blocks_of_image - rest) * PIXELS / pitch;
        const int64_t apart = at.n > 1 ? max_of(inside, over) : inside;
        return min_of(at.n * lines_of_image, apart + (PIXELS - 1) / pitch + 2 + below);
    }
    // With what the last block reads beyond. The rows of a tile of planes shall not all be in one set of a cache, nor the
    // parts: an odd number of lines.
    int64_t most_places() const {
        const int64_t places = down * across * remainder + PIXELS + pitch;
        return OPT_NHWC ? places | 1 : (ceil_div(places, TILE) | 1) * TILE;
    }
};

// Splits a slab, item by item: a line of one unit of planes, or in NHWC a chunk of 16 places of a line. Which item
// comes next is counted: to find it by division takes as long as to split it.
struct Splitter {
    const Layout& lay;
    const float* X;
    int32_t* special;  // [0]: whether a number has no parts; behind it the same of each line of each image
    char* slab = nullptr;
    int64_t first = 0, lines = 0, left = 0;  // the slab's first line, how many it has, items left
    // Of the next item: its line, also as one of an image; remainder; unit or piece of a line; chunk of all groups.
    int64_t line = 0, image = 0, line_of_image = 0, remainder = 0, piece = 0, chunk = 0;

    bool busy() const { return left > 0; }
    void some(int64_t count) {
        for (; count > 0 && left > 0; --count, --left) {
            if (OPT_NHWC) pixels(), after_pixels();
            else line_of_planes(), after_line();
        }
    }

    // Share `index` of `team` of the slab of some blocks.
    void begin(char* to, Range blocks, int64_t team, int64_t index) {
        left = 0;
        if (blocks.size() <= 0) return;
        slab = to, first = lay.first_line(blocks.begin), lines = lay.last_line(blocks.end - 1) + 1 - first;
        const int64_t chunks = OPT_GROUPS * lay.chunks, sorted = lay.down * lay.across;
        const Range mine = share(lines * sorted * pieces() * chunks, 1, team, index);
        int64_t item = mine.begin;
        const auto digit = [&](int64_t size) {
            const int64_t value = item % size;
            item /= size;
            return value;
        };
        if (OPT_NHWC) chunk = digit(chunks), piece = digit(pieces()), line = digit(lines), remainder = item;
        else line = digit(lines), remainder = digit(sorted), piece = digit(pieces()), chunk = item;
        find_line();
        left = mine.size();
    }

private:
    int64_t pieces() const { return OPT_NHWC ? ceil_div(lay.pitch, TILE) : int64_t(TILE); }
    void find_line() {
        image = (first + line) / lay.lines_of_image, line_of_image = (first + line) % lay.lines_of_image;
    }
    // To the next line, or to the first: whether that.
    bool next_line() {
        ++line, ++line_of_image;
        if (line == lines) line = 0, find_line();
        else if (line_of_image == lay.lines_of_image) ++image, line_of_image = 0;
        return line == 0;
    }
    void after_line() {
        if (!next_line() || ++remainder < lay.down * lay.across) return;
        remainder = 0;
        if (++piece == TILE) piece = 0, ++chunk;
    }
    void after_pixels() {
        if (++chunk < OPT_GROUPS * lay.chunks) return;
        chunk = 0;
        if (++piece < pieces()) return;
        piece = 0;
        if (next_line()) ++remainder;
    }

    int64_t group() const { return OPT_GROUPS > 1 ? chunk / lay.chunks : 0; }
    int64_t chunk_of_group() const { return OPT_GROUPS > 1 ? chunk % lay.chunks : chunk; }
    // The line in the image, which is none where that is padding; the column of its first place.
    int64_t row() const { return line_of_image * OPT_STRIDE + (OPT_STRIDE > 1 ? remainder / lay.across : 0) - TOP; }
    int64_t column() const { return (OPT_STRIDE > 1 ? remainder % lay.across : 0) - LEFT; }
    bool inside() const { return 0 <= row() && row() < lay.at.h; }

    void note(const Largest& largest) const {
        if (!largest.special()) return;
        __atomic_store_n(special, 1, __ATOMIC_RELAXED);
        __atomic_store_n(special + 1 + image * lay.at.h + row(), 1, __ATOMIC_RELAXED);
    }

    // Columns x, x + stride, ... of a row of w, zeros outside of it.
    static __attribute__((always_inline)) __m512 columns_of(const float* row, int64_t x, int64_t w) {
        const auto piece = [&](int64_t at) __attribute__((always_inline)) {
            if (0 <= at && at + TILE <= w) return _mm512_loadu_ps(row + at);
            return _mm512_maskz_loadu_ps(__mmask16(first_lanes(w - at) & ~first_lanes(-at)), row + at);
        };
        if (OPT_STRIDE == 1) return piece(x);
        const __m512i count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        const __m512i every = _mm512_mullo_epi32(count, _mm512_set1_epi32(int(OPT_STRIDE)));
        if (OPT_STRIDE == 2) return _mm512_permutex2var_ps(piece(x), every, piece(x + TILE));
        const __m512i column = _mm512_add_epi32(every, _mm512_set1_epi32(int(x)));
        const __mmask16 there = _mm512_cmplt_epu32_mask(column, _mm512_set1_epi32(int(w)));  // negative ones are large
        return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), there, every, row + x, 4);
    }

    // A row of the image and the column of the line's first place, of element e of the chunk; null where there is none.
    const float* row_of(int64_t e, int64_t& x) const {
        const Shape& at = lay.at;
        e += chunk_of_group() * DEEP, x = 0;
        if (!inside() || e >= lay.elements) return nullptr;
        const int64_t channel = group() * at.inner + (WINDOWS ? e % at.inner : e);
        x = WINDOWS ? e / at.inner * OPT_DILATION - LEFT : column();
        return X + ((image * at.c + channel) * at.h + row()) * at.w;
    }

    __attribute__((noinline)) void line_of_planes() const {
        int64_t low_x, high_x;
        const float *const low_row = row_of(piece, low_x), *const high_row = row_of(piece + TILE, high_x);
        const int64_t pitch = lay.pitch, next = lay.part_bytes, w = lay.at.w;
        char* to = slab + chunk * lay.chunk_bytes + (piece * lay.room + remainder * lay.remainder + line * pitch) * 4;
        Largest largest;
        for (int64_t x = 0; x < pitch; x += TILE, to += TILE_ROW_BYTES) {
            const __m512 low = low_row ? columns_of(low_row, x * OPT_STRIDE + low_x, w) : _mm512_setzero_ps();
            const __m512 high = high_row ? columns_of(high_row, x * OPT_STRIDE + high_x, w) : _mm512_setzero_ps();
            largest.see(low), largest.see(high);
            if (x + TILE <= pitch) {
                put_parts(to, next, low, high);
                continue;
            }
            // The next line may be another thread's.
            const __mmask16 there = first_lanes(pitch - x);
            split_in_parts(low, high, [&](int64_t part, __m512i units) {
                _mm512_mask_storeu_epi32(to + part * next, there, units);
            });
        }
        note(largest);
    }

    // Elements e ... e + 15 of the windows' columns from column x on.
    __m512 of_windows(const float* pixel, int64_t e, int64_t x) const {
        const Shape& at = lay.at;
        if (OPT_GROUPS == 1 && OPT_DILATION == 1) {  // neighbours in memory
            const int64_t count = min_of(lay.elements, (at.w - x) * at.c);
            return _mm512_maskz_loadu_ps(__mmask16(first_lanes(count - e) & ~first_lanes(-x * at.c - e)), pixel + e);
        }
        alignas(64) float values[TILE] = {};
        for (int64_t i = 0; i < TILE && e + i < lay.elements; ++i) {
            const int64_t column = (e + i) / at.inner * OPT_DILATION;
            if (0 <= x + column && x + column < at.w) values[i] = pixel[column * at.c + (e + i) % at.inner];
        }
        return _mm512_load_ps(values);
    }

    __attribute__((noinline)) void pixels() const {
        const Shape& at = lay.at;
        const int64_t begin = piece * TILE, count = min_of(TILE, lay.pitch - begin), next = lay.part_bytes;
        const int64_t e = chunk_of_group() * DEEP, place = remainder * lay.remainder + line * lay.pitch + begin;
        const __mmask16 low_there = first_lanes(at.inner - e), high_there = first_lanes(at.inner - e - TILE);
        char* to = slab + chunk * lay.chunk_bytes + place * TILE_ROW_BYTES;
        int64_t x = begin * OPT_STRIDE + column();
        const float* pixel = X + ((image * at.h + row()) * at.w + x) * at.c + group() * at.inner;
        const int64_t w = inside() ? at.w : 0;
        Largest largest;
        for (int64_t i = 0; i < count; ++i, to += TILE_ROW_BYTES, x += OPT_STRIDE, pixel += OPT_STRIDE * at.c) {
            __m512 low = _mm512_setzero_ps(), high = low;
            if (WINDOWS && w) {
                low = of_windows(pixel, e, x), high = of_windows(pixel, e + TILE, x);
            } else if (!WINDOWS && 0 <= x && x < w) {
                low = _mm512_maskz_loadu_ps(low_there, pixel + e);
                high = _mm512_maskz_loadu_ps(high_there, pixel + e + TILE);
            }
            largest.see(low), largest.see(high);
            put_parts(to, next, low, high);
        }
        note(largest);
    }
};
