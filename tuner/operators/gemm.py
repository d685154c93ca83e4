"""GEMM: D = act(alpha * op(A) op(B) + beta * C + bias)."""

import math
from typing import ClassVar

import numpy as np

from tuner.core.operator import Operator, Tensors, TensorSpec
from tuner.core.workload import Option, Workload

_NUMPY = {"f32": "float32"}
# Unit roundoff: half the distance from 1 to the next number (IEEE 754: 24 bits of significand).
_ROUNDOFF = {"f32": 2.0**-24}


class Gemm(Operator):
    """General matrix multiplication, row-major, batched, with an epilogue.

    D[b] = act(alpha * op(A[b]) @ op(B[b]) + beta * C[b] + bias), where op(X) is X, or its transpose with
    `trans_a` / `trans_b`. Shapes: A [batch, m, k] (or [batch, k, m] with trans_a), B [batch, k, n]
    (or [batch, n, k]), C and D [batch, m, n], bias [n], added to every row. C is there only where
    beta is not 0, bias only with `bias`; `relu` makes act(x) = max(x, 0). With batch 1 the batch axis
    is left out of every shape. D is a tensor of its own: no kernel writes to its inputs.
    """

    name = "gemm"
    summary = "D = act(alpha*A@B + beta*C + bias), row-major, transposable, batched"
    dtypes = ("f32",)
    dims = ("m", "n", "k")
    options: ClassVar[dict[str, Option]] = {
        "batch": 1,
        "trans_a": False,
        "trans_b": False,
        "alpha": 1.0,
        "beta": 0.0,
        "bias": False,
        "relu": False,
    }
    example = "1024x1024x1024"

    def validate(self, workload: Workload) -> None:
        """The batch is at least 1, alpha and beta are finite."""
        from tuner.core.errors import InvalidWorkload

        if workload.option("batch", 1) < 1:
            raise InvalidWorkload(f"gemm: batch is an integer from 1 up, not {workload.option('batch', 1)}")
        for name in ("alpha", "beta"):
            if not math.isfinite(workload.option(name, 0.0)):
                raise InvalidWorkload(f"gemm: {name} is a finite number")

    def signature(self, workload: Workload) -> tuple[TensorSpec, ...]:
        """A, B, C (beta != 0), bias (if asked), D."""
        m, n, k = workload["m"], workload["n"], workload["k"]
        batch = workload.option("batch", 1)
        lead = () if batch == 1 else (batch,)
        dtype = _NUMPY[workload.dtype]
        specs = [
            TensorSpec("A", (*lead, k, m) if workload.option("trans_a", False) else (*lead, m, k), dtype),
            TensorSpec("B", (*lead, n, k) if workload.option("trans_b", False) else (*lead, k, n), dtype),
        ]
        if workload.option("beta", 0.0) != 0:
            specs.append(TensorSpec("C", (*lead, m, n), dtype))
        if workload.option("bias", False):
            specs.append(TensorSpec("bias", (n,), dtype))
        return (*specs, TensorSpec("D", (*lead, m, n), dtype, output=True))

    def inputs(self, workload: Workload, seed: int) -> Tensors:
        """Uniform on [-1, 1): mean 0, variance 1/3, so sums over k stay near sqrt(k)/3."""
        rng = np.random.default_rng(seed)
        return {
            spec.name: rng.random(spec.shape, dtype=np.float32) * np.float32(2) - np.float32(1)
            for spec in self.signature(workload)
            if not spec.output
        }

    def reference(self, workload: Workload, inputs: Tensors) -> Tensors:
        """The definition in float64."""
        a, b = (inputs[name].astype(np.float64) for name in ("A", "B"))
        a = a.swapaxes(-1, -2) if workload.option("trans_a", False) else a
        b = b.swapaxes(-1, -2) if workload.option("trans_b", False) else b
        d = workload.option("alpha", 1.0) * (a @ b)
        if "C" in inputs:
            d += workload.option("beta", 0.0) * inputs["C"].astype(np.float64)
        if "bias" in inputs:
            d += inputs["bias"].astype(np.float64)
        return {"D": np.maximum(d, 0.0) if workload.option("relu", False) else d}

    def tolerance(self, workload: Workload, inputs: Tensors, reference: Tensors) -> Tensors:
        """8 standard deviations of the rounding error of a sequential sum, and the last roundings.

        Products of two uniforms on [-1, 1) have variance s^2 = 1/9. Step i of a sequential sum rounds a
        partial sum of standard deviation s*sqrt(i), with a relative error of at most u that acts as
        independent and of mean 0 (the model of Higham and Mary, A new approach to probabilistic rounding
        error analysis, SIAM J. Sci. Comput. 41(5), 2019), so the total has a standard deviation of
        at most u*s*sqrt(1 + 2 + ... + k) ~ u*s*k/sqrt(2). Blocked and fused sums err less. Epilogue and
        storage each round once more: 4u of the largest term. For f32 and k = 1024: 8 * 6e-8 * 1/3 *
        1024 / 1.41 = 1.2e-4, against 0.25 on average for one skipped product.
        """
        u, k = _ROUNDOFF[workload.dtype], workload["k"]
        alpha, beta = abs(workload.option("alpha", 1.0)), abs(workload.option("beta", 0.0))
        accumulation = 8 * u * alpha * (k + 1) / (3 * math.sqrt(2))
        largest = alpha * (math.sqrt(k) + 1) + beta + 1
        return {"D": accumulation + 4 * u * (np.abs(reference["D"]) + largest)}

    def flops(self, workload: Workload) -> int:
        """2*m*n*k a batch entry; the epilogue is not counted, as BLAS benchmarks do not."""
        return 2 * workload["m"] * workload["n"] * workload["k"] * int(workload.option("batch", 1))

    def min_bytes(self, workload: Workload) -> int:
        """All tensors once."""
        return self.memory_bytes(workload)

    def companions(self, workload: Workload) -> tuple[Workload, ...]:
        """Ragged shapes of the same options: smaller than any tile, straddling tiles, and vectors."""
        options = dict(workload.options)
        shapes = ((1, 1, 1), (37, 29, 53), (1, 67, 131), (83, 1, 19))
        return tuple(self.workload(workload.dtype, m=m, n=n, k=k, **options) for m, n, k in shapes)
