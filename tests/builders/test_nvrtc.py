"""CUDA C++ to cubins with no GPU: resources, SASS, errors."""

import re
import subprocess
from pathlib import Path

import pytest

from tuner import registry
from tuner.builders.cuda import cubin, nvrtc_program, sass
from tuner.builders.cuda.nvrtc import Nvrtc
from tuner.core.compute_capability import compute_capability
from tuner.core.errors import BuildError, MissingExtra, Unavailable
from tuner.core.kernel import Argument, Launch, Source
from tuner.core.target import Target
from tuner.targets.cuda import names, target

BUILDER = Nvrtc()
pytestmark = pytest.mark.skipif(BUILDER.unavailable() is not None, reason=str(BUILDER.unavailable()))
SM_80 = target("cuda:sm_80")

DOT = """
#line 1 "dot.cu"
extern "C" __global__ void dot(const float4* a, const float4* b, float* c, int n) {
  __shared__ float tile[256];
  float sum = 0;
  for (int i = threadIdx.x; i < n; i += 256) {
    const float4 x = a[i], y = b[i];
    sum += x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w;
  }
  tile[threadIdx.x] = sum;
  __syncthreads();
  c[threadIdx.x] = tile[threadIdx.x ^ 1];
}
"""


def source(text: str, entry: str = "dot", **options: object) -> Source:
    return Source(
        "nvrtc", text, entry, (Argument("a"),), launch=Launch((1, 1, 1), (256, 1, 1)), options=options
    )


def build(text: str, folder: Path, chosen: Target = SM_80, entry: str = "dot", **options: object):
    folder.mkdir(exist_ok=True)
    return BUILDER.build(source(text, entry, **options), chosen, folder)


@pytest.mark.parametrize("name", names())
@pytest.mark.sampled(5)
def test_resources_for_every_target(name: str, tmp_path: Path) -> None:
    artifact = build(DOT, tmp_path, target(name))
    assert artifact.format == "cubin" and artifact.path.read_bytes()[:4] == b"\x7fELF"
    metrics = artifact.metrics
    assert 8 <= metrics["registers"] <= 255
    assert (metrics["shared_bytes"], metrics["stack_bytes"], metrics["spill_bytes"]) == (1024, 0, 0)
    # The same registers, stack and shared memory as NVIDIA's tool prints.
    tool = Path(sass.disassembler() or "").with_name("cuobjdump")
    if not tool.exists():
        pytest.skip("no cuobjdump")
    done = subprocess.run([tool, "-res-usage", artifact.path], capture_output=True, text=True, timeout=60)
    printed = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+)", done.stdout)
    assert printed is not None
    reserved = 1024 if compute_capability(name.removeprefix("cuda:")).number >= 90 else 0
    assert [int(group) for group in printed.groups()] == [metrics["registers"], 0, 1024 + reserved]


def test_the_main_loop_is_counted(tmp_path: Path) -> None:
    metrics = build(DOT, tmp_path).metrics
    assert metrics["load_bits"] == 128
    assert metrics["loop_macs"] % 4 == 0 and metrics["loop_macs"] >= 4
    assert 0 < metrics["loop_math_share"] < 1
    assert metrics["loop_tensor"] == 0


@pytest.mark.parametrize(
    "config",
    [{"ROWS": 1, "KEY_LANES": 32, "KEYS": 8, "THREADS": 32, "SPLIT": 64},
     {"ROWS": 1, "KEY_LANES": 16, "KEYS": 1, "THREADS": 256, "SPLIT": 16}],
)  # fmt: skip
def test_the_main_loop_is_that_of_aligned_tensors(tmp_path: Path, config: dict[str, int]) -> None:
    """Beside one for others, which the compiler unrolled further or whose rare parts it moved behind both."""
    kernel, chosen = registry.kernel("cuda_attn_decode"), target("sm_90")
    workload = registry.operator("attention").parse("b1 h32 q1 kv4096 d128 kv_heads=8", "f32")
    artifact = BUILDER.build(kernel.lower(workload, config, chosen), chosen, tmp_path)
    assert artifact.metrics["load_bits"] == 128


def test_tensor_cores_are_told_from_constants_on_the_half_pipe(tmp_path: Path) -> None:
    text = """
#include <mma.h>
using namespace nvcuda::wmma;
extern "C" __global__ void dot(const __half* a, const __half* b, float* c, int k) {
  fragment<matrix_a, 16, 16, 16, __half, row_major> x;
  fragment<matrix_b, 16, 16, 16, __half, col_major> y;
  fragment<accumulator, 16, 16, 16, float> z;
  fill_fragment(z, 0.0f);
#pragma unroll 1
  for (int i = 0; i < k; i += 16) {
    load_matrix_sync(x, a + i, k);
    load_matrix_sync(y, b + i, k);
    mma_sync(z, x, y, z);
  }
  store_matrix_sync(c, z, 16, mem_row_major);
}
"""
    metrics = build(text, tmp_path).metrics
    # 16 x 16 x 16 is two HMMA.16816 of 2048 multiply-adds, 128 for each of 32 lanes.
    assert (metrics["loop_tensor"], metrics["loop_math"], metrics["loop_macs"]) == (2, 2, 128)


def test_spills_are_counted(tmp_path: Path) -> None:
    text = """
extern "C" __global__ void dot(const float* a, float* c, int n) {
  float x[96];
#pragma unroll
  for (int i = 0; i < 96; ++i) x[i] = a[i * n + threadIdx.x];
  __syncthreads();
  for (int k = 0; k < n; ++k)
#pragma unroll
    for (int i = 0; i < 96; ++i) x[i] = x[i] * x[(i + 7) % 96] + a[k];
#pragma unroll
  for (int i = 0; i < 96; ++i) c[i * n + threadIdx.x] = x[i];
}
"""
    free = build(text, tmp_path / "free").metrics
    capped = build(text, tmp_path / "capped", flags=["--maxrregcount=32"]).metrics
    assert free["spill_bytes"] == 0
    assert capped["registers"] <= 32 and capped["spill_bytes"] > 0 and capped["stack_bytes"] > 0
    # ptxas counts what the code has.
    text = sass.disassemble(tmp_path / "capped" / "kernel.cubin")
    assert sass.local_bytes(text, "dot") == capped["spill_bytes"]


def test_the_first_error_comes_first_with_file_and_line(tmp_path: Path) -> None:
    broken = DOT.replace("float sum = 0;", "float sum = nothing;")
    with pytest.raises(BuildError) as raised:
        build(broken, tmp_path)
    first = str(raised.value).splitlines()[0]
    assert first.startswith("dot.cu:3: error:") and "nothing" in first


def test_a_missing_header_is_an_error_at_its_line(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"^dot\.cu:1: error"):
        build('#line 1 "dot.cu"\n#include "nowhere.cuh"\n' + DOT, tmp_path)


def test_an_architecture_that_nvrtc_does_not_know(tmp_path: Path) -> None:
    old = Target("cuda", "sm_30", (), SM_80.limits)
    with pytest.raises(BuildError, match="does not know the architecture sm_30"):
        build(DOT, tmp_path, old)


def test_an_entry_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"no kernel 'gemm' in this cubin"):
        build(DOT, tmp_path, entry="gemm")


def test_a_flag_outside_the_list(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="flag '--magic' is not one of"):
        build(DOT, tmp_path, flags=["--magic"])


def test_a_cpu_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cpu:avx2"):
        build(DOT, tmp_path, Target("cpu", "avx2"))


def test_a_missing_wheel_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc_program, "_NEEDED", ("cuda-core", "no-such-wheel"))
    assert "no-such-wheel" in (BUILDER.unavailable() or "")
    with pytest.raises(MissingExtra, match=r"kernel-tuner-lab\[cuda\]"):
        build(DOT, tmp_path)


def test_equal_code_with_another_launch_is_another_artifact(tmp_path: Path) -> None:
    first = build(DOT, tmp_path / "a")
    again = build(DOT, tmp_path / "b")
    assert first.digest == again.digest
    wider = Source("nvrtc", DOT, "dot", (Argument("a"),), launch=Launch((2, 1, 1), (256, 1, 1)))
    (tmp_path / "c").mkdir()
    assert BUILDER.build(wider, SM_80, tmp_path / "c").digest != first.digest


def test_what_is_no_cubin() -> None:
    with pytest.raises(ValueError, match="not a 64-bit ELF"):
        cubin.resources(b"garbage", "f")


def test_kernels_are_found_by_their_names_in_cxx(tmp_path: Path) -> None:
    text = (
        "namespace lab { template <class T, int N> __global__ void scale(T* a) { a[threadIdx.x] *= N; } }\n"
        "__global__ void plain(float* a) { a[threadIdx.x] = INFINITY; }\n"
    )
    for entry, symbol in (("lab::scale<float, 4>", "scale"), ("plain", "_Z5plainPf")):
        artifact = build(text, tmp_path / symbol, entry=entry)
        assert symbol in artifact.entry and artifact.metrics["registers"] > 0


def test_a_file_may_include_what_the_host_compiler_has(tmp_path: Path) -> None:
    names = ["stdint", "float", "limits", "assert", "stdio", "stdlib", "string", "stddef", "math"]
    text = "".join(f"#include <{name}.h>\n#include <c{name}>\n" for name in names)
    text += """extern "C" __global__ void dot(float* a, uint64_t n, std::uint32_t m) {
      assert(n < UINT64_MAX && m < INT_MAX);
      if (a[0] > FLT_MAX) printf("%f\\n", M_PI);
      a[threadIdx.x] = fmaxf(-INFINITY, NAN);
    }"""
    assert build(text, tmp_path).metrics["registers"] > 0
