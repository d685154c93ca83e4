"""ONNX Runtime on the CPU: the fused MultiHeadAttention, or the graph that an exported model has."""

from collections.abc import Callable, Mapping

import numpy as np

from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.attention.options import OPTIONS, TENSORS, heads_of, lower_right, masked, scale_of
from tuner.schedules.library import LibraryKernel, OnnxGraph

_CONTIGUOUS = {name: default for name, default in OPTIONS.items() if name not in ("paged", "page_size")}


class OnnxRuntimeFused(LibraryKernel):
    """com.microsoft.MultiHeadAttention, whose CPU kernel is a FlashAttention where there is no mask.

    It takes queries and gives outputs as [b, q, h*d]: both are transposed within the call. The causal mask
    is its `unidirectional`, aligned at the top left, so it serves equal lengths only.
    """

    name = "attn_onnxruntime"
    operator = "attention"
    summary = "com.microsoft MultiHeadAttention through ONNX Runtime (MLAS), IO binding, Q and O transposed"
    dtypes = ("f32",)
    options = _CONTIGUOUS
    libraries = ("onnxruntime", "onnx")
    extra = "onnxruntime"
    factory = "tuner.schedules.attention.baselines.onnxruntime:prepare_fused"
    tensors = TENSORS

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """It has neither grouped heads nor a causal mask between different lengths."""
        reason = super().unsupported(workload, target)
        if reason is None and heads_of(workload) != workload["h"]:
            reason = "it has as many heads of keys as of queries"
        if reason is None and masked(workload) and workload["q"] != workload["kv"]:
            reason = "its causal mask is for equal lengths"
        return reason


class OnnxRuntimeGraph(LibraryKernel):
    """MatMul, Softmax and MatMul with the mask between them, as exporters write attention."""

    name = "attn_onnxruntime_graph"
    operator = "attention"
    summary = "MatMul, Softmax, MatMul through ONNX Runtime (MLAS), IO binding, graph fully optimised"
    dtypes = ("f32",)
    options = _CONTIGUOUS
    libraries = ("onnxruntime", "onnx")
    extra = "onnxruntime"
    factory = "tuner.schedules.attention.baselines.onnxruntime:prepare_graph"
    tensors = TENSORS


def prepare_fused(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int
) -> Callable[[], object]:
    """The call, which neither copies K and V nor allocates the output."""
    b, h, q, _, d = (size for _, size in workload)
    graph = OnnxGraph()
    rows, heads = graph.constant((b, q, h * d), "int64"), graph.constant((b, q, h, d), "int64")
    queries = graph.node("Reshape", graph.node("Transpose", "Q", perm=[0, 2, 1, 3]), rows)
    out = graph.node(
        "MultiHeadAttention", queries, "K", "V", domain="com.microsoft",
        num_heads=h, scale=scale_of(workload), unidirectional=int(masked(workload)),
    )  # fmt: skip
    graph.node("Transpose", graph.node("Reshape", out, heads), perm=[0, 2, 1, 3])
    return graph.bind(tensors, "O", threads)


def prepare_graph(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int
) -> Callable[[], object]:
    """The call. Query heads that share keys are rows of one product, by reshapes, which cost nothing."""
    b, h, q, _, d = (size for _, size in workload)
    heads = heads_of(workload)
    rows, graph = h // heads * q, OnnxGraph()
    queries = graph.node("Reshape", "Q", graph.constant((b, heads, rows, d), "int64"))
    scores = graph.node("MatMul", queries, graph.node("Transpose", "K", perm=[0, 1, 3, 2]))
    scores = graph.node("Mul", scores, graph.constant(scale_of(workload), str(tensors["Q"].dtype)))
    if masked(workload):
        hidden = np.where(lower_right(workload), 0.0, -np.inf)
        mask = graph.constant(np.tile(hidden, (h // heads, 1)), str(tensors["Q"].dtype))
        scores = graph.node("Add", scores, mask)
    out = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), "V")
    graph.node("Reshape", out, graph.constant((b, h, q, d), "int64"))
    return graph.bind(tensors, "O", threads)
