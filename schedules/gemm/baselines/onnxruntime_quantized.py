"""ONNX Runtime's QLinearMatMul and QGemm: a quantized layer of a served model, int8 again in one operator."""

from collections.abc import Callable, Mapping

import numpy as np

from tuner.core.target import Target
from tuner.core.workload import Option, Workload
from tuner.schedules.gemm.options import TENSORS
from tuner.schedules.library import LibraryKernel, OnnxGraph, as_bytes

_OPTIONS: Mapping[str, Option] = {
    "batch": 1, "trans_a": False, "trans_b": False, "bias": False, "relu": False,
    "scale_tensor": False, "scale_channel": False, "zero_points": False,
}  # fmt: skip


class OnnxRuntimeQuantizedGemm(LibraryKernel):
    """QLinearMatMul, or with a bias QGemm, with constant B, bias, scales and zero points.

    A and D are uint8 to them, their fast path (`as_bytes`). QGemm takes away A's zero point itself, so what
    the workload's bias holds of it is taken out of the bias again. Without a bias the operator's definition
    takes no zero point of A away, and QLinearMatMul is given one of 0.
    ReLU is a Clip at the result's zero point, and nothing where that is the least int8: a quantizer sees to
    that.
    """

    name = "onnxruntime_quantized"
    operator = "gemm"
    summary = "ONNX QLinearMatMul / QGemm with a constant B through ONNX Runtime (MLAS), IO binding"
    dtypes = ("int8",)
    options = _OPTIONS
    constant = ("B", "bias", "scale", "Z")
    only_frozen = True
    libraries = ("onnxruntime", "onnx")
    extra = "onnxruntime"
    factory = "tuner.schedules.gemm.baselines.onnxruntime_quantized:prepare"
    tensors = TENSORS

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """int32 results are another operator's, MatMulInteger; QGemm knows no batch."""
        reason = super().unsupported(workload, target)
        if reason is None and not any(workload.option(f"scale_{of}", False) for of in ("tensor", "channel")):
            reason = "QLinearMatMul has int8 results: scale_tensor or scale_channel"
        if reason is None and workload.option("bias", False) and workload.option("batch", 1) > 1:
            reason = "QLinearMatMul has no bias, and QGemm, which has one, no batch"
        return reason


def prepare(workload: Workload, tensors: Mapping[str, np.ndarray], threads: int) -> Callable[[], object]:
    """The call, which neither copies an input nor allocates the output."""
    before, after = (int(zero) + 128 for zero in tensors.get("Z", (0, 0)))
    trans_a, trans_b = (bool(workload.option(f"trans_{of}", False)) for of in "ab")
    graph, scale = OnnxGraph(), tensors["scale"]
    one, zero = graph.constant(1, "float32"), graph.constant(after, "uint8")
    if len(scale) == 1:
        scale = scale.reshape(())
    elif tensors["B"].ndim == 3:  # a scale for each column of each matrix
        scale = np.broadcast_to(scale, (len(tensors["B"]), 1, len(scale)))
    by, none = graph.constant(scale, "float32"), graph.constant(np.zeros(scale.shape), "int8")
    if workload.option("bias", False):
        graph.constants["B"] = tensors["B"]
        columns = tensors["B"].astype(np.int64).sum(axis=1 if trans_b else 0)
        bias = graph.constant(tensors["bias"] + (before - 128) * columns, "int32")
        first = graph.constant(before, "uint8")
        result = graph.node(
            "QGemm", "A", one, first, "B", by, none, bias, one, zero,
            domain="com.microsoft", alpha=1.0, transA=int(trans_a), transB=int(trans_b),
        )  # fmt: skip
    else:
        b = tensors["B"]
        graph.constants["B"] = np.ascontiguousarray(b.swapaxes(-1, -2)) if trans_b else b
        order = [*range(b.ndim - 2), b.ndim - 1, b.ndim - 2]
        a = graph.node("Transpose", "A", perm=order) if trans_a else "A"
        result = graph.node("QLinearMatMul", a, one, graph.constant(128, "uint8"), "B", by, none, one, zero)
    if workload.option("relu", False) and after > 0:
        graph.node("Clip", result, zero)
    given = {name: tensors[name] for name in ("A", "B", "D")}
    return as_bytes(lambda on: graph.bind(on, "D", threads), given, "A", "D")
