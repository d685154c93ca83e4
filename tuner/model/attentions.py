"""Attention: chains of MatMul, scale, mask, Softmax, MatMul, and the operators that are all of it."""

import math
from typing import Any

import numpy as np

from tuner import registry
from tuner.core.errors import InvalidWorkload
from tuner.core.kernel import FROZEN
from tuner.core.workload import Workload
from tuner.model.graph import Graph, Node
from tuner.model.layer import Binding, Layer, NotTuned, dtype_of
from tuner.model.products import gemm_workload

# Below this a mask's element hides: exp of it is 0 in f32 beside any score of a useful size.
_HIDES = -1e4
MASKED = "attention with a mask, which the kernels have not: its products are tuned by themselves"


def attention_workload(dtype: str, scale: float, **values: Any) -> Workload:
    """A workload of attention; the usual scale 1/sqrt(d) is its default.

    Raises:
        NotTuned: there is none of these values.
    """
    if values["d"] < 1:
        raise NotTuned("attention of heads without elements")
    usual = 1 / math.sqrt(values["d"])
    scale = 0.0 if math.isclose(scale, usual, rel_tol=1e-5) else scale
    try:
        return registry.operator("attention").workload(dtype, scale=scale, **values)
    except InvalidWorkload as error:
        raise NotTuned(str(error)) from None


def recognize_chain(graph: Graph, softmax: Node) -> Layer | None:
    """The attention that a Softmax is in the middle of; `None` where it is in none.

    Raises:
        NotTuned: it is in one that the kernels have not.
    """
    before: list[Node] = []
    scale, mask, value = 1.0, "", softmax.input(0)
    while True:
        node = graph.producers.get(value)
        if node is None or node.domain or graph.only_consumer(value) is None:
            return None
        before.append(node)
        if node.op == "MatMul":
            scores = node
            break
        factor = graph.scalar(node.input(1))
        if node.op in ("Div", "Mul") and factor:
            scale, value = (scale / factor if node.op == "Div" else scale * factor), node.input(0)
        elif node.op == "Mul" and (factor := graph.scalar(node.input(0))):
            scale, value = scale * factor, node.input(1)
        elif node.op == "Add" and not mask:
            # The sum's wider side are the scores: a mask is spread over batches and heads.
            parts = sorted(node.inputs, key=lambda name: (name in graph.constants, _feeds(graph, name)))
            value, mask = parts[0], parts[1]
        else:
            return None
    product = graph.only_consumer(softmax.outputs[0])
    if product is None or product.op != "MatMul" or product.input(0) != softmax.outputs[0]:
        return None
    return _chain_layer(graph, (scores, softmax, product), before, scale, mask)


def _feeds(graph: Graph, name: str) -> bool:
    """False for what a product or its scaling makes, so that it comes first."""
    node = graph.producers.get(name)
    return node is None or node.op not in ("MatMul", "Div", "Mul")


def _chain_layer(
    graph: Graph, chain: tuple[Node, Node, Node], before: list[Node], scale: float, mask: str
) -> Layer:
    scores, softmax, product = chain
    query, keys, values = scores.input(0), scores.input(1), product.input(1)
    q, k, v = (graph.shape(name) for name in (query, keys, values))
    if q is None or k is None or v is None:
        raise NotTuned("its shapes are not known before it runs")
    axis = softmax.attributes.get("axis", -1 if graph.opset >= 13 else 1)
    if len(q) not in (3, 4) or q[:-2] != k[:-2] or q[:-2] != v[:-2] or axis not in (-1, len(q) - 1):
        raise NotTuned("attention whose axes are not batch, heads, queries and head dimension")
    lead = q[:-2] if len(q) == 4 else (1, q[0])
    causal = bool(mask) and _is_causal(graph, mask, q[-2], k[-1])
    if mask and not causal:
        raise NotTuned(MASKED)
    if v[-1] != q[-1]:
        raise NotTuned(
            f"attention with values of {v[-1]} and queries of {q[-1]} elements: kernels have one size"
        )
    dims = {"b": lead[0], "h": lead[1], "q": q[-2], "kv": k[-1], "d": q[-1]}
    workload = attention_workload(dtype_of(graph.value(query).dtype), scale, **dims, causal=causal)
    key, claimed = _untransposed(graph, keys)
    nodes = sorted({n.index for n in (*before, softmax, product)} | set(claimed))
    inputs = [Binding("Q", query), key, Binding("V", values)]
    return Layer(workload, tuple(nodes), inputs, product.outputs[0])


def _untransposed(graph: Graph, keys: str) -> tuple[Binding, list[int]]:
    """K [..., kv, d] from what the first product is given, [..., d, kv]; and the Transpose this saves."""
    rank = len(graph.shape(keys) or ())
    node, axes, source, saved = graph.producers.get(keys), list(range(rank)), keys, []
    if node is not None and node.op == "Transpose" and graph.only_consumer(keys) is not None:
        axes = list(node.attributes.get("perm") or reversed(range(rank)))
        source, saved = node.input(0), [node.index]
    axes[-1], axes[-2] = axes[-2], axes[-1]
    return Binding("K", source, axes=None if axes == list(range(rank)) else tuple(axes)), saved


def _is_causal(graph: Graph, mask: str, q: int, kv: int) -> bool:
    found = graph.small.get(mask)
    if found is None or found.shape[-2:] != (q, kv) or found.size != q * kv or q > kv:
        return False
    sees = np.arange(kv) <= np.arange(q)[:, None] + kv - q
    flat = found.reshape(q, kv)
    return bool(np.all(flat[sees] == 0) and np.all(flat[~sees] <= _HIDES))


def _heads(node: Node) -> int:
    heads = int(node.attributes.get("num_heads", 1))
    if heads < 1:
        raise NotTuned(f"attention of {heads} heads")
    return heads


def _scale(node: Node, d: int) -> float:
    """What scores are multiplied by; where the node does not say, 1/sqrt(d)."""
    return float(node.attributes.get("scale", 0.0)) or 1 / math.sqrt(max(d, 1))


def recognize_multi_head(graph: Graph, node: Node) -> Layer:
    """com.microsoft MultiHeadAttention: Q, K and V are [batch, tokens, heads * d].

    Raises:
        NotTuned: keys come in another layout.
    """
    shapes = [graph.shape(node.input(i)) for i in range(3)]
    if any(shape is None or len(shape) != 3 for shape in shapes):
        raise NotTuned("keys and values are not [batch, tokens, hidden]")
    (b, q, hidden), (_, kv, _), (_, _, hidden_v) = (s for s in shapes if s is not None)
    heads = _heads(node)
    if hidden % heads or hidden != hidden_v:
        raise NotTuned("values have another size than queries")
    d = hidden // heads
    scale = _scale(node, d)
    causal = bool(node.attributes.get("unidirectional", 0))
    dims = {"b": b, "h": heads, "q": q, "kv": kv, "d": d, "causal": causal}
    workload = attention_workload(dtype_of(graph.value(node.input(0)).dtype), scale, **dims)
    if any(node.inputs[4:8]):
        raise NotTuned(MASKED.partition(":")[0] + ", or with a cache of keys")
    inputs = [
        Binding(name, node.input(i), (b, tokens, heads, d), (0, 2, 1, 3))
        for i, (name, tokens) in enumerate((("Q", q), ("K", kv), ("V", kv)))
    ]
    more = bool(node.input(3)) or any(node.outputs[1:])
    note = "it adds a bias or has more outputs: ONNX Runtime keeps it" if more else ""
    return Layer(
        workload, (node.index,), inputs, node.outputs[0], axes=(0, 2, 1, 3), runs=not more, note=note
    )


def recognize_projected(graph: Graph, node: Node) -> list[Layer]:
    """com.microsoft Attention: one product that makes Q, K and V, then attention over them.

    Raises:
        NotTuned: shapes are not known or sizes do not divide.
    """
    x, w = graph.shape(node.input(0)), graph.shape(node.input(1))
    heads = _heads(node)
    if x is None or w is None or len(x) != 3 or len(w) != 2:
        raise NotTuned("its shapes are not known before it runs")
    if node.attributes.get("qkv_hidden_sizes") or w[1] % (3 * heads) or node.input(4):
        raise NotTuned("Q, K and V of different sizes, or with a past")
    dtype, d = dtype_of(graph.value(node.input(0)).dtype), w[1] // (3 * heads)
    kept: dict[str, Any] = {
        "runs": False,
        "note": "its parts are workloads of their own: ONNX Runtime keeps the node",
    }
    sizes = {"m": x[0] * x[1], "n": w[1], "k": x[2]}
    options = {"bias": bool(node.input(2)), FROZEN: node.input(1) in graph.constants}
    product = gemm_workload(dtype, **sizes, **options)
    inputs = [Binding("A", node.input(0)), Binding("B", node.input(1))]
    found = [Layer(product, (node.index,), inputs, node.outputs[0], **kept)]
    if not node.input(3):
        causal = bool(node.attributes.get("unidirectional", 0))
        dims = {"b": x[0], "h": heads, "q": x[1], "kv": x[1], "d": d, "causal": causal}
        workload = attention_workload(dtype, _scale(node, d), **dims)
        found.append(Layer(workload, (node.index,), [], node.outputs[0], **kept))
    return found


def recognize_operator(graph: Graph, node: Node) -> Layer:
    """ONNX's own Attention (opset 23), Q, K and V of four axes.

    Raises:
        NotTuned: it has a mask, a cache, a cap, or three axes.
    """
    q, k, v = (graph.shape(node.input(i)) for i in range(3))
    if q is None or k is None or v is None or {len(q), len(k), len(v)} != {4}:
        raise NotTuned("Q, K and V are not [batch, heads, tokens, d]")
    given = node.attributes
    if any(node.inputs[3:]) or given.get("softcap", 0.0) or any(node.outputs[1:]) or v[-1] != q[-1]:
        raise NotTuned("attention with a mask, a cache or a cap, which the kernels have not")
    causal = bool(given.get("is_causal", 0))
    if causal and q[2] != k[2]:
        raise NotTuned("its causal mask begins at the first key, the kernels' ends at the last")
    scale = _scale(node, q[3])
    dims = {"b": q[0], "h": q[1], "q": q[2], "kv": k[2], "d": q[3], "kv_heads": k[1], "causal": causal}
    workload = attention_workload(dtype_of(graph.value(node.input(0)).dtype), scale, **dims)
    inputs = [Binding(name, node.input(i)) for i, name in enumerate(("Q", "K", "V"))]
    return Layer(workload, (node.index,), inputs, node.outputs[0])
