"""Attention's reference is the definition, its tolerance lets nothing pass that leaves something out."""

import math

import numpy as np
import pytest

from tuner import registry
from tuner.core.errors import InvalidWorkload
from tuner.core.operator import worst_error

ATTENTION = registry.operator("attention")
SHAPES = ["1x2x5x37x16", "1x2x64x512x64", "1x4x1x2048x128", "2x1x3x100x67"]
VARIANTS = [{}, {"causal": True}, {"h": 6, "kv_heads": 2}, {"paged": True, "page_size": 7}, {"scale": 0.25}]


def workload_of(shape, dtype="f32", **options):
    dims = dict(zip(ATTENTION.dims, map(int, shape.split("x")), strict=True))
    return ATTENTION.workload(dtype, **{**dims, **options})


def share(workload, inputs, output):
    reference = ATTENTION.reference(workload, inputs)
    return worst_error({"O": output}, reference, ATTENTION.tolerance(workload, inputs, reference))[0]


def tokens(workload, inputs, name):
    """[b, kv_heads, kv, d] of a cache, token by token."""
    values = inputs[name]
    if "block_table" not in inputs:
        return values
    page = workload.option("page_size", 16)
    result = np.empty((workload["b"], values.shape[2], workload["kv"], workload["d"]), dtype=values.dtype)
    for b in range(workload["b"]):
        for j in range(workload["kv"]):
            result[b, :, j] = values[inputs["block_table"][b, j // page], j % page]
    return result


def computed(workload, inputs, *, d=None, hidden=(), shift=0, kind=np.float32, p_kind=None):
    """Attention in `kind`, with defects: shorter products, keys hidden from all, a mask moved by `shift`."""
    q = inputs["Q"].astype(kind)
    k, v = (tokens(workload, inputs, name).astype(kind) for name in ("K", "V"))
    group = workload["h"] // k.shape[1]
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    scale = workload.option("scale", 0.0) or 1 / math.sqrt(workload["d"])
    scores = q[..., :d] @ k[..., :d].swapaxes(-1, -2) * kind(scale)
    if workload.option("causal", False):
        last = np.arange(workload["q"])[:, None] + workload["kv"] - workload["q"] + shift
        scores = np.where(np.arange(workload["kv"]) <= last, scores, -np.inf)
    for left_out in hidden:
        scores[..., left_out] = -np.inf
    p = np.exp(scores - scores.max(axis=-1, keepdims=True)).astype(kind)
    total = p.sum(axis=-1, keepdims=True, dtype=kind)
    p = p.astype(p_kind).astype(kind) if p_kind else p
    dtype = ATTENTION.signature(workload)[-1].dtype
    return (p @ v / total).astype(dtype)


@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_correct_computation_passes(shape, options, dtype):
    workload = workload_of(shape, dtype, **options)
    inputs = ATTENTION.inputs(workload, 3)
    assert share(workload, inputs, computed(workload, inputs)) <= 0.7
    if dtype == "f16":  # as libraries for tensor cores do
        assert share(workload, inputs, computed(workload, inputs, p_kind=np.float16)) <= 0.9


@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_is_left_out_fails(shape, options, dtype):
    workload = workload_of(shape, dtype, **options)
    inputs = ATTENTION.inputs(workload, 4)
    d, kv = workload["d"], workload["kv"]
    for defect in ({"d": d - 1}, {"hidden": (kv - 1,)}, {"hidden": (0,)}, {"hidden": (kv // 2,)}):
        assert share(workload, inputs, computed(workload, inputs, kind=np.float64, **defect)) > 1, defect


@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("shape", ["1x1x64x64x64", "1x2x33x47x16", "1x1x7x2048x32"])
@pytest.mark.parametrize("shift", [-1, 1])
def test_a_mask_one_column_off_fails(shape, shift, dtype):
    workload = workload_of(shape, dtype, causal=True)
    inputs = ATTENTION.inputs(workload, 5)
    with np.errstate(invalid="ignore"):
        wrong = computed(workload, inputs, kind=np.float64, shift=shift)
    assert share(workload, inputs, wrong) > 1


@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_a_mask_missing_in_one_row_fails(dtype):
    workload = workload_of("1x1x64x512x64", dtype, causal=True)
    open_ = workload_of("1x1x64x512x64", dtype)
    inputs = ATTENTION.inputs(workload, 6)
    for row in (0, 31, 62):  # the last row sees every key anyway
        output = computed(workload, inputs)
        output[..., row, :] = computed(open_, inputs)[..., row, :]
        assert share(workload, inputs, output) > 1, row


@pytest.mark.parametrize("shape", ["1x4x64x512x64", "1x8x1x2048x128"])
def test_a_softmax_without_its_maximum_fails(shape):
    workload = workload_of(shape)
    inputs = ATTENTION.inputs(workload, 7)
    scores = inputs["Q"] @ inputs["K"].swapaxes(-1, -2) / np.float32(math.sqrt(workload["d"]))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        p = np.exp(scores)
        assert share(workload, inputs, p @ inputs["V"] / p.sum(axis=-1, keepdims=True)) > 1


def test_half_precision_scores_fail():
    workload = workload_of("1x4x64x512x64", "f16")
    inputs = ATTENTION.inputs(workload, 8)
    scores = (inputs["Q"] @ inputs["K"].swapaxes(-1, -2) * np.float16(1 / 8)).astype(np.float32)
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    output = p @ inputs["V"].astype(np.float32) / p.sum(axis=-1, keepdims=True)
    assert share(workload, inputs, output.astype(np.float16)) > 1


@pytest.mark.parametrize(
    "options", [{"kv_heads": 2}, {"kv_heads": 2, "causal": True, "paged": True}], ids=str
)
def test_neighbouring_heads_share_keys(options):
    workload = workload_of("2x6x5x40x16", **options)
    inputs = ATTENTION.inputs(workload, 9)
    k, v = (tokens(workload, inputs, name).astype(float) for name in ("K", "V"))
    output = ATTENTION.reference(workload, inputs)["O"]
    for b, h, i in ((0, 0, 0), (1, 2, 4), (1, 3, 0), (0, 5, 2)):
        seen = 40 - 5 + i + 1 if options.get("causal") else 40
        scores = [float(inputs["Q"][b, h, i].astype(float) @ k[b, h // 3, j]) / 4 for j in range(seen)]
        p = [math.exp(s - max(scores)) for s in scores]
        for t in (0, 15):
            value = sum(p[j] * v[b, h // 3, j, t] for j in range(seen)) / sum(p)
            assert output[b, h, i, t] == pytest.approx(value, rel=1e-11, abs=1e-13)


def test_a_sequence_has_pages_of_its_own():
    workload = workload_of("3x2x1x100x16", paged=True, page_size=16)
    inputs = ATTENTION.inputs(workload, 1)
    table = inputs["block_table"]
    assert table.shape == (3, 7) and table.dtype == np.int32
    assert len(np.unique(table)) == table.size and table.min() >= 0 and table.max() < len(inputs["K"])
    assert inputs["K"].shape == (27, 16, 2, 16)
    assert ATTENTION.min_bytes(workload) < ATTENTION.memory_bytes(workload)
    assert not np.array_equal(table.ravel(), np.sort(table.ravel()))


def test_as_many_heads_of_keys_as_queries_is_the_default():
    plain = ATTENTION.parse("b1 h12 q512 kv512 d64")
    assert ATTENTION.parse("b1 h12 q512 kv512 d64 kv_heads12") == plain == ATTENTION.parse("1x12x512x512x64")


def test_work_is_that_of_the_pairs_a_mask_leaves():
    assert ATTENTION.flops(ATTENTION.parse("b2 h3 q4 kv6 d16")) == 4 * 2 * 3 * 4 * 6 * 16
    # 3 + 4 + 5 + 6 pairs
    assert ATTENTION.flops(ATTENTION.parse("b2 h3 q4 kv6 d16 causal")) == 4 * 2 * 3 * 18 * 16


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("1x12x512x0x64", "dimension kv is an integer from 1 up"),
        ("1x12x512x512x0", "dimension d is an integer from 1 up"),
        ("1x12x512x512x257", "head dimension d is 16 to 256, not 257"),
        ("1x12x512x512x8", "head dimension d is 16 to 256, not 8"),
        ("b1 h12 q8 kv8 d64 kv_heads5", "kv_heads 5 do not divide the 12 query heads"),
        ("b1 h2 q8 kv8 d64 kv_heads4", "kv_heads 4 do not divide the 2 query heads"),
        ("b1 h2 q8 kv8 d64 kv_heads-1", "kv_heads -1 do not divide"),
        ("b1 h2 q9 kv8 d64 causal", "causal with q 9 > kv 8"),
        ("b1 h2 q8 kv8 d64 paged page_size0", "page_size is 1 to 1024 tokens, not 0"),
        ("b1 h2 q8 kv8 d64 page_size32", "add paged"),
        ("b1 h2 q8 kv8 d64 scale1e-9", "scale is 0.00390625 to 4"),
        ("b1 h2 q8 kv8 d64 scale-1", "scale is 0.00390625 to 4"),
        ("1x12x512x64", "is not of the form bxhxqxkvxd"),
        ("b1 h2 q8 kv8 d64 window4", "'window4' is not understood"),
    ],
)
def test_bad_input_is_one_line(shape, words):
    with pytest.raises(InvalidWorkload) as error:
        ATTENTION.parse(shape)
    assert words in str(error.value) and "\n" not in str(error.value)
