"""ONNX Runtime's QLinearConv: a quantized layer of a served model, scaled back to int8 in one operator."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np

from tuner.core.target import Target
from tuner.core.workload import Option, Workload
from tuner.schedules.conv2d.options import OPTIONS, SCALES, TENSORS, padding_of
from tuner.schedules.library import LibraryKernel, OnnxGraph, as_bytes


class OnnxRuntimeQuantizedConv2d(LibraryKernel):
    """QLinearConv with constant weights, bias, scales and zero points, laid out before anything is timed.

    X and Y are uint8 to it, its fast path (`as_bytes`). It takes away X's zero point itself, so what the
    workload's bias holds of it is taken out of the bias again.
    ReLU is a Clip at the result's zero point, and nothing where that is the least int8: a quantizer sees to
    that.
    """

    name = "conv_onnxruntime_quantized"
    operator = "conv2d"
    summary = "ONNX QLinearConv with constant weights through ONNX Runtime (MLAS), IO binding"
    dtypes = ("int8",)
    options: ClassVar[Mapping[str, Option]] = {
        **{name: default for name, default in OPTIONS.items() if name != "nhwc"}, **SCALES,
        "zero_points": False,
    }  # fmt: skip
    constant = ("W", "bias", "scale", "Z")
    only_frozen = True
    libraries = ("onnxruntime", "onnx")
    extra = "onnxruntime"
    factory = "tuner.schedules.conv2d.baselines.onnxruntime_quantized:prepare"
    tensors = TENSORS

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """int32 results are another operator's, ConvInteger."""
        reason = super().unsupported(workload, target)
        scaled = any(workload.option(name, False) for name in SCALES)
        return reason or (None if scaled else "QLinearConv has int8 results: scale_tensor or scale_channel")


def prepare(workload: Workload, tensors: Mapping[str, np.ndarray], threads: int) -> Callable[[], object]:
    """The call, which neither copies an input nor allocates the output."""
    stride, dilation, groups = (int(workload.option(o, 1)) for o in ("stride", "dilation", "groups"))
    (top, bottom), (left, right) = padding_of(workload)
    before, after = (int(zero) + 128 for zero in tensors.get("Z", (0, 0)))
    graph = OnnxGraph()
    weights = tensors["W"].astype(np.int64).sum(axis=(1, 2, 3))
    bias = tensors.get("bias", np.zeros(workload["k"], np.int32)) + (before - 128) * weights
    one, none = graph.constant(1, "float32"), graph.constant(0, "int8")
    graph.constants["W"] = tensors["W"]
    scale = tensors["scale"]
    graph.node(
        "QLinearConv",
        "X", one, graph.constant(before, "uint8"),
        "W", graph.constant(scale if len(scale) > 1 else scale[0], "float32"), none,
        one, graph.constant(after, "uint8"), graph.constant(bias, "int32"),
        kernel_shape=[workload["r"], workload["s"]], strides=[stride] * 2, pads=[top, left, bottom, right],
        dilations=[dilation] * 2, group=groups,
    )  # fmt: skip
    if workload.option("relu", False) and after > 0:
        graph.node("Clip", "t0", graph.constant(after, "uint8"))
    given = {name: tensors[name] for name in ("X", "W", "Y")}
    return as_bytes(lambda on: graph.bind(on, "Y", threads), given, "X", "Y")
