// Few queries over many keys, as in decoding: what counts is how fast the cache streams by, once.
//
// KEY_LANES neighbouring lanes take a key together, 16 bytes each, so a warp reads whole lines; each such group has the
// softmax of the keys that it met itself, in registers, and no barrier until the end. Then the parts of the groups are
// combined: of a warp by shuffles, of a block in shared memory, of all blocks by the one that comes last.
//
//   KEY_LANES = 8, THREADS = 64, KEYS = 2: groups 0 ... 7, a step is 16 keys
//     group 0   key 0, key 8      group 1   key 1, key 9     ...    group 7   key 7, key 15
/*[tuner.shared]
# For kernels that declare `shared` and `registers_needed`.
[decoding.supports]
"it is for decoding, up to 64 queries of each head of keys" = "rows <= 64"

[decoding.parameters]
ROWS = { values = [1, 2, 4, 8], doc = "queries of a head of keys a block" }
KEY_LANES = { values = [4, 8, 16, 32], doc = "threads that take a key together" }
KEYS = { values = [1, 2, 4, 8], doc = "keys that such a group loads before it uses one" }
THREADS = { values = [32, 64, 128, 256], doc = "threads a block" }
SPLIT = { values = [1, 2, 4, 8, 16, 32, 64, 128], doc = "blocks that share the keys of a head" }

[decoding.let]
vector = "16 // element_bytes"
lane_pieces = "ceildiv(d, KEY_LANES * vector)"
width = "lane_pieces * KEY_LANES * vector"
tiles = "ceildiv(rows, ROWS) * b * kv_h"
blocks = "tiles * SPLIT"
step = "THREADS // KEY_LANES * KEYS"
# Steps of a block.
part_steps = "ceildiv(kv, SPLIT * step)"
part_bytes = "4 * (ROWS * width + 4 * ceildiv(ROWS, 2))"
parts_bytes = "THREADS // warp_size * part_bytes"
# A query and its sums, the pieces of keys and values under way, and one of each as f32.
held = "2 * lane_pieces * vector"
widened = "held if element_bytes == 2 else 0"
held_registers = "ROWS * (held + KEYS + 3) + KEYS * lane_pieces * 8 + widened"

[decoding.constraints]
threads_fit = "THREADS <= max_threads_block"
rows_used = "ROWS < 2 * rows or ROWS == 1"
lanes_used = "width < 2 * d or KEY_LANES == 4"
parts_have_keys = "SPLIT == 1 or SPLIT * step <= kv"
registers_fit = "registers_needed <= max_registers_thread"
registers_of_block_fit = "registers_needed * THREADS <= registers_block"
shared_fits = "shared <= shared_bytes_block"
grid_fits = "blocks <= max_grid_x"

[decoding.features]
macs = "2 * tiles * ROWS * kv * width"
traffic_bytes = """
  2 * tiles * kv * d * element_bytes + (2 * blocks * part_bytes if SPLIT > 1 else 0)"""
steps = "part_steps"
stages = "KEYS"
threads = "THREADS"
shared = "shared"
blocks = "blocks"
registers = "ROWS * held"

[decoding.macros]
HEAD = "d"

[decoding.workspace]
partial = "blocks * part_bytes if SPLIT > 1 else 16"
arrived = "tiles * 4"
*/
#pragma once
#include "softmax.cuh"

constexpr int GROUPS = THREADS / KEY_LANES, WARPS = THREADS / 32, STEP = GROUPS * KEYS;
constexpr int PIECES = (HEAD + KEY_LANES * VECTOR - 1) / (KEY_LANES * VECTOR);  // of a key a lane
constexpr int WIDTH = PIECES * KEY_LANES * VECTOR;
// A part of the keys: sums [ROWS][WIDTH] in the order of column_at, the largest score [ROWS], the total of the probabilities [ROWS].
constexpr int LARGEST = ROWS * WIDTH, TOTAL = LARGEST + ROWS;
constexpr int PART = (TOTAL + ROWS + 3) / 4 * 4;  // parts begin on 16 bytes

// Keys first ... last - 1 are a block's.
struct Range {
  int first, last;
};

// The column of a lane's element.
__device__ __forceinline__ int column(int lane, int piece, int i) { return (piece * KEY_LANES + lane) * VECTOR + i; }

// The column that lies at a place of a part's row: fours of neighbouring lanes are neighbours, so that a warp that
// stores them meets no bank twice. With elements of 32 bits that is the order of the columns.
__device__ __forceinline__ int column_at(int place) {
  constexpr int FOURS = VECTOR / 4;
  const int four = place / 4, lane = four % KEY_LANES, of_lane = four / KEY_LANES;
  return column(lane, of_lane / FOURS, of_lane % FOURS * 4 + place % 4);
}

// A lane's elements of one key, value or query; zeros where there is none.
template <bool ALIGNED>
__device__ __forceinline__ void take(Element (&to)[PIECES][VECTOR], const Element* from, bool there, int lane) {
#pragma unroll
  for (int piece = 0; piece < PIECES; ++piece) {
    const int first = column(lane, piece, 0);
    if (ALIGNED && there && first < HEAD) {
      load(to[piece], from + first);
    } else {
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) {
        to[piece][i] = Element(0.0f);
        if (!ALIGNED && there && first + i < HEAD) to[piece][i] = from[first + i];
      }
    }
  }
}

// What a lane has of the queries, and of their results.
struct Lane {
  float query[ROWS][PIECES][VECTOR];  // times the factor of the scores
  float sum[ROWS][PIECES][VECTOR];
  Row row[ROWS];

  template <bool ALIGNED>
  __device__ __forceinline__ void begin(const Element* Q, int row0, int rows, float factor, int lane) {
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      Element own[PIECES][VECTOR];
      take<ALIGNED>(own, Q + size_t(r) * HEAD, row0 + r < rows, lane);
      row[r] = {LARGEST_OF_NONE, 0};
#pragma unroll
      for (int piece = 0; piece < PIECES; ++piece)
#pragma unroll
        for (int i = 0; i < VECTOR; ++i) {
          query[r][piece][i] = widen(own[piece][i]) * factor;
          sum[r][piece][i] = 0;
        }
    }
  }

  __device__ __forceinline__ float score(const Element (&key)[PIECES][VECTOR], int r) const {
    float result = 0;
#pragma unroll
    for (int piece = 0; piece < PIECES; ++piece)
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) result = fmaf(query[r][piece][i], widen(key[piece][i]), result);
    return sum_of<KEY_LANES>(result);
  }

  __device__ __forceinline__ void scale(int r, float factor) {
#pragma unroll
    for (int piece = 0; piece < PIECES; ++piece)
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) sum[r][piece][i] *= factor;
  }

  // One step of the walk: keys token, token + GROUPS, ..., of which row r sees those below seen[r].
  __device__ __forceinline__ void add(const Element (&key)[KEYS][PIECES][VECTOR],
                                      const Element (&value)[KEYS][PIECES][VECTOR], int token,
                                      const int (&seen)[ROWS]) {
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      float scores[KEYS], largest = LARGEST_OF_NONE;
#pragma unroll
      for (int k = 0; k < KEYS; ++k) {
        scores[k] = score(key[k], r);
        if (token + k * GROUPS >= seen[r]) scores[k] = hidden();
        largest = fmaxf(largest, scores[k]);
      }
      scale(r, row[r].raise(largest));
#pragma unroll
      for (int k = 0; k < KEYS; ++k) {
        const float weight = row[r].power(scores[k]);
        row[r].total += weight;
        // A key that another row sees may have a NaN for a value, and 0 times that is a NaN.
        if (OPT_CAUSAL && token + k * GROUPS >= seen[r]) continue;
#pragma unroll
        for (int piece = 0; piece < PIECES; ++piece)
#pragma unroll
          for (int i = 0; i < VECTOR; ++i)
            sum[r][piece][i] = fmaf(weight, widen(value[k][piece][i]), sum[r][piece][i]);
      }
    }
  }

  // All groups of the warp into one; every lane gets the result.
  __device__ __forceinline__ void combine_warp() {
#pragma unroll
    for (int far = KEY_LANES; far < 32; far *= 2)
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        const float theirs = __shfl_xor_sync(0xFFFFFFFFu, row[r].largest, far);
        const float total = __shfl_xor_sync(0xFFFFFFFFu, row[r].total, far);
        scale(r, row[r].raise(theirs));
        const float weight = row[r].power(theirs);
        row[r].total = fmaf(weight, total, row[r].total);
        // Both have raised to the same largest score: the partner sends its sum already scaled.
#pragma unroll
        for (int piece = 0; piece < PIECES; ++piece)
#pragma unroll
          for (int i = 0; i < VECTOR; ++i) sum[r][piece][i] += __shfl_xor_sync(0xFFFFFFFFu, sum[r][piece][i], far);
      }
  }

  __device__ __forceinline__ void leave(float* part, int lane) const {
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
#pragma unroll
      for (int i = 0; i < PIECES * VECTOR; i += 4) {
        const float(&from)[VECTOR] = sum[r][i / VECTOR];
        const int e = i % VECTOR;
        const float four[4] = {from[e], from[e + 1], from[e + 2], from[e + 3]};
        store(part + r * WIDTH + (i / 4 * KEY_LANES + lane) * 4, four);
      }
      if (lane == 0) part[LARGEST + r] = row[r].largest, part[TOTAL + r] = row[r].total;
    }
  }
};

// One sum, that at a place of row r, out of those of `count` parts. Float is volatile where other blocks wrote them: past the first-level cache,
// which their stores do not reach.
template <typename Float>
__device__ __forceinline__ float combine(Float* parts, int count, int r, int place, Row& state) {
  state = {LARGEST_OF_NONE, 0};
  for (int i = 0; i < count; ++i) state.largest = fmaxf(state.largest, parts[i * PART + LARGEST + r]);
  float sum = 0;
  for (int i = 0; i < count; ++i) {
    const float weight = state.power(parts[i * PART + LARGEST + r]);
    state.total = fmaf(weight, parts[i * PART + TOTAL + r], state.total);
    sum = fmaf(weight, parts[i * PART + r * WIDTH + place], sum);
  }
  return sum;
}

// What a block writes: its rows of O, or a part of them where others have the other keys.
struct Output {
  Element* O;  // of the block's first row
  int rows;    // that there are
  float* partial;
  int* arrived;

  __device__ __forceinline__ void finish(int r, int place, float sum, float total) const {
    const int col = column_at(place);
    if (r < rows && col < HEAD) narrow(sum / total, O[size_t(r) * HEAD + col]);
  }

  // `parts`: of the warps, in shared memory. Blocks with one `tile` have SPLIT parts of the same rows.
  __device__ __forceinline__ void write(const float* parts, int tile, int part) const {
    const int thread = threadIdx.x;
    float* const all = partial + size_t(tile) * SPLIT * PART;
    for (int i = thread; i < ROWS * WIDTH; i += THREADS) {
      const int r = i / WIDTH, place = i % WIDTH;
      Row state;
      const float sum = combine(parts, WARPS, r, place, state);
      if (SPLIT == 1) {
        finish(r, place, sum, state.total);
        continue;
      }
      all[part * PART + i] = sum;
      if (place == 0) all[part * PART + LARGEST + r] = state.largest, all[part * PART + TOTAL + r] = state.total;
    }
    if (SPLIT == 1) return;
    __threadfence();  // the part is seen by whoever sees the count
    __syncthreads();
    if (!__syncthreads_or(thread == 0 && atomicAdd(arrived + tile, 1) == SPLIT - 1)) return;
    __threadfence();
    // In the order of the keys: the result does not depend on who came when.
    for (int i = thread; i < ROWS * WIDTH; i += THREADS) {
      Row state;
      const float sum = combine(static_cast<const volatile float*>(all), SPLIT, i / WIDTH, i % WIDTH, state);
      finish(i / WIDTH, i % WIDTH, sum, state.total);
    }
    if (thread == 0) arrived[tile] = 0;  // for the next call
  }
};

// Rows row0 ... over the keys of `range`. offset(token): of a token's elements in K and V.
template <bool ALIGNED, typename Offset>
__device__ __forceinline__ void stream(Lane& own, const Problem& of, const Element* Q, const Element* K,
                                       const Element* V, int row0, Range range, float factor, const Offset& offset) {
  const int lane = threadIdx.x % KEY_LANES, group = threadIdx.x / KEY_LANES;
  own.begin<ALIGNED>(Q, row0, of.rows, factor, lane);
  int seen[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; ++r) seen[r] = min(range.last, of.seen(row0 + r));
  for (int token = range.first + group; token - group < range.last; token += STEP) {
    Element key[KEYS][PIECES][VECTOR], value[KEYS][PIECES][VECTOR];
#pragma unroll
    for (int k = 0; k < KEYS; ++k) {
      const bool there = token + k * GROUPS < range.last;
      const size_t at = there ? offset(token + k * GROUPS) : 0;
      take<ALIGNED>(key[k], K + at, there, lane);
      take<ALIGNED>(value[k], V + at, there, lane);
    }
    own.add(key, value, token, seen);
  }
}

// The keys of one of SPLIT blocks: whole steps, so that they begin where a step does.
__device__ __forceinline__ Range share(int keys, int part) {
  const int each = (keys + SPLIT * STEP - 1) / (SPLIT * STEP) * STEP;
  return {min(keys, part * each), min(keys, (part + 1) * each)};
}
