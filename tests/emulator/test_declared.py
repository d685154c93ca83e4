"""What a declaration says beyond names: structs, other numbers, constant arrays, tensors in place."""

from pathlib import Path

import pytest

from tuner import registry
from tuner.core.errors import InvalidSpace, Unavailable
from tuner.engine.examine.check import Checked, check_kernel
from tuner.operators.gemm import Gemm
from tuner.targets.cuda import target

SM_80 = target("cuda:sm_80")
HEAD = """/*[tuner]
name = "outside"
operator = "gemm"
entry = "k"
dtypes = ["f32", "f16"]
MORE
options = { alpha = 1.0, beta = 0.0 }
[launch]
grid = ["ceildiv(n, 16)", "ceildiv(m, 16)"]
block = ["16", "16"]
TABLES
*/
"""
LOOP = """  const int i = blockIdx.y * 16 + threadIdx.y, j = blockIdx.x * 16 + threadIdx.x;
  if (i >= p.m || j >= p.n) return;
  float s = 0;
  for (long l = 0; l < p.k; ++l) s += p.a[i * p.k + l] * p.b[l * p.n + j];
"""


def check(
    tmp_path: Path, text: str, more: str, tables: str = "", dtype: str = "f32", **options: float
) -> Checked:
    path = tmp_path / "outside.cu"
    path.write_text(HEAD.replace("MORE", more).replace("TABLES", tables) + text)
    kernel = registry.source_kernel(path)
    workload = Gemm().workload(dtype, m=33, n=20, k=48, **options)
    (result,) = check_kernel(kernel, [workload], [{}], SM_80)
    return result


STRUCT = (
    """struct P { const float* a; int m; long k; const float *b; int n; float scale; };
extern "C" __global__ void k(P p, float* d, long size) {
"""
    + LOOP
    + "  d[i * p.n + j] = p.scale * s + (size != 33 * 20);\n}\n"
)
ARGUMENTS = (
    'arguments = ["struct: A, int32: m, int64: k, B, int32: n, float32: 2 * alpha / 2", "D", "int64: m * n"]'
)


def test_a_struct_by_value_and_numbers_of_8_bytes(tmp_path: Path) -> None:
    result = check(tmp_path, STRUCT, ARGUMENTS, alpha=0.5)
    assert result.status == "ok", result.error
    other = STRUCT.replace("float scale; };", "float scale; double more; };")
    result = check(tmp_path, other, ARGUMENTS)
    assert result.status == "build_error" and "has not the declared 40 bytes" in result.error
    with pytest.raises(Unavailable, match="computed from the shape: 'tuner check' runs it"):
        kernel = registry.source_kernel(tmp_path / "outside.cu")
        kernel.require(Gemm().workload(m=8, n=8, k=8), SM_80)


PLACE = (
    """struct P { const float *a, *b; int m, n, k; };
__constant__ float factors[3];
extern "C" __global__ void k(P p, float* c, float beta) {
"""
    + LOOP
    + "  c[i * p.n + j] = factors[0] * s + beta * c[i * p.n + j];\n}\n"
)
IN_PLACE = 'arguments = ["struct: A, B, int32: m, int32: n, int32: k", "D", "beta"]'


def test_an_output_in_place_and_a_constant_array(tmp_path: Path) -> None:
    tables = '[initial]\nD = "C"\n[constants]\nfactors = [1.0, 2.0]'
    result = check(tmp_path, PLACE, IN_PLACE, tables, beta=0.5)
    assert result.status == "ok", result.error
    # Without the word for it the output is not to be read.
    result = check(tmp_path, PLACE, IN_PLACE, "[constants]\nfactors = [1.0]", beta=0.5)
    assert {f.kind for f in result.findings} == {"uninitialized_global"}
    result = check(tmp_path, PLACE, IN_PLACE, tables.replace("2.0", "2.0, 3.0, 4.0"), beta=0.5)
    assert result.status == "crash" and "factors has 12 bytes, and what it is to hold 16" in result.error


HALF = (
    """#include <cuda_fp16.h>
struct P { const half *a, *b; int m, n, k; };
extern "C" __global__ void k(P p, half* d) {
"""
    + LOOP.replace("float s = 0", "half s = 0")
    + "  d[i * p.n + j] = s;\n}\n"
)


def test_sums_in_f16_are_held_to_what_f16_can(tmp_path: Path) -> None:
    arguments = 'arguments = ["struct: A, B, int32: m, int32: n, int32: k", "D"]'
    result = check(tmp_path, HALF, arguments, dtype="f16")
    assert result.status == "wrong_result"
    result = check(tmp_path, HALF, f'{arguments}\naccumulator = "f16"', dtype="f16")
    assert result.status == "ok", result.error
    wrong = HALF.replace("l = 0;", "l = 4;")
    assert check(tmp_path, wrong, f'{arguments}\naccumulator = "f16"', dtype="f16").status == "wrong_result"


@pytest.mark.parametrize(
    ("more", "tables", "says"),
    [('arguments = ["int16: m"]', "", "is not a name, int32: EXPRESSION"),
     ('arguments = ["int64: m +"]', "", "int64: m +"),
     ('arguments = ["struct: A, struct: B"]', "", "a struct has numbers and tensors as fields"),
     ('arguments = ["A"]\naccumulator = "f8"', "", "accumulator is f16, bf16 or f32"),
     ('arguments = ["A"]', "[constants]\nx = 3", "is a tensor's name or a list of numbers"),
     ('arguments = ["A"]', "[initial]\nD = [3]", "is a tensor's name or a number")],
)  # fmt: skip
def test_what_cannot_be_is_refused_when_the_file_is_read(
    tmp_path: Path, more: str, tables: str, says: str
) -> None:
    with pytest.raises(InvalidSpace) as caught:
        check(tmp_path, STRUCT, more, tables)
    assert says in str(caught.value) and "\n" not in str(caught.value)


HEADER = """#pragma once
#include <vector>
#include <cuda_fp16.h>
#define LOG(x) fprintf(stderr, x)
inline void report(std::vector<int> v) { LOG("x"); }
__device__ int twice(int x) { return 2 * x; }
"""
USER = (
    """#include "outside.h"
#include "outside.h"
struct P { const float *a, *b; int m, n, k; };
__shared__ char odd[3];
extern "C" __global__ void k(P p, float* d, float* work) {
  __shared__ unsigned short tile[64];
"""
    + LOOP
    + """  *(float4*)(tile + 8 * (threadIdx.x % 8)) = float4{0, 0, 0, 0};
  odd[threadIdx.x % 3] = 0;
  d[i * p.n + j] = s + twice(work[0] < -1e30f) - 2;
}
void go() { report({}); }
"""
)


def test_headers_with_host_code_and_a_workspace_that_begins_with_a_number(tmp_path: Path) -> None:
    (tmp_path / "outside.h").write_text(HEADER)
    arguments = 'arguments = ["struct: A, B, int32: m, int32: n, int32: k", "D", "work"]'
    tables = '[workspace]\nwork = "4"\n[initial]\nwork = -inf'
    result = check(tmp_path, USER, arguments, tables)
    assert result.status == "ok", result.error
    said = registry.source_kernel(tmp_path / "outside.cu").left_out
    assert said == "left out as host code: lines 30; outside.h: lines 2, 5"
    bad = USER.replace("twice(", "twice(p)(")
    assert check(tmp_path, bad, arguments, tables).error.startswith("outside.cu:28:")
