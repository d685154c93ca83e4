// The operations that half and bfloat16 share. Included once for each, with these macros defined:
// EMU_T and EMU_T2 the types, EMU_FORMAT its Format, EMU_MAKE(double) a value rounded to nearest even,
// EMU_BITS(unsigned short) a value of its bits. No guard: it is meant to be included twice.

CUDA_EMU_INLINE double emu_wide(EMU_T x) { return double(EMU_FORMAT::widen(x.__x)); }

CUDA_EMU_INLINE EMU_T __hadd(EMU_T a, EMU_T b) { return EMU_MAKE(emu_wide(a) + emu_wide(b)); }
CUDA_EMU_INLINE EMU_T __hsub(EMU_T a, EMU_T b) { return EMU_MAKE(emu_wide(a) - emu_wide(b)); }
CUDA_EMU_INLINE EMU_T __hmul(EMU_T a, EMU_T b) { return EMU_MAKE(emu_wide(a) * emu_wide(b)); }
CUDA_EMU_INLINE EMU_T __hdiv(EMU_T a, EMU_T b) { return EMU_MAKE(emu_wide(a) / emu_wide(b)); }
CUDA_EMU_INLINE EMU_T __hfma(EMU_T a, EMU_T b, EMU_T c) {
  return EMU_MAKE(cuda_emulator::fused(emu_wide(a), emu_wide(b), emu_wide(c)));
}
CUDA_EMU_INLINE EMU_T __hadd_rn(EMU_T a, EMU_T b) { return __hadd(a, b); }
CUDA_EMU_INLINE EMU_T __hsub_rn(EMU_T a, EMU_T b) { return __hsub(a, b); }
CUDA_EMU_INLINE EMU_T __hmul_rn(EMU_T a, EMU_T b) { return __hmul(a, b); }
CUDA_EMU_INLINE EMU_T __hneg(EMU_T a) { return EMU_BITS((unsigned short)(a.__x ^ 0x8000)); }
CUDA_EMU_INLINE EMU_T __habs(EMU_T a) { return EMU_BITS((unsigned short)(a.__x & 0x7fff)); }
CUDA_EMU_INLINE bool __hisnan(EMU_T a) { return (a.__x & 0x7fff) > EMU_FORMAT::INFINITE; }
CUDA_EMU_INLINE int __hisinf(EMU_T a) {
  return (a.__x & 0x7fff) != EMU_FORMAT::INFINITE ? 0 : a.__x & 0x8000 ? -1 : 1;
}
CUDA_EMU_INLINE EMU_T emu_saturate(EMU_T a) { return EMU_MAKE(cuda_emulator::saturate(emu_wide(a))); }
CUDA_EMU_INLINE EMU_T emu_relu(EMU_T a) { return __hisnan(a) || !(a.__x & 0x8000) ? a : EMU_BITS(0); }
CUDA_EMU_INLINE EMU_T __hadd_sat(EMU_T a, EMU_T b) { return emu_saturate(__hadd(a, b)); }
CUDA_EMU_INLINE EMU_T __hsub_sat(EMU_T a, EMU_T b) { return emu_saturate(__hsub(a, b)); }
CUDA_EMU_INLINE EMU_T __hmul_sat(EMU_T a, EMU_T b) { return emu_saturate(__hmul(a, b)); }
CUDA_EMU_INLINE EMU_T __hfma_sat(EMU_T a, EMU_T b, EMU_T c) { return emu_saturate(__hfma(a, b, c)); }
CUDA_EMU_INLINE EMU_T __hfma_relu(EMU_T a, EMU_T b, EMU_T c) { return emu_relu(__hfma(a, b, c)); }

// Comparisons; those with a u are true where one operand is a NaN.
#define EMU_COMPARE(name, op)                                                                             \
  CUDA_EMU_INLINE bool __h##name(EMU_T a, EMU_T b) { return emu_wide(a) op emu_wide(b); }                  \
  CUDA_EMU_INLINE bool __h##name##u(EMU_T a, EMU_T b) {                                                    \
    return __hisnan(a) || __hisnan(b) || emu_wide(a) op emu_wide(b);                                       \
  }                                                                                                        \
  CUDA_EMU_INLINE EMU_T2 __h##name##2(EMU_T2 a, EMU_T2 b) {                                                \
    return EMU_T2{EMU_MAKE(__h##name(a.x, b.x)), EMU_MAKE(__h##name(a.y, b.y))};                           \
  }                                                                                                        \
  CUDA_EMU_INLINE bool __hb##name##2(EMU_T2 a, EMU_T2 b) { return __h##name(a.x, b.x) && __h##name(a.y, b.y); } \
  CUDA_EMU_INLINE bool operator op(const EMU_T& a, const EMU_T& b) { return __h##name(a, b); }
EMU_COMPARE(eq, ==)
EMU_COMPARE(ne, !=)
EMU_COMPARE(lt, <)
EMU_COMPARE(le, <=)
EMU_COMPARE(gt, >)
EMU_COMPARE(ge, >=)
#undef EMU_COMPARE

CUDA_EMU_INLINE EMU_T __hmax(EMU_T a, EMU_T b) {
  if (__hisnan(a)) return b;
  if (__hisnan(b)) return a;
  return emu_wide(a) > emu_wide(b) || (emu_wide(a) == emu_wide(b) && (b.__x & 0x8000)) ? a : b;  // +0 > -0
}
CUDA_EMU_INLINE EMU_T __hmin(EMU_T a, EMU_T b) {
  if (__hisnan(a)) return b;
  if (__hisnan(b)) return a;
  return emu_wide(a) < emu_wide(b) || (emu_wide(a) == emu_wide(b) && (a.__x & 0x8000)) ? a : b;
}
CUDA_EMU_INLINE EMU_T __hmax_nan(EMU_T a, EMU_T b) { return __hisnan(a) ? a : __hisnan(b) ? b : __hmax(a, b); }
CUDA_EMU_INLINE EMU_T __hmin_nan(EMU_T a, EMU_T b) { return __hisnan(a) ? a : __hisnan(b) ? b : __hmin(a, b); }

#define EMU_UNARY(name, expression)                                                  \
  CUDA_EMU_INLINE EMU_T h##name(EMU_T h) {                                           \
    const double x = emu_wide(h);                                                    \
    return EMU_MAKE(expression);                                                     \
  }                                                                                  \
  CUDA_EMU_INLINE EMU_T2 h2##name(EMU_T2 h) { return EMU_T2{h##name(h.x), h##name(h.y)}; }
EMU_UNARY(sqrt, sqrt(x))
EMU_UNARY(rsqrt, 1.0 / sqrt(x))
EMU_UNARY(rcp, 1.0 / x)
EMU_UNARY(exp, exp(x))
EMU_UNARY(exp2, exp2(x))
EMU_UNARY(exp10, pow(10.0, x))
EMU_UNARY(log, log(x))
EMU_UNARY(log2, log2(x))
EMU_UNARY(log10, log10(x))
EMU_UNARY(sin, sin(x))
EMU_UNARY(cos, cos(x))
EMU_UNARY(tanh, tanh(x))
EMU_UNARY(floor, floor(x))
EMU_UNARY(ceil, ceil(x))
EMU_UNARY(rint, rint(x))
EMU_UNARY(trunc, trunc(x))
#undef EMU_UNARY
CUDA_EMU_INLINE EMU_T hdiv(EMU_T a, EMU_T b) { return __hdiv(a, b); }

#define EMU_PAIR(name, single)                                                                              \
  CUDA_EMU_INLINE EMU_T2 name(EMU_T2 a, EMU_T2 b) { return EMU_T2{single(a.x, b.x), single(a.y, b.y)}; }
EMU_PAIR(__hadd2, __hadd)
EMU_PAIR(__hsub2, __hsub)
EMU_PAIR(__hmul2, __hmul)
EMU_PAIR(__h2div, __hdiv)
EMU_PAIR(__hadd2_rn, __hadd)
EMU_PAIR(__hsub2_rn, __hsub)
EMU_PAIR(__hmul2_rn, __hmul)
EMU_PAIR(__hadd2_sat, __hadd_sat)
EMU_PAIR(__hsub2_sat, __hsub_sat)
EMU_PAIR(__hmul2_sat, __hmul_sat)
EMU_PAIR(__hmax2, __hmax)
EMU_PAIR(__hmin2, __hmin)
EMU_PAIR(__hmax2_nan, __hmax_nan)
EMU_PAIR(__hmin2_nan, __hmin_nan)
#undef EMU_PAIR
#define EMU_PAIR_FMA(name, single) \
  CUDA_EMU_INLINE EMU_T2 name(EMU_T2 a, EMU_T2 b, EMU_T2 c) { return EMU_T2{single(a.x, b.x, c.x), single(a.y, b.y, c.y)}; }
EMU_PAIR_FMA(__hfma2, __hfma)
EMU_PAIR_FMA(__hfma2_sat, __hfma_sat)
EMU_PAIR_FMA(__hfma2_relu, __hfma_relu)
#undef EMU_PAIR_FMA
CUDA_EMU_INLINE EMU_T2 __hneg2(EMU_T2 a) { return EMU_T2{__hneg(a.x), __hneg(a.y)}; }
CUDA_EMU_INLINE EMU_T2 __habs2(EMU_T2 a) { return EMU_T2{__habs(a.x), __habs(a.y)}; }

#define EMU_OPERATOR(op, name)                                                                              \
  CUDA_EMU_INLINE EMU_T operator op(const EMU_T& a, const EMU_T& b) { return name(a, b); }                  \
  CUDA_EMU_INLINE EMU_T& operator op##=(EMU_T& a, const EMU_T& b) { return a = name(a, b); }                \
  CUDA_EMU_INLINE EMU_T2 operator op(const EMU_T2& a, const EMU_T2& b) {                                    \
    return EMU_T2{name(a.x, b.x), name(a.y, b.y)};                                                          \
  }                                                                                                         \
  CUDA_EMU_INLINE EMU_T2& operator op##=(EMU_T2& a, const EMU_T2& b) { return a = a op b; }
EMU_OPERATOR(+, __hadd)
EMU_OPERATOR(-, __hsub)
EMU_OPERATOR(*, __hmul)
EMU_OPERATOR(/, __hdiv)
#undef EMU_OPERATOR
CUDA_EMU_INLINE EMU_T operator-(const EMU_T& a) { return __hneg(a); }
CUDA_EMU_INLINE EMU_T operator+(const EMU_T& a) { return a; }
CUDA_EMU_INLINE EMU_T2 operator-(const EMU_T2& a) { return __hneg2(a); }

CUDA_EMU_INLINE float __low2float(EMU_T2 a) { return EMU_FORMAT::widen(a.x.__x); }
CUDA_EMU_INLINE float __high2float(EMU_T2 a) { return EMU_FORMAT::widen(a.y.__x); }
CUDA_EMU_INLINE EMU_T2 __lowhigh2highlow(EMU_T2 a) { return EMU_T2{a.y, a.x}; }

CUDA_EMU_ATOMIC(atomicAdd, EMU_T, __hadd(old, value))
CUDA_EMU_INLINE EMU_T2 atomicAdd(EMU_T2* address, EMU_T2 value) {
  cuda_emulator::cuda_emu_atomic(address, sizeof(EMU_T2), 1);
  return cuda_emulator::exchange_with(address, [value](EMU_T2 old) -> EMU_T2 { return __hadd2(old, value); });
}
