"""ONNX Runtime on the CPU: a graph of one convolution with its epilogue, bound to the arrays."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np

from tuner.core.activations import activation_of
from tuner.core.workload import Option, Workload
from tuner.schedules.conv2d.options import EPILOGUE, OPTIONS, SCALES, TENSORS, padding_of
from tuner.schedules.library import LibraryKernel, OnnxGraph

_NCHW: Mapping[str, Option] = {
    name: default for name, default in {**OPTIONS, **EPILOGUE}.items() if name != "nhwc"
}


class OnnxRuntimeConv2d(LibraryKernel):
    """Conv whose weights arrive with every call, as those of all other kernels do.

    For f16 ONNX Runtime computes in f32 between casts on x86. For int8 it is ConvInteger, whose int32 sums
    are exact; bias, ReLU and scales follow as operators of their own.
    """

    name = "conv_onnxruntime"
    operator = "conv2d"
    summary = "ONNX Conv / ConvInteger through ONNX Runtime (MLAS), weights as an input, IO binding"
    dtypes = ("f32", "f16", "int8")
    options: ClassVar[Mapping[str, Option]] = {**_NCHW, **SCALES}
    libraries = ("onnxruntime", "onnx")
    extra = "onnxruntime"
    factory = "tuner.schedules.conv2d.baselines.onnxruntime:prepare"
    may_choose_winograd = True
    tensors = TENSORS


class OnnxRuntimeFrozen(LibraryKernel):
    """Conv of a served model: the weights are constants, laid out once, before anything is timed."""

    name = "conv_onnxruntime_frozen"
    constant = ("W", "bias")
    only_frozen = True
    operator = "conv2d"
    summary = "ONNX Conv with constant weights, laid out ahead of the timed call (NCHWc, MLAS)"
    dtypes = ("f32",)
    options = _NCHW
    libraries = ("onnxruntime", "onnx")
    extra = "onnxruntime"
    factory = "tuner.schedules.conv2d.baselines.onnxruntime:prepare_frozen"
    may_choose_winograd = True
    tensors = TENSORS


def prepare(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int, frozen: bool = False
) -> Callable[[], object]:
    """The call, which neither copies an input nor allocates the output."""
    stride, dilation, groups = (
        int(workload.option(name, OPTIONS[name])) for name in ("stride", "dilation", "groups")
    )
    (top, bottom), (left, right) = padding_of(workload)
    attributes = {
        "kernel_shape": [workload["r"], workload["s"]], "strides": [stride] * 2,
        "pads": [top, left, bottom, right], "dilations": [dilation] * 2, "group": groups,
    }  # fmt: skip
    graph = OnnxGraph()
    graph.constants.update((name, tensors[name]) for name in ("W", "bias") if frozen and name in tensors)
    bias = ["bias"] if "bias" in tensors else []
    if workload.dtype == "int8":
        column = graph.constant((1, -1, 1, 1), "int64")
        value = graph.node("ConvInteger", "X", "W", **attributes)
        value = graph.node("Add", value, graph.node("Reshape", *bias, column)) if bias else value
    else:
        value = graph.node("Conv", "X", "W", *bias, **attributes)
    value = graph.node("Add", value, "residual") if "residual" in tensors else value
    value = _activated(graph, value, workload)
    if "scale" in tensors:
        floats = graph.node("Cast", value, to=1)  # 1: FLOAT
        scaled = graph.node("Round", graph.node("Mul", floats, graph.node("Reshape", "scale", column)))
        limits = (graph.constant(limit, "float32") for limit in (-128, 127))
        graph.node("Cast", graph.node("Clip", scaled, *limits), to=3)  # 3: INT8
    return graph.bind(tensors, "Y", threads)


def _activated(graph: OnnxGraph, value: str, workload: Workload) -> str:
    """As exporters write it, which is what ONNX Runtime's optimizer looks for."""
    match activation_of(workload):
        case "relu":
            return graph.node("Relu", value)
        case "relu6":
            dtype = {"f32": "float32", "f16": "float16"}[workload.dtype]
            return graph.node("Clip", value, graph.constant(0, dtype), graph.constant(6, dtype))
        case "silu":
            return graph.node("Mul", value, graph.node("Sigmoid", value))
        case "hardswish":
            return graph.node("HardSwish", value)
    return value


def prepare_frozen(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int
) -> Callable[[], object]:
    """Like `prepare`, with W and the bias as constants of the graph."""
    return prepare(workload, tensors, threads, frozen=True)
