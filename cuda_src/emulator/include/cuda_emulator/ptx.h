// What translated PTX calls: registers, addresses, and the instructions that are more than a C++ operator.
//
// tuner/builders/emulator/ptx/ turns each asm statement into C++ that names these functions. Section numbers are
// those of the PTX ISA 8.7.
#pragma once
#include "atomics.h"
#include "bfloat16.h"
#include "fp8.h"
#include "half.h"
#include "integers.h"
#include "pipeline.h"
#include "sync.h"

namespace cuda_emulator {
namespace ptx {

typedef uint8_t b8;
typedef uint16_t b16;
typedef uint32_t b32;
typedef uint64_t b64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef float f32;
typedef double f64;
typedef ::__half f16;
typedef ::__half2 f16x2;
typedef ::__nv_bfloat16 bf16;
typedef ::__nv_bfloat162 bf16x2;
// A register that is named `_`: what is written there is gone.
struct Sink {};

template <class T>
constexpr bool integral = ::std::is_integral<T>::value || ::std::is_enum<T>::value;

// The value of a register as an operand of type T: its bits where sizes agree, else what PTX calls truncation and
// extension of integers (9.4.1, "Operand Size Exceeding Instruction-Type Size").
template <class T, class R>
CUDA_EMU_INLINE T get(const R& from) {
  T to;
  if constexpr (sizeof(T) == sizeof(R)) {
    __builtin_memcpy(&to, &from, sizeof to);
  } else if constexpr (integral<T>) {
    to = T(from);
  } else if constexpr (integral<R> && sizeof(R) > sizeof(T)) {  // the low bits of a wider register or a literal
    const b64 bits = b64(from);
    __builtin_memcpy(&to, &bits, sizeof to);
  } else {
    to = T(from);
  }
  return to;
}

template <class R, class T>
CUDA_EMU_INLINE void put(R& to, const T& from) {
  if constexpr (sizeof(T) == sizeof(R)) {
    __builtin_memcpy(&to, &from, sizeof to);
  } else if constexpr (integral<R> && !integral<T>) {  // a float in a wider register: the low bits
    b64 bits = 0;
    __builtin_memcpy(&bits, &from, sizeof from);
    to = R(bits);
  } else {
    to = R(from);
  }
}
template <class T>
CUDA_EMU_INLINE void put(Sink&, const T&) {}

CUDA_EMU_INLINE f32 real(b32 bits) { return bits_as<f32>(bits); }
CUDA_EMU_INLINE f64 real(b64 bits) { return bits_as<f64>(bits); }

// ---- addresses
template <class R>
CUDA_EMU_INLINE void* generic(const R& address, long long offset) {
  return reinterpret_cast<void*>(uintptr_t(get<b64>(address)) + uintptr_t(offset));
}
template <class T>
CUDA_EMU_INLINE void* generic(T* const& address, long long offset) { return (char*)address + offset; }
template <class R>
CUDA_EMU_INLINE b32 window(const R& address, long long offset) { return b32(get<b64>(address) + b64(offset)); }
template <class R>
CUDA_EMU_INLINE void* shared(const R& address, long long offset) {
  return cuda_emu_shared_pointer(window(address, offset));
}
// In the window of the cluster's shared memory, where the block's own lies too.
template <class R>
CUDA_EMU_INLINE void* cluster(const R& address, long long offset) {
  return cuda_emu_cluster_pointer(window(address, offset));
}

// ---- ld, st (9.7.9): vectors are one access, which their alignment holds for
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  T of[N];
};
template <class T, int N>
CUDA_EMU_INLINE Vector<T, N> load(const void* address) { return *static_cast<const Vector<T, N>*>(address); }
template <class T, int N>
CUDA_EMU_INLINE void store(void* address, const Vector<T, N>& value) { *static_cast<Vector<T, N>*>(address) = value; }
// Those with .relaxed, .acquire, .release and .volatile on global memory: other threads wait for them.
template <class V>
CUDA_EMU_UNCHECKED V peek(const void* address) { return *static_cast<const V*>(address); }
template <class V>
CUDA_EMU_UNCHECKED void poke(void* address, const V& value) {
  cuda_emu_changes += __builtin_memcmp(address, &value, sizeof value) != 0;
  *static_cast<V*>(address) = value;
}
template <class T, int N>
CUDA_EMU_INLINE Vector<T, N> load_atomic(const void* address) {
  cuda_emu_atomic(address, sizeof(T) * N, 0);
  return peek<Vector<T, N>>(address);
}
template <class T, int N>
CUDA_EMU_INLINE void store_atomic(void* address, const Vector<T, N>& value) {
  cuda_emu_atomic(address, sizeof(T) * N, 2);
  poke<Vector<T, N>>(address, value);
}

// ---- cp.async (9.7.9.25)
CUDA_EMU_INLINE void copy_async(void* to, const void* from, unsigned size, unsigned given) {
  cuda_emu_async_copy(to, from, size, given < size ? size - given : 0, nullptr);
}
CUDA_EMU_INLINE void copy_async_all() {
  cuda_emu_async_commit(nullptr);
  cuda_emu_async_wait(0);
}

// ---- integers (9.7.1)
template <class T>
CUDA_EMU_INLINE T mul_hi(T a, T b) { return T(__int128(a) * b >> sizeof(T) * 8); }
// Shifts by more than the width give 0, or the sign (9.7.8.7, shl and shr).
template <class T>
CUDA_EMU_INLINE T shl(T a, b32 n) { return n >= sizeof(T) * 8 ? T(0) : T(a << n); }
template <class T>
CUDA_EMU_INLINE T shr(T a, b32 n) { return n >= sizeof(T) * 8 ? T(a < 0 ? -1 : 0) : T(a >> n); }
template <class T>
CUDA_EMU_INLINE T bfe(T a, b32 position, b32 length) {
  const unsigned bits = sizeof(T) * 8, p = position & 255, n = length & 255;
  if (!n) return T(0);
  const unsigned top = p + n - 1 < bits - 1 ? p + n - 1 : bits - 1;
  const bool sign = T(-1) < T(0) && (a >> top & 1);
  T result = sign ? T(-1) : T(0);
  for (unsigned i = 0; i < n && p + i < bits; ++i) {
    if (i >= bits) break;
    const T one = T(b64(1) << i);
    result = (a >> (p + i) & 1) ? T(result | one) : T(result & ~one);
  }
  return result;
}
template <class T>
CUDA_EMU_INLINE T bfi(T a, T b, b32 position, b32 length) {
  const unsigned p = position & 255, n = length & 255;
  for (unsigned i = 0; i < n && p + i < sizeof(T) * 8; ++i) {
    const T one = T(T(1) << (p + i));
    b = (a >> i & 1) ? T(b | one) : T(b & ~one);
  }
  return b;
}
// The truth table of three inputs: bit 4 * a + 2 * b + c of `table` (9.7.8.6, lop3).
CUDA_EMU_INLINE b32 lop3(b32 a, b32 b, b32 c, b32 table) {
  b32 result = 0;
  for (unsigned row = 0; row < 8; ++row) {
    if (table >> row & 1) result |= (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
  }
  return result;
}
// prmt with a mode (9.7.9.7): the byte at which a selection begins is in the low two bits of c.
CUDA_EMU_INLINE b32 prmt_mode(b32 a, b32 b, b32 c, const char* mode) {
  static const char* const names[] = {"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"};
  static const unsigned picks[6][4] = {{0x3210, 0x4321, 0x5432, 0x6543}, {0x5670, 0x6701, 0x7012, 0x0123},
                                       {0x0000, 0x1111, 0x2222, 0x3333}, {0x3210, 0x3211, 0x3222, 0x3333},
                                       {0x0000, 0x1110, 0x2210, 0x3210}, {0x1010, 0x3232, 0x1010, 0x3232}};
  for (int i = 0; i < 6; ++i) {
    if (!__builtin_strcmp(mode, names[i])) return __byte_perm(a, b, picks[i][c & 3]);
  }
  return 0;
}
CUDA_EMU_INLINE b32 bfind(b32 a) { return a ? 31 - b32(__builtin_clz(a)) : ~0u; }

// ---- floating point (9.7.3, 9.7.4): approximations are the host's, as in math.h
CUDA_EMU_INLINE f32 fma(f32 a, f32 b, f32 c) { return ::fmaf(a, b, c); }
CUDA_EMU_INLINE f64 fma(f64 a, f64 b, f64 c) { return ::fma(a, b, c); }
CUDA_EMU_INLINE f16 fma(f16 a, f16 b, f16 c) { return __hfma(a, b, c); }
CUDA_EMU_INLINE bf16 fma(bf16 a, bf16 b, bf16 c) { return __hfma(a, b, c); }
CUDA_EMU_INLINE f16x2 fma(f16x2 a, f16x2 b, f16x2 c) { return __hfma2(a, b, c); }
CUDA_EMU_INLINE bf16x2 fma(bf16x2 a, bf16x2 b, bf16x2 c) { return __hfma2(a, b, c); }
template <class T>
CUDA_EMU_INLINE T relu(T x) { return x > T(0.0f) ? x : T(0.0f); }
template <class T>
CUDA_EMU_INLINE T relu2(T x) { return T(relu(x.x), relu(x.y)); }
template <class T>
CUDA_EMU_INLINE T least(T a, T b) {
  if constexpr (integral<T>) return a < b ? a : b;
  else if constexpr (::std::is_floating_point<T>::value) return ::min(a, b);
  else if constexpr (sizeof(T) == 2) return __hmin(a, b);
  else return __hmin2(a, b);
}
template <class T>
CUDA_EMU_INLINE T most(T a, T b) {
  if constexpr (integral<T>) return a > b ? a : b;
  else if constexpr (::std::is_floating_point<T>::value) return ::max(a, b);
  else if constexpr (sizeof(T) == 2) return __hmax(a, b);
  else return __hmax2(a, b);
}
template <class T>
CUDA_EMU_INLINE T magnitude(T a) {
  if constexpr (integral<T>) return a < 0 ? T(-a) : a;
  else if constexpr (::std::is_floating_point<T>::value) return ::fabs(a);
  else if constexpr (sizeof(T) == 2) return __habs(a);
  else return __habs2(a);
}
// A function of f32 on each part of a value of 16-bit floats.
#define CUDA_EMU_PTX_EACH(name, expression)                                                   \
  CUDA_EMU_INLINE f32 name(f32 x) { return expression; }                                      \
  CUDA_EMU_INLINE f16 name(f16 x) { return f16(name(float(x))); }                             \
  CUDA_EMU_INLINE bf16 name(bf16 x) { return bf16(name(float(x))); }                          \
  CUDA_EMU_INLINE f16x2 name(f16x2 x) { return f16x2(name(x.x), name(x.y)); }                 \
  CUDA_EMU_INLINE bf16x2 name(bf16x2 x) { return bf16x2(name(x.x), name(x.y)); }
CUDA_EMU_PTX_EACH(ex2, ::exp2f(x))
CUDA_EMU_PTX_EACH(tanh_approx, ::tanhf(x))
#undef CUDA_EMU_PTX_EACH
CUDA_EMU_INLINE f32 reciprocal(f32 x) { return 1.0f / x; }
CUDA_EMU_INLINE f64 reciprocal(f64 x) { return 1.0 / x; }
CUDA_EMU_INLINE f32 root(f32 x) { return ::sqrtf(x); }
CUDA_EMU_INLINE f64 root(f64 x) { return ::sqrt(x); }
CUDA_EMU_INLINE f32 inverse_root(f32 x) { return float(1.0 / ::sqrt(double(x))); }

// ---- cvt (9.7.9.21)
enum Mode { RN, RZ, RM, RP };
template <class D, Mode M, bool INTEGRAL, class S>
CUDA_EMU_INLINE D convert(const S& from) {
  constexpr Rounding mode = M == RZ ? TOWARD_ZERO : M == RM ? DOWN : M == RP ? UP : NEAREST;
  double value = double(from);
  if constexpr (!integral<S> && (integral<D> || INTEGRAL)) {
    value = M == RZ ? ::trunc(value) : M == RM ? ::floor(value) : M == RP ? ::ceil(value) : ::rint(value);
  }
  if constexpr (integral<D>) {
    if constexpr (integral<S>) return D(from);
    else return to_integer<D>(value);
  } else if constexpr (::std::is_same<D, f16>::value) {
    return __ushort_as_half(HalfFormat::round(value, mode));
  } else if constexpr (::std::is_same<D, bf16>::value) {
    return __ushort_as_bfloat16(BfloatFormat::round(value, mode));
  } else if constexpr (::std::is_same<D, f32>::value) {
    f32 near = integral<S> ? f32(from) : f32(value);
    const bool over = double(near) > value, under = double(near) < value;
    if (mode == DOWN && over) near = ::nextafterf(near, -INFINITY);
    if (mode == UP && under) near = ::nextafterf(near, INFINITY);
    if (mode == TOWARD_ZERO && (value > 0 ? over : under)) near = ::nextafterf(near, 0.0f);
    return near;
  } else {
    return integral<S> ? D(from) : D(value);
  }
}
// Integers that do not fit go to the end of the range (.sat).
template <class D, class S>
CUDA_EMU_INLINE D clamp_integer(S from) {
  const __int128 value = from, low = ::std::numeric_limits<D>::min(), high = ::std::numeric_limits<D>::max();
  return D(value < low ? low : value > high ? high : value);
}
CUDA_EMU_INLINE b32 to_tf32(f32 x) {  // to nearest, ties away from zero: .rna
  const b32 bits = bits_as<b32>(x);
  return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & 0xffffe000u;
}
template <class T, class H>
CUDA_EMU_INLINE T pack2(H high, H low) { return T(low, high); }  // the first source is the upper half

// ---- warps (9.7.13, 9.7.9.6)
// shfl.sync: the lane that is heard, or one's own where it is out of range; `clamp` packs width and bound.
enum ShuffleMode { UP_LANES, DOWN_LANES, BUTTERFLY, INDEX };
CUDA_EMU_INLINE b32 shuffle_lanes(ShuffleMode mode, b32 value, b32 b, b32 clamp, b32 mask, bool* inside) {
  const int lane = int(cuda_emu_lane()), bound = int(clamp & 31), segment = int(clamp >> 8 & 31);
  const int most = (lane & segment) | (bound & ~segment), least = lane & segment, by = int(b & 31);
  int from = mode == UP_LANES ? lane - by : mode == DOWN_LANES ? lane + by : mode == BUTTERFLY ? lane ^ by
                                                                            : least | (by & ~segment);
  *inside = mode == UP_LANES ? from >= most : from <= most;
  if (!*inside) from = lane;
  return shuffle(mask, value, from);
}

// ---- atom, red (9.7.13.5)
#define CUDA_EMU_PTX_ATOMIC(name, expression)                                                      \
  template <class T>                                                                               \
  CUDA_EMU_INLINE T name(void* address, T value) {                                                 \
    cuda_emu_atomic(address, sizeof(T), 1);                                                        \
    return exchange_with(static_cast<T*>(address), [value](T old) -> T { return expression; });    \
  }
CUDA_EMU_PTX_ATOMIC(atomic_add, old + value)
CUDA_EMU_PTX_ATOMIC(atomic_exch, ((void)old, value))
CUDA_EMU_PTX_ATOMIC(atomic_min, least(old, value))
CUDA_EMU_PTX_ATOMIC(atomic_max, most(old, value))
CUDA_EMU_PTX_ATOMIC(atomic_and, old& value)
CUDA_EMU_PTX_ATOMIC(atomic_or, old | value)
CUDA_EMU_PTX_ATOMIC(atomic_xor, old ^ value)
CUDA_EMU_PTX_ATOMIC(atomic_inc, old >= value ? T(0) : T(old + 1))
CUDA_EMU_PTX_ATOMIC(atomic_dec, old == 0 || old > value ? value : T(old - 1))
#undef CUDA_EMU_PTX_ATOMIC
template <class T>
CUDA_EMU_INLINE T atomic_cas(void* address, T compare, T value) {
  cuda_emu_atomic(address, sizeof(T), 1);
  return exchange_with(static_cast<T*>(address), [=](T old) -> T { return old == compare ? value : old; });
}
}  // namespace ptx
}  // namespace cuda_emulator
