"""ONNX Runtime on the CPU: the fused MultiHeadAttention, or the graph that an exported model has."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from schedules._library import LibraryKernel
from schedules.attention._options import OPTIONS, TENSORS, heads_of, lower_right, masked, scale_of
from tuner.core.target import Target
from tuner.core.workload import Workload

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
    factory = "schedules.attention.baseline_onnxruntime:prepare_fused"
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
    factory = "schedules.attention.baseline_onnxruntime:prepare_graph"
    tensors = TENSORS


def prepare_fused(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int
) -> Callable[[], object]:
    """The call, which neither copies K and V nor allocates the output."""
    from onnx import helper

    b, h, q, _, d = (size for _, size in workload)
    shape = {"rows": (b, q, h * d), "heads": (b, q, h, d)}
    attributes = {
        "num_heads": h, "scale": scale_of(workload), "unidirectional": int(masked(workload)),
    }  # fmt: skip
    nodes = [
        helper.make_node("Transpose", ["Q"], ["q4"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["q4", "rows"], ["q3"]),
        helper.make_node(
            "MultiHeadAttention", ["q3", "K", "V"], ["o3"], domain="com.microsoft", **attributes
        ),
        helper.make_node("Reshape", ["o3", "heads"], ["o4"]),
        helper.make_node("Transpose", ["o4"], ["O"], perm=[0, 2, 1, 3]),
    ]
    constants = {name: np.array(value, np.int64) for name, value in shape.items()}
    return _bound(nodes, constants, tensors, threads)


def prepare_graph(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int
) -> Callable[[], object]:
    """The call. Query heads that share keys are rows of one product, by reshapes, which cost nothing."""
    from onnx import helper

    b, h, q, _, d = (size for _, size in workload)
    heads = heads_of(workload)
    rows = h // heads * q
    constants: dict[str, np.ndarray] = {
        "rows": np.array((b, heads, rows, d), np.int64), "out": np.array((b, h, q, d), np.int64),
        "scale": np.array(scale_of(workload), np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Reshape", ["Q", "rows"], ["q"]),
        helper.make_node("Transpose", ["K"], ["k"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "k"], ["products"]),
        helper.make_node("Mul", ["products", "scale"], ["scores"]),
    ]
    scores = "scores"
    if masked(workload):
        hidden = np.where(lower_right(workload), np.float32(0), np.float32(-np.inf)).astype(np.float32)
        constants["mask"] = np.tile(hidden, (h // heads, 1))
        nodes.append(helper.make_node("Add", [scores, "mask"], ["seen"]))
        scores = "seen"
    nodes += [
        helper.make_node("Softmax", [scores], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "V"], ["o"]),
        helper.make_node("Reshape", ["o", "out"], ["O"]),
    ]
    return _bound(nodes, constants, tensors, threads)


def _bound(
    nodes: list[Any], constants: Mapping[str, np.ndarray], tensors: Mapping[str, np.ndarray], threads: int
) -> Callable[[], object]:
    """A session over the nodes, bound to the arrays' own memory."""
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    value = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name, x in tensors.items()
    }
    output = value.pop("O")
    initial = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "attention", list(value.values()), [output], initial)
    # Opset 17 and IR 8 are old enough for every supported ONNX Runtime.
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # errors only
    session = ort.InferenceSession(
        model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    for name, array in tensors.items():
        bind = binding.bind_output if name == "O" else binding.bind_input
        bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    return lambda: session.run_with_iobinding(binding)
