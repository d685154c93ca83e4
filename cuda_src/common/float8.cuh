// 8-bit floats as arithmetic sees them: f32 (half.cuh has the wider types).
#pragma once
#include <cuda_fp8.h>

__device__ __forceinline__ float widen(__nv_fp8_e4m3 x) { return float(x); }
__device__ __forceinline__ float widen(__nv_fp8_e5m2 x) { return float(x); }
