// ldmatrix, stmatrix and mma.sync: what the lanes of a warp do together, with the PTX ISA's fragment layouts.
//
// Layouts: PTX ISA 9.7.14 ("Warp Level Matrix Instructions"), sections "Matrix Fragments for mma.m16n8k8" to
// "mma.m16n8k64" and "ldmatrix". With group = lane / 4 and member = lane % 4, and P elements in a register:
//   A  register r, element e: row group + 8 * (r % (M / 8)), column P * member + e + 4 * P * (r / (M / 8))
//   B  register r, element e: row P * member + e + 4 * P * r, column group
//   C  element i:             row group + 8 * (i / 2), column 2 * member + i % 2
// which is what all those tables say, from f64 (a register of 64 bits, P = 1) to s4 (P = 8).
#include "state.h"

#include <algorithm>
#include <cmath>

namespace cuda_emulator {
namespace {

// ---- ldmatrix, stmatrix
struct Rows {
  Thread* thread;
  uint32_t* registers;
  const uint32_t* values;
  uint32_t row;
  unsigned count;
  bool transposed;
};

bool in_shared(uint64_t offset, uint64_t size) { return offset + size <= launch.shared_bytes; }

// A row of each lane that names one: aligned to 16 bytes, and in shared memory.
bool check_row(const Rows& lane, const char* name) {
  if (lane.row % 16 && launch.sanitize) {
    Finding* f = report(MISALIGNED, place(lane.thread->pc));
    f->address = lane.row;
    f->extra = 16;
    f->thread = lane.thread->gid;
    std::strncpy(f->text, name, sizeof f->text - 1);
  }
  return in_shared(lane.row, 16);
}

void access_as(Thread* thread, uintptr_t address, uint32_t size, uint32_t flags) {
  if (!launch.sanitize) return;
  Thread* self = thread_now;
  thread_now = thread;
  banks_watched = false;
  on_access(address, size, flags, thread->pc);
  settle_two_writes();
  banks_watched = true;
  thread_now = self;
}

// Row `row` of matrix `number` begins at lane 8 * number + row's address; an absent lane has named none.
Rows* row_of(void** lanes, unsigned number, unsigned row) { return static_cast<Rows*>(lanes[8 * number + row]); }

void count_matrix(void** lanes, unsigned number, const Rows& any, bool writes) {
  if (!launch.sanitize) return;
  uint64_t rows[8];
  int count = 0;
  for (unsigned row = 0; row < 8; ++row) {
    if (Rows* named = row_of(lanes, number, row)) rows[count++] = named->row;
  }
  count_rows(uint32_t(place(any.thread->pc)), rows, count, writes);
}

// The two elements that lane `lane` holds of an 8x8 matrix: (row, column) of each. Plain: neighbours of a row.
struct Pair {
  unsigned row[2], column[2];
};
Pair pair_of(unsigned lane, bool transposed) {
  const unsigned group = lane / 4, member = lane % 4 * 2;
  if (transposed) return {{member, member + 1}, {group, group}};
  return {{group, group}, {member, member + 1}};
}

// Moves all matrices between shared memory and registers; each lane answers for the elements it holds.
void move_rows(void** lanes, bool writes) {
  Rows* any = nullptr;
  for (int lane = 0; lane < 32 && !any; ++lane) any = static_cast<Rows*>(lanes[lane]);
  const char* name = writes ? "a row of stmatrix" : "a row of ldmatrix";
  for (unsigned number = 0; number < any->count; ++number) {
    bool inside[8];
    for (unsigned row = 0; row < 8; ++row) {
      Rows* named = row_of(lanes, number, row);
      inside[row] = named && check_row(*named, name);
      if (named && !inside[row]) access_as(named->thread, uintptr_t(launch.shared) + named->row, 16, writes);
    }
    count_matrix(lanes, number, *any, writes);
    for (unsigned lane = 0; lane < 32; ++lane) {
      auto* self = static_cast<Rows*>(lanes[lane]);
      if (!self) continue;
      const Pair pair = pair_of(lane, any->transposed);
      uint16_t value[2] = {0xffff, 0xffff};
      if (writes) std::memcpy(value, &self->values[number], 4);
      for (int e = 0; e < 2; ++e) {
        if (!inside[pair.row[e]]) continue;
        char* at = launch.shared + row_of(lanes, number, pair.row[e])->row + 2 * pair.column[e];
        const bool both = !any->transposed;  // one access of 4 bytes
        if (!both || e == 0) access_as(self->thread, uintptr_t(at), both ? 4 : 2, writes ? WRITE : READ);
        writes ? std::memcpy(at, &value[e], 2) : std::memcpy(&value[e], at, 2);
      }
      if (!writes) std::memcpy(&self->registers[number], value, 4);
    }
  }
}
void load_rows(void** lanes, unsigned) { move_rows(lanes, false); }
void store_rows(void** lanes, unsigned) { move_rows(lanes, true); }

// ---- mma.sync
struct Factors {
  void* d;
  const void *a, *b, *c;
  const MmaShape* shape;
};

template <class T>
T at(const void* registers, unsigned i) {
  T value;
  std::memcpy(&value, static_cast<const T*>(registers) + i, sizeof value);
  return value;
}

double half_value(unsigned bits, int significand, int exponent) {  // IEEE 754 binary16 and bfloat16
  const unsigned fields = bits & 0x7fff, biased = fields >> significand, rest = fields & ((1u << significand) - 1);
  const int bias = (1 << (exponent - 1)) - 1;
  const double sign = bits & 0x8000 ? -1 : 1;
  if (int(biased) == (1 << exponent) - 1) return rest ? __builtin_nan("") : sign * __builtin_inf();
  if (!biased) return sign * __builtin_ldexp(rest, 1 - bias - significand);
  return sign * __builtin_ldexp(rest | 1u << significand, int(biased) - bias - significand);
}

// OCP 8-bit floating point: e5m2 is the upper half of a binary16, e4m3 has no infinity and one NaN.
double e4m3_value(unsigned bits) {
  const unsigned biased = bits >> 3 & 15, rest = bits & 7;
  const double sign = bits & 0x80 ? -1 : 1;
  if ((bits & 0x7f) == 0x7f) return __builtin_nan("");
  return sign * (biased ? __builtin_ldexp(8 + rest, int(biased) - 10) : __builtin_ldexp(rest, -9));
}

double value_of(MmaType type, const void* registers, unsigned i) {
  switch (type) {
    case MMA_F16: return half_value(at<uint16_t>(registers, i), 10, 5);
    case MMA_BF16: return half_value(at<uint16_t>(registers, i), 7, 8);
    case MMA_E5M2: return half_value(at<uint8_t>(registers, i) << 8, 10, 5);
    case MMA_E4M3: return e4m3_value(at<uint8_t>(registers, i));
    case MMA_S8: return at<int8_t>(registers, i);
    case MMA_U8: return at<uint8_t>(registers, i);
    case MMA_S4: return int8_t((at<uint8_t>(registers, i / 2) >> 4 * (i % 2) & 15) << 4) >> 4;
    case MMA_U4: return at<uint8_t>(registers, i / 2) >> 4 * (i % 2) & 15;
    case MMA_F64: return at<double>(registers, i);
    case MMA_F32: return at<float>(registers, i);
    case MMA_S32: return at<int32_t>(registers, i);
    case MMA_TF32: break;
  }
  // tf32 has 10 explicit bits of significand; the others of the register do not count.
  const uint32_t bits = at<uint32_t>(registers, i) & 0xffffe000u;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

unsigned per_register(MmaType type) {
  switch (type) {
    case MMA_F16: case MMA_BF16: return 2;
    case MMA_E4M3: case MMA_E5M2: case MMA_S8: case MMA_U8: return 4;
    case MMA_S4: case MMA_U4: return 8;
    default: return 1;
  }
}

float toward_zero(double value) {
  const float near = float(value);
  return std::fabs(double(near)) > std::fabs(value) && std::isfinite(near) ? std::nextafter(near, 0.0f) : near;
}

void store_value(const MmaShape& shape, void* registers, unsigned i, double value) {
  switch (shape.d) {
    case MMA_F16: static_cast<_Float16*>(registers)[i] = _Float16(value); break;
    case MMA_F64: static_cast<double*>(registers)[i] = value; break;
    case MMA_S32: {
      const bool high = value > 2147483647.0, low = value < -2147483648.0;
      const auto wrapped = int32_t(uint32_t(int64_t(value)));
      static_cast<int32_t*>(registers)[i] =
          shape.saturate && (high || low) ? (high ? 2147483647 : -2147483647 - 1) : wrapped;
      break;
    }
    default: static_cast<float*>(registers)[i] = toward_zero(value);
  }
}

// The row's products and what they are added to, each cut off 13 bits below the largest of them: 8-bit floats on
// compute capability 8.9 and 9.0 (Zhang and others: SageAttention2, ICML 2025; DeepSeek-V3 Technical Report, 3.3.2).
double aligned_sum(const double* a, const double (*b)[8], unsigned c, unsigned k, double start) {
  double largest = std::fabs(start);
  for (unsigned j = 0; j < k; ++j) largest = std::max(largest, std::fabs(a[j] * b[j][c]));
  double sum = start;
  if (!(largest > 0) || !std::isfinite(largest + start)) {
    for (unsigned j = 0; j < k; ++j) sum += a[j] * b[j][c];
    return sum;
  }
  const double last = std::ldexp(1.0, std::ilogb(largest) - 13);
  const auto cut = [&](double x) { return std::trunc(x / last) * last; };
  sum = cut(start);
  for (unsigned j = 0; j < k; ++j) {
    const double product = a[j] * b[j][c];
    if (product != product) return product;
    sum += cut(product);
  }
  return sum;
}

// Products are exact; the sum of a row of them and the accumulator is made in double and then cut off to f32, always
// towards zero (Fasi, Higham, Mikaitis, Pranesh: Numerical behavior of NVIDIA tensor cores, PeerJ CS 2021).
void multiply_fragments(void** lanes, unsigned) {
  static double a[16][64], b[64][8], sum[16][8];
  const MmaShape* shape = nullptr;
  for (int lane = 0; lane < 32 && !shape; ++lane) {
    if (lanes[lane]) shape = static_cast<Factors*>(lanes[lane])->shape;
  }
  const unsigned m = shape->m, n = shape->n, k = shape->k, high = m / 8;
  const unsigned pa = per_register(shape->a), pb = per_register(shape->b);
  for (unsigned lane = 0; lane < 32; ++lane) {
    const auto* f = static_cast<Factors*>(lanes[lane]);
    const unsigned group = lane / 4, member = lane % 4;
    for (unsigned i = 0; i < m * k / 32; ++i) {
      const unsigned r = i / pa, e = i % pa;
      a[group + 8 * (r % high)][pa * member + e + 4 * pa * (r / high)] = f ? value_of(shape->a, f->a, i) : 0;
    }
    for (unsigned i = 0; i < k * n / 32; ++i) {
      b[pb * member + i % pb + 4 * pb * (i / pb)][group] = f ? value_of(shape->b, f->b, i) : 0;
    }
    for (unsigned i = 0; i < m * n / 32; ++i) {
      sum[group + 8 * (i / 2)][2 * member + i % 2] = f ? value_of(shape->c, f->c, i) : 0;
    }
  }
  const bool short_sums = shape->a == MMA_E4M3 || shape->a == MMA_E5M2;
  for (unsigned r = 0; r < m; ++r) {
    for (unsigned c = 0; short_sums && c < n; ++c) sum[r][c] = aligned_sum(a[r], b, c, k, sum[r][c]);
    for (unsigned j = 0; !short_sums && j < k; ++j) {
      for (unsigned c = 0; c < n; ++c) sum[r][c] += a[r][j] * b[j][c];
    }
  }
  for (unsigned lane = 0; lane < 32; ++lane) {
    const auto* f = static_cast<Factors*>(lanes[lane]);
    for (unsigned i = 0; f && i < m * n / 32; ++i) {
      store_value(*shape, f->d, i, sum[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2]);
    }
  }
}
}  // namespace

extern "C" {
void* cuda_emu_shared_pointer(uint32_t address) { return launch.shared + address; }
uint32_t cuda_emu_shared_address(const void* pointer) {
  return uint32_t(static_cast<const char*>(pointer) - launch.shared);
}

int cuda_emu_is_shared(const void* pointer) {
  return uintptr_t(pointer) - uintptr_t(launch.shared) < launch.shared_bytes;
}

void cuda_emu_ldmatrix(uint32_t* registers, unsigned count, int transposed, uint32_t row) {
  Rows lane{thread_now, registers, nullptr, row, count, transposed != 0};
  meet_warp(~0u, WARP_LDMATRIX, &lane, load_rows, uintptr_t(__builtin_return_address(0)));
}

void cuda_emu_stmatrix(const uint32_t* registers, unsigned count, int transposed, uint32_t row) {
  Rows lane{thread_now, nullptr, registers, row, count, transposed != 0};
  meet_warp(~0u, WARP_STMATRIX, &lane, store_rows, uintptr_t(__builtin_return_address(0)));
}

void cuda_emu_mma(void* d, const void* a, const void* b, const void* c, const MmaShape* shape) {
  Factors lane{d, a, b, c, shape};
  meet_warp(~0u, WARP_MMA, &lane, multiply_fragments, uintptr_t(__builtin_return_address(0)));
}
}
}  // namespace cuda_emulator
