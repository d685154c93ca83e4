/*[tuner]
name = "cpp_naive"
operator = "gemm"
summary = "Three loops in the order of the formula, one thread: what everything is compared with."
dtypes = ["f32", "f16", "int8", "bf16"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k", "batch", "alpha", "beta", "scale", "Z"]
options = ["operator", "scale_tensor", "scale_channel", "zero_points", "silu", "gelu", "tanh"]
*/
// Rung 0. What a programmer writes from the definition, compiled with -O3. The sum over k is one chain of
// dependent additions, which the compiler may not reorder into vectors, and without trans_b every element
// of B comes from another cache line: it reaches about a hundredth of what the machine can do.
#include <cstdint>

#include "../common/activation.h"

#if DTYPE_F16
typedef _Float16 In;         // A and B
typedef float Acc;           // sums and epilogue
typedef _Float16 Add, Out;   // C and bias; D
#elif DTYPE_BF16
#include "../common/bfloat16.h"
typedef bfloat16 In;
typedef float Acc;
typedef bfloat16 Add, Out;
#elif DTYPE_INT8
typedef int8_t In;
typedef int32_t Acc, Add;
#if OPT_SCALE_TENSOR || OPT_SCALE_CHANNEL
typedef int8_t Out;
#else
typedef int32_t Out;
#endif
#else
typedef float In;
typedef float Acc;
typedef float Add, Out;
#endif

static Out stored(Acc value, const float* scale, const int32_t* Z, int64_t j) {
#if OPT_SCALE_TENSOR || OPT_SCALE_CHANNEL
    double result = __builtin_rintf(float(value) * scale[OPT_SCALE_CHANNEL ? j : 0]);
    if (OPT_ZERO_POINTS) result += Z[1];
    return Out(result < -128 ? -128 : result > 127 ? 127 : result);
#else
    (void)scale, (void)Z, (void)j;
    return Out(value);
#endif
}

extern "C" void gemm(const In* A, const In* B, const Add* C, const Add* bias, Out* D, int64_t m, int64_t n,
                     int64_t k, int64_t batch, float alpha, float beta, const float* scale = nullptr,
                     const int32_t* Z = nullptr) {
    for (int64_t b = 0; b < batch; ++b, A += m * k, B += k * n, D += m * n) {
        for (int64_t i = 0; i < m; ++i) {
            for (int64_t j = 0; j < n; ++j) {
                Acc sum = 0;
                for (int64_t p = 0; p < k; ++p) {
                    Acc a = OPT_TRANS_A ? A[p * m + i] : A[i * k + p];
                    Acc x = OPT_TRANS_B ? B[j * k + p] : B[p * n + j];
                    sum += a * x;
                }
                Acc value = Acc(alpha) * sum;
                if (C) value += Acc(beta) * Acc(C[(b * m + i) * n + j]);
                if (bias) value += Acc(bias[j]);
                value = activated(value);
                D[i * n + j] = stored(value, scale, Z, j);
            }
        }
    }
}
