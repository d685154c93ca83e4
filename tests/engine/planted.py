"""Planted GEMM kernels: one right one, and one for each way a candidate can misbehave."""

import re
from pathlib import Path

from tuner import registry
from tuner.core.output_file import put
from tuner.core.source_kernel import SourceKernel

_HEADER = """/*[tuner]
name = "{name}"
operator = "gemm"
entry = "gemm"
arguments = ["A", "B", "D", "m", "n", "k"]
[parameters]
UNUSED = {values}
*/
{includes}
#include <cstdint>
#include <cstdio>
#include <cstdlib>
static void right(const float* A, const float* B, float* D, int64_t m, int64_t n, int64_t k) {{
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {{
      float sum = 0;
      for (int64_t p = 0; p < k; ++p) sum += A[i * k + p] * B[p * n + j];
      D[i * n + j] = sum;
    }}
}}
extern "C" int gemm(const float* A, const float* B, float* D, int64_t m, int64_t n, int64_t k) {{
  {body}
  return 0;
}}
"""

# What it does -> (body, status it must end with, a word its error must contain).
MISBEHAVIOURS = {
    "segfault": ("*(volatile int*)8 = 1;", "crash", "SIGSEGV"),
    "endless_loop": ("for (volatile int i = 0;; i = 0) {}", "run_timeout", "no result within"),
    "allocates_without_end": (
        "for (;;) *new volatile char[1 << 26] = 1;",
        "crash",
        "SIGABRT",
    ),
    "nan": ("right(A, B, D, m, n, k); D[m * n / 2] = NAN;", "wrong_result", "nan"),
    "writes_nothing": ("", "wrong_result", "nan"),
    "writes_behind_its_output": (
        "right(A, B, D, m, n, k); D[m * n] = 0;",
        "wrong_result",
        "stray write at D",
    ),
    "writes_before_its_output": ("right(A, B, D, m, n, k); D[-1] = 0;", "wrong_result", "stray write at D"),
    "writes_far_behind_its_output": ("right(A, B, D, m, n, k); D[m * n + 2500] = 0;", "crash", "SIGSEGV"),
    "changes_an_input": (
        "right(A, B, D, m, n, k); const_cast<float*>(B)[0] += 1;",
        "wrong_result",
        "changed its input B",
    ),
    "floods_its_output": ('for (;;) std::puts("garbage");', "crash", "SIGXFSZ"),
    "skips_one_k": ("right(A, B, D, m, n, k); D[0] -= A[k - 1] * B[(k - 1) * n];", "wrong_result", "D[0, 0]"),
    "reports_an_error": ("return 7;", "run_error", "error 7"),
    "exits": ("std::exit(0);", "crash", "no result"),
    "wrong_on_ragged_shapes": (
        "right(A, B, D, m, n, k); if (m % 4 || n % 4) D[m * n - 1] += 1;",
        "wrong_result",
        "m1-n1-k1",
    ),
    "right_only_at_first": (
        "static int calls = 0; right(A, B, D, m, n, k); if (++calls > 6) D[0] += 1;",
        "wrong_result",
        " of ",
    ),
    "throws": ("throw 1;", "crash", "SIGABRT"),
}


# What <cstdio> and <cstdlib> have: the other headers take half of a small kernel's build, of hundreds.
_SMALL = re.compile(
    r"std::(FILE|f?printf|f?puts?|fputc|fopen|fclose|fflush|ftell|abort|_?[Ee]xit|getenv|free)\b"
)


def planted(
    folder: Path,
    name: str,
    body: str = "right(A, B, D, m, n, k);",
    values: str = "[0]",
    includes: str = "",
) -> SourceKernel:
    """A kernel with this body, in a file of its own under `folder`."""
    if "std::" in _SMALL.sub("", body) or "NAN" in body or "INFINITY" in body:
        includes += "\n#include <cmath>\n#include <vector>"
    # Whole at once: processes of one test may plant the same kernel, and read what the other writes.
    path = put(folder / f"{name}.cpp", _HEADER.format(name=name, body=body, values=values, includes=includes))
    return registry.source_kernel(path)
