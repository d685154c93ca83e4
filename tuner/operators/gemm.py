"""GEMM: D = act(alpha * op(A) op(B) + beta * C + bias)."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from tuner.core.activations import OF_PRODUCTS
from tuner.core.errors import InvalidWorkload
from tuner.core.excerpt import Excerpt, flat_indices
from tuner.core.numerics import F16_LARGEST, INT8_ADDEND, STORAGE, TF32_LARGEST, draw, sum_tolerance
from tuner.core.operator import Operator, Tensors, TensorSpec
from tuner.core.special import NON_FINITE, extremes, largest, places, plant, tiny
from tuner.core.workload import Option, Workload
from tuner.operators import activations, quantized

# Rows and columns of an excerpt.
_SIDE = 8


class Gemm(Operator):
    """General matrix multiplication, row-major, batched, with an epilogue.

    D[b] = act(alpha * op(A[b]) @ op(B[b]) + beta * C[b] + bias), where op(X) is X, or its transpose with
    `trans_a` / `trans_b`. Shapes: A [batch, m, k] (or [batch, k, m] with trans_a), B [batch, k, n]
    (or [batch, n, k]), C and D [batch, m, n], bias [n], added to every row. C is there only where
    beta is not 0, bias only with `bias`; act is at most one of `relu` (max(x, 0)), `silu` (x / (1 + e^-x)),
    `gelu` (x times the standard normal distribution's share below x) and `tanh`. With batch 1 the batch axis
    is left out of every shape. D is a tensor of its own: no kernel writes to its inputs.

    dtypes: `f32`; `f16` and `bf16`: all tensors are, sums and epilogue in f32, one rounding at the end;
    `tf32`: all tensors f32, whose 13 last bits of significand products may leave out, sums in f32; `e4m3` and
    `e5m2`: A and B 8-bit floats, C, bias and D bf16, sums and epilogue in f32;
    `int8`: A and B int8, C, bias and D int32, exact, alpha and beta integers. With `scale_tensor` or
    `scale_channel` D is int8: that sum (with C, bias and act) is rounded to f32, multiplied by the f32 tensor
    `scale` (one value, or one a column of D), rounded to f32, then to the nearest integer, ties to even, and
    clamped to [-128, 127]: as exact. `zero_points`, of scaled results, adds the int32 tensor `Z` of two
    values in [-128, 127]: Z[1] is added before the clamping. Z[0], the zero point of A, is not read: its
    part -Z[0] * sum(B) belongs into the bias; B's is 0.

    `frozen` says that B is a matrix of weights, the same in every call: a kernel may lay it out ahead,
    outside of what is timed. What is computed stays the same, and so do the other workloads.

    Special values: every product and sum of the formula is one of IEEE 754, in any order, and there are no
    others. So a NaN in row i of op(A) makes row i of D NaN and nothing else, 0 times an infinity is a NaN,
    also where that 0 is alpha (a BLAS would not read A and B), and C is not there where beta is 0. act of a
    NaN is a NaN, ReLU of -inf 0, SiLU and GELU of -inf a NaN, as in PyTorch, NumPy and ONNX. An f32 sum that
    overflows on its way is infinite or NaN though the result might be finite. Denormals count, but what is
    smaller than a rounding error may be taken for 0.
    """

    name = "gemm"
    summary = "D = act(alpha*A@B + beta*C + bias), row-major, transposable, batched"
    dtypes = ("f32", "f16", "int8", "bf16", "tf32", "e4m3", "e5m2")
    dims = ("m", "n", "k")
    tensors = ("A", "B", "C", "bias", "scale", "Z", "D")
    weights = ("B",)
    beside_weights = ("bias", "scale", "Z")
    options: ClassVar[dict[str, Option]] = {
        "batch": 1,
        "trans_a": False,
        "trans_b": False,
        "alpha": 1.0,
        "beta": 0.0,
        "bias": False,
        "relu": False,
        **dict.fromkeys(OF_PRODUCTS, False),
        **quantized.OPTIONS,
        "frozen": False,
    }
    named_options = (*quantized.OPTIONS, *OF_PRODUCTS)
    example = "1024x1024x1024"
    large = "4096x4096x4096"
    untold: ClassVar[Mapping[str, tuple[Option, ...]]] = {
        "trans_a": (False, True), "trans_b": (False, True), "bias": (False, True), "relu": (False, True),
        "beta": (0.0, 1.0),
    }  # fmt: skip

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
        quantized.validate(workload)
        activations.validate(workload)
        alpha, beta = abs(workload.option("alpha", 1.0)), abs(workload.option("beta", 0.0))
        if workload.dtype == "f16" and 8 * alpha * math.sqrt(workload["k"]) / 3 + beta + 1 > F16_LARGEST:
            raise InvalidWorkload("gemm: f16 results would overflow 65504: take a smaller alpha, beta or k")
        if workload.dtype == "int8":
            if alpha != int(alpha) or beta != int(beta):
                raise InvalidWorkload("gemm: int8 is exact, so alpha and beta are integers")
            if alpha * 2**14 * workload["k"] + (beta + 1) * INT8_ADDEND >= 2**31:
                raise InvalidWorkload("gemm: int8 results would overflow int32: take a smaller alpha or k")

    def signature(self, workload: Workload) -> tuple[TensorSpec, ...]:
        """A, B, C (beta != 0), bias, scale, Z (each if asked), D."""
        m, n, k = workload["m"], workload["n"], workload["k"]
        batch = workload.option("batch", 1)
        lead = () if batch == 1 else (batch,)
        dtype, wide = STORAGE[workload.dtype]
        specs = [
            TensorSpec("A", (*lead, k, m) if workload.option("trans_a", False) else (*lead, m, k), dtype),
            TensorSpec("B", (*lead, n, k) if workload.option("trans_b", False) else (*lead, k, n), dtype),
        ]
        if workload.option("beta", 0.0) != 0:
            specs.append(TensorSpec("C", (*lead, m, n), wide))
        if workload.option("bias", False):
            specs.append(TensorSpec("bias", (n,), wide))
        specs += quantized.specs(workload, n)
        out = "int8" if quantized.scaled(workload) else wide
        return (*specs, TensorSpec("D", (*lead, m, n), out, output=True))

    def inputs(self, workload: Workload, seed: int) -> Tensors:
        """Uniform on [-1, 1): mean 0, variance 1/3, so sums over k stay near sqrt(k)/3.

        int8: A and B uniform over all 256 values, C and bias on [-1024, 1024), scales such that results
        spread over int8.
        """
        rng = np.random.default_rng(seed)
        tensors = {spec.name: draw(spec, rng) for spec in self.signature(workload) if not spec.output}
        quantized.draw_into(tensors, rng, workload["k"], float(workload.option("alpha", 1.0)))
        return tensors

    def special_inputs(self, workload: Workload, seed: int) -> Tensors:
        """Special values in a few rows of op(A), columns of op(B) and elements of C and bias.

        At most a quarter of each, one row of op(A) where that is none. Zeros and denormals lie in the first
        half along k, the others in the second, so that 0 times infinity is no matter of flushed denormals.
        The largest finite values, divided by alpha where that is above 1, are in op(A) alone: against op(B)
        below 1 no sum overflows. int8: whole rows and columns of one extreme, whose products make the largest
        sums there are.
        """
        tensors = self.inputs(workload, seed)
        rng = np.random.default_rng((seed, 1))
        batch, k = workload.option("batch", 1), workload["k"]
        a, b = (tensors[name].reshape(batch, *tensors[name].shape[-2:]) for name in ("A", "B"))
        a = a.swapaxes(1, 2) if workload.option("trans_a", False) else a  # [batch, m, k]
        b = b if workload.option("trans_b", False) else b.swapaxes(1, 2)  # [batch, n, k]
        if workload.dtype == "int8":
            quantized.extremes_into(tensors, seed)
            for matrix in (a, b):
                count = matrix.shape[1]
                for number, row in enumerate(rng.permutation(batch * count)[: 1 + count // 2]):
                    matrix[divmod(int(row), count)] = extremes("int8")[number % 2]
            return tensors
        dtype, half = str(a.dtype), (0, k // 2)
        end = TF32_LARGEST if workload.dtype == "tf32" else largest(dtype)
        end /= max(1.0, abs(workload.option("alpha", 1.0)))
        small = [(value, half) for value in tiny(dtype)] if k > 1 else []
        large = [(value, (k // 2, k)) for value in (*NON_FINITE, end, -end)]
        rows, columns = places(rng, batch * workload["m"], 16), places(rng, batch * workload["n"], 12)
        if not rows.size + columns.size:
            rows = np.zeros(1, int)
        for matrix, chosen, values in ((a, rows, large + small), (b, columns, large[:3] + small)):
            for number, row in enumerate(chosen):
                value, (first, behind) = values[number % len(values)]
                matrix[(*divmod(int(row), matrix.shape[1]), rng.integers(first, behind))] = value
        for name in ("C", "bias"):
            if name in tensors:
                plant(tensors[name], rng, (*NON_FINITE, *tiny(dtype)), 12)
        return tensors

    def reference(self, workload: Workload, inputs: Tensors) -> Tensors:
        """The definition in float64; for int8 exact, as int64.

        float64 holds every integer up to 2^53, and `validate` keeps all partial sums under 2^31, so the
        int8 product is exact in it, and much faster than NumPy's integer product.
        """
        a, b = (inputs[name].astype(np.float64) for name in ("A", "B"))
        a = a.swapaxes(-1, -2) if workload.option("trans_a", False) else a
        b = b.swapaxes(-1, -2) if workload.option("trans_b", False) else b
        with np.errstate(invalid="ignore"):  # special values
            d = workload.option("alpha", 1.0) * (a @ b)
            if "C" in inputs:
                d += workload.option("beta", 0.0) * inputs["C"].astype(np.float64)
            if "bias" in inputs:
                d += inputs["bias"].astype(np.float64)
            d = activations.applied(workload, d)
        if "scale" in inputs:
            d = quantized.requantized(d, inputs["scale"], inputs)
        return {"D": d.astype(np.int64) if workload.dtype == "int8" else d}

    def tolerance(self, workload: Workload, inputs: Tensors, reference: Tensors) -> Tensors:
        """`sum_tolerance` of k products, 8 standard deviations of a sequential sum's error; int8: 0."""
        return self.tolerance_of(workload, inputs, reference, "f32")

    def tolerance_of(
        self, workload: Workload, inputs: Tensors, reference: Tensors, accumulator: str
    ) -> Tensors:
        """As `tolerance`, for sums in f32, f16 or bf16; errors grow by the activation's largest slope."""
        if workload.dtype == "int8":
            return {"D": np.zeros(())}
        k, alpha = workload["k"], abs(workload.option("alpha", 1.0))
        largest = alpha * (math.sqrt(k) + 1) + abs(workload.option("beta", 0.0)) + 1
        more, d = bool({"C", "bias"} & inputs.keys()) or activations.curved(workload), reference["D"]
        allowed = sum_tolerance(workload.dtype, k, d, largest, alpha, more, accumulator)
        return {"D": activations.slope(workload) * allowed}

    def flops(self, workload: Workload) -> int:
        """2*m*n*k a batch entry; the epilogue is not counted, as BLAS benchmarks do not."""
        return 2 * workload["m"] * workload["n"] * workload["k"] * int(workload.option("batch", 1))

    def min_bytes(self, workload: Workload) -> int:
        """All tensors once."""
        return self.memory_bytes(workload)

    def dims_of(
        self, shapes: Sequence[tuple[int, ...]], options: Mapping[str, Option]
    ) -> Mapping[str, int] | None:
        """Of A and B, as matrices or as batches of them."""
        if len(shapes) < 3 or len(shapes[0]) != len(shapes[1]) or len(shapes[0]) not in (2, 3):
            return None
        (*batch, rows, columns), (*_, inner, n) = shapes[0], shapes[1]
        m, k = (columns, rows) if options["trans_a"] else (rows, columns)
        found = {"m": m, "k": k, "n": inner if options["trans_b"] else n}
        return {**found, "batch": batch[0]} if batch else found

    def companions(self, workload: Workload) -> tuple[Workload, ...]:
        """Ragged shapes of the same options: smaller than any tile, straddling tiles, and vectors."""
        options = dict(workload.options)
        shapes = ((1, 1, 1), (37, 29, 53), (1, 67, 131), (83, 1, 19))
        return tuple(self.workload(workload.dtype, m=m, n=n, k=k, **options) for m, n, k in shapes)

    def excerpt(self, workload: Workload, inputs: Tensors, rng: np.random.Generator) -> Excerpt:
        """Up to 8 random rows by 8 random columns of one D: the product of these rows and columns."""
        m, n, k = workload["m"], workload["n"], workload["k"]
        batch = workload.option("batch", 1)
        b = int(rng.integers(batch))
        rows, columns = (np.sort(rng.permutation(size)[:_SIDE]) for size in (m, n))
        across = {"A": workload.option("trans_a", False), "B": workload.option("trans_b", False)}
        every, requantization = slice(None), quantized.places(workload, columns)
        axes: dict[str, tuple[np.ndarray | slice, ...]] = {
            "A": (rows, every),
            "B": (every, columns),
            "C": (rows, columns),
            "D": (rows, columns),
        }
        found = {}
        for spec in self.signature(workload):
            if spec.name in ("bias", *requantization):
                found[spec.name] = requantization.get(spec.name, columns)
                continue
            place = axes[spec.name][::-1] if across.get(spec.name) else axes[spec.name]
            found[spec.name] = flat_indices(spec.shape, *((b,) if batch > 1 else ()), *place)
        options = {name: value for name, value in workload.options if name != "batch"}
        part = self.workload(workload.dtype, m=len(rows), n=len(columns), k=k, **options)
        shapes = {spec.name: spec.shape for spec in self.signature(part)}
        outputs = {"D": found.pop("D")}

        def gather(whole: Tensors) -> Tensors:
            return {name: whole[name].reshape(-1)[at].reshape(shapes[name]) for name, at in found.items()}

        return Excerpt(part, gather, outputs, found)
