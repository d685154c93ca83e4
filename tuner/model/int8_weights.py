"""Constants of an int8 layer's kernel: weights, bias with the zero point's share, scales, zero points."""

from collections.abc import Mapping

import numpy as np

from tuner.core.operator import TensorSpec
from tuner.model.layer import Binding, Layer
from tuner.model.quantization import SHIFT, Quantization, sum_factors

# A bias whose scale is that of the sum but for rounding is in the sum's steps already.
_ALIKE = 1e-5


def tensors(
    layer: Layer, arrays: Mapping[str, np.ndarray], specs: Mapping[str, TensorSpec]
) -> dict[str, np.ndarray]:
    """All that is the same in every run, by the kernel's names.

    sum over k of (x - zx) * w = sum of x * w - zx * sum of w: the second part, of constants, is added to the
    bias. A zero point that each run computes gives a bias in each run (`column_sums`); it is not here.

    Args:
        layer: an int8 one.
        arrays: the graph's constants, by name.
        specs: of the kernel's tensors.
    """
    q = layer.quantization
    assert q is not None
    found: dict[str, np.ndarray] = {}
    weights = next(b for b in layer.inputs if b.value == q.w.value and b.tensor in ("W", "B"))
    if q.w.value in arrays:
        found[weights.tensor] = as_int8(arrays[q.w.value]).reshape(specs[weights.tensor].shape)
    if "bias" in specs and not q.x.computed:
        found["bias"] = _bias(q, arrays, specs["bias"].shape[0])
    if "scale" in specs:
        found["scale"] = np.ascontiguousarray(q.multiplier.reshape(specs["scale"].shape))
    if "Z" in specs:
        assert q.y is not None
        zeros = [q.x.zero, q.y.zero, *([] if q.total is None else [q.total.zero])]
        found["Z"] = np.array(zeros, np.int32)
    if "ratios" in specs:
        found["ratios"] = _ratios(q)
    return found


def _ratios(q: Quantization) -> np.ndarray:
    assert q.y is not None and q.residual is not None and q.total is not None
    terms = [(float(term.scale[0]), term.zero) for term in (q.y, q.residual)]
    factors, added = sum_factors(terms, float(q.total.scale[0]), q.total.zero)
    return np.array([*factors, added], np.float32)


def as_int8(array: np.ndarray) -> np.ndarray:
    """uint8 values less 128, int8 values as they are; contiguous."""
    if array.dtype == np.uint8:
        return (array ^ np.uint8(SHIFT)).view(np.int8)
    return np.ascontiguousarray(array)


def column_sums(q: Quantization, array: np.ndarray) -> np.ndarray:
    """Sum of the weights of each output channel, int64."""
    axes = tuple(axis for axis in range(array.ndim) if axis != q.along)
    sums: np.ndarray = as_int8(array).sum(axes, dtype=np.int64)
    return sums


def _bias(q: Quantization, arrays: Mapping[str, np.ndarray], channels: int) -> np.ndarray:
    """In steps of the sum. int32 sums wrap, and so does what is added to them."""
    found = np.zeros(channels, np.int64)
    if q.bias:
        given = arrays[q.bias].reshape(-1)
        step = q.step.astype(np.float64)
        if given.dtype.kind == "f":
            found += _rounded(given.astype(np.float64) / step)
        elif q.bias_scale is None or np.allclose(q.bias_scale, step, rtol=_ALIKE, atol=0):
            found += given
        else:
            found += _rounded(given * (q.bias_scale.astype(np.float64) / step))
    if q.x.zero:
        found -= q.x.zero * column_sums(q, arrays[q.w.value])
    return found.astype(np.int32)


def _rounded(numbers: np.ndarray) -> np.ndarray:
    limits = np.iinfo(np.int32)
    found: np.ndarray = np.rint(np.clip(np.nan_to_num(numbers), limits.min, limits.max)).astype(np.int64)
    return found


def computed_bias(binding: Binding, layer: Layer) -> bool:
    """Whether a layer's bias follows from a zero point that each run computes."""
    return layer.quantization is not None and binding.tensor == "bias" and bool(binding.value)
