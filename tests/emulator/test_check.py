"""The builder, the device and the check: what people meet when a kernel or its declaration is wrong."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.emulator.emulate import PLAIN, SANITIZED, TARGET, bug_line, kinds, only, run, source
from tuner.core.errors import BuildError
from tuner.core.measurement import Evidence
from tuner.core.target import Target
from tuner.devices.emulator.check import check_emulated, check_source
from tuner.devices.emulator.device import EmulatedDevice

COPY = 'extern "C" __global__ void k(const float* a, float* c) { c[threadIdx.x] = a[threadIdx.x]; }'
A = np.arange(32, dtype=np.float32)
TENSORS = {"a": A, "c": np.zeros_like(A)}


def build_error(text: str) -> str:
    with pytest.raises(BuildError) as caught:
        run(text, TENSORS, ["c"])
    return str(caught.value).splitlines()[0]


def test_a_syntax_error_names_file_and_line() -> None:
    text = COPY.replace("{ c", "{\n  c").replace("= a[", "= b[  // BUG\n")
    first = build_error(text)
    assert first.startswith(f"kernel.cu:{bug_line(text)}:") and "'b' was not declared" in first.replace(
        "‘", "'"
    ).replace("’", "'")


@pytest.mark.parametrize("word", ["asm volatile", "asm", "__asm__ volatile"])
def test_inline_ptx_that_is_not_known_is_refused_in_one_line(word: str) -> None:
    text = COPY.replace("{ c", '{ int x;\n  WORD("wgmma.fence %0;" : "=r"(x));  // BUG\n  c').replace(
        "WORD", word
    )
    first = build_error(text)
    assert "does not know the PTX instruction 'wgmma.fence'" in first
    assert f"kernel.cu:{bug_line(text)}:" in first


def test_ptx_behind_the_emulators_macro_is_fine() -> None:
    text = COPY.replace(
        "{ c", '{\n#ifndef __CUDA_EMULATOR__\n  asm volatile("nanosleep.u32 20;");\n#endif\n  c'
    )
    assert run(text, TENSORS, ["c"]).clean


@pytest.mark.parametrize(
    ("scalars", "text"),
    [({"n": 5}, COPY), ({}, COPY.replace("float* c", "float* c, int n")),
     ({"n": 5.0}, COPY.replace("float* c", "float* c, int n")),
     ({"n": 5}, COPY.replace("float* c", "float* c, float n"))],
)  # fmt: skip
def test_arguments_that_differ_from_the_declaration(scalars: dict[str, float], text: str) -> None:
    with pytest.raises(BuildError, match="the parameters of kernel k differ from the declared arguments"):
        run(text, TENSORS, ["c"], scalars=scalars)


def test_the_entry_may_be_an_instance_of_a_template() -> None:
    text = """namespace lab {
    template <int ADD, class T> __global__ void k(const T* a, T* c) { c[threadIdx.x] = a[threadIdx.x] + ADD; }
    }"""
    result = run(text, TENSORS, ["c"], entry="lab::k<3, float>", sanitize=True)
    assert result.clean
    np.testing.assert_array_equal(result.outputs["c"], A + 3)


def test_an_unknown_include_is_named() -> None:
    assert "cub/cub.cuh" in build_error("#include <cub/cub.cuh>\n" + COPY)


def test_macros_of_the_source_reach_no_header() -> None:
    words = ("BIAS", "M", "N", "K", "T", "BM", "TILE", "ROWS", "rows", "value", "mask", "size", "Format")
    text = (
        "".join(f"#define {word} 3\n" for word in words)
        + "#include <mma.h>\n#include <cuda/pipeline>\n"
        + COPY
    )
    assert run(text, TENSORS, ["c"]).clean


def test_a_target_sets_the_architecture_macro() -> None:
    text = COPY.replace("= a[threadIdx.x]", "= __CUDA_ARCH__")
    for arch, number in (("sm_75", 750), ("sm_90", 900), ("sm_100", 1000)):
        made = source(text, TENSORS, {}, (1,), (32,))
        result = check_source(PLAIN, made, Target("cuda", arch), TENSORS, ["c"])
        assert set(result.outputs["c"].tolist()) == {number}


def test_equal_sources_give_equal_artifacts(tmp_path: Path) -> None:
    made = source(COPY, TENSORS, {}, (1,), (32,))
    digests = []
    for name, builder in (("one", SANITIZED), ("two", SANITIZED), ("three", PLAIN)):
        (tmp_path / name).mkdir()
        artifact = builder.build(made, TARGET, tmp_path / name)
        digests.append(artifact.digest)
    assert digests[0] == digests[1] != digests[2]
    assert artifact.format == "emulated_cuda" and artifact.launch == made.launch
    assert SANITIZED.toolchain(TARGET).digest != PLAIN.toolchain(TARGET).digest


def test_shared_memory_is_counted(tmp_path: Path) -> None:
    text = """#include <cuda_fp16.h>
    extern "C" __global__ void k(const float* a, float* c) {
      __shared__ half tile[3][40];
      __shared__ float4 other[5];
      extern __shared__ float mine[];
      tile[0][threadIdx.x] = __float2half(a[0]); other[0].x = 1; mine[0] = 1;
      __syncthreads();
      c[threadIdx.x] = __half2float(tile[0][0]) + other[0].x + mine[0];
    }"""
    artifact = PLAIN.build(source(text, TENSORS, {}, (1,), (1,), shared=512), TARGET, tmp_path)
    assert artifact.metrics["shared_bytes"] == 240 + 80 + 512
    described = json.loads((tmp_path / "kernel.json").read_text())
    sizes = {v["name"]: v["size"] for v in described["variables"] if not v["name"].startswith("_ZGV")}
    assert sizes == {"tile": 240, "other": 80, "mine": 512}


BIG = COPY.replace("{ c", "{ __shared__ float big[16384]; big[threadIdx.x] = 1; __syncthreads(); c")
BIG = BIG.replace("= a", "= big[9] + a")


@pytest.mark.parametrize(
    ("grid", "block", "shared", "text", "expected"),
    [((1,), (2048,), 0, COPY, "2048 threads a block"),
     ((1,), (1, 1, 65), 0, COPY, "65 threads in block dimension z"),
     ((1, 70_000), (32,), 0, COPY, "70000 blocks in grid dimension y"),
     ((1,), (32,), 170_000, COPY, "170000 bytes of shared memory"),
     ((1,), (32,), 0, BIG, "65536 bytes of static shared memory")],
)  # fmt: skip
def test_a_launch_the_target_refuses(
    grid: tuple[int, ...], block: tuple[int, ...], shared: int, text: str, expected: str
) -> None:
    result = run(text, TENSORS, ["c"], grid=grid, block=block, shared=shared, sanitize=True)
    assert not result.completed and result.outputs == {}
    assert expected in only(result, "launch_limits").message
    assert TARGET.name in result.findings[0].message


def test_an_endless_loop_costs_the_timeout_only() -> None:
    text = COPY.replace("{ c", "{ volatile int x = 1; while (x) {} c")
    result = run(text, TENSORS, ["c"], timeout_s=1.0)
    assert only(result, "timeout").message == "no end after 1 s"
    assert not result.completed


def test_spinning_on_what_nobody_writes_is_a_deadlock() -> None:
    text = """extern "C" __global__ void k(const float* a, float* c, int* flag) {
      while (atomicAdd(flag, 0) == 0) {}  // BUG
      c[threadIdx.x] = a[threadIdx.x];
    }"""
    result = run(text, TENSORS, ["c"], workspace={"flag": 4}, sanitize=True)
    assert only(result, "deadlock").place.line == bug_line(text)


def test_a_crash_without_sanitizers_is_told() -> None:
    result = run(COPY.replace("a[threadIdx.x]", "a[threadIdx.x + 100000000]"), TENSORS, ["c"])
    assert kinds(result) == {"crash"} and not result.completed
    assert "SIGSEGV" in result.findings[0].message


def test_printf_and_assert() -> None:
    text = COPY.replace("{ c", '{\n  printf("no newline at the end");\n  c')
    assert run(text, TENSORS, ["c"]).clean
    text = COPY.replace("{ c", "{\n  assert(a[threadIdx.x] < 20);  // BUG\n  c")
    for sanitize in (False, True):
        found = only(run(text, TENSORS, ["c"], sanitize=sanitize), "trap")
        assert found.message == "assertion failed: a[threadIdx.x] < 20"
        assert found.place.line == bug_line(text) and found.place.thread == (20, 0, 0)


def test_findings_before_a_crash_survive_it() -> None:
    text = """extern "C" __global__ void k(const float* a, float* c) {
      c[threadIdx.x] = a[threadIdx.x + 1];  // BUG
      __syncthreads();
      int* p = nullptr;
      *p = 3;
    }"""
    result = run(text, TENSORS, ["c"], sanitize=True)
    assert not result.completed
    lines = {(f.kind, f.place.line) for f in result.findings}
    assert ("out_of_bounds_global", bug_line(text)) in lines
    assert any("null pointer" in f.message for f in result.findings)


def test_a_finding_says_all_there_is_to_know() -> None:
    text = """extern "C" __global__ void k(const float* a, float* c) {
      __shared__ float s[64];
      s[threadIdx.x + 8 * threadIdx.y] = a[threadIdx.x];
      c[blockIdx.x] = s[63 - threadIdx.x];  // BUG
    }"""
    result = run(text, {"a": A, "c": np.zeros(2, np.float32)}, ["c"], grid=(2,), block=(8, 8), sanitize=True)
    race = only(result, "race_shared")
    # Thread (0, 0) read s[63] first; the later access is the one that found the race.
    assert race.other is not None and (race.place.line, race.other.line) == (3, bug_line(text))
    assert race.place.block == race.other.block == (0, 0, 0)
    assert (
        race.place.thread != race.other.thread and race.place.thread is not None and race.place.thread[2] == 0
    )
    assert race.count > 1 and "shared s" in race.message
    plain = json.loads(json.dumps(race.as_dict()))
    assert plain["kind"] == "race_shared" and plain["other"]["line"] == bug_line(text)


def test_a_header_beside_the_kernel_is_named(tmp_path: Path) -> None:
    (tmp_path / "part.cuh").write_text(
        "__device__ inline float get(const float* p, int i) {\n  return p[i + 1];\n}\n"
    )
    text = '#include "part.cuh"\n' + COPY.replace("a[threadIdx.x]", "get(a, threadIdx.x)")
    made = source(text, TENSORS, {}, (1,), (32,))
    made = replace(made, options={"include": str(tmp_path), "flags": ["-DUNUSED=1", "--use_fast_math"]})
    found = only(check_source(SANITIZED, made, TARGET, TENSORS, ["c"]), "out_of_bounds_global")
    assert (found.place.file, found.place.line) == ("part.cuh", 2)


def test_one_artifact_serves_other_launches(tmp_path: Path) -> None:
    artifact = SANITIZED.build(source(COPY, TENSORS, {}, (1,), (32,)), TARGET, tmp_path)
    assert artifact.launch is not None
    assert check_emulated(artifact, TARGET, TENSORS, ["c"]).clean
    wide = replace(artifact, launch=replace(artifact.launch, block=(33, 1, 1)))
    assert "out_of_bounds_global" in kinds(check_emulated(wide, TARGET, TENSORS, ["c"]))
    more = replace(artifact, launch=replace(artifact.launch, shared_bytes=64))
    assert "built for 0" in only(check_emulated(more, TARGET, TENSORS, ["c"]), "launch_limits").message


def test_the_device_runs_and_has_no_time(tmp_path: Path) -> None:
    device = EmulatedDevice(TARGET)
    assert device.evidence is Evidence.EMULATED and device.target is TARGET
    assert device.fingerprint == EmulatedDevice(TARGET).fingerprint != EmulatedDevice().fingerprint
    text = """__device__ int calls = 0;
    extern "C" __global__ void k(const float* a, float* c, int* total) {
      c[threadIdx.x] = a[threadIdx.x] + (threadIdx.x == 0 ? ++*total : 0);
    }"""
    for name in ("one", "two"):  # libraries of one kernel keep nothing from each other
        (tmp_path / name).mkdir()
        made = source(text, TENSORS, {}, (1,), (32,), workspace={"total": 4})
        executable = device.load(PLAIN.build(made, TARGET, tmp_path / name))
        tensors = {key: value.copy() for key, value in TENSORS.items()}
        executable.bind(tensors)
        for call in (1, 2):
            executable.run()
            assert executable.read("c")[0] == call
        assert executable.read("c") is tensors["c"]
        with pytest.raises(RuntimeError, match="an emulator has no time"):
            executable.sample(1)
    with pytest.raises(RuntimeError, match="an emulator has no time"):
        device.calibrate()


def test_the_device_refuses_what_its_target_could_not_launch(tmp_path: Path) -> None:
    small = Target("cuda", "sm_75", (), {"max_threads_block": 16})
    artifact = PLAIN.build(source(COPY, TENSORS, {}, (1,), (32,)), small, tmp_path)
    with pytest.raises(RuntimeError, match="32 threads a block, at most 16 on cuda:sm_75"):
        EmulatedDevice(small).load(artifact)
    with pytest.raises(RuntimeError, match="format emulated_cuda, not cubin"):
        EmulatedDevice(TARGET).load(replace(artifact, format="cubin"))


def test_a_stuck_kernel_raises_in_the_device(tmp_path: Path) -> None:
    text = COPY.replace("{ c", "{ if (threadIdx.x < 3) __shfl_sync(~0u, 1, 0); c").replace(
        "threadIdx.x];", "threadIdx.x]; __syncthreads();"
    )
    executable = EmulatedDevice(TARGET).load(
        PLAIN.build(source(text, TENSORS, {}, (1,), (32,)), TARGET, tmp_path)
    )
    executable.bind({key: value.copy() for key, value in TENSORS.items()})
    with pytest.raises(RuntimeError, match="stopped before all threads finished"):
        executable.run()


LEFT_IN = """/*[tuner]
name = "mine"
operator = "gemm"
entry = "scale<16>"
arguments = ["A", "B", "D", "m", "n", "k"]
[launch]
grid = ["ceildiv(n, 16)", "ceildiv(m, 16)"]
block = ["16", "16"]
*/
#include <stdint.h>
#include <vector>
template <int T> __global__ void scale(const float* a, const float* b, float* d, int m, int n, int k) {
  int i = blockIdx.y * T + threadIdx.y, j = blockIdx.x * T + threadIdx.x;
  if (i >= m || j >= n) return;
  float s = ZERO;
  for (int l = 0; l < k; ++l) s += a[i * k + l] * b[l * n + j];
  d[i * n + j] = s;
}
int main() {
  std::vector<float> a(16);
  scale<16><<<1, dim3(16, 16)>>>(a.data(), a.data(), a.data(), 4, 4, 4);
}
"""


def test_check_says_what_was_left_out_and_what_nvrtc_says(tmp_path, capsys) -> None:
    from typer.testing import CliRunner

    from tuner.builders.cuda.nvrtc import Nvrtc
    from tuner.cli import app

    path = tmp_path / "mine.cu"
    # g++ knows the builtin, NVRTC does not.
    for zero, refused in (("0.f", False), ("__builtin_ia32_rdtsc() * 0.f", True)):
        path.write_text(LEFT_IN.replace("ZERO", zero))
        done = CliRunner().invoke(app, ["check", str(path), "--shape", "17x20x9"])
        assert "left out as host code: lines 11, 19-22" in done.output
        if Nvrtc().unavailable():
            assert "not compiled with NVRTC: " in done.output and done.exit_code == 0
        elif refused:
            assert "nvrtc_refuses: mine" in done.output and done.exit_code == 1
            assert "NVRTC refuses it: mine.cu:15: error" in done.output
        else:
            assert "ok: mine" in done.output and "NVRTC compiles it for sm_80" in done.output
