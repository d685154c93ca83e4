// A stand-in for libcublasLt on the host's memory: the functions that schedules/cublaslt.py calls, as cublasLt.h
// declares them. Three algorithms; f32, f16, int8, e4m3 to bf16; column-major; epilogues in f32. Tests only.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {
struct Layout { int type; uint64_t rows, columns; int64_t lead; int32_t batch = 1; int64_t step = 0; };
struct What { int compute, scale; int32_t turned[2] = {0, 0}; int32_t epilogue = 1; void* bias = nullptr; int8_t fast = 0; };
struct Preference { uint64_t workspace = 0; };
struct Algorithm { uint64_t data[8]; };
struct Heuristic { Algorithm algorithm; size_t workspace; int state; float waves; int reserved[4]; };
static_assert(sizeof(Heuristic) == 96, "as cublasLtMatmulHeuristicResult_t");

float at(const void* p, int type, int64_t i) {
  switch (type) {
    case 0: return static_cast<const float*>(p)[i];
    case 2: return static_cast<float>(static_cast<const _Float16*>(p)[i]);
    case 3: return static_cast<const int8_t*>(p)[i];
    case 14: { const uint32_t bits = uint32_t(static_cast<const uint16_t*>(p)[i]) << 16; float v; std::memcpy(&v, &bits, 4); return v; }
    case 28: {  // e4m3: a sign, 4 bits of exponent, 3 of significand
      const uint8_t bits = static_cast<const uint8_t*>(p)[i];
      const int exponent = bits >> 3 & 15, significand = bits & 7;
      const float v = exponent ? std::ldexp(8.f + significand, exponent - 10) : std::ldexp(float(significand), -9);
      return (bits & 127) == 127 ? NAN : bits & 128 ? -v : v;
    }
    default: return static_cast<float>(static_cast<const int32_t*>(p)[i]);
  }
}
void put(void* p, int type, int64_t i, float v) {
  if (type == 0) static_cast<float*>(p)[i] = v;
  else if (type == 2) static_cast<_Float16*>(p)[i] = static_cast<_Float16>(v);
  else if (type == 14) {
    uint32_t bits;
    std::memcpy(&bits, &v, 4);
    static_cast<uint16_t*>(p)[i] = std::isnan(v) ? 0x7FC0 : uint16_t(bits + 0x7FFF + (bits >> 16 & 1) >> 16);
  } else static_cast<int32_t*>(p)[i] = static_cast<int32_t>(v);
}
}  // namespace

extern "C" {
int cublasLtCreate(void** handle) { *handle = new int(1); return 0; }
int cublasLtMatmulDescCreate(void** what, int compute, int scale) { *what = new What{compute, scale}; return 0; }
int cublasLtMatmulDescSetAttribute(void* p, int attribute, const void* value, size_t size) {
  auto* what = static_cast<What*>(p);
  if (attribute == 3 || attribute == 4) { if (size != 4) return 7; std::memcpy(&what->turned[attribute - 3], value, 4); }
  else if (attribute == 7) { if (size != 4) return 7; std::memcpy(&what->epilogue, value, 4); }
  else if (attribute == 8) { if (size != 8) return 7; std::memcpy(&what->bias, value, 8); }
  else if (attribute == 25) { if (size != 1) return 7; std::memcpy(&what->fast, value, 1); }
  else return 7;
  return 0;
}
int cublasLtMatrixLayoutCreate(void** p, int type, uint64_t rows, uint64_t columns, int64_t lead) {
  if (lead < static_cast<int64_t>(rows)) return 7;
  *p = new Layout{type, rows, columns, lead};
  return 0;
}
int cublasLtMatrixLayoutSetAttribute(void* p, int attribute, const void* value, size_t size) {
  auto* layout = static_cast<Layout*>(p);
  if (attribute == 5 && size == 4) std::memcpy(&layout->batch, value, 4);
  else if (attribute == 6 && size == 8) std::memcpy(&layout->step, value, 8);
  else return 7;
  return 0;
}
int cublasLtMatmulPreferenceCreate(void** p) { *p = new Preference; return 0; }
int cublasLtMatmulPreferenceSetAttribute(void* p, int attribute, const void* value, size_t size) {
  if (attribute != 1 || size != 8) return 7;
  std::memcpy(&static_cast<Preference*>(p)->workspace, value, 8);
  return 0;
}
int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void* preference, int most, void* found,
                                   int* count) {
  *count = std::min(most, 3);
  for (int i = 0; i < *count; ++i)
    static_cast<Heuristic*>(found)[i] = {{{uint64_t(i + 1)}}, static_cast<Preference*>(preference)->workspace, 0, 1.f, {}};
  return 0;
}
int cublasLtMatmul(void* handle, void* w, const void* alpha, const void* a, void* la, const void* b, void* lb,
                   const void* beta, const void* c, void* lc, void* d, void* ld, const void* algorithm, void* workspace,
                   size_t, void*) {
  const auto& what = *static_cast<What*>(w);
  const auto &A = *static_cast<Layout*>(la), &B = *static_cast<Layout*>(lb), &C = *static_cast<Layout*>(lc),
             &D = *static_cast<Layout*>(ld);
  const uint64_t which = static_cast<const Algorithm*>(algorithm)->data[0];
  if (!handle || !workspace || which < 1 || which > 3) return 7;
  // 8-bit floats are multiplied in one order, and they alone may be summed up fast.
  const bool narrow = A.type == 28;
  if ((narrow && (!what.turned[0] || what.turned[1] || A.lead % 16 || B.lead % 16 || D.lead % 16)) || (what.fast && !narrow))
    return 15;
  const float scale_a = at(alpha, what.scale, 0), scale_c = at(beta, what.scale, 0);
  const int64_t k = what.turned[0] ? A.rows : A.columns;
  if ((what.turned[0] ? A.columns : A.rows) != D.rows || (what.turned[1] ? B.rows : B.columns) != D.columns ||
      static_cast<int64_t>(what.turned[1] ? B.columns : B.rows) != k)
    return 7;
  for (int32_t n = 0; n < D.batch; ++n)
    for (int64_t i = 0; i < static_cast<int64_t>(D.rows); ++i)
      for (int64_t j = 0; j < static_cast<int64_t>(D.columns); ++j) {
        double sum = 0;
        for (int64_t p = 0; p < k; ++p)
          sum += double(at(a, A.type, n * A.step + (what.turned[0] ? i * A.lead + p : p * A.lead + i))) *
                 at(b, B.type, n * B.step + (what.turned[1] ? p * B.lead + j : j * B.lead + p));
        float v = scale_a * static_cast<float>(sum);
        if (scale_c != 0) v += scale_c * at(c, C.type, n * C.step + j * C.lead + i);
        if (what.epilogue & 4) v += at(what.bias, D.type, i);
        if (what.epilogue & 2) v = std::max(v, 0.f);
        put(d, D.type, n * D.step + j * D.lead + i, v);
      }
  return 0;
}
}
