// What every rung of the CUDA ladder shares: element types, sizes, where elements lie, what a finished sum goes through.
//
// Y = act(residual + bias + sum over c, r, s of X * W), see tuner/operators/conv2d.py. A convolution is the product of an image
// matrix with the filters: `depth` runs over the taps of one filter in the order in which W holds them, which is
// (channel, y, x) or, with OPT_NHWC, (y, x, channel); a `pixel` over the output pixels of all images.
#pragma once
#include "../common/activation.cuh"
#include "../common/half.cuh"
#include "../common/resources.cuh"

#if !defined(OPT_RESIDUAL)  // of kernels that do not honour it
#define OPT_RESIDUAL 0
#endif

#define SCALED (OPT_SCALE_TENSOR || OPT_SCALE_CHANNEL)

#if DTYPE_F16
typedef __half In;    // X and W
typedef float Acc;    // sums
typedef __half Wide;  // bias
typedef __half Out;   // Y
#elif DTYPE_BF16
typedef __nv_bfloat16 In;
typedef float Acc;
typedef __nv_bfloat16 Wide;
typedef __nv_bfloat16 Out;
#elif DTYPE_INT8
typedef signed char In;
typedef int Acc;
typedef int Wide;
#if SCALED
typedef signed char Out;
#else
typedef int Out;
#endif
#else
typedef float In;
typedef float Acc;
typedef float Wide;
typedef float Out;
#endif

constexpr int TOP = OPT_PAD + OPT_PAD_TOP, LEFT = OPT_PAD + OPT_PAD_LEFT;  // OPT_PAD is 0 where sides differ

struct Sizes {
  int n, c, h, w, k, r, s, p, q;

  __device__ __forceinline__ int group_c() const { return c / OPT_GROUPS; }
  __device__ __forceinline__ int group_k() const { return k / OPT_GROUPS; }
  __device__ __forceinline__ int depth() const { return group_c() * r * s; }
  __device__ __forceinline__ int pixels() const { return n * p * q; }

  // Elements of X, W and Y. 64-bit: a batch of large images passes 2^31.
  __device__ __forceinline__ size_t x_index(int image, int channel, int y, int x) const {
    return OPT_NHWC ? ((size_t(image) * h + y) * w + x) * c + channel : ((size_t(image) * c + channel) * h + y) * w + x;
  }
  __device__ __forceinline__ size_t w_index(int filter, int channel, int y, int x) const {
    return OPT_NHWC ? ((size_t(filter) * r + y) * s + x) * group_c() + channel
                    : ((size_t(filter) * group_c() + channel) * r + y) * s + x;
  }
  __device__ __forceinline__ size_t y_index(int image, int filter, int within) const {
    return OPT_NHWC ? (size_t(image) * p * q + within) * k + filter : (size_t(image) * k + filter) * p * q + within;
  }
};

// The epilogue of one sum. Each int8 step is one IEEE 754 operation, rounded to nearest, ties to even.
struct Finish {
  const Wide* bias;     // [k]; null without bias
  const float* scale;   // [k] or [1]; null without scale
  const Out* residual;  // as Y; null without residual

  // `place` is that of the result in Y.
  __device__ __forceinline__ Out operator()(Acc sum, int filter, size_t place) const {
    if (OPT_BIAS) sum += widen(bias[filter]);
    if (OPT_RESIDUAL) sum += widen(residual[place]);
    sum = activated(sum);
#if SCALED
    const float value = rintf(__fmul_rn(float(sum), scale[OPT_SCALE_CHANNEL ? filter : 0]));
    return Out(value < -128.0f ? -128.0f : value > 127.0f ? 127.0f : value);
#else
    Out result;
    narrow(sum, result);
    return result;
#endif
  }
};
