"""wgmma on the emulator: what it computes from every layout of operands, how mistakes with it are named."""

import numpy as np
import pytest

from tests.emulator.emulate import bug_line, compute, kinds, run
from tuner import registry
from tuner.engine.examine.nvrtc import ask_nvrtc
from tuner.operators.gemm import Gemm
from tuner.targets.cuda import target

# One product of 64 x 16 with a depth of 16. `PLACE_A` and `PLACE_B` are the bytes of element (outer, depth).
ONE = """#include <cuda_fp16.h>
__device__ unsigned swizzled(unsigned at, int width) { return at ^ ((at >> 7 & (width / 16 - 1)) << 4); }
__device__ unsigned long long described(unsigned at, int leading, int stride, int layout) {
  unsigned long long strides = (unsigned long long)(stride >> 4) << 32 | leading >> 4 << 16;
  return (unsigned long long)layout << 62 | strides | at >> 4;
}
extern "C" __global__ void k(const __half* a, const __half* b, float* c) {
  __shared__ __align__(1024) unsigned char s[16384];
  const int t = threadIdx.x;
  for (int i = t; i < 4096; i += 128) reinterpret_cast<float*>(s)[i] = 0;
  __syncthreads();
  for (int i = t; i < 64 * 16; i += 128) {
    const int outer = i / 16, depth = i % 16;
    *reinterpret_cast<__half*>(s + PLACE_A) = a[i];
    if (outer < 16) *reinterpret_cast<__half*>(s + 8192 + PLACE_B) = b[i];
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");  // PROXY
  __syncthreads();
  float d[8];
  for (int i = 0; i < 8; ++i) d[i] = 1;
  const unsigned at = (unsigned)__cvta_generic_to_shared(s);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");  // FENCE
  asm volatile("{ .reg .pred p; setp.ne.b32 p, %10, 0; wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 "
               "{%0, %1, %2, %3, %4, %5, %6, %7}, %8, %9, p, 1, SIGN, OUTERS; }"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]),
                 "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
               : "l"(described(at, DESCRIBE_A)), "l"(described(at + 8192, DESCRIBE_B)), "r"(KEPT)
               : "memory");
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");  // COMMIT
  // HERE
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");  // WAIT
  for (int i = 0; i < 8; ++i)
    c[(t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8) * 16 + i / 4 * 8 + t % 4 * 2 + i % 2] = d[i];
}"""
# By width of the swizzle: the byte of (outer, depth), then leading, stride and layout of the descriptor.
DEPTH = {
    128: ("swizzled(outer * 128 + depth * 2, 128)", "16, 1024, 1"),
    64: ("swizzled(outer * 64 + depth * 2, 64)", "16, 512, 2"),
    32: ("swizzled(outer * 32 + depth * 2, 32)", "16, 256, 3"),
    0: ("outer / 8 * 256 + depth / 8 * 128 + outer % 8 * 16 + depth % 8 * 2", "128, 256, 0"),
}
OUTER = {
    128: ("swizzled(depth * 128 + outer * 2, 128)", "2048, 1024, 1"),
    64: ("swizzled(outer / 32 * 1024 + depth * 64 + outer % 32 * 2, 64)", "1024, 512, 2"),
    32: ("swizzled(outer / 16 * 512 + depth * 32 + outer % 16 * 2, 32)", "512, 256, 3"),
    0: ("outer / 8 * 128 + depth / 8 * 1024 + depth % 8 * 16 + outer % 8 * 2", "1024, 128, 0"),
}


def code(a: tuple[str, str] = DEPTH[128], b: tuple[str, str] = DEPTH[128], outers: str = "0, 0",
         kept: int = 1, sign: int = 1) -> str:  # fmt: skip
    text = ONE.replace("PLACE_A", a[0]).replace("DESCRIBE_A", a[1]).replace("PLACE_B", b[0])
    text = text.replace("DESCRIBE_B", b[1]).replace("OUTERS", outers)
    return text.replace("KEPT", str(kept)).replace("SIGN", str(sign))


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-8, 8, (rows, 16)).astype(np.float16) for rows in (64, 16))
    return {"a": a, "b": b, "c": np.zeros((64, 16), np.float32)}


@pytest.mark.parametrize("width", [128, 64, 32, 0])
@pytest.mark.parametrize("outers", ["0, 0", "1, 1", "0, 1"])
@pytest.mark.sampled(5)
def test_operands_of_every_layout(width: int, outers: str) -> None:
    a, b = (OUTER if outer == "1" else DEPTH for outer in outers.split(", "))
    given = tensors()
    result = compute(code(a[width], b[width], outers), given, ["c"], block=[128])
    wide = {name: value.astype(np.float64) for name, value in given.items()}
    assert np.array_equal(result.outputs["c"], 1 + wide["a"] @ wide["b"].T)


def test_a_sum_begins_anew_and_a_factor_is_negated() -> None:
    given = tensors()
    result = compute(code(kept=0, sign=-1), given, ["c"], block=[128])
    assert np.array_equal(result.outputs["c"], -(given["a"].astype(np.float64) @ given["b"].T))


_PLANTED = {
    "no fence of the proxy": ("PROXY", "", "missing_fence"),
    "no wgmma.fence": ("FENCE", "", "missing_fence"),
    "nothing is committed": ("COMMIT", "", "not_waited_for"),
    "nobody waits": ("WAIT", "", "not_waited_for"),
    "an operand is overwritten": ("// HERE", "reinterpret_cast<float*>(s)[t] = 3;  // BUG", "not_waited_for"),
    "a sum is changed": ("// HERE", "d[0] += 1;", "not_waited_for"),
    "a group of one warp": ("  float d[8];", "  if (t >= 32) return;\n  float d[8];", "warp_divergence"),
}  # fmt: skip


@pytest.mark.parametrize("name", _PLANTED)
def test_a_mistake_is_named(name: str) -> None:
    mark, instead, kind = _PLANTED[name]
    lines = [instead if mark in line and mark.isupper() else line.replace(mark, instead)
             for line in code().split("\n")]  # fmt: skip
    text = "\n".join(lines)
    result = run(text, tensors(), ["c"], block=[128], sanitize=True)
    shown = [str(f) for f in result.findings]
    assert kind in kinds(result), shown
    if "// BUG" in text:
        assert any(bug_line(text) in (f.place.line, f.other.line if f.other else 0) for f in result.findings)


@pytest.mark.skipif(registry.builder("nvrtc").unavailable() is not None, reason="no NVRTC")
def test_what_the_emulator_ran_is_compiled_for_the_capability_that_has_it() -> None:
    kernel, chosen = registry.kernel("cuda_wgmma"), target("sm_90")
    workload = Gemm().workload("f16", m=64, n=64, k=64)
    source = kernel.lower(workload, kernel.space(workload, chosen).at(0), chosen)
    assert ask_nvrtc(source, chosen) == (False, "NVRTC compiles it for sm_90a")
