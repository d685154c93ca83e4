"""ONNX Runtime on the CPU: a graph of one Conv with its epilogue, bound to the arrays."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from schedules._library import LibraryKernel
from schedules.conv2d._options import OPTIONS, TENSORS
from tuner.core.workload import Workload

_NCHW = {name: default for name, default in OPTIONS.items() if name != "nhwc"}


class OnnxRuntimeConv2d(LibraryKernel):
    """Conv whose weights arrive with every call, as those of all other kernels do."""

    name = "conv_onnxruntime"
    operator = "conv2d"
    summary = "ONNX Conv through ONNX Runtime (MLAS), weights as an input, IO binding"
    dtypes = ("f32",)
    options = _NCHW
    libraries = ("onnxruntime", "onnx")
    extra = "onnxruntime"
    factory = "schedules.conv2d.baseline_onnxruntime:prepare"
    tensors = TENSORS


class OnnxRuntimeFrozen(LibraryKernel):
    """Conv of a served model: the weights are constants, laid out once, before anything is timed.

    It does less in a call than the others, which are given W anew each time; it is here because it is
    what a served model gets.
    """

    name = "conv_onnxruntime_frozen"
    operator = "conv2d"
    summary = "ONNX Conv with constant weights, laid out ahead of the timed call (NCHWc, MLAS)"
    dtypes = ("f32",)
    options = _NCHW
    libraries = ("onnxruntime", "onnx")
    extra = "onnxruntime"
    factory = "schedules.conv2d.baseline_onnxruntime:prepare_frozen"
    tensors = TENSORS


def prepare(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int, frozen: bool = False
) -> Callable[[], object]:
    """The call, which neither copies an input nor allocates the output."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # errors only
    constants = {name: array for name, array in tensors.items() if frozen and name in ("W", "bias")}
    model = _model(workload, tensors, constants)
    session = ort.InferenceSession(
        model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    for name, array in tensors.items():
        if name not in constants:
            bind = binding.bind_output if name == "Y" else binding.bind_input
            bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    return lambda: session.run_with_iobinding(binding)


def prepare_frozen(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int
) -> Callable[[], object]:
    """Like `prepare`, with W and the bias as constants of the graph."""
    return prepare(workload, tensors, threads, frozen=True)


def _model(workload: Workload, tensors: Mapping[str, np.ndarray], constants: Mapping[str, np.ndarray]) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    stride, pad, dilation, groups = (
        int(workload.option(name, OPTIONS[name])) for name in ("stride", "pad", "dilation", "groups")
    )
    inputs = [name for name in ("X", "W", "bias") if name in tensors]
    relu = workload.option("relu", False)
    nodes = [
        helper.make_node(
            "Conv", inputs, ["sum" if relu else "Y"], kernel_shape=[workload["r"], workload["s"]],
            strides=[stride] * 2, pads=[pad] * 4, dilations=[dilation] * 2, group=groups,
        )
    ]  # fmt: skip
    if relu:
        nodes.append(helper.make_node("Relu", ["sum"], ["Y"]))
    value = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name, x in tensors.items()
    }
    graph = helper.make_graph(
        nodes, "conv2d", [value[name] for name in inputs if name not in constants], [value["Y"]],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    # Opset 17 and IR 8 are old enough for every supported ONNX Runtime.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
