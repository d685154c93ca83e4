// Peaks of the instructions that multiply narrow types: of tiles (AMX), of dot products (VNNI, AVX-512 BF16), of FP16.
// Compiled by tuner/devices/cpu/dots.py with the target's instruction set; what that has not is a peak of 0. Operands
// are ordinary numbers: a processor whose multipliers see zeros alone keeps a clock that no kernel ever has.
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "team.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

enum Type { F16, BF16, INT8 };
// Independent chains of vector instructions, as of the FMA peak (cpu.cpp), and of tiles as many as operands leave room.
enum { CHAINS = 12, TILES = 4 };

static volatile int sink;

static uint32_t next_bits(uint32_t& state) { return state = state * 1664525u + 1013904223u; }

// bf16 of either sign between 0.5 and 2, or any int8.
static void fill(uint8_t* bytes, int count, bool brain) {
    uint32_t state = 1;
    for (int i = 0; i < count; i += 2) {
        const uint32_t bits = next_bits(state) >> 8;
        const uint16_t pair = uint16_t(brain ? 0x3f00 | (bits & 0x80ff) : bits);
        memcpy(bytes + i, &pair, 2);
    }
}

#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AMX_INT8__)
// Operations of the rounds, or 0 where the system does not let the process have tiles (arch_prctl(2)).
template <bool BRAIN>
static double tiles(int64_t rounds) {
    if (syscall(SYS_arch_prctl, 0x1023, 18)) return 0;
    struct __attribute__((packed, aligned(64))) {
        uint8_t palette, start, unused[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {1, 0, {}, {}, {}};
    for (int t = 0; t < 8; ++t) shape.row_bytes[t] = 64, shape.rows[t] = 16;
    alignas(64) uint8_t operands[4][1024], sums[1024];
    fill(operands[0], sizeof operands, BRAIN);
    _tile_loadconfig(&shape);
    // Statements, not expressions, in some compilers.
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
    _tile_loadd(4, operands[0], 64); _tile_loadd(5, operands[1], 64);
    _tile_loadd(6, operands[2], 64); _tile_loadd(7, operands[3], 64);
    // One of these takes 16 cycles, a round of vectors 6.
    rounds = rounds / 10 + 1;
    for (int64_t i = 0; i < rounds; ++i) {
        if (BRAIN) {
            _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
        } else {
            _tile_dpbssd(0, 4, 6); _tile_dpbssd(1, 4, 7); _tile_dpbssd(2, 5, 6); _tile_dpbssd(3, 5, 7);
        }
    }
    _tile_stored(0, sums, 64);
    _tile_release();
    sink = sums[0];
    return double(rounds) * TILES * 2 * 16 * 16 * (BRAIN ? 32 : 64);
}
#define BRAIN_ROUNDS tiles<true>
#define BYTE_ROUNDS tiles<false>
#endif

// A round takes a step of each chain, from its sums, x and y; `lanes` products a vector. The compiler may not know that
// all chains are alike.
#define VECTOR_ROUNDS(name, Sums, Operand, brain, lanes, step)              \
    static double name(int64_t rounds) {                                    \
        typedef int words __attribute__((vector_size(sizeof(Sums))));       \
        Operand x, y;                                                       \
        Sums sums[CHAINS] = {};                                             \
        uint8_t bytes[2 * sizeof(Operand)];                                 \
        fill(bytes, sizeof bytes, brain);                                   \
        memcpy(&x, bytes, sizeof x);                                        \
        memcpy(&y, bytes + sizeof x, sizeof y);                             \
        for (int64_t i = 0; i < rounds; ++i) {                              \
            _Pragma("GCC unroll 12") for (int c = 0; c < CHAINS; ++c) {     \
                sums[c] = step(sums[c], x, y);                              \
                asm("" : "+v"(sums[c]));                                    \
            }                                                               \
        }                                                                   \
        _Pragma("GCC unroll 12") for (int c = 0; c < CHAINS; ++c) {         \
            sink = reinterpret_cast<words>(sums[c])[0];                     \
        }                                                                   \
        return double(rounds) * CHAINS * 2 * (lanes);                       \
    }

#if !defined(BRAIN_ROUNDS) && defined(__AVX512BF16__)
VECTOR_ROUNDS(brain_rounds, __m512, __m512bh, true, 32, _mm512_dpbf16_ps)
#define BRAIN_ROUNDS brain_rounds
#endif
#if !defined(BYTE_ROUNDS) && defined(__AVX512VNNI__)
VECTOR_ROUNDS(byte_rounds, __m512i, __m512i, false, 64, _mm512_dpbusd_epi32)
#define BYTE_ROUNDS byte_rounds
#elif !defined(BYTE_ROUNDS) && defined(__AVXVNNI__)
VECTOR_ROUNDS(byte_rounds, __m256i, __m256i, false, 32, _mm256_dpbusd_avx_epi32)
#define BYTE_ROUNDS byte_rounds
#endif
#if defined(__AVX512FP16__)
typedef _Float16 halves __attribute__((vector_size(64)));

static double half_rounds(int64_t rounds) {
    static const volatile float seeds[2] = {0.99f, 0.01f};
    halves x, y, sums[CHAINS] = {};
    for (int i = 0; i < 32; ++i) x[i] = _Float16(seeds[0]), y[i] = _Float16(seeds[1] + 0.001f * float(i));
    for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; ++c) sums[c] = sums[c] * x + y;  // converges: no denormals
    }
    for (int c = 1; c < CHAINS; ++c) sums[0] += sums[c];
    sink = int(float(sums[0][0]));
    return double(rounds) * CHAINS * 2 * 32;
}
#define HALF_ROUNDS half_rounds
#endif

[[maybe_unused]] static double none(int64_t) { return 0; }
#if !defined(HALF_ROUNDS)
#define HALF_ROUNDS none
#endif
#if !defined(BRAIN_ROUNDS)
#define BRAIN_ROUNDS none
#endif
#if !defined(BYTE_ROUNDS)
#define BYTE_ROUNDS none
#endif

struct Member {
    Team* team;
    int index;
    void (*work)(Member&);
    double (*products)(int64_t);   // of a type; returns operations
    int64_t rounds;
    double operations, seconds;
};

static void multiply(Member& member) {
    member.products(member.rounds / 10 + 1);  // the clock and the units wake up
    barrier(*member.team);
    const double start = now();
    member.operations = member.products(member.rounds);
    member.seconds = now() - start;
}

// Operations a second of so many rounds of a type's products on every core of `cpus`, together and by the slowest
// core's time; 0 where this instruction set has none for it, negative where a thread cannot be made.
EXPORT double tuner_dot_rate(int type, const int* cpus, int threads, int64_t rounds) {
    static Member members[MOST_MEMBERS];
    const auto products = type == F16 ? HALF_ROUNDS : type == BF16 ? BRAIN_ROUNDS : BYTE_ROUNDS;
    for (int i = 0; i < threads && i < MOST_MEMBERS; ++i) members[i] = {nullptr, i, multiply, products, rounds, 0, 0};
    if (run_team(cpus, threads, members)) return -1;
    double operations = 0;
    for (int i = 0; i < threads; ++i) operations += members[i].operations;
    const double seconds = slowest(members, threads);
    return seconds > 0 ? operations / seconds : 0;
}
