// One row by a warp, in f32 throughout: what tensor cores' sums are not enough for. That is where values are infinite or
// NaN: those of a tile reach rows that do not see them, as 0 times a NaN, and a probability below 2^-25 is 0 in f16
// (bf16 has the range of f32), and 0 times an infinity is a NaN.
#pragma once
#include "softmax.cuh"

// A lane has a key, then a column.
__device__ __forceinline__ void careful(Element* to, const Element* query, const Tokens& keys, const Tokens& values,
                                        int seen, float factor, int lane) {
  const auto score = [&](int key) {
    float sum = 0;
    for (int t = 0; t < HEAD; ++t) sum = fmaf(widen(query[t]), widen(keys.at(key, 0)[t]), sum);
    return sum * factor;
  };
  Row row = {LARGEST_OF_NONE, 0};
  for (int key = lane; key < seen; key += 32) {
    const float found = score(key);
    row.raise(found);
    row.total += row.power(found);
  }
  row.raise(largest_of<32>(row.largest));
  row.total = sum_of<32>(row.total);
  constexpr int COLUMNS = (HEAD + 31) / 32;
  float sum[COLUMNS] = {};
  for (int key0 = 0; key0 < seen; key0 += 32) {
    const float own = key0 + lane < seen ? row.power(score(key0 + lane)) : 0;
    for (int i = 0; i < min(32, seen - key0); ++i) {
      const float weight = __shfl_sync(0xFFFFFFFFu, own, i);
      const Element* const value = values.at(key0 + i, 0);
#pragma unroll
      for (int c = 0; c < COLUMNS; ++c)
        if (c * 32 + lane < HEAD) sum[c] = fmaf(weight, widen(value[c * 32 + lane]), sum[c]);
    }
  }
#pragma unroll
  for (int c = 0; c < COLUMNS; ++c)
    if (c * 32 + lane < HEAD) narrow(sum[c] / row.total, to[c * 32 + lane]);
}
