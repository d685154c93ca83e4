"""Bank conflicts of shared memory: counted as the hardware's rules say, for each line."""

import numpy as np
import pytest

from tests.emulator.emulate import bug_line, compute

TEXT = """extern "C" __global__ void k(float* out) {
  __shared__ alignas(16) float s[64 * 33];
  for (int i = threadIdx.x; i < 64 * 33; i += 32) s[i] = i;
  __syncthreads();
  const int t = threadIdx.x;
  CODE
}"""
# Code that reads once, and the turns beyond the first of its request.
READS = {
    "out[t] = s[t];": 0,
    "out[t] = s[2 * t];": 1,
    "out[t] = s[32 * t];": 31,
    "out[t] = s[33 * t];": 0,
    "out[t] = s[0];": 0,  # one word for all
    "out[t] = s[t / 8 * 32];": 3,
    "out[t] = ((unsigned char*)s)[t];": 0,  # four lanes a word
    "out[t] = ((double*)s)[t];": 0,  # two requests of half a warp
    "out[t] = ((double*)s)[16 * t];": 2 * 15,
    "float4 v = ((float4*)s)[t]; out[t] = v.x + v.y + v.z + v.w;": 0,
    "float4 v = ((float4*)s)[8 * t]; out[t] = v.x + v.y + v.z + v.w;": 4 * 7,
    "if (t < 8) out[t] = s[32 * t];": 7,
}


@pytest.mark.parametrize(("code", "conflicts"), READS.items())
@pytest.mark.sampled(6)
def test_reads(code: str, conflicts: int) -> None:
    text = TEXT.replace("CODE", f"{code}  // BUG")
    result = compute(text, {"out": np.zeros(32, np.float32)}, ["out"]) if code[:2] != "if" else None
    if result is None:
        text = text.replace("// BUG", "else out[t] = 0;  // BUG")
        result = compute(text, {"out": np.zeros(32, np.float32)}, ["out"])
    (use,) = [u for u in result.banks if u.line == bug_line(text)]
    assert (use.access, use.requests, use.conflicts) == ("read", 1, conflicts)
    (filled,) = [u for u in result.banks if u.line == 3]
    assert (filled.access, filled.requests, filled.conflicts) == ("write", 66, 0)


@pytest.mark.parametrize(("pitch", "conflicts"), [(8, 0), (32, 3), (40, 0), (64, 7)])
def test_ldmatrix_of_rows_so_far_apart(pitch: int, conflicts: int) -> None:
    """A matrix's eight rows of 16 bytes are one request; `pitch` is in elements of 2 bytes."""
    text = f"""extern "C" __global__ void k(unsigned* out) {{
  __shared__ alignas(16) unsigned short s[8 * {pitch}];
  for (int i = threadIdx.x; i < 8 * {pitch}; i += 32) s[i] = i;
  __syncthreads();
  unsigned r, row = __cvta_generic_to_shared(s + threadIdx.x % 8 * {pitch});
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%0}}, [%1];" : "=r"(r) : "r"(row));
  out[threadIdx.x] = r;
}}"""
    result = compute(text, {"out": np.zeros(32, np.uint32)}, ["out"])
    (use,) = [u for u in result.banks if u.line == 6]
    assert (use.requests, use.conflicts) == (1, conflicts)
