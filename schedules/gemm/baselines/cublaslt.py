"""cuBLASLt with its algorithms timed one by one: what a program gets that tunes the library itself."""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from tuner.core.space import Config, Parameter, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules import cublaslt
from tuner.schedules.gemm.cublas_types import TYPES
from tuner.schedules.gemm.options import OPTIONS, TENSORS
from tuner.schedules.library import LibraryKernel

# The first of a list that goes from the most to the least promising.
ALGORITHMS = 8
# What NVIDIA recommends on Hopper and later (cuBLAS documentation, cublasSetWorkspace).
WORKSPACE_BYTES = 32 * 2**20


class CublasLtGemm(LibraryKernel):
    """The library's heuristics list algorithms; each is a configuration, so that each has a trial.

    `ALGO=0` is what the library takes by itself. Epilogues are fused, in f32 before the one rounding; int8
    has none in the library, its bias and ReLU follow in place. f32 is without TF32, tf32 is with it. Of e4m3
    the library sums in f32 or, with `FAST_ACCUM`, in the tensor cores alone, as kernels of ours do.
    """

    name = "cublaslt"
    operator = "gemm"
    summary = "cublasLtMatmul, each algorithm of its heuristics timed; C, bias and ReLU fused"
    dtypes = ("f32", "f16", "bf16", "int8", "tf32", "e4m3")
    options = OPTIONS
    target_kinds = ("cuda",)
    libraries = ("cupy",)
    extra = "gpu"
    factory = "tuner.schedules.gemm.baselines.cublaslt:prepare"
    tensors = TENSORS

    def unavailable(self) -> str | None:
        """CuPy, or the library itself, is not installed."""
        if reason := super().unavailable():
            return reason
        if cublaslt.library_path() is None:
            install = "pip install 'kernel-tuner-lab[gpu]' (a driver before 580: [gpu12])"
            return f"cuBLASLt is not installed: {install}"
        return None

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also where rows of int8 are no whole words, or e4m3 is not in the one order the library has."""
        if reason := super().unsupported(workload, target):
            return reason
        rows = (workload["m"], workload["n"], workload["k"])
        if workload.dtype == "int8" and any(size % 4 for size in rows):
            return "its int8 GEMM takes rows of whole 4 bytes only"
        return _wrong_e4m3(workload) if workload.dtype == "e4m3" else None

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """`ALGO`: the place of an algorithm in the heuristics' list, which may turn out shorter."""
        parameters = [
            Parameter("ALGO", tuple(range(ALGORITHMS)), "place in the list of cuBLASLt's heuristics")
        ]
        if workload.dtype == "e4m3":
            parameters.append(Parameter("FAST_ACCUM", (0, 1), "1: sums stay in the tensor cores"))
        return SearchSpace(tuple(parameters), (), self.constants(workload, target))


def _wrong_e4m3(workload: Workload) -> str | None:
    """Why the library does not multiply such a workload (cuBLAS documentation, cublasLtMatmul, FP8)."""
    if workload.option("trans_a", False) or not workload.option("trans_b", False):
        return "its e4m3 GEMM takes rows of k in A and in B only: trans_b and not trans_a"
    if any(workload[size] % 16 for size in ("n", "k")):
        return "its e4m3 GEMM takes rows of whole 16 elements only"
    return None


def prepare(
    workload: Workload, tensors: Mapping[str, Any], threads: int, config: Config
) -> Callable[[], object]:
    """The call on CuPy arrays of the signature, on the current stream; `threads` has no meaning here.

    As in `cublas`, D^T = op(B)^T op(A)^T: the library's A is B here.

    Raises:
        RuntimeError: the library has no such algorithm for this product.
    """
    import cupy

    operand, result, sums, scale, number = TYPES[workload.dtype]
    m, n, k = workload["m"], workload["n"], workload["k"]
    batch = int(workload.option("batch", 1))
    trans_a, trans_b = (bool(workload.option(name, False)) for name in ("trans_a", "trans_b"))
    product = cublaslt.Product(str(cublaslt.library_path()), sums, scale, (trans_b, trans_a))
    product.add_matrix(operand, *((k, n) if trans_b else (n, k)), k if trans_b else n, batch, n * k)
    product.add_matrix(operand, *((m, k) if trans_a else (k, m)), m if trans_a else k, batch, m * k)
    for _ in ("C", "D"):
        product.add_matrix(result, n, m, n, batch, m * n)
    bias, relu = tensors.get("bias"), bool(workload.option("relu", False))
    fused = workload.dtype != "int8"
    if fused:
        product.finish_with(relu, None if bias is None else int(bias.data.ptr))
    if config.get("FAST_ACCUM"):
        product.accumulate_fast()
    found = product.algorithms(ALGORITHMS, WORKSPACE_BYTES)
    chosen = int(config["ALGO"])
    if chosen >= len(found):
        raise RuntimeError(f"cuBLASLt lists {len(found)} algorithms for this product: there is no {chosen}")
    d = tensors["D"]
    c = tensors.get("C", d)  # with beta 0 it is not read
    workspace = cupy.empty((WORKSPACE_BYTES,), "uint8")
    alpha, beta = workload.option("alpha", 1.0), workload.option("beta", 0.0)
    whole = int if number is ctypes.c_int32 else float
    multiply = product.prepared(
        found[chosen], [number(whole(alpha)), number(whole(beta))],
        [int(array.data.ptr) for array in (tensors["B"], tensors["A"], c, d)],
        int(workspace.data.ptr), WORKSPACE_BYTES, int(cupy.cuda.get_current_stream().ptr),
    )  # fmt: skip

    def call(_alive: object = workspace) -> None:
        multiply()
        if not fused and bias is not None:
            cupy.add(d, bias, out=d)
        if not fused and relu:
            cupy.maximum(d, 0, out=d)

    return call
