// Neighbouring elements as one access of memory, up to 128 bits.
#pragma once

// Elements of a type in 128 bits.
template <typename T>
constexpr int VECTOR_OF = 16 / sizeof(T);

template <int BYTES> struct Word;
template <> struct Word<16> { typedef uint4 type; };
template <> struct Word<8> { typedef uint2 type; };
template <> struct Word<4> { typedef unsigned int type; };
template <> struct Word<2> { typedef unsigned short type; };
template <> struct Word<1> { typedef unsigned char type; };

// COUNT consecutive elements as one access of COUNT * sizeof(T) bytes, on a boundary of as many.
template <int COUNT, typename T>
__device__ __forceinline__ void load(T (&to)[COUNT], const T* from) {
  typedef typename Word<COUNT * sizeof(T)>::type W;
  const W word = *reinterpret_cast<const W*>(from);
  memcpy(to, &word, sizeof(W));
}
template <int COUNT, typename T>
__device__ __forceinline__ void store(T* to, const T (&from)[COUNT]) {
  typedef typename Word<COUNT * sizeof(T)>::type W;
  W word;
  memcpy(&word, from, sizeof(W));
  *reinterpret_cast<W*>(to) = word;
}
