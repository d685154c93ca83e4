"""PyTorch on the CPU: `matmul`, `addmm` or `baddbmm` into the output (MKL, or oneDNN)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tuner.core.activations import activation_of
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.gemm.options import ACTIVATED, TENSORS
from tuner.schedules.library import LibraryKernel, start_torch, torch_tensor


class TorchGemm(LibraryKernel):
    """The GEMM that a PyTorch program gets in eager mode.

    int8 is `torch._int_mm` (oneDNN), which multiplies two matrices to int32 and has no epilogue.
    """

    name = "torch"
    operator = "gemm"
    summary = "torch.matmul / addmm / baddbmm, int8: _int_mm, with out= (MKL, oneDNN), zero-copy"
    dtypes = ("f32", "f16", "int8", "bf16")
    options = ACTIVATED
    libraries = ("torch",)
    extra = "torch"
    factory = "tuner.schedules.gemm.baselines.torch:prepare"
    tensors = TENSORS

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """int8 batches; f16 and bf16 epilogues of more than one step, each of which would be rounded."""
        reason = super().unsupported(workload, target)
        if reason is None and workload.dtype == "int8" and workload.option("batch", 1) > 1:
            reason = "its int8 product is of two matrices, not of a batch"
        if reason is None and workload.dtype in ("f16", "bf16") and {"bias"} & dict(workload.options).keys():
            reason = (
                f"its {workload.dtype} epilogue rounds after each step"
                if workload.option("beta", 0.0)
                else None
            )
        return reason


def prepare(workload: Workload, tensors: Mapping[str, np.ndarray], threads: int) -> Callable[[], object]:
    """The call. The first addend (C, else the bias) rides in the GEMM itself; the rest follows in place."""
    import torch

    start_torch(threads)
    t = {name: torch_tensor(array) for name, array in tensors.items()}
    a = _transposed(t["A"]) if workload.option("trans_a", False) else t["A"]
    b = _transposed(t["B"]) if workload.option("trans_b", False) else t["B"]
    d = t["D"]
    alpha, beta = workload.option("alpha", 1.0), workload.option("beta", 0.0)
    add = torch.baddbmm if a.dim() == 3 else torch.addmm
    steps: list[Callable[[], object]] = []
    if workload.dtype == "int8":
        steps.append(lambda: torch._int_mm(a, b, out=d))
        if alpha != 1:
            steps.append(lambda: d.mul_(int(alpha)))
        if beta != 0:
            steps.append(lambda: d.add_(t["C"], alpha=int(beta)))
        if workload.option("bias", False):
            steps.append(lambda: d.add_(t["bias"]))
    elif beta != 0:
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
    if name := activation_of(workload):
        activate = getattr(torch.ops.aten, f"{name}_")
        steps.append(lambda: activate(d))
    if len(steps) == 1:
        return steps[0]

    def call() -> None:
        for step in steps:
            step()

    return call


def _transposed(x: Any) -> Any:
    """A view; of a row or column with plain strides, as with those of `mT` `_int_mm` adds to its output."""
    return x.reshape(*x.shape[:-2], x.shape[-1], x.shape[-2]) if 1 in x.shape[-2:] else x.mT
