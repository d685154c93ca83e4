"""ONNX Runtime on the CPU: a graph of one Gemm (or MatMul) with its epilogue, bound to the arrays."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from tuner.core.activations import OF_PRODUCTS, activation_of
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.gemm.options import ACTIVATED, TENSORS
from tuner.schedules.library import LibraryKernel, OnnxGraph


class OnnxRuntimeGemm(LibraryKernel):
    """The GEMM that a model served by ONNX Runtime gets, both operands being activations.

    For f16 ONNX Runtime computes in f32 between casts on x86. For int8 it is MatMulInteger, whose int32 sums
    are exact; transposes and the epilogue are operators of their own.
    """

    name = "onnxruntime"
    operator = "gemm"
    summary = "ONNX Gemm / MatMul / MatMulInteger through ONNX Runtime (MLAS), IO binding"
    dtypes = ("f32", "f16", "int8")
    options = ACTIVATED
    libraries = ("onnxruntime", "onnx")
    extra = "onnxruntime"
    factory = "tuner.schedules.gemm.baselines.onnxruntime:prepare"
    tensors = TENSORS

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """An f16 epilogue would be rounded to f16 after each of its operators."""
        reason = super().unsupported(workload, target)
        if reason is None and workload.dtype == "f16" and set(dict(workload.options)) & _EPILOGUE:
            reason = "its f16 epilogue rounds after each step"
        return reason


class OnnxRuntimeFrozenGemm(OnnxRuntimeGemm):
    """The same with B a constant of the graph, packed by the session: what a served model gets."""

    name = "onnxruntime_frozen"
    constant = ("B",)
    only_frozen = True
    summary = "ONNX Gemm / MatMul / MatMulInteger with a constant B, packed ahead of the timed call (MLAS)"
    factory = "tuner.schedules.gemm.baselines.onnxruntime:prepare_frozen"


_EPILOGUE = {"alpha", "beta", "bias", *OF_PRODUCTS}


def prepare(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int, frozen: bool = False
) -> Callable[[], object]:
    """The call, which neither copies an input nor allocates the output."""
    alpha, beta = workload.option("alpha", 1.0), workload.option("beta", 0.0)
    trans_a, trans_b = workload.option("trans_a", False), workload.option("trans_b", False)
    graph, addends = OnnxGraph(), [name for name in ("C", "bias") if name in tensors]
    if frozen:
        graph.constants["B"] = tensors["B"]

    def scale(value: str, factor: float) -> str:
        return graph.node("Mul", value, graph.constant(factor, str(tensors["D"].dtype)))

    if tensors["A"].ndim == 2 and workload.dtype != "int8":
        # Gemm has room for one addend, with a factor; one row broadcasts, so the bias may be it.
        first = addends.pop(0) if addends else ""
        attributes = {"alpha": alpha, "transA": int(trans_a), "transB": int(trans_b)}
        attributes["beta"] = beta if first == "C" else 1.0
        result = graph.node("Gemm", "A", "B", *([first] if first else []), **attributes)
    else:
        order = [*range(tensors["A"].ndim - 2), tensors["A"].ndim - 1, tensors["A"].ndim - 2]
        a = graph.node("Transpose", "A", perm=order) if trans_a else "A"
        b = graph.node("Transpose", "B", perm=order) if trans_b else "B"
        result = graph.node("MatMulInteger" if workload.dtype == "int8" else "MatMul", a, b)
        result = scale(result, alpha) if alpha != 1 else result
    for name in addends:
        result = graph.node("Add", result, scale(name, beta) if name == "C" and beta != 1 else name)
    _activated(graph, result, activation_of(workload))
    return graph.bind(tensors, "D", threads)


def _activated(graph: OnnxGraph, value: str, name: str) -> None:
    """As exporters write it, which is what ONNX Runtime's optimizer looks for."""
    if name == "silu":
        graph.node("Mul", value, graph.node("Sigmoid", value))
    elif name == "gelu":
        half, one, root = (graph.constant(number, "float32") for number in (0.5, 1, math.sqrt(2)))
        bracket = graph.node("Add", graph.node("Erf", graph.node("Div", value, root)), one)
        graph.node("Mul", graph.node("Mul", value, bracket), half)
    elif name:
        graph.node({"relu": "Relu", "tanh": "Tanh"}[name], value)


def prepare_frozen(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int
) -> Callable[[], object]:
    """Like `prepare`, with B as a constant of the graph."""
    return prepare(workload, tensors, threads, frozen=True)
