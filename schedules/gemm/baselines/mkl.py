"""MKL's `cblas_sgemm` from its own wheel, called directly, and with B packed ahead (`cblas_sgemm_pack`).

torch links MKL too, and calls it through its dispatcher; its wheels may bring an older version, or on other
processors none. Source: Intel oneMKL developer reference, "cblas_?gemm_pack" and "cblas_?gemm_compute".
"""

import ctypes
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tuner.core.workload import Workload
from tuner.schedules.gemm.options import OPTIONS, TENSORS
from tuner.schedules.native import NativeKernel, find_library, load_library

STEM, VERSIONS = "mkl_rt", ("3", "2")
_OPTIONS = {
    name: value for name, value in OPTIONS.items() if name in ("batch", "trans_a", "trans_b", "alpha")
}
_ROW_MAJOR, _PLAIN, _TRANSPOSED, _PACKED, _B_MATRIX = 101, 111, 112, 151, 162
_GNU_THREADS = 3  # MKL_THREADING_GNU: the OpenMP runtime that other libraries of the process have too


class MklGemm(NativeKernel):
    """The product that a C program gets which links MKL."""

    name = "mkl"
    operator = "gemm"
    summary = "cblas_sgemm of the mkl wheel, called directly"
    dtypes = ("f32",)
    options = _OPTIONS
    stem, versions = STEM, VERSIONS
    factory = "tuner.schedules.gemm.baselines.mkl:prepare"
    tensors = TENSORS


class MklPackedGemm(MklGemm):
    """The same with B constant, packed before any call, scaled by alpha: what a served model gets."""

    name = "mkl_packed"
    constant = ("B",)
    only_frozen = True
    summary = "cblas_sgemm_compute of the mkl wheel, B packed ahead of the timed call"
    options: Mapping[str, Any] = {name: value for name, value in _OPTIONS.items() if name != "batch"}
    factory = "tuner.schedules.gemm.baselines.mkl:prepare_packed"


def _library(threads: int) -> Any:
    path = find_library(STEM, VERSIONS)
    if path is None:
        raise RuntimeError("libmkl_rt.so is not installed")
    # MKL looks for its other parts beside itself, and takes the first OpenMP runtime that it is told.
    os.environ.setdefault("MKL_THREADING_LAYER", "GNU")
    mkl = load_library(path)
    mkl.MKL_Set_Threading_Layer(_GNU_THREADS)
    mkl.MKL_Set_Num_Threads(threads)
    return mkl


def prepare(workload: Workload, tensors: Mapping[str, np.ndarray], threads: int) -> Callable[[], object]:
    """The call, on the arrays' own memory; batches are `cblas_sgemm_batch_strided`."""
    mkl = _library(threads)
    told, pointers = _described(workload, tensors)
    (order, trans_a, trans_b), (m, n, k), (lda, ldb, ldc) = told
    (a, b, d), alpha, zero = pointers, ctypes.c_float(workload.option("alpha", 1.0)), ctypes.c_float(0)
    batch = int(workload.option("batch", 1))
    if batch == 1:
        function = mkl.cblas_sgemm
        return lambda: function(order, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, zero, d, ldc)
    strided = mkl.cblas_sgemm_batch_strided
    steps = [ctypes.c_int(tensors[name][0].size) for name in ("A", "B", "D")]
    return lambda: strided(
        order, trans_a, trans_b, m, n, k, alpha, a, lda, steps[0], b, ldb, steps[1], zero, d, ldc, steps[2],
        batch,
    )  # fmt: skip


def prepare_packed(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int
) -> Callable[[], object]:
    """Like `prepare`, with B packed now."""
    mkl = _library(threads)
    told, (a, b, d) = _described(workload, tensors)
    (order, trans_a, trans_b), (m, n, k), (lda, ldb, ldc) = told
    alpha, zero = ctypes.c_float(workload.option("alpha", 1.0)), ctypes.c_float(0)
    mkl.cblas_sgemm_pack_get_size.restype = ctypes.c_size_t
    room = np.zeros(mkl.cblas_sgemm_pack_get_size(_B_MATRIX, m, n, k) + 64, np.uint8)
    packed = ctypes.c_void_p(room.ctypes.data + -room.ctypes.data % 64)
    mkl.cblas_sgemm_pack(order, _B_MATRIX, trans_b, m, n, k, alpha, b, ldb, packed)
    function = mkl.cblas_sgemm_compute

    def call(room: np.ndarray = room) -> None:
        """`room` keeps the packed matrix alive."""
        function(order, trans_a, _PACKED, m, n, k, a, lda, packed, ldb, zero, d, ldc)

    return call


def _described(
    workload: Workload, tensors: Mapping[str, np.ndarray]
) -> tuple[tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]], list[ctypes.c_void_p]]:
    """(order, transposes), (m, n, k), leading dimensions; and the addresses of A, B and D."""
    m, n, k = (workload[name] for name in ("m", "n", "k"))
    across = [workload.option(name, False) for name in ("trans_a", "trans_b")]
    kinds = [_TRANSPOSED if transposed else _PLAIN for transposed in across]
    leading = (m if across[0] else k, k if across[1] else n, n)
    pointers = [ctypes.c_void_p(tensors[name].ctypes.data) for name in ("A", "B", "D")]
    return ((_ROW_MAJOR, kinds[0], kinds[1]), (m, n, k), leading), pointers
