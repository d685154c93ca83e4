"""ONNX Runtime on the CPU: a graph of one Gemm (or MatMul) with its epilogue, bound to the arrays."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from schedules._library import LibraryKernel
from schedules.gemm._options import OPTIONS, TENSORS
from tuner.core.workload import Workload


class OnnxRuntimeGemm(LibraryKernel):
    """The GEMM that a model served by ONNX Runtime gets, both operands being activations."""

    name = "onnxruntime"
    operator = "gemm"
    summary = "ONNX Gemm / MatMul through ONNX Runtime (MLAS), IO binding, graph fully optimised"
    dtypes = ("f32",)
    options = OPTIONS
    libraries = ("onnxruntime", "onnx")
    extra = "onnxruntime"
    factory = "schedules.gemm.baseline_onnxruntime:prepare"
    tensors = TENSORS


def prepare(workload: Workload, tensors: Mapping[str, np.ndarray], threads: int) -> Callable[[], object]:
    """The call, which neither copies an input nor allocates the output."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # errors only
    model = _model(workload, tensors)
    session = ort.InferenceSession(
        model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    for name, array in tensors.items():
        bind = binding.bind_output if name == "D" else binding.bind_input
        bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
    return lambda: session.run_with_iobinding(binding)


def _model(workload: Workload, tensors: Mapping[str, np.ndarray]) -> Any:
    from onnx import TensorProto, helper

    alpha, beta = workload.option("alpha", 1.0), workload.option("beta", 0.0)
    trans_a, trans_b = workload.option("trans_a", False), workload.option("trans_b", False)
    nodes: list[Any] = []
    constants: list[Any] = []
    produced = 0

    def node(kind: str, *inputs: str, **attributes: Any) -> str:
        nonlocal produced
        produced += 1
        nodes.append(helper.make_node(kind, list(inputs), [f"t{produced}"], **attributes))
        return f"t{produced}"

    def scale(value: str, factor: float) -> str:
        constants.append(helper.make_tensor(f"c{len(constants)}", TensorProto.FLOAT, (), [factor]))
        return node("Mul", value, f"c{len(constants) - 1}")

    addends = [name for name in ("C", "bias") if name in tensors]
    if tensors["A"].ndim == 2:
        # Gemm has room for one addend, with a factor; one row broadcasts, so the bias may be it.
        first = addends.pop(0) if addends else ""
        attributes = {"alpha": alpha, "transA": int(trans_a), "transB": int(trans_b)}
        attributes["beta"] = beta if first == "C" else 1.0
        result = node("Gemm", "A", "B", *([first] if first else []), **attributes)
    else:
        a = node("Transpose", "A", perm=[0, 2, 1]) if trans_a else "A"
        b = node("Transpose", "B", perm=[0, 2, 1]) if trans_b else "B"
        result = node("MatMul", a, b)
        result = scale(result, alpha) if alpha != 1 else result
    for name in addends:
        result = node("Add", result, scale(name, beta) if name == "C" and beta != 1 else name)
    if workload.option("relu", False):
        node("Relu", result)
    nodes[-1].output[0] = "D"
    value = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name, x in tensors.items()
    }
    output = value.pop("D")
    graph = helper.make_graph(nodes, "gemm", list(value.values()), [output], constants)
    # Opset 17 and IR 8 are old enough for every supported ONNX Runtime.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
