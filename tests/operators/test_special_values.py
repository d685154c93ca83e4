"""References on special inputs against the definitions, product by product in Python's own arithmetic."""

import math

import numpy as np
import pytest

from tuner import registry
from tuner.core.workload import Workload

SEEDS = range(4)


def same(one: float, other: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other or abs(one - other) <= 1e-9 * max(1.0, abs(other))


def relu(value: float) -> float:
    return 0.0 if value < 0 else value


def activated(x: float, value: dict[str, object]) -> float:
    if value["silu"]:
        return x / (1 + exp(min(-x, 700.0) if math.isfinite(x) else -x))
    if value["hardswish"]:
        return x * (max(min(x + 3, 6.0), 0.0) / 6)
    return relu(x) if value["relu"] else x


@pytest.mark.parametrize(
    "shape",
    ["m9 n12 k7 bias relu", "m8 n5 k3 trans_a trans_b beta0.5", "m1 n9 k4 relu batch2", "m1 n1 k1 relu"],
)
def test_gemm(shape: str) -> None:
    gemm = registry.operator("gemm")
    workload = gemm.parse(shape)
    o = {**gemm.options, **dict(workload.options)}
    for seed in SEEDS:
        inputs = gemm.special_inputs(workload, seed)
        batch = int(o["batch"])
        a, b, d = (
            np.asarray(t, np.float64).reshape(batch, *t.shape[-2:])
            for t in (inputs["A"], inputs["B"], gemm.reference(workload, inputs)["D"])
        )
        a, b = a.swapaxes(1, 2) if o["trans_a"] else a, b.swapaxes(1, 2) if o["trans_b"] else b
        for x, i, j in np.ndindex(*d.shape):
            total = sum(float(a[x, i, p]) * float(b[x, p, j]) for p in range(workload["k"])) * float(
                o["alpha"]
            )
            if "C" in inputs:
                total += float(o["beta"]) * float(inputs["C"].reshape(d.shape)[x, i, j])
            total += float(inputs["bias"][j]) if "bias" in inputs else 0.0
            assert same(d[x, i, j], relu(total) if o["relu"] else total), (seed, x, i, j)


@pytest.mark.parametrize(
    "shape",
    [
        "n1 c3 h9 w11 k8 r3 s3 pad1 bias relu",
        "n2 c4 h8 w9 k8 r3 s2 groups2 stride2 nhwc",
        "n1 c2 h12 w12 k4 r1 s1 stride2 relu",
        "n1 c2 h6 w5 k3 r3 s3 pad1 residual hardswish",
        "n1 c2 h6 w5 k3 r3 s3 nhwc residual silu",
    ],
)
def test_conv2d(shape: str) -> None:
    conv = registry.operator("conv2d")
    workload = conv.parse(shape)
    value = {**conv.options, **dict(workload.options)}
    stride, pad, groups = (int(value[name]) for name in ("stride", "pad", "groups"))
    for seed in SEEDS:
        inputs = conv.special_inputs(workload, seed)
        reference = conv.reference(workload, inputs)["Y"]
        x, w, y = inputs["X"], inputs["W"], reference
        if value["nhwc"]:
            x, w, y = (t.transpose(0, 3, 1, 2) for t in (x, w, y))
        more = inputs.get("residual", np.zeros_like(reference))
        more = more.transpose(0, 3, 1, 2) if value["nhwc"] else more
        inner, outer = workload["c"] // groups, workload["k"] // groups
        for n, k, p, q in np.ndindex(*y.shape):
            total = float(inputs["bias"][k]) if "bias" in inputs else 0.0
            total += float(more[n, k, p, q])
            for c, i, j in np.ndindex(inner, workload["r"], workload["s"]):
                row, column = p * stride + i - pad, q * stride + j - pad
                # No special weight meets padding, so whether 0 times it counts makes no difference.
                if 0 <= row < workload["h"] and 0 <= column < workload["w"]:
                    total += float(x[n, k // outer * inner + c, row, column]) * float(w[k, c, i, j])
                else:
                    assert math.isfinite(w[k, c, i, j])
            assert same(y[n, k, p, q], activated(total, value)), (seed, n, k, p, q)


def exp(x: float) -> float:
    return math.nan if math.isnan(x) else math.exp(x)


@pytest.mark.parametrize(
    "shape",
    [
        "b1 h2 q9 kv12 d16 causal",
        "b2 h2 q5 kv9 d16 kv_heads1",
        "b2 h2 q4 kv10 d20 causal paged page_size4",
        "b1 h4 q1 kv6 d16 kv_heads2 paged page_size16",
    ],
)
def test_attention_of_what_each_query_sees(shape: str) -> None:
    attention = registry.operator("attention")
    workload = attention.parse(shape)
    b, h, q, kv, d = (size for _, size in workload)
    heads, scale = attention.kv_heads(workload), attention.scale(workload)
    for seed in SEEDS:
        inputs = attention.special_inputs(workload, seed)
        out = attention.reference(workload, inputs)["O"]
        assert np.isfinite(out).any()
        cache = {name: tokens(workload, inputs, name, heads) for name in ("K", "V")}
        for x, head, i in np.ndindex(b, h, q):
            seen = i + kv - q + 1 if workload.option("causal", False) else kv
            keys, values = (cache[name][x, head // (h // heads), :seen].astype(float) for name in ("K", "V"))
            query = inputs["Q"][x, head, i].astype(float)
            logits = [scale * sum(float(query[t]) * float(key[t]) for t in range(d)) for key in keys]
            top = math.nan if any(map(math.isnan, logits)) else max(logits)
            p = [exp(logit - top) for logit in logits]
            for column in range(d):
                total = sum(pj / sum(p) * float(value[column]) for pj, value in zip(p, values, strict=True))
                assert same(out[x, head, i, column], total), (seed, x, head, i, column)


def tokens(workload: Workload, inputs: dict[str, np.ndarray], name: str, heads: int) -> np.ndarray:
    """K or V as [b, heads, kv, d], one token after the other."""
    if "block_table" not in inputs:
        return inputs[name]
    table, pool = inputs["block_table"], inputs[name]
    result = np.empty((workload["b"], heads, workload["kv"], workload["d"]), pool.dtype)
    for b, head, j in np.ndindex(*result.shape[:3]):
        result[b, head, j] = pool[table[b, j // pool.shape[1]], j % pool.shape[1], head]
    return result


def test_what_no_query_may_read_is_nan() -> None:
    attention = registry.operator("attention")
    workload = attention.parse("b2 h2 q1 kv10 d16 paged page_size4")
    inputs = attention.special_inputs(workload, 0)
    for name in ("K", "V"):
        assert np.isnan(inputs[name][inputs["block_table"][:, -1], 2:]).all()  # 10 of 12 places are tokens
        unused = set(range(len(inputs[name]))) - set(inputs["block_table"].ravel().tolist())
        assert unused and all(np.isnan(inputs[name][page]).all() for page in unused)
