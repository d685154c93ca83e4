"""The vector exponential errs by no more than its file states."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tuner.core.host_cxx import find_compiler, isa_flags
from tuner.devices.cpu.device import CpuDevice, named_targets

STATED = "1.94e-7"
FOLDER = Path(__file__).resolve().parents[2] / "cuda_src" / "common"
SOURCE = f"""
#include "{FOLDER}/exp2.h"
extern "C" void apply(const float* x, float* y, int64_t count) {{
    for (int64_t i = 0; i < count; i += LANES) store(y + i, exp2_negative(load(x + i)));
}}
"""
FEATURES = CpuDevice().target.features
ARCHES = [
    name
    for name in ("cpu:x86_64", "cpu:avx2", "cpu:avx512")
    if set(named_targets()[name].features) <= set(FEATURES)
]


def applied(library):
    """What a library's `apply` makes of any number of floats; it takes sixteen at a time."""
    function = ctypes.CDLL(str(library)).apply
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]

    def apply(x):
        padded = np.concatenate([x, np.zeros(-len(x) % 16, np.float32)]).astype(np.float32)
        y = np.empty_like(padded)
        function(padded.ctypes.data, y.ctypes.data, len(padded))
        return y[: len(x)]

    return apply


@pytest.fixture(scope="module", params=ARCHES)
def exp2(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp")
    (folder / "exp.cpp").write_text(SOURCE)
    flags = isa_flags(find_compiler(), named_targets()[request.param].features)
    common = ["-std=c++17", "-O3", "-fPIC", "-shared", "-fno-trapping-math", "-ffp-contract=fast"]
    subprocess.run([*find_compiler(), *common, *flags, "exp.cpp", "-o", "exp.so"], cwd=folder, check=True)
    return applied(folder / "exp.so")


def largest_error(exp2, step, phase=0):
    """Over every `step`-th float from -126 to the smallest normal one."""
    first, last = (int(np.float32(x).view(np.int32)) for x in (1.2e-38, 126.0))
    worst = 0.0
    for begin in range(first + phase, last, step << 22):
        bits = np.arange(begin, min(begin + (step << 22), last + 1), step, dtype=np.int32)
        x = -bits.view(np.float32)
        exact = np.exp2(x.astype(np.float64))
        worst = max(worst, float(np.abs(exp2(x) / exact - 1).max()))
    return worst


def test_the_error_is_as_stated(exp2):
    assert STATED in (FOLDER / "exp2.h").read_text()
    # 2^23 floats an octave: a step of 509, a prime, visits all of the significand's upper bits.
    assert largest_error(exp2, 509) <= float(STATED)


@pytest.mark.slow
def test_the_error_of_every_float_is_as_stated(exp2):
    assert largest_error(exp2, 1) <= float(STATED)


def test_the_ends_are_exact(exp2):
    x = np.array([0.0, -0.0, -1.0, -2.0, -126.0, -127.0, -128.0, -1e4, -1e30, -np.inf, np.nan], np.float32)
    y = exp2(x)
    assert y[:5].tolist() == [1.0, 1.0, 0.5, 0.25, 2.0**-126]
    assert (y[5:10] == 0).all() and np.isnan(y[10])


@pytest.fixture(scope="module")
def exp2_for_bf16(tmp_path_factory):
    """The exponential of kernels that round it to bf16: f32 numbers whose upper halves are the results."""
    needed = {"avx512f", "avx512dq"}
    if not needed <= set(FEATURES):
        pytest.skip("this processor has no AVX-512")
    folder = tmp_path_factory.mktemp("exp_bf16")
    (folder / "exp.cpp").write_text(f"""
#include "{FOLDER.parent}/attention/exp2_bf16.h"
extern "C" void apply(const float* x, float* y, long count) {{
    for (long i = 0; i < count; i += 16) _mm512_storeu_ps(y + i, exp2_for_bf16(_mm512_loadu_ps(x + i)));
}}
""")
    common = ["-std=c++17", "-O3", "-fPIC", "-shared", "-mavx512f", "-mavx512dq", "-ffp-contract=fast"]
    subprocess.run([*find_compiler(), *common, "exp.cpp", "-o", "exp.so"], cwd=folder, check=True)
    function = applied(folder / "exp.so")
    return lambda x: (function(x).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def test_what_is_rounded_to_bf16_errs_by_hardly_more_than_that(exp2_for_bf16):
    """By half the last place, 2^-8 of the least number that has it, and a fiftieth of that."""
    assert largest_error(exp2_for_bf16, 509) <= 2**-8 + 1e-4


def test_the_ends_of_what_is_rounded_to_bf16_are_exact(exp2_for_bf16):
    x = np.array([0.0, -0.0, -1.0, -126.0, -1e4, -1e30, -np.inf, np.nan], np.float32)
    y = exp2_for_bf16(x)
    assert y[:4].tolist() == [1.0, 1.0, 0.5, 2.0**-126]
    assert (y[4:7] == 0).all() and np.isnan(y[7])
