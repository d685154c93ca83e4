// nvcuda::wmma: fragments spread over the lanes of a warp, loaded, multiplied and stored by all of it together.
//
// Which lane holds which element is unspecified in CUDA; here it is the pattern of the mma instructions' 8x8
// accumulators (PTX ISA, "Matrix Fragments for mma.m8n8k4"): lane 4 * (row % 8) + (col % 8) / 2 holds the pair.
// Accumulators of one shape agree, so their elements may be combined one by one. Products are exact; the
// sum of a row of products and the accumulator is made in double (int64 for integers) and rounded once.
#pragma once
#include "sync.h"

struct __half;
struct __nv_bfloat16;

namespace nvcuda {
namespace wmma {

struct row_major {};
struct col_major {};
struct matrix_a {};
struct matrix_b {};
struct accumulator {};
enum layout_t { mem_row_major, mem_col_major };
namespace precision {
struct tf32 {};
}

namespace detail {
template <class T>
struct Storage {
  typedef T type;
};
template <>
struct Storage<precision::tf32> {
  typedef float type;
};
template <class A, class B>
constexpr bool same = false;
template <class A>
constexpr bool same<A, A> = true;

template <class T>
constexpr bool floating = !same<T, signed char> && !same<T, unsigned char> && !same<T, int>;

// The shapes of the CUDA C++ Programming Guide, "Element Types and Matrix Sizes".
template <int M, int N, int K, class T>
constexpr bool supported() {
  const bool small = same<T, __half> || same<T, __nv_bfloat16> || same<T, signed char> || same<T, unsigned char>;
  const bool k16 = K == 16 && ((M == 16 && N == 16) || (M == 32 && N == 8) || (M == 8 && N == 32));
  const bool tf32 = same<T, precision::tf32> && M == 16 && N == 16 && K == 8;
  const bool f64 = same<T, double> && M == 8 && N == 8 && K == 4;
  return (small && k16) || tf32 || f64;
}
template <class Use, int M, int N, int K>
constexpr int rows() { return same<Use, matrix_b> ? K : M; }
template <class Use, int M, int N, int K>
constexpr int cols() { return same<Use, matrix_a> ? K : N; }

// Element i of a lane in a matrix of `cols` columns, as row and column. Tiles of 8x8 (8x4 for a matrix of four
// columns, where a lane holds single elements) follow one another by rows.
struct Position {
  int row, col;
};
CUDA_EMU_INLINE Position position(int lane, int i, int rows, int cols) {
  if (cols < 8 || rows < 8) {  // 8x4 and 4x8 of double precision: one element a lane
    const int e = i * 32 + lane;
    return Position{e / cols, e % cols};
  }
  const int tile = i / 2, tiles = cols / 8;
  return Position{tile / tiles * 8 + lane / 4, tile % tiles * 8 + lane % 4 * 2 + i % 2};
}

// What NVIDIA's two documents ask of a matrix in memory, where both ask it. CUDA C++ Programming Guide, "Warp
// Matrix Functions": the first element lies at a multiple of 32 bytes, rows at multiples of 16. PTX ISA,
// wmma.load: every row begins at a multiple of a lane's fragment in bytes, which is 32 for factors of 16 bits
// (each element is held by two lanes), and what it holds for all others.
template <class F, bool Factor>
constexpr unsigned fragment_bytes() {
  return Factor && sizeof(typename F::element_type) == 2 ? 32 : F::num_elements * sizeof(typename F::element_type);
}
template <class F, bool Factor>
CUDA_EMU_INLINE void check_alignment(const void* first, size_t leading_bytes) {
  constexpr unsigned bytes = fragment_bytes<F, Factor>();
  cuda_emulator::cuda_emu_matrix(first, bytes < 32 ? bytes : 32, leading_bytes, bytes < 16 ? bytes : 16);
}
}  // namespace detail

template <class Use, int M, int N, int K, class T, class Layout = void>
class fragment {
 public:
  static constexpr int rows = detail::rows<Use, M, N, K>(), cols = detail::cols<Use, M, N, K>();
  static_assert(detail::same<Use, accumulator> || detail::supported<M, N, K, T>(),
                "wmma has no fragment of this shape and element type");
  typedef typename detail::Storage<T>::type element_type;
  typedef element_type storage_element_type;
  static constexpr int num_elements = rows * cols / 32;
  static constexpr int num_storage_elements = num_elements;
  element_type x[num_elements];
};

template <class Use, int M, int N, int K, class T, class Layout, class V>
CUDA_EMU_INLINE void fill_fragment(fragment<Use, M, N, K, T, Layout>& f, const V& value) {
  for (int i = 0; i < f.num_elements; ++i) f.x[i] = typename detail::Storage<T>::type(value);
}

namespace detail {
template <class Fragment, class T>
CUDA_EMU_INLINE void load(Fragment& f, const T* from, unsigned leading, bool by_rows) {
  const int lane = int(cuda_emulator::cuda_emu_lane());
  cuda_emulator::cuda_emu_banks_watched(0);
  for (int i = 0; i < f.num_elements; ++i) {
    const Position p = position(lane, i, f.rows, f.cols);
    f.x[i] = from[by_rows ? size_t(p.row) * leading + p.col : size_t(p.col) * leading + p.row];
  }
  cuda_emulator::cuda_emu_banks_watched(1);
}
}  // namespace detail

template <class Use, int M, int N, int K, class T, class Layout>
CUDA_EMU_INLINE void load_matrix_sync(fragment<Use, M, N, K, T, Layout>& f,
                                      const typename detail::Storage<T>::type* from, unsigned leading) {
  detail::check_alignment<fragment<Use, M, N, K, T, Layout>, true>(from, leading * sizeof(*from));
  detail::load(f, from, leading, detail::same<Layout, row_major>);
}
template <int M, int N, int K, class T>
CUDA_EMU_INLINE void load_matrix_sync(fragment<accumulator, M, N, K, T>& f,
                                      const typename detail::Storage<T>::type* from, unsigned leading,
                                      layout_t layout) {
  detail::check_alignment<fragment<accumulator, M, N, K, T>, false>(from, leading * sizeof(*from));
  detail::load(f, from, leading, layout == mem_row_major);
}
template <int M, int N, int K, class T>
CUDA_EMU_INLINE void store_matrix_sync(typename detail::Storage<T>::type* to,
                                       const fragment<accumulator, M, N, K, T>& f, unsigned leading,
                                       layout_t layout) {
  detail::check_alignment<fragment<accumulator, M, N, K, T>, false>(to, leading * sizeof(*to));
  const int lane = int(cuda_emulator::cuda_emu_lane());
  cuda_emulator::cuda_emu_banks_watched(0);
  for (int i = 0; i < f.num_elements; ++i) {
    const detail::Position p = detail::position(lane, i, f.rows, f.cols);
    to[layout == mem_row_major ? size_t(p.row) * leading + p.col : size_t(p.col) * leading + p.row] = f.x[i];
  }
  cuda_emulator::cuda_emu_banks_watched(1);
}

namespace detail {
struct Operands {
  void* d;
  const void *a, *b, *c;
  bool saturate;
};
template <class T>
CUDA_EMU_INLINE double number(T value) {
  if constexpr (same<T, __half> || same<T, __nv_bfloat16>) return double(float(value));
  return double(value);
}
template <int M, int N, int K, class TA, class TB, class TC, class TD>
CUDA_EMU_UNCHECKED void multiply(void** arguments, unsigned) {
  typedef typename Storage<TA>::type SA;
  typedef typename Storage<TB>::type SB;
  static double a[M][K], b[K][N], sum[M][N];  // one launch at a time, and too large for a fiber's stack
  for (int lane = 0; lane < 32; ++lane) {
    auto* o = static_cast<Operands*>(arguments[lane]);
    for (int i = 0; i < M * K / 32; ++i) {
      const Position p = position(lane, i, M, K);
      a[p.row][p.col] = o ? number(static_cast<const SA*>(o->a)[i]) : 0;
    }
    for (int i = 0; i < K * N / 32; ++i) {
      const Position p = position(lane, i, K, N);
      b[p.row][p.col] = o ? number(static_cast<const SB*>(o->b)[i]) : 0;
    }
    for (int i = 0; i < M * N / 32; ++i) {
      const Position p = position(lane, i, M, N);
      sum[p.row][p.col] = o ? number(static_cast<const TC*>(o->c)[i]) : 0;
    }
  }
  for (int r = 0; r < M; ++r) {
    for (int k = 0; k < K; ++k) {
      for (int c = 0; c < N; ++c) sum[r][c] += a[r][k] * b[k][c];
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    auto* o = static_cast<Operands*>(arguments[lane]);
    if (!o) continue;
    for (int i = 0; i < M * N / 32; ++i) {
      const Position p = position(lane, i, M, N);
      const double value = sum[p.row][p.col];
      if constexpr (same<TD, int>) {
        // Exact in double (|sum| < 2^53); wraps, or clamps where asked.
        const bool high = value > 2147483647.0, low = value < -2147483648.0;
        static_cast<TD*>(o->d)[i] = o->saturate && (high || low) ? (high ? 2147483647 : -2147483647 - 1)
                                                                 : int(unsigned((long long)value));
      } else {
        static_cast<TD*>(o->d)[i] = TD(value);
      }
    }
  }
}
}  // namespace detail

template <int M, int N, int K, class TA, class LA, class TB, class LB, class TC, class TD>
CUDA_EMU_INLINE void mma_sync(fragment<accumulator, M, N, K, TD>& d, const fragment<matrix_a, M, N, K, TA, LA>& a,
                              const fragment<matrix_b, M, N, K, TB, LB>& b,
                              const fragment<accumulator, M, N, K, TC>& c, bool saturate = false) {
  static_assert(detail::same<TA, TB>, "both factors of mma_sync have one element type");
  static_assert(detail::floating<TA> == detail::floating<TD>, "integer factors have an int accumulator");
  detail::Operands o{d.x, a.x, b.x, c.x, saturate};
  cuda_emulator::cuda_emu_warp(0xffffffffu, cuda_emulator::WARP_MMA, &o, detail::multiply<M, N, K, TA, TB, TC, TD>);
}

CUDA_EMU_INLINE float __float_to_tf32(float x) {
  unsigned bits;
  __builtin_memcpy(&bits, &x, 4);
  // 10 explicit bits, to nearest, ties away from zero (PTX ISA, cvt.rna.tf32).
  if ((bits & 0x7f800000u) != 0x7f800000u) bits = (bits + 0x1000u) & 0xffffe000u;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}
}  // namespace wmma
}  // namespace nvcuda
