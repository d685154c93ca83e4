// What is done last to a result, as the workload asks: OPT_RELU, OPT_RELU6, OPT_SILU, OPT_HARDSWISH, OPT_GELU or OPT_TANH,
// at most one. A NaN stays one. Integers have ReLU alone.
#pragma once
#include "activation_options.h"
#include "epilogue.cuh"

// SiLU, x / (1 + e^-x), is -0 where e^-x is infinite. It and GELU, which multiplies x by the normal distribution's share
// below it, are NaN of -inf.
template <typename Acc>
__device__ __forceinline__ Acc activated(Acc x) {
  if (OPT_RELU || OPT_RELU6) x = relu(x);
  if (OPT_RELU6) x = x > Acc(6) ? Acc(6) : x;
  if (OPT_SILU) x = Acc(x / (1.0f + expf(-float(x))));
  if (OPT_HARDSWISH) {
    const float gate = relu(float(x) + 3.0f);
    x = Acc(x * ((gate > 6.0f ? 6.0f : gate) * (1.0f / 6.0f)));  // x times 6 might overflow
  }
  if (OPT_GELU) x = Acc(0.5f * float(x) * erfcf(-0.70710678f * float(x)));
  if (OPT_TANH) x = Acc(tanhf(float(x)));
  return x;
}
