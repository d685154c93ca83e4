"""oneDNN's matmul primitive, called directly: on operands as they lie, and with B laid out ahead."""

from collections.abc import Callable, Mapping

import numpy as np

from tuner.core.activations import activation_of
from tuner.core.workload import Workload
from tuner.schedules.gemm.options import ACTIVATED, TENSORS
from tuner.schedules.onednn import BIAS, DST, SRC, WEIGHTS, OneDnn, OneDnnKernel

_OPTIONS = {name: value for name, value in ACTIVATED.items() if name not in ("alpha", "beta")}


class OneDnnGemm(OneDnnKernel):
    """The product that a C++ program gets which calls oneDNN; f16, bf16 and int8 with AMX where there is."""

    name = "onednn"
    operator = "gemm"
    summary = "oneDNN matmul through its C interface, operands as they lie, bias and activation fused"
    dtypes = ("f32", "f16", "int8", "bf16")
    options = _OPTIONS
    factory = "tuner.schedules.gemm.baselines.onednn:prepare"
    tensors = TENSORS


class OneDnnFrozenGemm(OneDnnGemm):
    """The same with B constant, reordered into the layout that the primitive chooses, before any call.

    It does less in a call than kernels that are given B anew each time; it is what a served model gets.
    """

    name = "onednn_frozen"
    constant = ("B",)
    only_frozen = True
    summary = "oneDNN matmul with B reordered ahead of the timed call, into the layout it chooses"
    factory = "tuner.schedules.gemm.baselines.onednn:prepare_frozen"


def prepare(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int, frozen: bool = False
) -> Callable[[], object]:
    """The call, on the arrays' own memory."""
    a, b, d = tensors["A"], tensors["B"], tensors["D"]
    a = a.swapaxes(-1, -2) if workload.option("trans_a", False) else a
    b = b.swapaxes(-1, -2) if workload.option("trans_b", False) else b
    dnn = OneDnn(threads)
    source, weights, result = (dnn.of_array(array) for array in (a, b, d))
    wanted = dnn.layout(b.shape, b.dtype.name, free=True) if frozen else weights
    memories, bias = {SRC: dnn.memory(source, a), DST: dnn.memory(result, d)}, None
    if "bias" in tensors:
        row = tensors["bias"]
        bias = dnn.of_array(row, (1,) * (d.ndim - 1) + row.shape)
        memories[BIAS] = dnn.memory(bias, row)
    primitive = dnn.matmul(source, wanted, bias, result, dnn.attributes(activation_of(workload)))
    if frozen:
        memories[WEIGHTS], reorder = dnn.weights_for(primitive, weights, b)
        reorder()
    else:
        memories[WEIGHTS] = dnn.memory(weights, b)
    return dnn.call(primitive, memories)


def prepare_frozen(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int
) -> Callable[[], object]:
    """Like `prepare`, with B reordered now."""
    return prepare(workload, tensors, threads, frozen=True)
