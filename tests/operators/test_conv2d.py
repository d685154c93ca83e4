"""The conv2d operator: what is accepted, what it means, and a tolerance neither loose nor too tight."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest

from tests.kernels.conv2d_cases import draw
from tuner import registry
from tuner.core.errors import InvalidWorkload, TunerError
from tuner.core.operator import worst_error
from tuner.core.workload import Workload
from tuner.operators.quantized import fused

CONV = registry.operator("conv2d")


def test_readable_shapes_name_everything() -> None:
    workload = CONV.parse("n1 c64 h56 w56 k64 r3 s3 stride1 pad1")
    assert workload == CONV.workload(n=1, c=64, h=56, w=56, k=64, r=3, s=3, pad=1)
    assert workload.key == "conv2d/f32/n1-c64-h56-w56-k64-r3-s3/pad=1"
    assert Workload.from_key(workload.key) == workload
    assert CONV.parse("1x64x56x56x64x3x3", pad=1) == workload
    other = CONV.parse("n2,c8,h9,w7,k16,r3,s1,stride=2,pad1,dilation2,groups4,nhwc,bias,relu", "f16")
    options = {"stride": 2, "pad": 1, "dilation": 2, "groups": 4, "nhwc": True, "bias": True, "relu": True}
    assert dict(other.options) == options
    newer = CONV.parse("n1 c8 h9 w7 k16 r3 s1 residual relu6")
    assert dict(newer.options) == {"residual": True, "relu6": True} and Workload.from_key(newer.key) == newer


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ("n1 c6 h8 w8 k8 r3 s3 groups4", "f32", "groups 4 do not divide c 6"),
        ("n1 c8 h8 w8 k6 r3 s3 groups4", "f32", "groups 4 do not divide k 6"),
        ("n1 c3 h4 w9 k4 r7 s7 pad1", "f32", "spans 7 pixels along h, the padded image has only 6"),
        ("n1 c3 h9 w4 k4 r3 s3 dilation2", "f32", "spans 5 pixels along w, the padded image has only 4"),
        ("n1 c3 h4 w4 k4 r3 s3 stride0", "f32", "stride is an integer from 1 up, not 0"),
        ("n1 c3 h4 w4 k4 r3 s3 dilation0", "f32", "dilation is an integer from 1 up, not 0"),
        ("n1 c3 h4 w4 k4 r3 s3 groups0", "f32", "groups is an integer from 1 up, not 0"),
        ("n1 c3 h4 w4 k4 r3 s3 pad-1", "f32", "pad is an integer from 0 up, not -1"),
        ("n1 c3 h4 w4 k4 r3 s3 stride1.5", "f32", "stride is an integer"),
        ("n1 c0 h4 w4 k4 r3 s3", "f32", "dimension c is an integer from 1 up, not 0"),
        ("n1 c3 h4 w4 k4 r3", "f32", "needs dimension 's'"),
        ("n1 c3 h4 w4 k4 r3 s3 strides2", "f32", "'strides2' is not understood"),
        ("1x3x4x4", "f32", "is not of the form nxcxhxwxkxrxs"),
        ("n1 c3 h4 w4 k4 r3 s3 scale_tensor", "f32", "scale_tensor is for int8, not f32"),
        ("n1 c3 h4 w4 k4 r3 s3 scale_tensor scale_channel", "int8", "exclude each other"),
        ("n1 c3 h4 w4 k4 r3 s3 zero_points", "int8", "add scale_tensor or scale_channel"),
        ("n1 c3 h4 w4 k4 r3 s3 relu relu6", "f32", "relu and relu6 exclude each other"),
        ("n1 c3 h4 w4 k4 r3 s3 silu", "int8", "silu is for floating-point results, not int8"),
        ("n1 c3 h4 w4 k4 r3 s3 residual", "int8", "residual is for floating-point results, not int8"),
        ("n1 c3 h4 w4 k4 r3 s3 quantized_residual", "int8", "add scale_tensor or scale_channel"),
        ("n1 c3 h4 w4 k4 r3 s3 quantized_residual", "f32", "add scale_tensor or scale_channel"),
        ("n1 c3 h4 w4 k4 r3 s3 relu7", "f32", "option relu is of type bool, not 7"),
        ("n1 c20000 h4 w4 k4 r3 s3", "int8", "would overflow int32"),
        ("n1 c3 h4 w4 k4 r3 s3", "f64", "unknown dtype of conv2d 'f64'"),
    ],
)
def test_bad_input_is_one_line_that_names_it(shape: str, dtype: str, words: str) -> None:
    with pytest.raises(TunerError) as caught:
        CONV.parse(shape, dtype)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def activated(x: float, value: dict[str, int]) -> float:
    """By the options that are set."""
    x = max(x, 0.0) if value["relu"] or value["relu6"] else x
    x = min(x, 6.0) if value["relu6"] else x
    if value["silu"]:
        return x / (1 + math.exp(-x))
    return x * min(max(x + 3, 0), 6) / 6 if value["hardswish"] else x


def multiply_add(a: float, b: float, c: float) -> np.float32:
    """Of the exact number the nearest f32, but for ties that are none by less than f64 tells."""
    return np.float32(float(Fraction(int(a)) * Fraction(float(b)) + Fraction(float(c))))


def by_hand(workload: Workload, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The sum of the definition, window by window, in Python's own numbers."""
    value = {name: int(workload.option(name, CONV.options[name])) for name in CONV.options}
    x, w = (inputs[name].astype(np.float64) for name in ("X", "W"))
    if value["nhwc"]:
        x, w = x.transpose(0, 3, 1, 2), w.transpose(0, 3, 1, 2)
    spec = next(s for s in CONV.signature(workload) if s.output)
    y, zero = np.zeros(spec.shape), inputs.get("Z", (0, 0))
    n, k, p, q = (y.shape[i] for i in ((0, 3, 1, 2) if value["nhwc"] else (0, 1, 2, 3)))
    inner, outer = workload["c"] // value["groups"], workload["k"] // value["groups"]
    for image, out, row, column in np.ndindex(n, k, p, q):
        total = 0.0
        for channel, i, j in np.ndindex(inner, workload["r"], workload["s"]):
            top = row * value["stride"] + i * value["dilation"] - value["pad"] - value["pad_top"]
            left = column * value["stride"] + j * value["dilation"] - value["pad"] - value["pad_left"]
            inside = 0 <= top < workload["h"] and 0 <= left < workload["w"]
            pixel = x[image, out // outer * inner + channel, top, left] if inside else zero[0]
            total += pixel * w[out, channel, i, j]
        total += float(inputs["bias"][out]) if value["bias"] else 0.0
        place = (image, row, column, out) if value["nhwc"] else (image, out, row, column)
        total += float(inputs["residual"][place]) if value["residual"] else 0.0
        total = total if value["quantized_residual"] else activated(total, value)
        if "scale" in inputs:
            scale = inputs["scale"][out if value["scale_channel"] else 0]
            total = round(float(np.float32(total) * scale)) + zero[1]  # round: ties to even
            total = min(max(total, -128), 127)
        if value["quantized_residual"]:
            first, second, added = inputs["ratios"]
            total = multiply_add(total, first, multiply_add(inputs["residual"][place], second, added))
            least = (zero[2] if "Z" in inputs else 0) if value["relu"] else -128
            total = min(max(round(float(total)), least), 127)
        y[place] = total
    return y


@pytest.mark.parametrize("dtype", ["f32", "f16", "int8"])
def test_the_reference_is_the_definition(dtype: str) -> None:
    rng, done = random.Random(5), 0
    while done < 25:
        workload = draw(rng, dtype)
        if CONV.flops(workload) > 60_000:
            continue
        inputs = CONV.inputs(workload, seed=done)
        reference = CONV.reference(workload, inputs)["Y"]
        np.testing.assert_allclose(reference, by_hand(workload, inputs), rtol=1e-12, atol=1e-12)
        assert reference.dtype == (np.int64 if dtype == "int8" else np.float64)
        done += 1


def test_scaled_int8_results_round_to_even_and_saturate() -> None:
    workload = CONV.parse("n1 c1 h1 w4 k1 r1 s1 scale_tensor", "int8")
    inputs = {"X": np.array([1, 3, 100, -100], np.int8).reshape(1, 1, 1, 4),
              "W": np.full((1, 1, 1, 1), 5, np.int8), "scale": np.array([0.5], np.float32)}  # fmt: skip
    assert CONV.reference(workload, inputs)["Y"].ravel().tolist() == [2, 8, 127, -128]
    shifted = CONV.parse("n1 c1 h1 w4 k1 r1 s1 scale_tensor zero_points relu", "int8")
    y = CONV.reference(shifted, {**inputs, "Z": np.array([9, -100], np.int32)})["Y"]
    assert y.ravel().tolist() == [
        -98,
        -92,
        127,
        -100,
    ]  # the zero point is added to rounded results, act before


def test_a_quantized_sum_is_rounded_once_before_it_and_once_behind() -> None:
    workload = CONV.parse("n1 c1 h1 w4 k1 r1 s1 scale_tensor quantized_residual zero_points relu", "int8")
    inputs = {"X": np.array([1, 3, 100, -100], np.int8).reshape(1, 1, 1, 4),
              "W": np.full((1, 1, 1, 1), 5, np.int8), "scale": np.array([0.5], np.float32),
              "Z": np.array([0, 10, -7], np.int32), "ratios": np.array([0.5, 0.25, -3.5], np.float32),
              "residual": np.array([2, 2, 127, 4], np.int8).reshape(1, 1, 1, 4)}  # fmt: skip
    # 2.5, 7.5, 250 and -250 become 12, 18, 127 and -128; half of these and a quarter of the residual less 3.5
    # are 3, 6, 91.75 and -66.5; what is below Y's zero point is cut off.
    assert CONV.reference(workload, inputs)["Y"].ravel().tolist() == [3, 6, 92, -7]


def test_a_sum_of_products_is_rounded_once() -> None:
    """In f64 it would lie in the middle between two f32, and become the even one."""
    a, b, c = (np.float32(x) for x in (2**-12 + 2**-27, 2**-12 - 2**-27, 1 + 2**-23))
    assert np.float32(np.float64(a) * np.float64(b) + np.float64(c)) == 1 + 2**-22
    assert fused(np.array([a, -a]), b, np.array([c, -c])).tolist() == [1 + 2**-23, -1 - 2**-23]


def test_padding_has_the_zero_point_of_the_image() -> None:
    """A layer as a quantized model means it: (x - zero) * w, where padding stands for 0."""
    workload = CONV.parse("n1 c2 h3 w4 k3 r3 s3 pad1 bias scale_tensor zero_points", "int8")
    inputs = CONV.inputs(workload, 3)
    inputs["Z"], inputs["scale"] = np.array([37, 0], np.int32), np.array([2**-9], np.float32)
    moved = CONV.parse("n1 c2 h3 w4 k3 r3 s3 pad1", "f32")
    pixels = inputs["X"].astype(np.float32) - 37
    expected = CONV.reference(moved, {"X": pixels, "W": inputs["W"].astype(np.float32)})["Y"]
    inputs["bias"] = -37 * inputs["W"].astype(np.int32).sum(axis=(1, 2, 3), dtype=np.int32)
    np.testing.assert_array_equal(
        CONV.reference(workload, inputs)["Y"], np.clip(np.rint(expected * 2**-9), -128, 127)
    )


@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_a_sequential_sum_passes_and_one_without_a_product_fails(dtype: str) -> None:
    workload = CONV.parse("n1 c256 h6 w6 k8 r3 s3", dtype)  # 2304 products
    for seed in range(3):
        inputs = CONV.inputs(workload, seed)
        reference = CONV.reference(workload, inputs)
        tolerance = CONV.tolerance(workload, inputs, reference)
        x, w = (inputs[name].astype(np.float32) for name in ("X", "W"))
        y = np.zeros((1, 8, 4, 4), np.float32)
        for channel, i, j in np.ndindex(256, 3, 3):
            y += x[:, channel, i : i + 4, j : j + 4] * w[:, channel, i, j].reshape(1, 8, 1, 1)
        storage = np.float16 if dtype == "f16" else np.float32
        assert worst_error({"Y": y.astype(storage)}, reference, tolerance)[0] <= 1.0
        y -= x[:, 255, 2:6, 2:6] * w[:, 255, 2, 2].reshape(1, 8, 1, 1)
        wrong = np.abs(y.astype(storage) - reference["Y"]) > tolerance["Y"]
        # Not only somewhere: nearly every output shows it.
        assert wrong.mean() > 0.7


def test_companions_are_small_ragged_and_of_the_same_kind() -> None:
    for shape in ("n8 c64 h56 w56 k64 r3 s3 pad1", "n1 c960 h7 w7 k960 r3 s3 pad1 groups960",
                  "n1 c32 h300 w300 k64 r7 s7 stride2 groups2 nhwc", "n1 c8 h9 w9 k8 r1 s9"):  # fmt: skip
        workload = CONV.parse(shape)
        companions = CONV.companions(workload)
        assert len(companions) >= 3
        for other in companions:
            assert (other.options, other["r"], other["s"]) == (workload.options, workload["r"], workload["s"])
            assert CONV.flops(other) < 10_000_000
            groups = other.option("groups", 1)
            assert (other["c"] == groups) or (workload["c"] != workload.option("groups", 1))
        assert any(other["w"] % 2 for other in companions)


def test_flops_and_bytes() -> None:
    workload = CONV.parse("n2 c8 h10 w10 k16 r3 s3 stride2 pad1 groups2 bias")
    assert CONV.flops(workload) == 2 * 2 * 16 * 5 * 5 * (4 * 3 * 3)
    assert CONV.min_bytes(workload) == 4 * (2 * 8 * 100 + 16 * 4 * 9 + 16 + 2 * 16 * 25)


def test_a_huge_shape_is_measured_before_anything_is_allocated() -> None:
    workload = CONV.parse("n999999 c999999 h999999 w999999 k1 r1 s1")
    assert CONV.memory_bytes(workload) > 2**70
    with pytest.raises(InvalidWorkload):
        CONV.parse("n1 c1 h1 w1 k1 r2 s2")


SAME_UPPER = {"pad_bottom": 1, "pad_right": 1}


def test_padding_by_side_is_a_workload_of_its_own_unless_sides_are_alike() -> None:
    shape = "n1 c3 h8 w8 k4 r3 s3 stride2"
    sides = CONV.parse(f"{shape} pad_bottom1 pad_right1")
    assert sides == CONV.parse(shape, **SAME_UPPER)
    assert sides.key == "conv2d/f32/n1-c3-h8-w8-k4-r3-s3/pad_bottom=1,pad_right=1,stride=2"
    alike = CONV.parse(shape, pad_top=1, pad_left=1, pad_bottom=1, pad_right=1)
    assert alike == CONV.parse(shape, pad=1)
    assert CONV.parse(shape, pad_top=0, pad_left=0, pad_bottom=0, pad_right=0) == CONV.parse(shape)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("n1 c1 h8 w8 k1 r3 s3 stride2 pad_bottom1 pad_right1", (4, 4)),  # TensorFlow's "same"
        ("n1 c1 h9 w8 k1 r2 s4 pad_bottom1 pad_left1 pad_right2", (9, 8)),  # "same" of even kernels
        ("n1 c1 h5 w6 k1 r1 s7 pad_left6", (5, 6)),  # causal along one axis
    ],
)
def test_sizes_of_padding_by_side(shape: str, expected: tuple[int, int]) -> None:
    assert CONV.signature(CONV.parse(shape))[-1].shape[2:] == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pad": 1, "pad_left": 2}, "pad is for all sides, pad_left for one: give pad or the sides"),
        ({"pad_top": -1}, "pad_top is an integer from 0 up, not -1"),
        ({"pad_top": True}, "option pad_top is of type int, not True"),
        ({"pad_top": 1.5}, "option pad_top is of type int, not 1.5"),
    ],
)
def test_bad_padding_is_one_line(options: dict[str, object], words: str) -> None:
    with pytest.raises(TunerError, match=words):
        CONV.parse("n1 c1 h8 w8 k1 r3 s3", **options)
