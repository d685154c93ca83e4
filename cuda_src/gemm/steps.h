// Steps along the depth of dot products of floating-point rows: vectors of elements, or of words of two where the target
// multiplies these (dots16.h).
#pragma once
#include "../common/dots16.h"

// GROUP: neighbours in the depth that a lane has.
#if DOTS16
enum : int64_t { GROUP = 2 };
static inline vec multiply_add(vec a, vec b, vec sums) { return dot_pairs(a, b, sums); }
#else
enum : int64_t { GROUP = 1 };
static inline vec multiply_add(vec a, vec b, vec sums) { return sums + a * b; }
#endif
enum : int64_t { STEP = GROUP * LANES };  // elements

// A step's elements of a row; and the last ones of a row of words, with zeros behind them, at most a step. What is no words ends
// one by one.
#if DOTS16
static inline vec load_step(const Input* from) { return load_words(from); }
static inline vec load_rest(const Input* from, int64_t count) { return (vec)load_32(from, first_of_32(count)); }
#else
static inline vec load_step(const Input* from) { return load(from); }
static inline vec load_rest(const Input*, int64_t) { return vec{}; }
#endif
