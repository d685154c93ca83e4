"""Host code in a CUDA file is left out by whole declarations; the device part stays on its lines."""

from pathlib import Path

import pytest

from tuner.core.device_part import device_part

SOURCES = Path(__file__).resolve().parents[2] / "cuda_src"

FILE = """#include <cuda_runtime.h>
#include <iostream>
#include "helper.h"
#include "mine.cuh"
#define CHECK(x) if ((x) != cudaSuccess) std::abort()
using namespace std;
// A comment with <<< in it stays.
struct Params { int n; float scale; };
namespace lab {
template <int N> __device__ float twice(float x) { const char* s = "}"; return x * N; }
__global__ __launch_bounds__(256) void k(float* a, Params p) {
  if (threadIdx.x < p.n) a[threadIdx.x] = twice<2>(a[threadIdx.x]);
}
void launch(float* a) {
#ifdef FAST
  k<<<1, 32>>>(a, {});
#endif
}
inline int rounded(int n) { return (n + 31) / 32 * 32; }
}
__constant__ float table[4];
std::vector<float> values;
static void test() { lab::launch(nullptr); }
int main() {
  /* } */ test();
}
"""


def test_host_declarations_go_and_lines_stay() -> None:
    part = device_part(FILE, {"mine.cuh"})
    before, after = FILE.split("\n"), part.text.split("\n")
    assert len(before) == len(after)
    gone = [i for i, (a, b) in enumerate(zip(before, after, strict=True), 1) if a.strip() and not b.strip()]
    assert gone == [2, 3, 6, 14, 15, 16, 17, 18, 22, 23, 24, 25, 26]
    assert all(a == b for i, (a, b) in enumerate(zip(before, after, strict=True), 1) if i not in gone)
    assert str(part) == "left out as host code: lines 2-3, 6, 14-18, 22-26"


@pytest.mark.parametrize(
    "text",
    ["__global__ void k(float* a) { a[0] = 1; }", "__device__ int x = 3;\n", "", "int f() { return 1; }\n",
     "#include <unistd.h>\n__global__ void k(int* a) { a[0] = getpid(); }\n",
     "template <class T> struct V { T of[4]; __device__ T& at(int i) { return of[i]; } };\n"],
)  # fmt: skip
def test_a_file_without_host_code_is_as_it_was(text: str) -> None:
    part = device_part(text)
    assert (part.text, part.left_out) == (text, ())


def test_a_function_of_the_host_is_known_by_the_macros_it_uses_and_by_its_head() -> None:
    text = """#include <unistd.h>
#define LOG(x) fprintf(stderr, x)
inline int pid() { LOG("pid"); return 1; }
template <class T> void reduce(T* x) { constexpr int n = 3; k<<<1, n>>>(x); }
inline int half(int n) { return n / 2; }
"""
    assert device_part(text).left_out == ((1, 1), (3, 4))
    assert device_part("int f() { LOG(1); }\n", host={"LOG"}).left_out == ((1, 1),)


@pytest.mark.parametrize("path", sorted(SOURCES.glob("*/*.cu")), ids=lambda p: p.stem)
def test_nothing_of_the_lab_s_own_kernels_is_host_code(path: Path) -> None:
    text = path.read_text()
    headers = {file.name for folder in (path.parent, SOURCES / "common") for file in folder.iterdir()}
    assert device_part(text, headers).text == text
