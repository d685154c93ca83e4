"""Kernels with one planted defect, and what has to be found; `fixed` makes each of them right.

In a text `// BUG` marks the line that must be named. `wrong -> right` pairs turn the kernel into its right
version, which must be quiet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Planted:
    name: str
    kind: str
    text: str
    wrong: str
    right: str
    grid: Sequence[int] = (1,)
    block: Sequence[int] = (64,)
    shared: int = 0
    shapes: Mapping[str, int] = field(default_factory=lambda: {"a": 64, "c": 64})
    scalars: Mapping[str, int] = field(default_factory=dict)
    workspace: Mapping[str, int] = field(default_factory=dict)
    also: frozenset[str] = frozenset()
    """Other kinds that may be found as consequences."""
    stops: bool = False

    @property
    def fixed(self) -> str:
        assert self.wrong in self.text
        return self.text.replace(self.wrong, self.right)

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """Those of size -1 are absent: null pointers."""
        rng = np.random.default_rng(1)
        return {name: rng.random(size, dtype=np.float32) for name, size in self.shapes.items() if size >= 0}


HEAD = '#include <cuda_fp16.h>\n#include <cuda_pipeline.h>\n#include <mma.h>\nextern "C" __global__ void k('
AC = HEAD + "const float* a, float* c) {\n  const int t = threadIdx.x;\n"

PLANTED = (
    Planted("global read past the end", "out_of_bounds_global", AC + """
  float x = a[t + 1];  // BUG
  c[t] = x;
}""", "a[t + 1]", "a[t]"),
    Planted("global write far past the end", "out_of_bounds_global", AC + """
  c[t + (t == 5 ? 4096 : 0)] = a[t];  // BUG
}""", "4096", "0", also=frozenset({"race_global"})),
    Planted("global read before the beginning", "out_of_bounds_global", AC + """
  c[t] = a[t] + (t == 0 ? a[t - 1] : 0.0f);  // BUG
}""", "t - 1", "t + 1"),
    Planted("vector load across the end", "out_of_bounds_global", AC + """
  if (t < 16) {
    float4 v = reinterpret_cast<const float4*>(a)[t + 1];  // BUG
    reinterpret_cast<float4*>(c)[t] = v;
  }
}""", "[t + 1]", "[t]"),
    Planted("null pointer", "out_of_bounds_global", HEAD + """const float* a, float* c, const float* none) {
  const int t = threadIdx.x;
  c[t] = a[t] + none[t];  // BUG
}""", "none[t]", "(none ? none[t] : 0.0f)", shapes={"a": 64, "c": 64, "none": -1}, stops=True),
    Planted("one shared array into the next", "out_of_bounds_shared", AC + """
  __shared__ float s[64], next[64];
  next[t] = 1;
  s[t + 1] = a[t];  // BUG
  __syncthreads();
  c[t] = s[t] + next[t];
}""", "s[t + 1]", "s[t]", also=frozenset({"uninitialized_shared"})),
    Planted("rows past a shared tile", "out_of_bounds_shared", AC + """
  __shared__ float s[16][17], next[16][17];
  next[t % 16][t / 16] = 1;
  s[t % 16 + (t == 3 ? 14 : 0)][t / 16] = a[t];  // BUG
  __syncthreads();
  c[t] = t == 3 ? next[t][0] : s[t % 16][t / 16];
}""", "? 14", "? 0"),
    Planted("dynamic shared memory past its size", "out_of_bounds_shared", AC + """
  extern __shared__ float s[];
  if (t < 40) s[t] = a[t];  // BUG
  __syncthreads();
  c[t] = t < 32 ? s[31 - t] : 0;
}""", "t < 40", "t < 32", shared=128),
    Planted("local array", "out_of_bounds_local", AC + """
  float r[4] = {1, 2, 3, 4};
  int n = t < 60 ? 3 : 4;
  c[t] = a[t] * r[n];  // BUG
}""", "? 3 : 4", "? 3 : 2"),
    Planted("missing barrier", "race_shared", AC + """
  __shared__ float s[64];
  s[t] = a[t];

  c[t] = s[63 - t];  // BUG
}""", "\n\n  c", "\n  __syncthreads();\n  c", also=frozenset({"uninitialized_shared"})),
    Planted("missing barrier before the next tile", "race_shared", AC + """
  __shared__ float s[64];
  float sum = 0;
  for (int i = 0; i < 4; ++i) {
    s[t] = a[(t + i) % 64];  // BUG
    __syncthreads();
    sum += s[63 - t];

  }
  c[t] = sum;
}""", "\n\n  }", "\n    __syncthreads();\n  }"),
    Planted("missing __syncwarp", "race_shared", AC + """
  __shared__ float s[64];
  s[t] = a[t];

  c[t] = s[t ^ 1];  // BUG
}""", "\n\n  c", "\n  __syncwarp();\n  c", also=frozenset({"uninitialized_shared"})),
    Planted("__syncwarp where a block barrier is needed", "race_shared", AC + """
  __shared__ float s[64];
  s[t] = a[t];
  __syncwarp();
  c[t] = s[63 - t];  // BUG
}""", "__syncwarp()", "__syncthreads()", also=frozenset({"uninitialized_shared"})),
    Planted("a shuffle is no barrier", "race_shared", AC + """
  __shared__ float s[64];
  s[t] = a[t];
  float y = __shfl_xor_sync(0xffffffff, a[t], 1);
  c[t] = s[t ^ 1] + y;  // BUG
}""", "float y", "__syncwarp(); float y"),
    Planted("async copy read before the wait", "race_shared", AC + """
  __shared__ alignas(16) float s[64];
  __pipeline_memcpy_async(&s[t], &a[t], 4);
  __pipeline_commit();

  c[t] = s[t];  // BUG
}""", "\n\n  c", "\n  __pipeline_wait_prior(0);\n  c"),
    Planted("async copy waited for by its own thread only", "race_shared", AC + """
  __shared__ alignas(16) float s[64];
  __pipeline_memcpy_async(&s[t], &a[t], 4);
  __pipeline_commit();
  __pipeline_wait_prior(0);

  c[t] = s[63 - t];  // BUG
}""", "\n\n  c", "\n  __syncthreads();\n  c", also=frozenset({"uninitialized_shared"})),
    Planted("one group too few waited for", "race_shared", AC + """
  __shared__ alignas(16) float s[2][64];
  for (int i = 0; i < 2; ++i) {
    __pipeline_memcpy_async(&s[i][t], &a[t], 4);
    __pipeline_commit();
  }
  __pipeline_wait_prior(1);
  __syncthreads();
  c[t] = s[1][63 - t];  // BUG
}""", "prior(1)", "prior(0)"),
    Planted("blocks write one element", "race_global", AC + """
  c[t] = a[t] + blockIdx.x;  // BUG
}""", "c[t] =", "c[t + 64 * blockIdx.x] =", grid=(2,), shapes={"a": 64, "c": 128}),
    Planted("split sums without atomics", "race_global", HEAD + """const float* a, float* c, float* sum) {
  const int t = threadIdx.x;
  if (blockIdx.x == 0) c[t] = 0;
  sum[t] += a[t];  // BUG
}""", "sum[t] += a[t]", "atomicAdd(&sum[t], a[t])", grid=(3,), workspace={"sum": 256}),
    Planted("last block without a fence", "race_global", HEAD + """const float* a, float* c,
                             float* part, unsigned* n) {
  __shared__ bool last;
  const int t = threadIdx.x;
  part[blockIdx.x * 64 + t] = a[t];

  __syncthreads();
  if (t == 0) last = atomicAdd(n, 1u) == gridDim.x - 1;
  __syncthreads();
  if (!last) return;
  float sum = 0;
  for (int i = 0; i < gridDim.x; ++i) sum += part[i * 64 + t];  // BUG
  c[t] = sum;
}""", "a[t];\n\n", "a[t];\n  __threadfence();\n", grid=(3,), workspace={"part": 768, "n": 4}),
    Planted("barrier in a branch", "barrier_divergence", AC + """
  __shared__ float s[64];
  s[t] = a[t];
  if (t < 32) __syncthreads();  // BUG
  c[t] = s[t];
}""", "if (t < 32) ", ""),
    Planted("threads that left before a barrier", "barrier_divergence", AC + """
  __shared__ float s[64];
  if (t >= 50) return;
  s[t] = a[t];
  __syncthreads();  // BUG
  c[t] = s[49 - t];
}""", "__syncthreads();  // BUG\n  c[t] = s[49 - t]", "c[t] = s[t]"),
    Planted("two branches, two barriers", "barrier_divergence", AC + """
  __shared__ float s[64];
  s[t] = a[t];
  if (t % 2) {
    __syncthreads();
  } else {
    __syncthreads();  // BUG
  }
  c[t] = s[63 - t];
}""", "  if (t % 2) {\n    __syncthreads();\n  } else {\n    __syncthreads();  // BUG\n  }\n",
            "  __syncthreads();\n"),
    Planted("a warp operation in a branch", "warp_divergence", AC + """
  float y = 0;
  if (t < 16) y = __shfl_xor_sync(0xffffffff, a[t], 1);  // BUG
  __syncthreads();
  c[t] = y;
}""", "if (t < 16) y", "y", stops=True),
    Planted("a lane outside its mask", "warp_divergence", AC + """
  c[t] = __shfl_sync(0x0000ffff, a[t], 0);  // BUG
}""", "0x0000ffff", "0xffffffff"),
    Planted("shared memory never written", "uninitialized_shared", AC + """
  __shared__ float s[64];
  if (t < 60) s[t] = a[t];
  __syncthreads();
  c[t] = s[63 - t];  // BUG
}""", "t < 60", "t < 64"),
    Planted("output read before it is written", "uninitialized_global", AC + """
  c[t] += a[t];  // BUG
}""", "+=", "="),
    Planted("misaligned vector load", "misaligned", AC + """
  if (t < 8) {
    float4 v = *reinterpret_cast<const float4*>(a + t + 4);  // BUG
    c[t] = v.x + v.w;
  }
}""", "a + t + 4", "a + 4 * t"),
    Planted("misaligned store to shared memory", "misaligned", AC + """
  __shared__ alignas(16) float s[80];
  if (t < 16) *reinterpret_cast<float2*>(&s[2 * t + 1]) = make_float2(a[t], a[t]);  // BUG
  __syncthreads();
  c[t] = t >= 2 && t < 32 ? s[t] : 0;
}""", "2 * t + 1", "2 * t"),
    Planted("misaligned async copy", "misaligned", AC + """
  __shared__ alignas(16) float s[64];
  if (t < 12) __pipeline_memcpy_async(&s[4 * t], &a[4 * t + 1], 16);  // BUG
  __pipeline_commit();
  __pipeline_wait_prior(0);
  __syncthreads();
  c[t] = t < 48 ? s[t] : 0;
}""", "4 * t + 1", "4 * t"),
    Planted("write to an input", "input_modified", HEAD + """float* a, float* c) {
  const int t = threadIdx.x;
  c[t] = a[t];
  a[t] = 2 * c[t];
}""", "a[t] = 2 * c[t];", ""),
    Planted("trap", "trap", AC + """
  if (t == 7) __trap();  // BUG
  c[t] = a[t];
}""", "t == 7", "t == 700", stops=True),
    Planted("division by zero", "crash", HEAD + """const float* a, float* c, int zero) {
  const int t = threadIdx.x;
  c[t] = a[t / zero];  // BUG
}""", "t / zero", "t / (zero + 1)", scalars={"zero": 0}, stops=True),
)  # fmt: skip
