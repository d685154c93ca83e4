"""The exported library beside `tuner.load` on the demo's GEMM, and what a call of it costs.

Small calls are timed by a C++ program, since a call from Python takes longer than what is asked. The peer is
`cblas_sgemm` of the OpenBLAS in NumPy's wheel, in the same process, in turns, on one thread.
"""

import ctypes
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.host_cxx import find_compiler, missing_compiler
from tuner.core.scratch import Scratch
from tuner.core.stats import ratio_interval
from tuner.core.workload import Workload
from tuner.engine.processes.locks import measuring
from tuner.engine.program.load import load_rows
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.export.library.package import write_library
from tuner.lab.figures import Figure

if TYPE_CHECKING:
    from tuner.core.device import Device
    from tuner.store.store import Store

_KERNEL = "cpp_packed"
_DEMO, _SMALL = "1024x1024x1024", "64x64x64"
_SLOWER, _CALL_US = 1.02, 1.0
# How a library of OpenBLAS spells it, with integers of 64 and of 32 bits: (symbol, long integers).
_SGEMM = (("scipy_cblas_sgemm64_", 1), ("cblas_sgemm64_", 1), ("scipy_cblas_sgemm", 0), ("cblas_sgemm", 0))

# What a program in Python calls: the header's structures are C's business.
_SHIM = r"""
#include <bench_operators.h>
extern "C" int call(int64_t m, int64_t n, int64_t k, const void* a, const void* b, void* d) {
    bench_operators_gemm_problem problem = bench_operators_gemm_of(m, n, k);
    bench_operators_gemm_tensors tensors = {};
    tensors.A = a; tensors.B = b; tensors.D = d;
    return bench_operators_gemm(BENCH_OPERATORS_F32, &problem, &tensors);
}
"""
_PROGRAM = r"""
#include <bench_operators.h>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <vector>

using Clock = std::chrono::steady_clock;

template <typename Call> double ns_of(int calls, Call call) {
    auto began = Clock::now();
    for (int i = 0; i < calls; ++i) call();
    return std::chrono::duration<double, std::nano>(Clock::now() - began).count() / calls;
}

// CblasRowMajor is 101, CblasNoTrans 111.
template <typename Int> void sgemm_of(void* function, Int n, const float* a, const float* b, float* d) {
    using Sgemm = void (*)(int, int, int, Int, Int, Int, float, const float*, Int, const float*, Int, float,
                           float*, Int);
    reinterpret_cast<Sgemm>(function)(101, 111, 111, n, n, n, 1, a, n, b, n, 0, d, n);
}

int main(int argc, char** argv) {
    if (argc != 6) return 2;
    int rounds = std::atoi(argv[4]), calls = std::atoi(argv[5]);
    void* blas = dlopen(argv[1], RTLD_NOW);
    void* sgemm = blas ? dlsym(blas, argv[2]) : nullptr;
    if (!sgemm) { std::fprintf(stderr, "%s\n", dlerror()); return 3; }
    bool wide = std::atoi(argv[3]) != 0;
    const int n = 64;
    std::vector<float> a(n * n, 0.5f), b(n * n, 0.25f), d(n * n), e(n * n);
    bench_operators_gemm_problem small = bench_operators_gemm_of(n, n, n);
    bench_operators_gemm_problem one = bench_operators_gemm_of(1, 1, 1);
    bench_operators_gemm_tensors tensors = {};
    tensors.A = a.data(); tensors.B = b.data(); tensors.D = d.data();
    int code = 0;
    auto ours = [&] { code |= bench_operators_gemm(BENCH_OPERATORS_F32, &small, &tensors); };
    auto least = [&] { code |= bench_operators_gemm(BENCH_OPERATORS_F32, &one, &tensors); };
    auto theirs = [&] {
        if (wide) sgemm_of<long>(sgemm, n, a.data(), b.data(), e.data());
        else sgemm_of<int>(sgemm, n, a.data(), b.data(), e.data());
    };
    ours(); theirs();
    for (int i = 0; i < n * n; ++i) if (d[i] != e[i]) return 4;
    least(); ns_of(calls, ours); ns_of(calls, theirs);
    std::printf("[");
    for (int r = 0; r < rounds; ++r) {
        double x = ns_of(calls, ours), y = ns_of(calls, theirs), z = ns_of(calls, least);
        std::printf("%s[%.3f, %.3f, %.3f]", r ? ", " : "", x, y, z);
    }
    std::printf("]\n");
    return code ? 5 : 0;
}
"""
_FAULTS = {
    3: "cblas_sgemm cannot be loaded",
    4: "the library and cblas_sgemm differ",
    5: "a call of the library failed",
}


def library(store: "Store", trials: int = 60, rounds: int = 41) -> list[Figure]:
    """The figures of the library: the demo's GEMM, and calls of 64x64x64 and 1x1x1.

    Args:
        store: keeps the sweeps that tune what goes in; known ones are reused.
        trials: of a sweep.
        rounds: pairs of samples.
    """
    device = campaign.default_device()
    cores = int(device.target.limits["cores"])
    operator = registry.operator("gemm")
    demo, small = operator.parse(_DEMO), operator.parse(_SMALL)
    _tune(store, device, demo, min(2, cores), trials)
    _tune(store, device, small, 1, trials)
    with Scratch("bench-library-") as folder:
        write_library(folder, "bench_operators", [demo, small], device, store)
        return [
            *_against_load(store, device, demo, folder, rounds),
            *_small_calls(device, folder, rounds),
        ]


def _tune(store: "Store", device: "Device", workload: Workload, threads: int, trials: int) -> None:
    protocol = campaign.default_protocol(device, threads=threads)
    kernels, _ = campaign.choose_kernels(workload, device, protocol, [_KERNEL], baselines=False)
    plan = campaign.Plan("auto", 0, Budget(trials=trials), resume=True, reuse=True, finalists=3, rounds=25)
    campaign.run_campaign(workload, kernels, campaign.Setting(device, protocol, plan, store))


def _against_load(
    store: "Store", device: "Device", workload: Workload, folder: Path, rounds: int
) -> list[Figure]:
    """The library's time over that of the function `tuner.load` gives, calls taking turns."""
    rows = [r for r in store.best("gemm", workload.key, device.fingerprint) if r.kernel.name == _KERNEL]
    loaded = load_rows(workload, rows, device, _KERNEL)
    inputs = registry.operator("gemm").inputs(workload, 0)
    dims = dict(workload.dims)
    mine, theirs = (np.empty((dims["m"], dims["n"]), np.float32) for _ in range(2))
    shim = ctypes.CDLL(str(_compiled(folder, "shim", _SHIM, "-shared", "-fPIC")))
    sizes = [ctypes.c_int64(dims[name]) for name in ("m", "n", "k")]
    arrays = [ctypes.c_void_p(array.ctypes.data) for array in (inputs["A"], inputs["B"], mine)]

    def ours() -> None:
        if code := shim.call(*sizes, *arrays):
            raise TunerError(f"the library's gemm gave code {code} for {workload.key}")

    def other() -> None:
        loaded(**inputs, out=theirs)

    ours_s, theirs_s = [], []
    with measuring(device.fingerprint):
        for call in (ours, other) * 3:
            call()
        for _ in range(rounds):
            ours_s.append(_seconds(ours))
            theirs_s.append(_seconds(other))
    if not np.allclose(mine, theirs, rtol=1e-4, atol=1e-3):
        raise TunerError(f"the library and tuner.load differ for {workload.key}")
    ratio = ratio_interval(ours_s, theirs_s)
    note = f"95% [{ratio.low:.3f}, {ratio.high:.3f}], {rounds} pairs, {loaded}"
    return [Figure(f"library, gemm f32 {_DEMO}: time over tuner.load's", ratio.mid, "x", _SLOWER, True, note)]


def _compiled(folder: Path, name: str, text: str, *flags: str) -> Path:
    """A program or a library that uses the exported one, in its folder.

    Raises:
        TunerError: there is no compiler, or it refuses.
    """
    compiler = find_compiler()
    if compiler is None:
        raise TunerError(str(missing_compiler()))
    source, made = folder / f"{name}.cpp", folder / name
    source.write_text(text)
    built = subprocess.run(
        [*compiler, "-O2", "-std=c++17", *flags, f"-I{folder / 'include'}", str(source), "-o", str(made),
         f"-L{folder / 'lib'}", "-lbench_operators", f"-Wl,-rpath,{folder / 'lib'}", "-ldl"],
        capture_output=True, text=True,
    )  # fmt: skip
    if built.returncode:
        raise TunerError(f"{name} does not compile: {built.stderr.strip().splitlines()[0]}")
    return made


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _small_calls(device: "Device", folder: Path, rounds: int) -> list[Figure]:
    """64x64x64 beside `cblas_sgemm`, and a call of 1x1x1, which computes next to nothing."""
    name = f"library, gemm f32 {_SMALL}: a call less cblas_sgemm's"
    blas = numpys_openblas()
    if blas is None:
        return [Figure(name, None, "us", _CALL_US, True, "NumPy's wheel brings no OpenBLAS")]
    samples = _run(device, folder, blas, rounds)
    ours, theirs, least = ([row[i] for row in samples] for i in range(3))
    ratio = ratio_interval(ours, theirs)
    more = median(a - b for a, b in zip(ours, theirs, strict=True)) / 1e3
    note = f"{median(ours) / 1e3:.2f} us against {median(theirs) / 1e3:.2f} us of {blas[0].name}, one thread"
    return [
        Figure(name, more, "us", _CALL_US, True, note),
        Figure(f"library, gemm f32 {_SMALL}: time over cblas_sgemm's", ratio.mid, "x",
               note=f"95% [{ratio.low:.3f}, {ratio.high:.3f}]"),
        Figure("library, gemm f32 1x1x1: a call", median(least) / 1e3, "us",
               note="dispatch, packing, and threads where the rule's pick has some"),
    ]  # fmt: skip


def _run(device: "Device", folder: Path, blas: tuple[Path, str, int], rounds: int) -> list[Sequence[float]]:
    """Nanoseconds of a call in each round: of ours, of `cblas_sgemm`, and of ours at 1x1x1.

    Raises:
        TunerError: the program cannot be compiled, or its results differ.
    """
    program = _compiled(folder, "calls", _PROGRAM)
    path, symbol, wide = blas
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [str(program), str(path), symbol, str(wide), str(rounds), "2000"]
    with measuring(device.fingerprint):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode:
        why = _FAULTS.get(done.returncode, f"exit code {done.returncode}")
        raise TunerError(f"the timing program failed: {why} {done.stderr.strip()[:200]}".rstrip())
    found: list[Sequence[float]] = json.loads(done.stdout)
    return found


def numpys_openblas() -> tuple[Path, str, int] | None:
    """The OpenBLAS in NumPy's wheel: its file, the name of `cblas_sgemm` there, 1 for integers of 64 bits."""
    for path in sorted((Path(np.__file__).parent.parent / "numpy.libs").glob("*openblas*.so*")):
        library = ctypes.CDLL(str(path))
        for symbol, wide in _SGEMM:
            if hasattr(library, symbol):
                return path, symbol, wide
    return None
