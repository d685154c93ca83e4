"""oneDNN's convolution primitive, called directly: weights reordered in the call, or ahead of it.

Images are read and written as they lie, unless oneDNN has only its reference loops for that layout (int8 of
planes: seconds a call). Then they are reordered in the call too, into what the primitive chooses.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from tuner.core.activations import activation_of
from tuner.core.workload import Option, Workload
from tuner.schedules.conv2d.options import EPILOGUE, OPTIONS, TENSORS, padding_of
from tuner.schedules.onednn import ADDED, BIAS, DST, SRC, WEIGHTS, OneDnn, OneDnnKernel


class OneDnnConv2d(OneDnnKernel):
    """The convolution that a C++ program gets whose images are in plain layouts and whose weights change.

    The weights are reordered within the call into the layout that the primitive chooses: one on weights as
    they lie is several times slower.
    """

    name = "conv_onednn"
    operator = "conv2d"
    summary = "oneDNN convolution through its C interface, X and Y as they lie, W reordered in the call"
    dtypes = ("f32", "f16", "bf16", "int8")
    options: ClassVar[Mapping[str, Option]] = {**OPTIONS, **EPILOGUE}
    factory = "tuner.schedules.conv2d.baselines.onednn:prepare"
    may_choose_winograd = True
    tensors = TENSORS


class OneDnnFrozenConv2d(OneDnnConv2d):
    """The same with constant weights, reordered before any call: what a served model gets."""

    name = "conv_onednn_frozen"
    constant = ("W", "bias")
    only_frozen = True
    summary = "oneDNN convolution with W reordered ahead of the timed call, X and Y as they lie"
    factory = "tuner.schedules.conv2d.baselines.onednn:prepare_frozen"


def prepare(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int, frozen: bool = False
) -> Callable[[], object]:
    """The call, on the images' own memory."""
    x, w, y = tensors["X"], tensors["W"], tensors["Y"]
    if workload.option("nhwc", False):
        # Views with the logical axes in oneDNN's order: the strides say how the memory lies.
        x, w, y = (array.transpose(0, 3, 1, 2) for array in (x, w, y))
    groups = int(workload.option("groups", 1))
    dnn = OneDnn(threads)
    source, result = dnn.of_array(x), dnn.of_array(y)
    steps = [stride // w.itemsize for stride in w.strides]
    shape = list(w.shape)
    if groups > 1:
        shape = [groups, shape[0] // groups, *shape[1:]]
        steps = [steps[0] * shape[1], *steps]
    weights = dnn.layout(shape, w.dtype.name, steps)
    memories: dict[int, Any] = {}
    bias = added = None
    if "bias" in tensors:
        bias = dnn.of_array(tensors["bias"])
        memories[BIAS] = dnn.memory(bias, tensors["bias"])
    if "residual" in tensors:
        more = tensors["residual"]
        more = more.transpose(0, 3, 1, 2) if workload.option("nhwc", False) else more
        added = dnn.of_array(more)
        memories[ADDED] = dnn.memory(added, more)

    def described(source: Any, result: Any) -> Any:
        return dnn.convolution(
            (source, dnn.layout(shape, w.dtype.name, free=True), bias, result),
            int(workload.option("stride", 1)), int(workload.option("dilation", 1)), padding_of(workload),
            dnn.attributes(activation_of(workload), added),
        )  # fmt: skip

    primitive, before, after = described(source, result), [], []
    if dnn.is_reference(primitive):
        primitive = described(*(dnn.layout(a.shape, a.dtype.name, free=True) for a in (x, y)))
        memories[SRC], bring = dnn.source_for(primitive, source, x)
        memories[DST], take = dnn.result_for(primitive, result, y)
        before, after = [bring], [take]
    else:
        memories |= {SRC: dnn.memory(source, x), DST: dnn.memory(result, y)}
    memories[WEIGHTS], reorder = dnn.weights_for(primitive, weights, w)
    if frozen:
        reorder()
    in_order = [*before, *([] if frozen else [reorder]), dnn.call(primitive, memories), *after]

    def call() -> None:
        for step in in_order:
            step()

    return call


def prepare_frozen(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int
) -> Callable[[], object]:
    """Like `prepare`, with W reordered now."""
    return prepare(workload, tensors, threads, frozen=True)
