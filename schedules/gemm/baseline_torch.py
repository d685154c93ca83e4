"""PyTorch on the CPU: `matmul`, `addmm` or `baddbmm` into the output (MKL, or oneDNN)."""

from collections.abc import Callable, Mapping

import numpy as np

from schedules._library import LibraryKernel
from schedules.gemm._options import OPTIONS, TENSORS
from tuner.core.workload import Workload


class TorchGemm(LibraryKernel):
    """The GEMM that a PyTorch program gets in eager mode."""

    name = "torch"
    operator = "gemm"
    summary = "torch.matmul / addmm / baddbmm with out= (MKL), zero-copy from NumPy arrays"
    dtypes = ("f32",)
    options = OPTIONS
    libraries = ("torch",)
    extra = "torch"
    factory = "schedules.gemm.baseline_torch:prepare"
    tensors = TENSORS


def prepare(workload: Workload, tensors: Mapping[str, np.ndarray], threads: int) -> Callable[[], object]:
    """The call. The first addend (C, else the bias) rides in the GEMM itself; the rest follows in place."""
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    t = {name: torch.from_numpy(array) for name, array in tensors.items()}
    a = t["A"].mT if workload.option("trans_a", False) else t["A"]
    b = t["B"].mT if workload.option("trans_b", False) else t["B"]
    d = t["D"]
    alpha, beta = workload.option("alpha", 1.0), workload.option("beta", 0.0)
    add = torch.baddbmm if a.dim() == 3 else torch.addmm
    steps: list[Callable[[], object]] = []
    if beta != 0:
        c = t["C"]
        steps.append(lambda: add(c, a, b, beta=beta, alpha=alpha, out=d))
        if workload.option("bias", False):
            steps.append(lambda: d.add_(t["bias"]))
    elif workload.option("bias", False):
        bias = t["bias"]
        steps.append(lambda: add(bias, a, b, alpha=alpha, out=d))
    elif alpha != 1:
        # beta 0: the addend is neither read nor added, D itself only gives the shape.
        steps.append(lambda: add(d, a, b, beta=0, alpha=alpha, out=d))
    else:
        steps.append(lambda: torch.matmul(a, b, out=d))
    if workload.option("relu", False):
        steps.append(lambda: d.relu_())
    if len(steps) == 1:
        return steps[0]

    def call() -> None:
        for step in steps:
            step()

    return call
