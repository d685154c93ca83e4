"""The C++ builder: what it compiles runs, says why not, and is the same everywhere."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tuner.builders.host.cxx import CxxBuilder, elf_section_bytes
from tuner.core import host_cxx
from tuner.core.artifact import Artifact
from tuner.core.errors import BuildError, Unavailable
from tuner.core.kernel import Argument, Source
from tuner.devices.cpu.device import CpuDevice, named_targets

AVX2 = named_targets()["cpu:avx2"]
AXPY = """
#include <cstdint>
extern "C" void axpy(const float* X, float* Y, int64_t n, int32_t step, float a) {
    for (int64_t i = 0; i < n; i += step) Y[i] += a * X[i];
}
"""
AXPY_ARGUMENTS = (
    Argument("X"),
    Argument("Y"),
    Argument("n", "int64", 1000),
    Argument("step", "int32", 2),
    Argument("a", "float32", 0.5),
)


def source(text: str, entry: str, arguments: tuple[Argument, ...] = (), **options: object) -> Source:
    return Source("cxx", text, entry, arguments, options=options)


def build(
    text: str, entry: str, arguments: tuple[Argument, ...], folder: Path, **options: object
) -> Artifact:
    return CxxBuilder().build(source(text, entry, arguments, **options), CpuDevice().target, folder)


def test_arguments_of_every_kind_arrive(tmp_path: Path) -> None:
    executable = CpuDevice().load(build(AXPY, "axpy", AXPY_ARGUMENTS, tmp_path))
    x, y = np.arange(1000, dtype=np.float32), np.zeros(1000, dtype=np.float32)
    executable.bind({"X": x, "Y": y})
    executable.run()
    np.testing.assert_array_equal(y, np.where(np.arange(1000) % 2 == 0, x * 0.5, 0))


def test_a_status_that_is_not_zero_is_an_error(tmp_path: Path) -> None:
    text = 'extern "C" int odd(float* Y, int n) { Y[0] = n; return n % 2 ? 7 : 0; }'
    for n, folder in ((2, tmp_path / "even"), (3, tmp_path / "odd")):
        folder.mkdir()
        arguments = (Argument("Y"), Argument("n", "int32", n))
        executable = CpuDevice().load(build(text, "odd", arguments, folder))
        executable.bind({"Y": np.zeros(1, dtype=np.float32)})
        if n == 2:
            executable.run()
            assert executable.sample(3) > 0
            continue
        for call in (executable.run, lambda: executable.sample(3)):  # noqa: B023
            with pytest.raises(RuntimeError, match="error 7"):
                call()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('#line 1 "mine.cpp"\nint x = ;\nextern "C" void f() {}', "mine.cpp:1:9: error:"),
        ('extern "C" void g() {}', "error: 'f' was not declared"),
        ('#include "nowhere.h"', "nowhere.h"),
        ('extern "C" void f(int) {}', "tuner_call.cpp:"),
    ],
)
def test_the_first_error_line_comes_first(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        CxxBuilder().build(source(text, "f"), AVX2, tmp_path)
    assert expected in str(caught.value).splitlines()[0].replace("‘", "'").replace("’", "'")


def test_an_undefined_symbol_is_named_when_it_is_loaded(tmp_path: Path) -> None:
    text = 'extern "C" void nowhere(); extern "C" void f() { nowhere(); }'
    artifact = CxxBuilder().build(source(text, "f"), CpuDevice().target, tmp_path)
    with pytest.raises(RuntimeError, match="nowhere"):
        CpuDevice().load(artifact)


def test_equal_sources_give_equal_digests_wherever_they_are_built(tmp_path: Path) -> None:
    digests = []
    for place in ("a", "some/where/else"):
        folder, include = tmp_path / place / "out", tmp_path / place / "include"
        folder.mkdir(parents=True)
        include.mkdir(parents=True)
        # __FILE__ of a header would carry the folder's name into the binary.
        (include / "where.h").write_text("static const char* where() { return __FILE__; }")
        text = '#include "where.h"\nextern "C" int f() { return where()[0] == 0; }'
        artifact = CxxBuilder().build(source(text, "f", include=str(include)), AVX2, folder)
        digests.append(artifact.digest)
    assert digests[0] == digests[1]


def test_other_code_gives_another_digest(tmp_path: Path) -> None:
    digests = set()
    for value in (1, 2):
        folder = tmp_path / str(value)
        folder.mkdir()
        text = f'extern "C" void f(float* Y) {{ Y[0] = {value}; }}'
        digests.add(CxxBuilder().build(source(text, "f", (Argument("Y"),)), AVX2, folder).digest)
    assert len(digests) == 2


def test_code_is_for_the_target_and_not_for_this_machine(tmp_path: Path) -> None:
    text = """
    typedef float vec __attribute__((vector_size(64)));
    extern "C" void f(vec* Y) { Y[0] = Y[0] * Y[1] + Y[2]; }
    """
    used = {}
    for name in ("cpu:x86_64", "cpu:avx2", "cpu:avx512"):
        folder = tmp_path / name.replace(":", "-")
        folder.mkdir()
        CxxBuilder().build(source(text, "f", (Argument("Y"),)), named_targets()[name], folder)
        assembly = (folder / "kernel.s").read_text()
        used[name] = ["%zmm" in assembly, "%ymm" in assembly, "vfmadd" in assembly]
    assert used == {
        "cpu:x86_64": [False, False, False],
        "cpu:avx2": [False, True, True],
        "cpu:avx512": [True, False, True],
    }


def test_nan_survives_the_flags(tmp_path: Path) -> None:
    text = 'extern "C" void f(float* Y) { Y[1] = Y[0] != Y[0]; }'
    executable = CpuDevice().load(build(text, "f", (Argument("Y"),), tmp_path))
    y = np.array([np.nan, 0], dtype=np.float32)
    executable.bind({"Y": y})
    executable.run()
    assert y[1] == 1


def test_metrics_count_code_and_spills(tmp_path: Path) -> None:
    # 20 vectors live across the loop, 16 registers of AVX2: some must go to the stack and back.
    text = """
    typedef float vec __attribute__((vector_size(32)));
    extern "C" void f(vec* Y, long n) {
        vec s[COUNT];
        #pragma GCC unroll 32
        for (int i = 0; i < COUNT; ++i) s[i] = Y[i];
        for (long p = 0; p < n; ++p) {
            #pragma GCC unroll 32
            for (int i = 0; i < COUNT; ++i) s[i] = s[i] * s[(i + 1) % COUNT] + Y[p];
        }
        #pragma GCC unroll 32
        for (int i = 0; i < COUNT; ++i) Y[i] = s[i];
    }
    """
    metrics = {}
    for count in (4, 20):
        folder = tmp_path / str(count)
        folder.mkdir()
        arguments = (Argument("Y"), Argument("n", "int64", 1))
        artifact = CxxBuilder().build(source(f"#define COUNT {count}\n{text}", "f", arguments), AVX2, folder)
        metrics[count] = artifact.metrics
        assert artifact.metrics["code_bytes"] == elf_section_bytes(artifact.path, ".text")
    assert metrics[4]["vector_spills"] == 0 < metrics[20]["vector_spills"]
    assert metrics[4]["fma_instructions"] == 4
    assert metrics[4]["code_bytes"] < metrics[20]["code_bytes"]


def test_the_toolchain_is_the_same_in_another_process() -> None:
    code = (
        "from tuner.builders.host.cxx import CxxBuilder; from tuner.devices.cpu.device import named_targets;"
        "print(CxxBuilder().toolchain(named_targets()['cpu:avx2']).digest)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = CxxBuilder().toolchain(AVX2)
    assert told.stdout.strip() == here.digest
    assert here.digest != CxxBuilder().toolchain(named_targets()["cpu:avx512"]).digest
    assert not any("native" in flag or "fast-math" in flag for flag in here.flags)


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    host_cxx.forget_compiler()
    try:
        assert "C++ compiler" in (CxxBuilder().unavailable() or "")
        with pytest.raises(Unavailable, match="CXX"):
            CxxBuilder().build(source(AXPY, "axpy", AXPY_ARGUMENTS), AVX2, tmp_path)
    finally:
        monkeypatch.undo()
        host_cxx.forget_compiler()


def test_flags_a_compiler_does_not_know_are_left_out() -> None:
    compiler = host_cxx.require_compiler()
    assert host_cxx.accepts(compiler, ("-mavx2",))
    assert not host_cxx.accepts(compiler, ("-mno-such-instructions",))
    assert host_cxx.isa_flags(compiler, ("neon",)) == ()


def test_a_kernel_made_for_instructions_that_the_compiler_does_not_know_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its sizes are those of code with them: without, it would write behind the end of what it is given."""
    accepts = host_cxx.accepts
    monkeypatch.setattr(host_cxx, "accepts", lambda c, flags: "-mf16c" not in flags and accepts(c, flags))
    host_cxx.isa_flags.cache_clear()
    try:
        needing, other = (source(AXPY, "axpy", AXPY_ARGUMENTS, requires=[name]) for name in ("f16c", "avx2"))
        with pytest.raises(BuildError, match="too old for -mf16c"):
            CxxBuilder().build(needing, AVX2, tmp_path)
        assert CxxBuilder().build(other, AVX2, tmp_path).path.exists()
    finally:
        host_cxx.isa_flags.cache_clear()
