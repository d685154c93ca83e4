"""GEMM: D = act(alpha * op(A) op(B) + beta * C + bias)."""

import math
from typing import ClassVar

import numpy as np

from tuner.core.errors import InvalidWorkload
from tuner.core.operator import Operator, Tensors, TensorSpec
from tuner.core.workload import Option, Workload

# NumPy dtypes of A and B, and of C, bias and D.
_NUMPY = {"f32": ("float32", "float32"), "f16": ("float16", "float16"), "int8": ("int8", "int32")}
# Unit roundoff: half the distance from 1 to the next number (IEEE 754: 24 and 11 bits of significand).
_U32, _U16 = 2.0**-24, 2.0**-11
_INT8_ADDEND = 1024  # C and bias of int8 workloads lie in [-1024, 1024)


class Gemm(Operator):
    """General matrix multiplication, row-major, batched, with an epilogue.

    D[b] = act(alpha * op(A[b]) @ op(B[b]) + beta * C[b] + bias), where op(X) is X, or its transpose with
    `trans_a` / `trans_b`. Shapes: A [batch, m, k] (or [batch, k, m] with trans_a), B [batch, k, n]
    (or [batch, n, k]), C and D [batch, m, n], bias [n], added to every row. C is there only where
    beta is not 0, bias only with `bias`; `relu` makes act(x) = max(x, 0). With batch 1 the batch axis
    is left out of every shape. D is a tensor of its own: no kernel writes to its inputs.

    dtypes: `f32`; `f16`: all tensors f16, sums and epilogue in f32, one rounding at the end; `int8`: A and B
    int8, C, bias and D int32, exact, alpha and beta integers.
    """

    name = "gemm"
    summary = "D = act(alpha*A@B + beta*C + bias), row-major, transposable, batched"
    dtypes = ("f32", "f16", "int8")
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
        """The batch is at least 1, alpha and beta are finite, no result overflows D's type.

        For f16 the largest result is taken as 8 standard deviations of the sum. For int8 it is the bound:
        a product is at most 2^14, so alpha = 1 and beta = 0 allow k up to 131,071.
        """
        if workload.option("batch", 1) < 1:
            raise InvalidWorkload(f"gemm: batch is an integer from 1 up, not {workload.option('batch', 1)}")
        for name in ("alpha", "beta"):
            if not math.isfinite(workload.option(name, 0.0)):
                raise InvalidWorkload(f"gemm: {name} is a finite number")
        alpha, beta = abs(workload.option("alpha", 1.0)), abs(workload.option("beta", 0.0))
        if workload.dtype == "f16" and 8 * alpha * math.sqrt(workload["k"]) / 3 + beta + 1 > 65504:
            raise InvalidWorkload("gemm: f16 results would overflow 65504: take a smaller alpha, beta or k")
        if workload.dtype == "int8":
            if alpha != int(alpha) or beta != int(beta):
                raise InvalidWorkload("gemm: int8 is exact, so alpha and beta are integers")
            if alpha * 2**14 * workload["k"] + (beta + 1) * _INT8_ADDEND >= 2**31:
                raise InvalidWorkload("gemm: int8 results would overflow int32: take a smaller alpha or k")

    def signature(self, workload: Workload) -> tuple[TensorSpec, ...]:
        """A, B, C (beta != 0), bias (if asked), D."""
        m, n, k = workload["m"], workload["n"], workload["k"]
        batch = workload.option("batch", 1)
        lead = () if batch == 1 else (batch,)
        dtype, wide = _NUMPY[workload.dtype]
        specs = [
            TensorSpec("A", (*lead, k, m) if workload.option("trans_a", False) else (*lead, m, k), dtype),
            TensorSpec("B", (*lead, n, k) if workload.option("trans_b", False) else (*lead, k, n), dtype),
        ]
        if workload.option("beta", 0.0) != 0:
            specs.append(TensorSpec("C", (*lead, m, n), wide))
        if workload.option("bias", False):
            specs.append(TensorSpec("bias", (n,), wide))
        return (*specs, TensorSpec("D", (*lead, m, n), wide, output=True))

    def inputs(self, workload: Workload, seed: int) -> Tensors:
        """Uniform on [-1, 1): mean 0, variance 1/3, so sums over k stay near sqrt(k)/3.

        int8: A and B uniform over all 256 values, C and bias on [-1024, 1024).
        """
        rng = np.random.default_rng(seed)

        def draw(spec: TensorSpec) -> np.ndarray:
            if spec.dtype == "int8":
                return rng.integers(-128, 128, spec.shape, dtype=np.int8)
            if spec.dtype == "int32":
                return rng.integers(-_INT8_ADDEND, _INT8_ADDEND, spec.shape, dtype=np.int32)
            values = rng.random(spec.shape, dtype=np.float32) * np.float32(2) - np.float32(1)
            return values.astype(spec.dtype, copy=False)

        return {spec.name: draw(spec) for spec in self.signature(workload) if not spec.output}

    def reference(self, workload: Workload, inputs: Tensors) -> Tensors:
        """The definition in float64; for int8 exact, as int64.

        float64 holds every integer up to 2^53, and `validate` keeps all partial sums under 2^31, so the
        int8 product is exact in it, and much faster than NumPy's integer product.
        """
        a, b = (inputs[name].astype(np.float64) for name in ("A", "B"))
        a = a.swapaxes(-1, -2) if workload.option("trans_a", False) else a
        b = b.swapaxes(-1, -2) if workload.option("trans_b", False) else b
        d = workload.option("alpha", 1.0) * (a @ b)
        if "C" in inputs:
            d += workload.option("beta", 0.0) * inputs["C"].astype(np.float64)
        if "bias" in inputs:
            d += inputs["bias"].astype(np.float64)
        d = np.maximum(d, 0.0) if workload.option("relu", False) else d
        return {"D": d.astype(np.int64) if workload.dtype == "int8" else d}

    def tolerance(self, workload: Workload, inputs: Tensors, reference: Tensors) -> Tensors:
        """8 standard deviations of the rounding error of a sequential sum, and the last roundings.

        Products of two uniforms on [-1, 1) have variance s^2 = 1/9. Step i of a sequential sum rounds a
        partial sum of standard deviation s*sqrt(i), with a relative error of at most u that acts as
        independent and of mean 0 (the model of Higham and Mary, A new approach to probabilistic rounding
        error analysis, SIAM J. Sci. Comput. 41(5), 2019), so the total has a standard deviation of
        at most u*s*sqrt(1 + 2 + ... + k) ~ u*s*k/sqrt(2). Blocked and fused sums err less. Epilogue and
        storage each round once more: 4u of the largest term. For f32 and k = 1024: 8 * 6e-8 * 1/3 *
        1024 / 1.41 = 1.2e-4, against 0.25 on average for one skipped product.

        f16 sums in f32 (u = 2^-24, and tensor cores truncate where a CPU rounds: Fasi, Higham, Mikaitis,
        Pranesh, Numerical behavior of NVIDIA tensor cores, PeerJ CS 2021, hence u doubled) and rounds to
        11 bits when D is stored: half a unit in the last place of D is at most 2^-11 |D|. A library that
        stores alpha*A@B before it adds the epilogue rounds twice, so twice that, and with an epilogue
        2^-11 of the largest term more. For k = 1024 and |D| = 10: 1e-2. int8 is exact: 0.
        """
        if workload.dtype == "int8":
            return {"D": np.zeros(())}
        u, k = _U32 if workload.dtype == "f32" else 2 * _U32, workload["k"]
        alpha, beta = abs(workload.option("alpha", 1.0)), abs(workload.option("beta", 0.0))
        accumulation = 8 * u * alpha * (k + 1) / (3 * math.sqrt(2))
        largest = alpha * (math.sqrt(k) + 1) + beta + 1
        size = np.abs(reference["D"])
        tolerance = accumulation + 4 * u * (size + largest)
        if workload.dtype == "f16":
            epilogue = "C" in inputs or "bias" in inputs
            # 2^-25 is half the spacing of f16 numbers around 0.
            tolerance = tolerance + _U16 * (2 * size + (largest if epilogue else 0.0)) + 2.0**-25
        return {"D": tolerance}

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
