"""2-D convolution as neural networks use it: a correlation of images with filters."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tuner.core.activations import BEYOND_RELU
from tuner.core.errors import InvalidWorkload
from tuner.core.excerpt import Excerpt
from tuner.core.numerics import F16_LARGEST, INT8_ADDEND, STORAGE, draw, sum_tolerance
from tuner.core.operator import Operator, Tensors, TensorSpec
from tuner.core.special import NON_FINITE, extremes, largest, tiny
from tuner.core.workload import Option, Workload
from tuner.operators import activations, quantized
from tuner.operators.conv2d_excerpt import windows_of


def output_size(size: int, taps: int, stride: int, padding: int, dilation: int) -> int:
    """Output pixels along one axis of an image of `size` pixels and `padding` zeros on both sides together;
    below 1 where the kernel is larger than that.

    >>> output_size(56, 3, stride=2, padding=2, dilation=1)
    28
    """
    return (size + padding - dilation * (taps - 1) - 1) // stride + 1


SIDES = ("pad_top", "pad_left", "pad_bottom", "pad_right")
"""Options of padding by side, in ONNX's order."""


class Conv2d(Operator):
    """Convolution of a batch of images, with stride, zero padding, dilation, groups and an epilogue.

    Y[n, k, p, q] = act(residual[n, k, p, q] + bias[k] + sum over c', r, s of
        X[n, g*c/groups + c', p*stride + r*dilation - top, q*stride + s*dilation - left] * W[k, c', r, s]),
    where X is zero outside of the image, c' runs over the c/groups channels of group
    g = k // (K/groups). bias and residual are there with the options of their names, and act is one of
    `activations` (`relu`, `relu6`, `silu`, `hardswish`), or nothing. groups = c is a depthwise convolution.
    Stride and dilation are the same along both axes. `frozen` says that W, bias and scale are the same in
    every call: a kernel may lay them out ahead, outside of what is timed.

    Padding is `pad` zeros on all sides, or `pad_top`, `pad_left`, `pad_bottom` and `pad_right` on each, as
    many as ONNX's `pads` in this order. Frameworks' "same" of even kernels or of strides above 1 has
    different sides; with a stride of 2, three taps and an even image TensorFlow's and ONNX's SAME_UPPER is
    `pad_bottom` 1 and `pad_right` 1. A workload whose sides are equal is one of `pad`.

    Shapes: X [n, c, h, w], W [k, c/groups, r, s], bias [k], residual and Y [n, k, p, q]; with `nhwc`
    X [n, h, w, c], W [k, r, s, c/groups], residual and Y [n, p, q, k]. p is
    (h + top + bottom - dilation*(r-1) - 1) // stride + 1, q likewise. scale [k] or [1], Z [2], with
    `quantized_residual` [3], and then ratios [3].

    dtypes: `f32`; `f16` and `bf16`: all tensors are, sums and epilogue in f32, one rounding at the end;
    `int8`: X and W int8, bias int32, the sum exact in int32, and Y that sum; with `scale_tensor` or
    `scale_channel` Y is int8: the sum (with bias and act) is rounded to f32, multiplied by the f32 tensor
    `scale` (one value, or one for each k), rounded to f32, then to the nearest integer, ties to even, and
    clamped to [-128, 127]: every step is one IEEE 754 operation, so the result is exact
    too. `zero_points`, of scaled results, adds the int32 tensor `Z` of two values in [-128, 127]: X is
    Z[0] outside of the image, and Z[1] is added before the clamping. The rest of a zero point of X,
    -Z[0] * sum(W), belongs into the bias; W's is 0.

    `quantized_residual`, of scaled results, is QLinearConv and behind it ONNX Runtime's QLinearAdd: with q
    the int8 result above without act and `residual` another int8 tensor, Y is q * ratios[0] + (residual *
    ratios[1] + ratios[2]), of two fused multiply-adds of IEEE 754 in f32, rounded to the nearest integer,
    ties to even, and clamped to [-128, 127]; with `relu` to Y's zero point, Z[2] (else 0), and 127. The f32
    tensor `ratios` has q's and the residual's scale over Y's, and Y's zero point less both zero points times
    those.

    Special values: every product and sum of the formula is one of IEEE 754, in any order, and there are no
    others. So a NaN in a pixel reaches the windows that contain it and nothing else. act of a NaN is a NaN;
    `relu` and `relu6` of -inf are 0, `silu` and `hardswish` of it NaN, as in PyTorch and ONNX. Whether a NaN
    or infinite weight is multiplied by the zeros outside of the image is open: libraries differ, and so do
    kernels. An f32 sum that overflows on its way is infinite or NaN though the result might be finite. What
    is smaller than a rounding error may be 0.

    `strict` says that a kernel has to keep to this. Without it Winograd's may serve (Lavin and Gray, CVPR
    2016), which add and subtract neighbouring pixels first: of finite inputs they err as the tolerance
    allows, but a NaN or an infinity makes the whole tile of 2x2 or 4x4 outputs NaN, and pixels of 1e38
    overflow.
    """

    name = "conv2d"
    summary = (
        "2-D convolution: stride, padding, dilation, groups, NCHW or NHWC, bias, residual sum, activation"
    )
    dtypes = ("f32", "f16", "int8", "bf16")
    dims = ("n", "c", "h", "w", "k", "r", "s")
    tensors = ("X", "W", "bias", "residual", "scale", "Z", "ratios", "Y")
    weights = ("W",)
    beside_weights = ("bias", "scale", "Z", "ratios")
    options: ClassVar[dict[str, Option]] = {
        "stride": 1,
        "pad": 0,
        "pad_top": 0,
        "pad_left": 0,
        "pad_bottom": 0,
        "pad_right": 0,
        "dilation": 1,
        "groups": 1,
        "nhwc": False,
        "bias": False,
        "relu": False,
        "residual": False,
        **dict.fromkeys(BEYOND_RELU, False),
        **quantized.OPTIONS,
        quantized.RESIDUAL: False,
        "strict": False,
        "frozen": False,
    }
    named_options = (quantized.ZERO_POINTS, "residual", quantized.RESIDUAL, *BEYOND_RELU)
    example = "1x64x56x56x64x3x3"
    untold: ClassVar[Mapping[str, tuple[Option, ...]]] = {
        "nhwc": (False, True), "stride": (1, 2, 4), "pad": (0, 1, 2, 3), "dilation": (1, 2),
        "bias": (False, True), "relu": (False, True),
    }  # fmt: skip

    def workload(self, dtype: str = "f32", **values: Any) -> Workload:
        """As `Operator.workload`; four sides alike are `pad`.

        Raises:
            InvalidWorkload: also where padding is given both ways.
        """
        sides = [values.get(name, 0) for name in SIDES]
        if all(type(side) is int for side in sides) and any(sides):
            if values.get("pad", 0) != 0:
                given = next(name for name in SIDES if values.get(name, 0))
                raise InvalidWorkload(f"conv2d: pad is for all sides, {given} for one: give pad or the sides")
            if len(set(sides)) == 1:
                values = {**{name: v for name, v in values.items() if name not in SIDES}, "pad": sides[0]}
        return super().workload(dtype, **values)

    def validate(self, workload: Workload) -> None:
        """Strides, groups and sizes go together, and no result overflows Y's type."""
        c, k, groups = workload["c"], workload["k"], self._value(workload, "groups")
        least_values = {"stride": 1, "dilation": 1, "groups": 1, "pad": 0, **dict.fromkeys(SIDES, 0)}
        for name, least in least_values.items():
            if self._value(workload, name) < least:
                raise InvalidWorkload(
                    f"conv2d: {name} is an integer from {least} up, not {self._value(workload, name)}"
                )
        for name, size in (("c", c), ("k", k)):
            if size % groups:
                raise InvalidWorkload(f"conv2d: groups {groups} do not divide {name} {size}")
        dilation, padding = self._value(workload, "dilation"), self._padding(workload)
        for image, taps, zeros in zip("hw", "rs", padding, strict=True):
            reach = dilation * (workload[taps] - 1) + 1
            if reach > workload[image] + sum(zeros):
                raise InvalidWorkload(
                    f"conv2d: the kernel spans {reach} pixels along {image}, the padded image has only "
                    f"{workload[image] + sum(zeros)}: smaller {taps} or dilation, or larger {image} or pad"
                )
        quantized.validate(workload)
        activations.validate(workload)
        if workload.dtype == "int8" and workload.option("residual", False):
            raise InvalidWorkload(
                "conv2d: residual is for floating-point results, not int8: that is quantized_residual"
            )
        length = self._length(workload)
        if workload.dtype == "int8" and 2**14 * length + INT8_ADDEND >= 2**31:
            raise InvalidWorkload("conv2d: int8 results would overflow int32: take a smaller c, r or s")
        if workload.dtype == "f16" and 8 * math.sqrt(length) / 3 + 2 > F16_LARGEST:
            raise InvalidWorkload("conv2d: f16 results would overflow 65504: take a smaller c, r or s")

    def _value(self, workload: Workload, name: str) -> int:
        return int(workload.option(name, self.options[name]))

    def _length(self, workload: Workload) -> int:
        """Products in one sum: c/groups * r * s."""
        return workload["c"] // self._value(workload, "groups") * workload["r"] * workload["s"]

    def _padding(self, workload: Workload) -> tuple[tuple[int, int], tuple[int, int]]:
        """Zeros (above, below) and (left, right) of the image."""
        pad = self._value(workload, "pad")
        top, left, bottom, right = (pad + self._value(workload, name) for name in SIDES)
        return (top, bottom), (left, right)

    def _pixels(self, workload: Workload) -> tuple[int, int]:
        stride, dilation = self._value(workload, "stride"), self._value(workload, "dilation")
        down, across = (sum(zeros) for zeros in self._padding(workload))
        p = output_size(workload["h"], workload["r"], stride, down, dilation)
        return p, output_size(workload["w"], workload["s"], stride, across, dilation)

    def derived(self, workload: Workload) -> Mapping[str, int]:
        """Output height p and width q; zeros `top`, `left`, `bottom` and `right` of the image (with `pad`);
        `group_c` input and `group_k` output channels of one group."""
        p, q = self._pixels(workload)
        (top, bottom), (left, right) = self._padding(workload)
        groups = self._value(workload, "groups")
        channels = {"group_c": workload["c"] // groups, "group_k": workload["k"] // groups}
        return {"p": p, "q": q, "top": top, "left": left, "bottom": bottom, "right": right, **channels}

    def signature(self, workload: Workload) -> tuple[TensorSpec, ...]:
        """X, W, bias, residual, scale, Z, ratios (each if asked), Y."""
        n, c, h, w, k, r, s = (size for _, size in workload)
        p, q = self._pixels(workload)
        inner = c // self._value(workload, "groups")
        dtype, wide = STORAGE[workload.dtype]
        nhwc = workload.option("nhwc", False)
        specs = [
            TensorSpec("X", (n, h, w, c) if nhwc else (n, c, h, w), dtype),
            TensorSpec("W", (k, r, s, inner) if nhwc else (k, inner, r, s), dtype),
        ]
        if workload.option("bias", False):
            specs.append(TensorSpec("bias", (k,), wide))
        shape = (n, p, q, k) if nhwc else (n, k, p, q)
        narrow = "int8" if quantized.scaled(workload) else wide
        if any(workload.option(name, False) for name in ("residual", quantized.RESIDUAL)):
            specs.append(TensorSpec("residual", shape, narrow))
        specs += quantized.specs(workload, k)
        return (*specs, TensorSpec("Y", shape, narrow, output=True))

    def inputs(self, workload: Workload, seed: int) -> Tensors:
        """Uniform on [-1, 1); int8 over all 256 values; scales such that results spread over int8."""
        rng = np.random.default_rng(seed)
        tensors = {spec.name: draw(spec, rng) for spec in self.signature(workload) if not spec.output}
        quantized.draw_into(tensors, rng, self._length(workload))
        return tensors

    def special_inputs(self, workload: Workload, seed: int) -> Tensors:
        """Special values in a few pixels, filters, elements of bias and residual; int8: filters, channels of
        one extreme.

        Pixels: of a few windows at most each, one if the image is tiny. Of the filters a quarter have a NaN
        or an infinity, where no output multiplies it by padding, and as many have one in their bias. The
        largest finite value is in pixels alone, far enough from each other, so that no sum overflows. Zeros
        and denormals lie in the first half of a group's channels, values of filters in the second, so that 0
        times infinity is no matter of flushed denormals, but where a group has one channel. int8 sums are
        the largest.
        """
        tensors = self.inputs(workload, seed)
        rng = np.random.default_rng((seed, 1))
        x, weights = tensors["X"], tensors["W"]
        if workload.option("nhwc", False):
            x, weights = x.transpose(0, 3, 1, 2), weights.transpose(0, 3, 1, 2)
        n, c, h, w, k, r, s = (size for _, size in workload)
        filters = rng.permutation(k)
        if workload.dtype == "int8":
            quantized.extremes_into(tensors, seed)
            channels = rng.permutation(n * c)[: 1 + n * c // 2]
            for number in range(len(channels)):
                x[divmod(int(channels[number]), c)] = extremes("int8")[number % 2]
            for number in range(1 + k // 2):
                weights[filters[number]] = extremes("int8")[number % 2]
            if "residual" in tensors:
                every_second = tensors["residual"].reshape(-1)[::2]
                every_second[:] = np.resize(extremes("int8"), every_second.size)
            return tensors
        dtype = str(x.dtype)
        inner = weights.shape[1]
        first, second = ((0, inner // 2), (inner // 2, inner)) if inner > 1 else ((0, 1), (0, 1))
        values = [(value, (0, inner)) for value in (*NON_FINITE, largest(dtype))]
        values += [(value, first) for value in tiny(dtype)]
        apart = n * h * w // (4 * r * s)
        pixels = rng.permutation(n * h * w)[: max(1, min(apart, len(values)))]
        for pixel, (value, half) in zip(pixels, values, strict=False):
            image, place = divmod(int(pixel), h * w)
            channel = rng.integers(c // inner) * inner + rng.integers(*half)
            x[(image, channel, *divmod(place, w))] = value
        taps = self._inner_taps(workload)
        for number, chosen in enumerate(filters[: k // 4]):
            if taps:
                tap = taps[rng.integers(len(taps))]
                weights[(chosen, rng.integers(*second), *tap)] = NON_FINITE[number % 3]
            if "bias" in tensors:
                tensors["bias"][filters[-1 - number]] = NON_FINITE[number % 3]
        if "residual" in tensors:
            residual = tensors["residual"].reshape(-1)
            places = rng.permutation(residual.size)[: min(len(NON_FINITE), residual.size // 4)]
            residual[places] = NON_FINITE[: len(places)]
        return tensors

    def _inner_taps(self, workload: Workload) -> list[tuple[int, int]]:
        """Taps of the kernel that lie inside of the image for every output pixel."""
        stride, dilation = self._value(workload, "stride"), self._value(workload, "dilation")
        sizes = zip("hw", "rs", self._pixels(workload), self._padding(workload), strict=True)
        inside = [
            [t for t in range(workload[taps]) if t * dilation >= before
             and (outputs - 1) * stride + t * dilation - before < workload[image]]
            for image, taps, outputs, (before, _) in sizes
        ]  # fmt: skip
        return [(r, s) for r in inside[0] for s in inside[1]]

    def reference(self, workload: Workload, inputs: Tensors) -> Tensors:
        """The definition in float64, one tap (r, s) of the kernel after the other; for int8 exact.

        Each tap is a matrix product of a shifted, strided view of the padded image. float64 holds every
        integer up to 2^53, and `validate` keeps all partial sums under 2^31, so int8 sums are exact in it.
        """
        nhwc = workload.option("nhwc", False)
        x, weights = (inputs[name].astype(np.float64) for name in ("X", "W"))
        if nhwc:
            x, weights = x.transpose(0, 3, 1, 2), weights.transpose(0, 3, 1, 2)
        stride, dilation, groups = (self._value(workload, name) for name in ("stride", "dilation", "groups"))
        padding = ((0, 0), (0, 0), *self._padding(workload))
        x = np.pad(x, padding, constant_values=quantized.zero_of(inputs))
        n, c, k = workload["n"], workload["c"], workload["k"]
        p, q = self._pixels(workload)
        weights = weights.reshape(groups, k // groups, c // groups, *weights.shape[2:])
        y = np.zeros((n, groups, k // groups, p * q))
        for r in range(workload["r"]):
            for s in range(workload["s"]):
                top, left = r * dilation, s * dilation
                view = x[:, :, top : top + (p - 1) * stride + 1 : stride,
                         left : left + (q - 1) * stride + 1 : stride]  # fmt: skip
                with np.errstate(invalid="ignore"):  # special values
                    y += weights[:, :, :, r, s] @ view.reshape(n, groups, c // groups, p * q)
        y = y.reshape(n, k, p, q)
        with np.errstate(invalid="ignore"):
            if "bias" in inputs:
                y += inputs["bias"].astype(np.float64)[:, None, None]
            if "residual" in inputs:
                residual = inputs["residual"].transpose(0, 3, 1, 2) if nhwc else inputs["residual"]
            if "ratios" not in inputs:  # else sum and act are those of int8 results
                y = y + residual.astype(np.float64) if "residual" in inputs else y
                y = activations.applied(workload, y)
        if "scale" in inputs:
            y = quantized.requantized(y, inputs["scale"].reshape(-1, 1, 1), inputs)
        if "ratios" in inputs:
            y = quantized.with_residual(y, residual, inputs, bool(workload.option("relu", False)))
        y = np.ascontiguousarray(y.transpose(0, 2, 3, 1)) if nhwc else y
        return {"Y": y.astype(np.int64) if workload.dtype == "int8" else y}

    def tolerance(self, workload: Workload, inputs: Tensors, reference: Tensors) -> Tensors:
        """`sum_tolerance` of c/groups * r * s products, for every algorithm alike; int8 is exact: 0.

        An image of 56 x 56 with 64 channels and 3 x 3 taps: 576 products, 7e-5, against 0.25 on average
        for one product left out, and up to several for a column of padding that is not zero.
        """
        return self.tolerance_of(workload, inputs, reference, "f32")

    def tolerance_of(
        self, workload: Workload, inputs: Tensors, reference: Tensors, accumulator: str
    ) -> Tensors:
        """As `tolerance`, for sums in f32, f16 or bf16; errors grow by the activation's largest slope."""
        if workload.dtype == "int8":
            return {"Y": np.zeros(())}
        length = self._length(workload)
        largest, y = math.sqrt(length) + 2 + ("residual" in inputs), reference["Y"]
        more = bool({"bias", "residual"} & inputs.keys()) or activations.curved(workload)
        allowed = sum_tolerance(workload.dtype, length, y, largest, 1.0, more, accumulator)
        return {"Y": activations.slope(workload) * allowed}

    def flops(self, workload: Workload) -> int:
        """2*n*k*p*q * c/groups*r*s, padding included, whatever algorithm needs fewer."""
        p, q = self._pixels(workload)
        return 2 * workload["n"] * workload["k"] * p * q * self._length(workload)

    def min_bytes(self, workload: Workload) -> int:
        """All tensors once."""
        return self.memory_bytes(workload)

    def dims_of(
        self, shapes: Sequence[tuple[int, ...]], options: Mapping[str, Option]
    ) -> Mapping[str, int] | None:
        """Of the image and the filters."""
        if len(shapes) < 3 or {len(shapes[0]), len(shapes[1]), len(shapes[-1])} != {4}:
            return None
        order = (0, 3, 1, 2) if options["nhwc"] else (0, 1, 2, 3)
        (n, c, h, w), (k, inner, r, s) = ([shape[i] for i in order] for shape in shapes[:2])
        return {
            "n": n,
            "c": c,
            "h": h,
            "w": w,
            "k": k,
            "r": r,
            "s": s,
            "groups": max(1, c // max(1, inner)),
            "residual": sum(len(shape) == 4 for shape in shapes) == 4,
        }

    def companions(self, workload: Workload) -> tuple[Workload, ...]:
        """Ragged images and channels with the same taps and options, so that every special kernel takes them.

        The smallest image there can be, one with a few channels, one with prime channels; a depthwise
        convolution stays depthwise.
        """
        options = dict(workload.options)
        r, s, groups = workload["r"], workload["s"], self._value(workload, "groups")
        dilation, padding = self._value(workload, "dilation"), self._padding(workload)
        one_in, one_out = workload["c"] == groups, workload["k"] == groups
        least = [
            max(1, dilation * (taps - 1) + 1 - sum(zeros))
            for taps, zeros in zip((r, s), padding, strict=True)
        ]
        found = []
        for n, more_h, more_w, inner, outer in ((1, 0, 0, 1, 1), (2, 4, 9, 5, 7), (1, 12, 17, 19, 37)):
            # Many groups are enough work with one or two channels each.
            inner, outer = (inner, outer) if groups <= 8 else (min(inner, 2), min(outer, 3))
            inner, outer = 1 if one_in else inner, 1 if one_out else outer
            dims = {"n": n, "c": groups * inner, "k": groups * outer, "h": least[0] + more_h,
                    "w": least[1] + more_w, "r": r, "s": s}  # fmt: skip
            found.append(self.workload(workload.dtype, **dims, **options))
        return tuple(found)

    def excerpt(self, workload: Workload, inputs: Tensors, rng: np.random.Generator) -> Excerpt:
        """See `windows_of`."""
        return windows_of(self, workload, rng)
