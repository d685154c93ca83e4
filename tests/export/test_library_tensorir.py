"""TensorIR kernels in a shared library: of their own shape, beside C++ kernels for every other one."""

import ctypes
import itertools
import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.export.real import stored_here
from tests.export.test_library import call, check, command, kernel_of, seen_in
from tuner import registry
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice
from tuner.export.library.package import write_library
from tuner.store.store import open_store

pytestmark = pytest.mark.skipif(bool(registry.builder("tensorir").unavailable()), reason="no TVM")

# Two static kernels with packed operands, on one thread and on two; a C++ kernel serves the third shape.
STATIC = {
    "gemm/f32/m48-n64-k32": {"PACK_A": "block", "PACK_B": "ahead", "SPLIT_M": 2, "SPLIT_N": 1},
    "gemm/f32/m24-n32-k40": {"PACK_A": "ahead", "PACK_B": "block", "SPLIT_M": 1, "SPLIT_N": 1},
    "gemm/f32/m16-n32-k16/batch=3": {"PACK_A": "block", "PACK_B": "block", "SPLIT_M": 1, "SPLIT_N": 1},
}
TUNED_CXX = "gemm/f32/m32-n32-k32"
OTHERS = [
    "gemm/f32/m48-n64-k33", "gemm/f32/m1-n1-k1", "gemm/f32/m48-n64-k32/batch=2",
    "gemm/f32/m24-n32-k40/batch=3", "gemm/f32/m7-n5-k3/batch=3",
]  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    with open_store(str(folder / "made.db")) as store:
        stored_here(store, [(key, "tir_packed", wish, 1e-3) for key, wish in STATIC.items()])
        slower = [(key, "cpp_naive", {}, 2e-3) for key in (*STATIC, TUNED_CXX)]
        stored_here(store, slower)
        workloads = [Workload.from_key(key) for key in (*STATIC, TUNED_CXX)]
        written = write_library(folder / "package", "operators", workloads, CpuDevice(), store)
    return written.folder


@pytest.fixture(scope="module")
def library(package: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(package / "lib" / "liboperators.so"))


def name_of(library: ctypes.CDLL, key: str) -> str:
    return kernel_of(library, key).partition(" ")[0]


@pytest.mark.parametrize("key", [*STATIC, TUNED_CXX, *OTHERS])
def test_a_static_kernel_serves_its_own_problem_and_cxx_every_other(library: ctypes.CDLL, key: str) -> None:
    assert name_of(library, key) == ("tir_packed" if key in STATIC else "cpp_naive")
    assert check(library, key) <= 1
    try:
        library.operators_limit_level(99)  # the least processor; the next one may lack nothing but tiles
        assert name_of(library, key) == "cpp_naive" and check(library, key) <= 1
    finally:
        library.operators_limit_level(0)


def test_threads_may_call_static_kernels_at_once(library: ctypes.CDLL) -> None:
    keys = [*STATIC, OTHERS[0]] * 8
    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(lambda i: check(library, keys[i], seed=i), range(len(keys)))) <= 1


def test_bad_calls_of_a_static_kernel_are_codes(library: ctypes.CDLL) -> None:
    key = next(iter(STATIC))
    inputs = registry.operator("gemm").inputs(Workload.from_key(key), 0)
    code, outputs = call(library, key, {"A": inputs["A"]})
    assert code == -1 and np.isnan(outputs["D"]).all()
    assert name_of(library, f"{key}/trans_b") == ""


def test_nothing_of_tvm_is_needed_or_seen(package: Path) -> None:
    so = package / "lib" / "liboperators.so"
    needed = subprocess.run(["readelf", "-d", so], capture_output=True, text=True, check=True).stdout
    assert re.findall(r"NEEDED.*\[(\w+)", needed) and not re.search("tvm|python|RPATH|RUNPATH", needed)
    assert seen_in(so) == {
        "operators_gemm", "operators_gemm_kernel", "operators_level", "operators_limit_level",
        "operators_message",
    }  # fmt: skip
    origin = json.loads((package / "share" / "operators" / "operators.json").read_text())
    assert [e["kernel"] for e in origin["entries"]] == ["tir_packed"] * 3 + ["cpp_naive"]


C = r"""
#include <dlfcn.h>
#include <operators.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*gemm_entry)(operators_dtype, const operators_gemm_problem*, const operators_gemm_tensors*);
typedef const char* (*kernel_entry)(operators_dtype, const operators_gemm_problem*);
static gemm_entry gemm;
static kernel_entry kernel;

static const char* wrong(int m, int n, int k, const char* expected) {
    float *a = malloc(4 * m * k), *b = malloc(4 * k * n), *d = malloc(4 * m * n);
    const char* found = NULL;
    for (int i = 0; i < m * k; ++i) a[i] = (i % 7) - 3;
    for (int i = 0; i < k * n; ++i) b[i] = (i % 5) - 2;
    operators_gemm_problem problem = operators_gemm_of(m, n, k);
    operators_gemm_tensors tensors = {.A = a, .B = b, .D = d};
    if (strncmp(kernel(OPERATORS_F32, &problem), expected, strlen(expected)) != 0) found = "another kernel";
    if (gemm(OPERATORS_F32, &problem, &tensors) != OPERATORS_OK) found = "a code";
    for (int i = 0; i < m; ++i)
        for (int j = 0; j < n; ++j) {
            float sum = 0; /* small integers: exact */
            for (int p = 0; p < k; ++p) sum += a[i * k + p] * b[p * n + j];
            if (sum != d[i * n + j]) found = "numbers";
        }
    free(a), free(b), free(d);
    return found;
}

static void* work(void* other) {
    for (int i = 0; i < 100; ++i) {
        /* Threads are at different kernels. */
        if (other && i == 0 && wrong(24, 32, 40, "tir_packed")) return (void*)"the first call";
        const char* found = wrong(48, 64, 32, "tir_packed");
        if (!found) found = wrong(24, 32, 40, "tir_packed");
        if (!found) found = wrong(17, 9, 33, "cpp_naive");
        if (found) return (void*)found;
    }
    return NULL;
}

int main(int count, char** words) {
    void* library = dlopen(words[count - 1], RTLD_NOW);
    if (!library) { puts(dlerror()); return 1; }
    *(void**)&gemm = dlsym(library, "operators_gemm");
    *(void**)&kernel = dlsym(library, "operators_gemm_kernel");
    pthread_t threads[2];
    void* found[2];
    for (int i = 0; i < 2; ++i) pthread_create(&threads[i], NULL, work, i ? &gemm : NULL);
    for (int i = 0; i < 2; ++i) pthread_join(threads[i], &found[i]);
    /* This thread ends after the library was given back, as a plug-in is; its workspaces are still freed. */
    char* here = work(NULL);
    dlclose(library);
    puts(found[0] ? found[0] : found[1] ? found[1] : here ? here : "right");
    fflush(stdout);
    pthread_exit(NULL);
}
"""


def test_a_c_program_of_two_threads_calls_static_and_other_shapes(package: Path, tmp_path: Path) -> None:
    (tmp_path / "user.c").write_text(C)
    flags = ["-std=gnu99", "-Wall", "-Werror", f"-I{package}/include"]
    command("gcc", *flags, "user.c", "-o", "user", "-ldl", "-pthread", folder=tmp_path)
    assert command("./user", package / "lib" / "liboperators.so", folder=tmp_path) == "right\n"


def test_what_its_readme_says_works_in_a_clean_folder_wherever_it_lies(package: Path, tmp_path: Path) -> None:
    moved, work = tmp_path / "moved", tmp_path / "work"
    shutil.copytree(package, moved)
    work.mkdir()
    text = (moved / "share" / "operators" / "README.md").read_text()
    for file, kind in (("example.c", "c"), ("CMakeLists.txt", "cmake")):
        (block,) = re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)
        (work / file).write_text(block)
    by_pkg_config, by_cmake = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for script in (by_pkg_config, by_cmake):
        done = subprocess.run(
            ["sh", "-e", "-c", script], cwd=work, capture_output=True, text=True,
            env={"PATH": os.environ["PATH"], "PREFIX": str(moved)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1].startswith("done: tir_packed ")
    files = [file for file in moved.rglob("*") if file.suffix in (".pc", ".cmake", ".md", ".h")]
    assert len(files) == 5
    assert not any(str(package) in file.read_text() for file in files)


@pytest.mark.slow
def test_every_tensorir_kernel_of_the_processor_goes_in_with_each_of_its_types(tmp_path: Path) -> None:
    device, entries = CpuDevice(), []
    kernels = [k for k in registry.kernels().values() if k.language == "tensorir" and "cpu" in k.target_kinds]
    shapes = {
        "gemm": ["m33 n29 k17 relu", "m32 n32 k32 bias", "m16 n48 k20 bias relu"],
        "conv2d": ["n1 c8 h9 w9 k16 r3 s3 pad1 bias relu", "n1 c4 h9 w9 k8 r3 s3 pad1"],
        "attention": ["b1 h2 q17 kv21 d16 causal", "b2 h4 q8 kv16 d16"],
    }
    for kernel in kernels:
        operator = registry.operator(kernel.operator)
        for number, (text, dtype) in enumerate(itertools.product(shapes[operator.name], kernel.dtypes)):
            # Another size for each kernel, so that none takes the place of another.
            last = text.split()[1]
            size = int(last[1:]) + (2 * kernels.index(kernel) + number % 2) * 4
            workload = operator.parse(text.replace(last, f"{last[0]}{size}", 1), dtype)
            if kernel.unsupported(workload, device.target) is None:
                entries.append((workload.key, kernel.name, {"trace": "[[],[]]"}, 1e-3))
    with open_store(str(tmp_path / "made.db")) as store:
        stored_here(store, entries)
        workloads = [Workload.from_key(key) for key, *_ in entries]
        write_library(tmp_path / "package", "operators", workloads, device, store)
    library = ctypes.CDLL(str(tmp_path / "package" / "lib" / "liboperators.so"))
    for key, name, *_ in entries:
        assert name_of(library, key) == name, key
        assert check(library, key) <= 1, key
    assert {name for _, name, *_ in entries} == {kernel.name for kernel in kernels}
