// Integer and bit intrinsics (CUDA Math API, "Integer Intrinsics"), and dot products of packed bytes.
#pragma once
#include "sync.h"
#include "vectors.h"

CUDA_EMU_INLINE int __popc(unsigned x) { return __builtin_popcount(x); }
CUDA_EMU_INLINE int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
CUDA_EMU_INLINE int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
CUDA_EMU_INLINE int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
CUDA_EMU_INLINE int __ffs(int x) { return __builtin_ffs(x); }
CUDA_EMU_INLINE int __ffsll(long long x) { return __builtin_ffsll(x); }
CUDA_EMU_INLINE unsigned __brev(unsigned x) {
  unsigned y = 0;
  for (int i = 0; i < 32; ++i) y |= (x >> i & 1u) << (31 - i);
  return y;
}
CUDA_EMU_INLINE unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
  const unsigned long long bytes = (unsigned long long)y << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned pick = s >> (4 * i) & 0xf;
    unsigned byte = unsigned(bytes >> (8 * (pick & 7))) & 0xff;
    if (pick & 8) byte = byte & 0x80 ? 0xff : 0;  // the selector's high bit replicates the sign
    result |= byte << (8 * i);
  }
  return result;
}
CUDA_EMU_INLINE unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned shift) {
  return unsigned(((unsigned long long)hi << 32 | lo) << (shift & 31) >> 32);
}
CUDA_EMU_INLINE unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned shift) {
  return unsigned(((unsigned long long)hi << 32 | lo) >> (shift & 31));
}
CUDA_EMU_INLINE int __mul24(int x, int y) { return (x << 8 >> 8) * (y << 8 >> 8); }
CUDA_EMU_INLINE unsigned __umul24(unsigned x, unsigned y) { return (x & 0xffffff) * (y & 0xffffff); }
CUDA_EMU_INLINE int __mulhi(int x, int y) { return int((long long)x * y >> 32); }
CUDA_EMU_INLINE unsigned __umulhi(unsigned x, unsigned y) { return unsigned((unsigned long long)x * y >> 32); }
CUDA_EMU_INLINE long long __mul64hi(long long x, long long y) { return (long long)((__int128)x * y >> 64); }
CUDA_EMU_INLINE unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return (unsigned long long)((unsigned __int128)x * y >> 64);
}
CUDA_EMU_INLINE unsigned __sad(int x, int y, unsigned z) { return z + unsigned(x > y ? x - y : y - x); }
CUDA_EMU_INLINE unsigned __usad(unsigned x, unsigned y, unsigned z) { return z + (x > y ? x - y : y - x); }
CUDA_EMU_INLINE int __hadd(int x, int y) { return int(((long long)x + y) >> 1); }
CUDA_EMU_INLINE int __rhadd(int x, int y) { return int(((long long)x + y + 1) >> 1); }

namespace cuda_emulator {
// Sum of products of the four bytes of two words, added to c; wraps as 32-bit arithmetic does.
template <class A, class B>
CUDA_EMU_INLINE int dot4(unsigned a, unsigned b, int c) {
  unsigned sum = unsigned(c);
  for (int i = 0; i < 4; ++i) sum += unsigned(int(A(a >> (8 * i))) * int(B(b >> (8 * i))));
  return int(sum);
}
template <class A, class B>
CUDA_EMU_INLINE int dot2(unsigned a, unsigned b, int c, int first) {
  unsigned sum = unsigned(c);
  for (int i = 0; i < 2; ++i) sum += unsigned(int(A(a >> (16 * i))) * int(B(b >> (8 * (first + i)))));
  return int(sum);
}
}  // namespace cuda_emulator

CUDA_EMU_INLINE int __dp4a(int a, int b, int c) {
  return cuda_emulator::dot4<signed char, signed char>(unsigned(a), unsigned(b), c);
}
CUDA_EMU_INLINE unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  return unsigned(cuda_emulator::dot4<unsigned char, unsigned char>(a, b, int(c)));
}
CUDA_EMU_INLINE int __dp4a(unsigned a, int b, int c) {
  return cuda_emulator::dot4<unsigned char, signed char>(a, unsigned(b), c);
}
CUDA_EMU_INLINE int __dp4a(int a, unsigned b, int c) {
  return cuda_emulator::dot4<signed char, unsigned char>(unsigned(a), b, c);
}
template <class V4>  // char4 or uchar4
CUDA_EMU_INLINE unsigned pack_bytes(V4 v) {
  return unsigned(uchar(v.x)) | unsigned(uchar(v.y)) << 8 | unsigned(uchar(v.z)) << 16 | unsigned(uchar(v.w)) << 24;
}
CUDA_EMU_INLINE int __dp4a(char4 a, char4 b, int c) { return __dp4a(int(pack_bytes(a)), int(pack_bytes(b)), c); }
CUDA_EMU_INLINE unsigned __dp4a(uchar4 a, uchar4 b, unsigned c) { return __dp4a(pack_bytes(a), pack_bytes(b), c); }
CUDA_EMU_INLINE int __dp2a_lo(int a, int b, int c) {
  return cuda_emulator::dot2<short, signed char>(unsigned(a), unsigned(b), c, 0);
}
CUDA_EMU_INLINE int __dp2a_hi(int a, int b, int c) {
  return cuda_emulator::dot2<short, signed char>(unsigned(a), unsigned(b), c, 2);
}
CUDA_EMU_INLINE unsigned __dp2a_lo(unsigned a, unsigned b, unsigned c) {
  return unsigned(cuda_emulator::dot2<unsigned short, unsigned char>(a, b, int(c), 0));
}
CUDA_EMU_INLINE unsigned __dp2a_hi(unsigned a, unsigned b, unsigned c) {
  return unsigned(cuda_emulator::dot2<unsigned short, unsigned char>(a, b, int(c), 2));
}
