"""NumPy: `numpy.matmul`, which calls OpenBLAS, and the epilogue as array operations in place."""

from collections.abc import Callable, Mapping

import numpy as np

from tuner.core.workload import Workload
from tuner.schedules.gemm.options import OPTIONS, TENSORS
from tuner.schedules.library import LibraryKernel


class NumpyGemm(LibraryKernel):
    """The GEMM that a NumPy program gets."""

    name = "numpy"
    operator = "gemm"
    summary = "numpy.matmul (OpenBLAS) with the epilogue as in-place array operations"
    dtypes = ("f32",)
    options = OPTIONS
    libraries = ("numpy",)
    factory = "tuner.schedules.gemm.baselines.numpy:prepare"
    tensors = TENSORS


def prepare(workload: Workload, tensors: Mapping[str, np.ndarray], threads: int) -> Callable[[], object]:
    """The call. A transposed operand is passed as a view: BLAS takes it as it lies, without a copy."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(threads)  # stays in force: nothing restores it
    a, b, d = tensors["A"], tensors["B"], tensors["D"]
    a = a.swapaxes(-1, -2) if workload.option("trans_a", False) else a
    b = b.swapaxes(-1, -2) if workload.option("trans_b", False) else b
    alpha, beta = (np.float32(workload.option(*default)) for default in (("alpha", 1.0), ("beta", 0.0)))
    steps: list[Callable[[], object]] = []
    if alpha != 1:
        steps.append(lambda: np.multiply(d, alpha, out=d))
    if beta != 0:
        c, scaled = tensors["C"], np.empty_like(tensors["C"])
        if beta == 1:
            steps.append(lambda: np.add(d, c, out=d))
        else:
            steps.append(lambda: np.add(d, np.multiply(c, beta, out=scaled), out=d))
    if workload.option("bias", False):
        bias = tensors["bias"]
        steps.append(lambda: np.add(d, bias, out=d))
    if workload.option("relu", False):
        zero = np.float32(0)
        steps.append(lambda: np.maximum(d, zero, out=d))
    if not steps:
        return lambda: np.matmul(a, b, out=d)

    def call() -> None:
        np.matmul(a, b, out=d)
        for step in steps:
            step()

    return call
