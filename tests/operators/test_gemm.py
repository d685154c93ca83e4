"""GEMM's tolerance lets every correct computation pass and nothing that skips a product."""

import numpy as np
import pytest

from tuner import registry
from tuner.core.errors import InvalidWorkload
from tuner.core.operator import worst_error

GEMM = registry.operator("gemm")
LENGTHS = [1, 2, 7, 64, 1000, 100_000]
EPILOGUE = {"alpha": 0.5, "beta": 2.0, "bias": True, "relu": True}


def share(workload, inputs, outputs):
    reference = GEMM.reference(workload, inputs)
    return worst_error({"D": outputs}, reference, GEMM.tolerance(workload, inputs, reference))[0]


def products(inputs, order=slice(None)):
    """float32[m, n, k] of all products, in the order of summation."""
    a, b = inputs["A"].astype(np.float32), inputs["B"].astype(np.float32)
    return a[:, None, order] * b.T[None, :, order]


def sums(inputs):
    """The same sum in the orders that kernels add in, each in float32."""
    ordered = products(inputs)
    k = ordered.shape[-1]
    yield "sequential", np.add.accumulate(ordered, axis=-1)[..., -1]
    yield "backwards", np.add.accumulate(ordered[..., ::-1], axis=-1)[..., -1]
    yield "blocked", inputs["A"].astype(np.float32) @ inputs["B"].astype(np.float32)
    halves = [part for part in (ordered[..., : k // 2], ordered[..., k // 2 :]) if part.shape[-1]]
    halves = [np.add.accumulate(part, axis=-1)[..., -1] for part in halves]
    yield "split-k", np.sum(halves, axis=0, dtype=np.float32)
    lanes = ordered[..., : k - k % 8].reshape(*ordered.shape[:2], -1, 8)
    tail = ordered[..., k - k % 8 :].sum(axis=-1, dtype=np.float32)
    yield "eight lanes", np.add.accumulate(lanes, axis=2)[:, :, -1].sum(-1) + tail if k >= 8 else tail


@pytest.mark.parametrize("k", LENGTHS)
@pytest.mark.parametrize("seed", range(4))
def test_a_correct_float32_sum_passes_in_any_order(k, seed):
    workload = GEMM.workload(m=8, n=7, k=k)
    inputs = GEMM.inputs(workload, seed)
    for name, result in sums(inputs):
        assert share(workload, inputs, result) <= 1, name


@pytest.mark.parametrize("k", LENGTHS)
def test_half_precision_with_float32_sums_passes(k):
    workload = GEMM.workload("f16", m=8, n=7, k=k)
    inputs = GEMM.inputs(workload, 1)
    for name, result in sums(inputs):
        assert share(workload, inputs, result.astype(np.float16)) <= 1, name


@pytest.mark.parametrize("dtype", ["f32", "f16", "int8"])
@pytest.mark.parametrize("k", LENGTHS)
@pytest.mark.parametrize("options", [{}, EPILOGUE], ids=["plain", "epilogue"])
def test_one_skipped_product_fails(dtype, k, options):
    options = {**options, "alpha": 1.0} if dtype == "int8" else options
    workload = GEMM.workload(dtype, m=16, n=16, k=k, **options)
    for seed, skipped in enumerate(sorted({0, k // 2, k - 1})):
        inputs = GEMM.inputs(workload, seed)
        short = {name: array.copy() for name, array in inputs.items()}
        short["A"][:, skipped] = 0
        wrong = GEMM.reference(workload, short)["D"]
        stored = wrong.astype({"f32": np.float32, "f16": np.float16, "int8": np.int32}[dtype])
        assert share(workload, inputs, stored) > 1, (seed, skipped)


@pytest.mark.parametrize("dtype", ["f32", "f16", "int8"])
@pytest.mark.parametrize("left_out", ["C", "bias", "relu", "alpha"])
def test_a_left_out_epilogue_fails(dtype, left_out):
    options = {"alpha": 2.0, "beta": 1.0, "bias": True, "relu": True}
    workload = GEMM.workload(dtype, m=9, n=9, k=1000, **options)
    inputs = GEMM.inputs(workload, 3)
    without = {"C": {"beta": 0.0}, "bias": {"bias": False}, "relu": {"relu": False}, "alpha": {"alpha": 1.0}}
    partial = GEMM.workload(dtype, m=9, n=9, k=1000, **{**options, **without[left_out]})
    given = {name: array for name, array in inputs.items() if name != left_out}
    assert share(workload, inputs, GEMM.reference(partial, given)["D"]) > 1


@pytest.mark.parametrize("k", [64, 1000, 100_000])
def test_inputs_cut_to_tensor_float_32_fail(k):
    # TF32 keeps 10 of the 23 bits of the significand: fast, and not float32.
    workload = GEMM.workload(m=16, n=16, k=k)
    inputs = GEMM.inputs(workload, 5)
    cut = {
        name: (array.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
        for name, array in inputs.items()
    }
    assert share(workload, inputs, GEMM.reference(workload, cut)["D"]) > 1


def test_half_precision_sums_fail():
    workload = GEMM.workload("f16", m=16, n=16, k=1000)
    inputs = GEMM.inputs(workload, 5)
    ordered = (inputs["A"][:, None, :] * inputs["B"].T[None]).astype(np.float16)
    assert share(workload, inputs, np.add.accumulate(ordered, axis=-1)[..., -1]) > 1


def test_int8_is_exact():
    workload = GEMM.workload("int8", m=5, n=6, k=1000, beta=3.0, bias=True)
    inputs = GEMM.inputs(workload, 2)
    d = inputs["A"].astype(np.int32) @ inputs["B"].astype(np.int32) + 3 * inputs["C"] + inputs["bias"]
    assert share(workload, inputs, d) == 0
    d[4, 5] += 1
    assert share(workload, inputs, d) > 1


@pytest.mark.parametrize("scale", ["scale_tensor", "scale_channel"])
@pytest.mark.parametrize("zero_points", [False, True])
def test_scaled_int8_is_rounded_to_even_moved_and_clamped(scale, zero_points):
    options = {scale: True, "zero_points": zero_points, "bias": True, "relu": True, "beta": -1.0}
    workload = GEMM.workload("int8", m=40, n=30, k=70, **options)
    inputs = GEMM.inputs(workload, 4)
    assert inputs["scale"].shape == ((30,) if scale == "scale_channel" else (1,))
    assert ("Z" in inputs) == zero_points
    d, seen = GEMM.reference(workload, inputs)["D"], set()
    sums = inputs["A"].astype(int) @ inputs["B"].astype(int) - inputs["C"] + inputs["bias"]
    for (i, j), total in np.ndenumerate(np.maximum(sums, 0)):
        scaled = np.float32(total) * inputs["scale"][j if scale == "scale_channel" else 0]
        value = round(float(scaled)) + (int(inputs["Z"][1]) if zero_points else 0)
        assert d[i, j] == min(max(value, -128), 127)
        seen.add(int(d[i, j]))
    assert len(seen) > 20  # inputs spread the results, and do not only saturate them


def test_ties_are_rounded_to_even():
    workload = GEMM.workload("int8", m=1, n=4, k=1, scale_tensor=True)
    inputs = {"A": np.array([[1]], np.int8), "B": np.array([[1, 3, -1, 127]], np.int8),
              "scale": np.array([2.5], np.float32)}  # fmt: skip
    assert GEMM.reference(workload, inputs)["D"].tolist() == [[2, 8, -2, 127]]


@pytest.mark.parametrize("trans_a", [False, True])
@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_reference_is_the_definition_element_by_element(trans_a, trans_b, batch):
    workload = GEMM.workload(
        m=2,
        n=3,
        k=4,
        trans_a=trans_a,
        trans_b=trans_b,
        batch=batch,
        alpha=0.5,
        beta=2.0,
        bias=True,
        relu=True,
    )
    inputs = GEMM.inputs(workload, 1)
    lead = (batch,) if batch > 1 else ()
    a, b, c = (inputs[name].reshape(batch, *inputs[name].shape[len(lead) :]).astype(float) for name in "ABC")
    d = GEMM.reference(workload, inputs)["D"].reshape(batch, 2, 3)
    for e in range(batch):
        for i in range(2):
            for j in range(3):
                terms = [(a[e, p, i] if trans_a else a[e, i, p]) * (b[e, j, p] if trans_b else b[e, p, j])
                         for p in range(4)]  # fmt: skip
                value = 0.5 * sum(terms) + 2.0 * c[e, i, j] + float(inputs["bias"][j])
                assert d[e, i, j] == pytest.approx(max(value, 0.0), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("dtype", "options", "message"),
    [
        ("f32", {"batch": 0}, "batch is an integer from 1 up, not 0"),
        ("f32", {"alpha": float("nan")}, "alpha is a finite number"),
        ("f32", {"beta": float("inf")}, "beta is a finite number"),
        ("f16", {"alpha": 1e6}, "would overflow 65504"),
        ("int8", {"alpha": 0.5}, "alpha and beta are integers"),
        ("int8", {"alpha": 1e6}, "would overflow int32"),
        ("f32", {"scale_channel": True}, "scale_channel is for int8, not f32"),
        ("int8", {"scale_channel": True, "scale_tensor": True}, "exclude each other"),
        ("int8", {"zero_points": True}, "add scale_tensor or scale_channel"),
    ],
)
def test_what_cannot_be_computed_is_said_before_anything_is(dtype, options, message):
    with pytest.raises(InvalidWorkload, match=message):
        GEMM.workload(dtype, m=8, n=8, k=64, **options)


def test_flops_and_bytes():
    workload = GEMM.workload(m=3, n=5, k=7, batch=2, bias=True, beta=1.0)
    assert GEMM.flops(workload) == 2 * 2 * 3 * 5 * 7
    assert GEMM.min_bytes(workload) == 4 * (2 * 21 + 2 * 35 + 2 * 15 + 5 + 2 * 15)
    assert GEMM.memory_bytes(GEMM.parse("999999x999999x999999")) == 3 * 4 * 999999**2


def test_activations_are_what_their_papers_say():
    rows = np.array([[-np.inf], [-30.0], [-1.0], [0.0], [1.0], [30.0], [np.inf], [np.nan]], np.float32)
    inputs = {"A": rows, "B": np.ones((1, 1), np.float32)}
    wanted = {
        "silu": [np.nan, -2.8e-12, -0.268941421, 0, 0.731058579, 30, np.inf, np.nan],
        "gelu": [np.nan, 0, -0.158655254, 0, 0.841344746, 30, np.inf, np.nan],
        "tanh": [-1, -1, -0.761594156, 0, 0.761594156, 1, 1, np.nan],
    }
    for name, values in wanted.items():
        found = GEMM.reference(GEMM.workload(m=8, n=1, k=1, **{name: True}), inputs)["D"][:, 0]
        np.testing.assert_allclose(found, values, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", ["silu", "gelu", "tanh"])
def test_an_activation_that_is_left_out_or_another_one_fails(name):
    workload = GEMM.workload(m=9, n=9, k=50, **{name: True})
    inputs = GEMM.inputs(workload, 3)
    for other in {"", "relu", "silu", "gelu", "tanh"} - {name}:
        instead = GEMM.workload(m=9, n=9, k=50, **({other: True} if other else {}))
        assert share(workload, inputs, GEMM.reference(instead, inputs)["D"]) > 1


def test_two_activations_and_those_of_integers_are_refused():
    with pytest.raises(InvalidWorkload, match="relu and gelu exclude each other"):
        GEMM.workload(m=2, n=2, k=2, relu=True, gelu=True)
    with pytest.raises(InvalidWorkload, match="gelu is for floating-point results, not int8"):
        GEMM.workload("int8", m=2, n=2, k=2, gelu=True)
