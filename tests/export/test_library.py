"""A shared library of tuned kernels, used by programs in C, C++ and Python that know no lab."""

import ctypes
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.export.real import stored_here
from tuner import registry
from tuner.cli import app
from tuner.core.errors import TunerError
from tuner.core.operator import worst_error
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice
from tuner.export.library.header import layout, option_fields, tensors_of
from tuner.export.library.package import write_library
from tuner.store.store import open_store

TUNED = {
    "gemm/f32/m64-n64-k64": ("cpp_packed", {"threads": 1, "NR": 16}),
    "gemm/f32/m96-n128-k64": ("cpp_packed", {"threads": 2, "NR": 32}),
    "gemm/f32/m32-n48-k16/bias,relu": ("cpp_register", {}),
    "conv2d/f32/n1-c8-h12-w12-k16-r3-s3/pad=1": ("conv_winograd", {}),
}
# What lays B out ahead was faster, and no C program says that B stays the same.
FROZEN = "gemm/f32/m80-n64-k64/frozen"
AHEAD = [(FROZEN, "cpp_packed", {"threads": 1, "NR": 16}, 1e-3), (FROZEN, "cpp_ahead", {"threads": 1}, 5e-4)]
DTYPES = ("f32", "f16", "bf16", "int8")  # as the header counts them
# (workload, whether it was tuned): other sizes of every class that was.
ASKED = [
    *TUNED, "gemm/f32/m1-n1-k1", "gemm/f32/m65-n3-k129", "gemm/f32/m300-n7-k2", "gemm/f32/m5-n64-k4000",
    "gemm/f32/m3-n5-k7/batch=4", "gemm/f32/m7-n48-k16/bias,relu", "gemm/f32/m33-n1-k3/bias,relu",
    "conv2d/f32/n2-c3-h9-w17-k5-r3-s3/pad=1", "conv2d/f32/n1-c4-h8-w8-k6-r5-s1/pad=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    with open_store(str(folder / "made.db")) as store:
        stored_here(store, [(key, kernel, wish, 1e-3) for key, (kernel, wish) in TUNED.items()] + AHEAD)
        workloads = [Workload.from_key(key) for key in (*TUNED, FROZEN)]
        written = write_library(folder / "package", "operators", workloads, CpuDevice(), store)
    assert not written.plan.untuned and len(written.levels) > 1
    return written.folder


@pytest.fixture(scope="module")
def library(package: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(package / "lib" / "liboperators.so"))


def problem_of(workload: Workload) -> ctypes.Structure:
    """A problem as a program with the header would make it: a structure by the operator's declaration."""
    operator = registry.operator(workload.operator)
    fields = [(name, ctypes.c_int64) for name in operator.dims]
    values = dict(workload.dims)
    for name, default in operator.options.items():
        if name not in ("strict", "frozen"):
            kind = {bool: ctypes.c_int, int: ctypes.c_int64, float: ctypes.c_double}[type(default)]
            fields.append((name, kind))
            values[name] = workload.option(name, default)
    return type("Problem", (ctypes.Structure,), {"_fields_": fields})(**values)


def kernel_of(library: ctypes.CDLL, key: str) -> str:
    """The kernel that an entry picks, with its configuration; empty where it has none."""
    workload = Workload.from_key(key)
    entry = getattr(library, f"operators_{workload.operator}_kernel")
    entry.restype = ctypes.c_char_p
    return (entry(DTYPES.index(workload.dtype), ctypes.byref(problem_of(workload))) or b"").decode()


def call(library: ctypes.CDLL, key: str, inputs: dict[str, np.ndarray]) -> tuple[int, dict[str, np.ndarray]]:
    """Calls an entry as a program with the header would."""
    workload = Workload.from_key(key)
    operator = registry.operator(workload.operator)
    problem = problem_of(workload)
    tensors = dict(inputs)
    for spec in operator.signature(workload):
        if spec.output:
            never = -1 if np.dtype(spec.dtype).kind == "i" else np.nan
            tensors[spec.name] = np.full(spec.shape, never, spec.dtype)
    order = [(name, ctypes.c_void_p) for name in operator.tensors]
    pointers = type("Tensors", (ctypes.Structure,), {"_fields_": order})(
        **{name: array.ctypes.data for name, array in tensors.items()}
    )
    entry = getattr(library, f"operators_{workload.operator}")
    code = entry(DTYPES.index(workload.dtype), ctypes.byref(problem), ctypes.byref(pointers))
    return code, {s.name: tensors[s.name] for s in operator.signature(workload) if s.output}


def check(library: ctypes.CDLL, key: str, seed: int = 0) -> float:
    """How far from the float64 reference the entry's output is, in tolerances."""
    workload = Workload.from_key(key)
    operator = registry.operator(workload.operator)
    inputs = operator.inputs(workload, seed)
    code, outputs = call(library, key, inputs)
    assert code == 0
    reference = operator.reference(workload, inputs)
    return worst_error(outputs, reference, operator.tolerance(workload, inputs, reference))[0]


@pytest.mark.parametrize("key", ASKED)
@pytest.mark.sampled(7)
def test_tuned_or_not_every_size_is_right_on_every_processor(library: ctypes.CDLL, key: str) -> None:
    try:
        for level in range(5):  # as many as a processor with tiles has; the last stands for all beyond
            library.operators_limit_level(level)
            assert check(library, key) <= 1, f"level {library.operators_level()}"
    finally:
        library.operators_limit_level(0)


def test_tiles_are_for_processors_that_have_them(tmp_path: Path) -> None:
    """A library without them serves the others, and products of a type that no tile multiplies."""
    device = CpuDevice()
    if "amx-int8" not in device.target.features:
        pytest.skip("this processor has no tiles")
    tiled, plain = "gemm/int8/m64-n64-k64", "gemm/f32/m64-n64-k64"
    with open_store(str(tmp_path / "made.db")) as store:
        one = {"threads": 1}
        stored_here(store, [(tiled, "cpp_amx", one, 1e-3), (plain, "cpp_tiled", one, 1e-3)])
        workloads = [Workload.from_key(key) for key in (tiled, plain)]
        written = write_library(tmp_path / "package", "operators", workloads, device, store)
    assert written.levels[0].endswith("-amx") and not any("amx" in name for name in written.levels[1:])
    library = ctypes.CDLL(str(written.folder / "lib" / "liboperators.so"))
    for level in range(len(written.levels)):
        library.operators_limit_level(level)
        assert kernel_of(library, tiled).startswith("cpp_amx") == (library.operators_level() == 0)
        assert kernel_of(library, plain).startswith("cpp_tiled")
        assert max(check(library, tiled), check(library, "gemm/int8/m33-n50-k70")) <= 1


def test_of_a_frozen_workload_it_holds_what_takes_other_weights_in_every_call(library: ctypes.CDLL) -> None:
    plain = FROZEN.removesuffix("/frozen")
    assert kernel_of(library, plain).startswith("cpp_packed")
    assert [check(library, plain, seed) <= 1 for seed in (0, 1)] == [True, True]


def test_a_faster_kernel_that_it_cannot_hold_is_said_with_what_stands_in(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (left,) = json.loads((package / "share" / "operators" / "operators.json").read_text())["left_out"]
    assert (left["workload"], left["kernel"], left["instead"]) == (FROZEN, "cpp_ahead", "cpp_packed")
    db, alone = str(tmp_path / "made.db"), "gemm/f32/m8-n24-k8/frozen"
    with open_store(db) as store:
        stored_here(store, [*AHEAD, (alone, "cpp_ahead", {}, 1e-6)])
    app(["export", FROZEN, alone, "--library", str(tmp_path / "out"), "--db", db], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if line.startswith("left out of ")]
    why = "it lays B out ahead of its calls, and no C program can say that B will not change"
    assert said == [
        f"left out of {FROZEN}: cpp_ahead (500 \u00b5s), as {why}; cpp_packed (1.00 ms) stands in",
        f"left out of {alone}: cpp_ahead (1.00 \u00b5s), as {why}; nothing stands in",
    ]
    with pytest.raises(TunerError, match="cpp_ahead is stored, but it lays B out ahead"):
        app(["export", alone, "--library", str(tmp_path / "no"), "--db", db], standalone_mode=False)


def test_threads_may_call_at_once(library: ctypes.CDLL) -> None:
    keys = [key for key in ASKED if key.startswith("gemm")] * 6
    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(lambda i: check(library, keys[i], seed=i), range(len(keys)))) <= 1


def test_what_cannot_be_served_is_a_code_and_nothing_is_written(library: ctypes.CDLL) -> None:
    workload = Workload.from_key("gemm/f32/m4-n4-k4")
    inputs = registry.operator("gemm").inputs(workload, 0)
    code, outputs = call(library, "gemm/f32/m4-n4-k4/trans_b", inputs)
    assert code == -2 and np.isnan(outputs["D"]).all()
    assert call(library, "gemm/f32/m4-n4-k4", {"A": inputs["A"]})[0] == -1
    assert call(library, "gemm/f32/m4-n4-k4/bias,relu", inputs)[0] == -1  # no bias is given
    assert library.operators_gemm(0, None, None) == -1
    library.operators_message.restype = ctypes.c_char_p
    assert b"no kernel of this dtype" in library.operators_message(-2)


def seen_in(so: Path) -> set[str]:
    """Names of what a library exports, without their versions."""
    names = subprocess.run(["nm", "-D", "--defined-only", so], capture_output=True, text=True, check=True)
    # Those of type A are the versions themselves.
    return {name.split("@")[0] for _, kind, name in map(str.split, names.stdout.splitlines()) if kind != "A"}


def test_it_exports_its_entries_and_needs_no_python(package: Path) -> None:
    so = package / "lib" / "liboperators.so"
    assert seen_in(so) == {
        "operators_gemm", "operators_conv2d", "operators_gemm_kernel", "operators_conv2d_kernel",
        "operators_level", "operators_limit_level", "operators_message"
    }  # fmt: skip
    needed = subprocess.run(["readelf", "-d", so], capture_output=True, text=True, check=True).stdout
    assert "python" not in needed and "RPATH" not in needed and "RUNPATH" not in needed


def test_a_program_of_another_layout_does_not_start(package: Path, tmp_path: Path) -> None:
    """Its structures may be shorter than what the library reads and writes."""
    (tmp_path / "p.c").write_text(
        "#include <operators.h>\nint main(void) { return operators_gemm(OPERATORS_F32, 0, 0) + 1; }\n"
    )
    (tmp_path / "other.c").write_text("int operators_gemm(int d, void* p, void* t) { return -1; }\n")
    (tmp_path / "other.map").write_text("operators_gemm_01234567 { global: operators_gemm; };\n")
    so, there = "liboperators.so", package / "lib"
    for command in (
        ["gcc", "p.c", f"-I{package / 'include'}", f"-L{there}", "-loperators", "-o", "p"],
        ["gcc", "-shared", "-fPIC", "other.c", f"-Wl,-soname,{so},--version-script=other.map", "-o", so],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)

    def started(library: Path) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "LD_LIBRARY_PATH": str(library)}
        return subprocess.run([tmp_path / "p"], env=env, capture_output=True, text=True, check=False)

    assert started(there).returncode == 0
    refused = started(tmp_path)
    assert refused.returncode != 0 and "operators_gemm_" in refused.stderr and "not found" in refused.stderr


def test_another_option_is_another_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    gemm = registry.operator("gemm")
    plan: Any = SimpleNamespace(operator=gemm, variants=[SimpleNamespace(workload=gemm.parse("8x8x8"))])
    before, fields = layout(plan), option_fields(gemm)
    assert layout(plan) == before
    monkeypatch.setattr(
        "tuner.export.library.header.option_fields", lambda _: [*fields, ("int", "new", False)]
    )
    assert layout(plan) != before


def test_it_says_where_it_comes_from(package: Path) -> None:
    origin = json.loads((package / "share" / "operators" / "operators.json").read_text())
    assert {e["workload"]: e["kernel"] for e in origin["entries"]} == {
        **{k: n for k, (n, _) in TUNED.items()},
        FROZEN: "cpp_packed",
    }
    assert all(e["evidence"] == "measured" and e["fingerprint"] for e in origin["entries"])


C = r"""
#include <math.h>
#include <operators.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    const int sizes[][3] = {{64, 64, 64}, {17, 9, 33}};
    for (int s = 0; s < 2; ++s) {
        int m = sizes[s][0], n = sizes[s][1], k = sizes[s][2];
        float *a = malloc(4 * m * k), *b = malloc(4 * k * n), *d = malloc(4 * m * n);
        for (int i = 0; i < m * k; ++i) a[i] = (i % 7) - 3;
        for (int i = 0; i < k * n; ++i) b[i] = (i % 5) - 2;
        operators_gemm_problem problem = operators_gemm_of(m, n, k);
        operators_gemm_tensors tensors = {.A = a, .B = b, .D = d};
        int code = operators_gemm(OPERATORS_F32, &problem, &tensors);
        if (code != OPERATORS_OK) { puts(operators_message(code)); return 1; }
        for (int i = 0; i < m; ++i)
            for (int j = 0; j < n; ++j) {
                float sum = 0;  /* small integers: exact */
                for (int p = 0; p < k; ++p) sum += a[i * k + p] * b[p * n + j];
                if (sum != d[i * n + j]) { printf("wrong at %d %d\n", i, j); return 1; }
            }
        free(a), free(b), free(d);
    }
    puts("right");
    return 0;
}
"""
CXX = r"""
#include <operators.h>
#include <cstdio>
#include <thread>
#include <vector>

static bool once(int64_t m, int64_t n, int64_t k) {
    std::vector<float> a(m * k, 2), b(k * n, 3), d(m * n, -1);
    auto problem = operators_gemm_of(m, n, k);
    operators_gemm_tensors tensors = {};
    tensors.A = a.data(), tensors.B = b.data(), tensors.D = d.data();
    if (operators_gemm(OPERATORS_F32, &problem, &tensors) != OPERATORS_OK) return false;
    for (float value : d) if (value != 6.0f * float(k)) return false;
    return true;
}

int main() {
    bool right[2] = {true, true};
    auto work = [&](int who) {
        for (int i = 0; i < 50; ++i)
            right[who] &= once(64 + who * 32, who ? 128 : 64, 64) && once(i + 1, 7, 5);
    };
    std::thread other(work, 1);
    work(0);
    other.join();
    std::puts(right[0] && right[1] ? "right" : "wrong");
}
"""
CMAKE = """
cmake_minimum_required(VERSION 3.13)
project(user CXX)
find_package(operators 1.0 CONFIG REQUIRED)
find_package(Threads REQUIRED)
add_executable(user user.cpp)
target_link_libraries(user operators::operators Threads::Threads)
"""


def command(*words: object, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(w) for w in words], cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_c_program_finds_it_by_pkg_config(package: Path, tmp_path: Path) -> None:
    (tmp_path / "user.c").write_text(C)
    place = {"PKG_CONFIG_PATH": str(package / "lib" / "pkgconfig")}
    flags = command("pkg-config", "--cflags", "--libs", "operators", folder=tmp_path, **place).split()
    command(
        "gcc", "-std=c99", "-Wall", "-Werror", "-pedantic", "user.c", *flags, "-o", "user", folder=tmp_path
    )
    library = {"LD_LIBRARY_PATH": str(package / "lib")}
    assert command("./user", folder=tmp_path, **library) == "right\n"


def test_a_cxx_program_of_two_threads_finds_it_by_cmake(package: Path, tmp_path: Path) -> None:
    (tmp_path / "user.cpp").write_text(CXX)
    (tmp_path / "CMakeLists.txt").write_text(CMAKE)
    command(
        "cmake", "-S", ".", "-B", "build", f"-Doperators_DIR={package}/lib/cmake/operators", folder=tmp_path
    )
    command("cmake", "--build", "build", folder=tmp_path)
    assert command("build/user", folder=tmp_path) == "right\n"


def test_nothing_stored_is_said_with_what_to_run(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "empty.db")) as store:
        with pytest.raises(TunerError, match="run 'tuner sweep gemm'"):
            write_library(tmp_path, "ops", [Workload.from_key("gemm/f32/m4-n4-k4")], CpuDevice(), store)
        with pytest.raises(TunerError, match="names no library"):
            write_library(tmp_path, "my ops", [Workload.from_key("gemm/f32/m4-n4-k4")], CpuDevice(), store)


def test_the_command_writes_a_library_of_all_that_is_stored_of_an_operator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = str(tmp_path / "made.db")
    with open_store(db) as store:
        stored_here(store, [("gemm/f32/m8-n8-k8", "cpp_naive", {}, 1e-3)])
    asked = ["gemm", "gemm/f32/m9-n9-k9", "--library", str(tmp_path / "out"), "--name", "mine", "--db", db]
    app(["export", *asked], standalone_mode=False)
    out = capsys.readouterr().out
    assert "gemm: 1 tuned shape, any other size by their rule" in out
    assert "not tuned here with a kernel that a library can hold: gemm/f32/m9-n9-k9" in out
    assert (tmp_path / "out" / "lib" / "libmine.so").exists()
    with pytest.raises(TunerError, match="unknown operator or model 'gem': did you mean 'gemm'"):
        app(["export", "gem", "--library", str(tmp_path / "out"), "--db", db], standalone_mode=False)


def test_a_header_has_the_tensors_of_dtypes_that_the_workload_s_size_leaves_out() -> None:
    """int8 has no products of 200,000 terms, and other sizes of it may be in the same library."""
    gemm = registry.operator("gemm")
    large, small = (tensors_of(gemm, gemm.parse(shape)) for shape in ("1x1x200000", "8x8x8"))
    assert large == small and {"scale", "Z"} <= large.keys()
