"""cuBLAS through CuPy: `cublasGemmEx`, strided for a batch, into the output."""

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.gemm.cublas_types import TYPES
from tuner.schedules.gemm.options import OPTIONS, TENSORS
from tuner.schedules.library import LibraryKernel

_DEFAULT_ALGORITHM = -1


class CublasGemm(LibraryKernel):
    """The GEMM of NVIDIA's library.

    f32 sums in f32: TF32 is not asked for, and cuBLAS takes it only when asked, which tf32 does. f16 and bf16
    sum in f32, int8 in int32. C is copied into D before the call and added by it, in the timed region; bias
    and ReLU follow in place, an elementwise kernel each, as in a program that calls cuBLAS.
    """

    name = "cublas"
    operator = "gemm"
    summary = "cublasGemmEx through CuPy; f32 without TF32, f16 and bf16 with f32 sums, int8 with int32 sums"
    dtypes = ("f32", "f16", "int8", "bf16", "tf32")
    options = OPTIONS
    target_kinds = ("cuda",)
    libraries = ("cupy",)
    extra = "gpu"
    factory = "tuner.schedules.gemm.baselines.cublas:prepare"
    tensors = TENSORS

    def unavailable(self) -> str | None:
        """CuPy or cuBLAS itself is missing."""
        return super().unavailable() or _no_cublas()

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also where cuBLAS has no such GEMM, or its way would round twice."""
        if reason := super().unsupported(workload, target):
            return reason
        if workload.dtype in ("f16", "bf16") and workload.option("bias", False):
            return f"its {workload.dtype} result is rounded before the bias is added"
        rows = (_leads(workload)[0], _leads(workload)[1], workload["n"])
        if workload.dtype == "int8" and any(row % 4 for row in rows):
            return "its int8 GEMM takes rows of whole 4 bytes only"
        return None


class CublasTransposedB(CublasGemm):
    """The int8 GEMM in the order that cuBLAS has tensor core kernels for, B transposed within the call.

    In the library's column-major terms that is op(A) = A^T and op(B) = B (cuBLAS documentation, cublasGemmEx,
    CUBLAS_COMPUTE_32I); its A is B here. A workload with `trans_b` is in that order as it is.
    """

    name = "cublas_transposed_b"
    summary = "cublasGemmEx on int8 with B transposed first, within the call: the order of its fast path"
    dtypes = ("int8",)
    factory = "tuner.schedules.gemm.baselines.cublas:prepare_transposed"

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Only where it differs from `cublas`, and leads to the fast path."""
        if reason := super().unsupported(workload, target):
            return reason
        if workload.option("trans_b", False):
            return "a workload with trans_b is cublas"
        if workload.option("trans_a", False):
            return "the fast path takes A as it lies only"
        return "rows of B^T are not whole 4 bytes" if workload["k"] % 4 else None


def _no_cublas() -> str | None:
    from ctypes.util import find_library
    from importlib.metadata import PackageNotFoundError, distribution

    for name in ("nvidia-cublas", "nvidia-cublas-cu12"):
        try:
            distribution(name)
            return None
        except PackageNotFoundError:
            pass
    if find_library("cublas") is None:  # of a CUDA toolkit
        return "cuBLAS is not installed: pip install 'kernel-tuner-lab[gpu]' (a driver before 580: [gpu12])"
    return None


def _leads(workload: Workload) -> tuple[int, int]:
    """Elements of a row of A and of B as they lie in memory."""
    m, n, k = workload["m"], workload["n"], workload["k"]
    return (m if workload.option("trans_a", False) else k, k if workload.option("trans_b", False) else n)


def prepare_transposed(workload: Workload, tensors: Mapping[str, Any], threads: int) -> Callable[[], object]:
    """Like `prepare`, of B^T in memory of its own that every call fills anew."""
    import cupy

    b = tensors["B"]
    turned = cupy.empty((*b.shape[:-2], b.shape[-1], b.shape[-2]), b.dtype)
    source = cupy.swapaxes(b, -1, -2)  # a view
    options = tuple(sorted({**dict(workload.options), "trans_b": True}.items()))
    call = prepare(replace(workload, options=options), {**tensors, "B": turned}, threads)

    def transposed() -> None:
        cupy.copyto(turned, source)
        call()

    return transposed


def prepare(workload: Workload, tensors: Mapping[str, Any], threads: int) -> Callable[[], object]:
    """The call on CuPy arrays of the signature, on the current stream; `threads` has no meaning here.

    cuBLAS is column-major, where a row-major matrix is its own transpose: D^T = op(B)^T op(A)^T is computed.
    """
    import cupy

    cublas, handle = cupy.cuda.cublas, cupy.cuda.get_cublas_handle()
    operand, result, sums, _, scale = TYPES[workload.dtype]
    m, n, k = workload["m"], workload["n"], workload["k"]
    batch = int(workload.option("batch", 1))
    transposed = [int(workload.option(name, False)) for name in ("trans_b", "trans_a")]
    lead_a, lead_b = _leads(workload)
    number = int if scale is ctypes.c_int32 else float
    alpha, beta = (scale(number(workload.option(*each))) for each in (("alpha", 1.0), ("beta", 0.0)))
    a, b, d = tensors["A"], tensors["B"], tensors["D"]
    c, bias = tensors.get("C"), tensors.get("bias")
    at_alpha, at_beta = ctypes.addressof(alpha), ctypes.addressof(beta)
    relu = workload.option("relu", False)
    head = (handle, *transposed, n, m, k, at_alpha)

    def multiply() -> None:
        if batch == 1:
            cublas.gemmEx(*head, b.data.ptr, operand, lead_b, a.data.ptr, operand, lead_a, at_beta,
                          d.data.ptr, result, n, sums, _DEFAULT_ALGORITHM)  # fmt: skip
        else:
            cublas.gemmStridedBatchedEx(
                *head, b.data.ptr, operand, lead_b, n * k, a.data.ptr, operand, lead_a, m * k, at_beta,
                d.data.ptr, result, n, m * n, batch, sums, _DEFAULT_ALGORITHM,
            )  # fmt: skip

    def call(_alive: object = (alpha, beta)) -> None:
        if c is not None:
            cupy.copyto(d, c)
        multiply()
        if bias is not None:
            cupy.add(d, bias, out=d)
        if relu:
            cupy.maximum(d, 0, out=d)

    return call
