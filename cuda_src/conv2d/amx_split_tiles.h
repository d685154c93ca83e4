// One step of a product of numbers that are three of bf16 each (amx_parts.h), in tile registers: sums of TALL x WIDE tiles
// take six of the nine products of the parts of TALL tiles of A and WIDE tiles of B.
#pragma once
#include "../common/amx_parts.h"

// Where the tiles of an operand lie, in bytes: from a row to the next, from a tile to the second, from a part to the next.
struct Operand {
    const char* first;
    int64_t row, second, part;
};

// Tiles of one part of A are 4 and 5, of B 6 and 7; sums are 0 ... 3, two of them to a tile of A.
template <int FIRST, int COUNT>
static inline __attribute__((always_inline)) void load_part(const Operand& from, int64_t part) {
    const char* at = from.first + part * from.part;
    tile_load<FIRST>(at, from.row);
    if (COUNT == 2) tile_load<FIRST + 1>(at + from.second, from.row);
}

// Products of the parts that are there. What is loaded next takes a tile's place as soon as that has been used.
template <int TALL, int WIDE>
static inline __attribute__((always_inline)) void multiply_and_load_b(const Operand& b, int64_t part) {
    const char* next = b.first + part * b.part;
    tile_multiply<0, 4, 6>();
    if (TALL == 2) tile_multiply<2, 5, 6>();
    tile_load<6>(next, b.row);
    if (WIDE == 1) return;
    tile_multiply<1, 4, 7>();
    if (TALL == 2) tile_multiply<3, 5, 7>();
    tile_load<7>(next + b.second, b.row);
}

template <int TALL, int WIDE>
static inline __attribute__((always_inline)) void multiply_and_load_a(const Operand& a, int64_t part) {
    const char* next = a.first + part * a.part;
    tile_multiply<0, 4, 6>();
    if (WIDE == 2) tile_multiply<1, 4, 7>();
    tile_load<4>(next, a.row);
    if (TALL == 1) return;
    tile_multiply<2, 5, 6>();
    if (WIDE == 2) tile_multiply<3, 5, 7>();
    tile_load<5>(next + a.second, a.row);
}

// High times low, high times middle, middle times middle, middle times high, low times high, high times high: each after the
// first brings in one part of one operand. `meanwhile` is called after each of them: vector instructions that a tile
// instruction need not wait for.
template <int TALL, int WIDE, class Meanwhile>
static inline __attribute__((always_inline)) void multiply_step(const Operand& a, const Operand& b, Meanwhile&& meanwhile) {
    load_part<4, TALL>(a, 0), load_part<6, WIDE>(b, 2);
    multiply_and_load_b<TALL, WIDE>(b, 1), meanwhile();
    multiply_and_load_a<TALL, WIDE>(a, 1), meanwhile();
    multiply_and_load_b<TALL, WIDE>(b, 0), meanwhile();
    multiply_and_load_a<TALL, WIDE>(a, 2), meanwhile();
    multiply_and_load_a<TALL, WIDE>(a, 0), meanwhile();
    tile_multiply<0, 4, 6>();
    if (WIDE == 2) tile_multiply<1, 4, 7>();
    if (TALL == 2) tile_multiply<2, 5, 6>();
    if (TALL == 2 && WIDE == 2) tile_multiply<3, 5, 7>();
    meanwhile();
}

template <int TALL, int WIDE>
static inline __attribute__((always_inline)) void clear_sums() {
    tile_zero<0>();
    if (WIDE == 2) tile_zero<1>();
    if (TALL == 2) tile_zero<2>();
    if (TALL == 2 && WIDE == 2) tile_zero<3>();
}

// [TALL][WIDE] tiles, each of rows one behind the other.
template <int TALL, int WIDE>
static inline __attribute__((always_inline)) void keep_sums(float* sums) {
    tile_store<0>(sums, TILE_ROW_BYTES);
    if (WIDE == 2) tile_store<1>(sums + TILE_UNITS, TILE_ROW_BYTES);
    if (TALL == 2) tile_store<2>(sums + WIDE * TILE_UNITS, TILE_ROW_BYTES);
    if (TALL == 2 && WIDE == 2) tile_store<3>(sums + 3 * TILE_UNITS, TILE_ROW_BYTES);
}
