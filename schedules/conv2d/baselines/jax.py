"""XLA on the CPU, through JAX: a compiled `lax.conv_general_dilated` with its epilogue."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tuner.core.workload import Workload
from tuner.schedules.conv2d.options import OPTIONS, TENSORS, padding_of
from tuner.schedules.library import LibraryKernel, compiled_jax


class JaxConv2d(LibraryKernel):
    """The convolution that a jitted JAX program gets."""

    name = "conv_jax"
    operator = "conv2d"
    summary = "jax.lax.conv_general_dilated with bias and ReLU, compiled by XLA; the result copied out"
    dtypes = ("f32",)
    options = OPTIONS
    libraries = ("jax", "jaxlib")
    extra = "xla"
    factory = "tuner.schedules.conv2d.baselines.jax:prepare"
    may_choose_winograd = True
    tensors = TENSORS


def prepare(workload: Workload, tensors: Mapping[str, np.ndarray], threads: int) -> Callable[[], object]:
    """The call."""
    stride, dilation, groups = (
        int(workload.option(name, OPTIONS[name])) for name in ("stride", "dilation", "groups")
    )
    nhwc = workload.option("nhwc", False)
    layout = ("NHWC", "OHWI", "NHWC") if nhwc else ("NCHW", "OIHW", "NCHW")

    def compute(x: Any, w: Any, *bias: Any) -> Any:
        import jax

        y = jax.lax.conv_general_dilated(
            x, w, window_strides=(stride, stride), padding=padding_of(workload),
            rhs_dilation=(dilation, dilation), feature_group_count=groups, dimension_numbers=layout,
            precision="highest",
        )  # fmt: skip
        if bias:
            y = y + (bias[0] if nhwc else bias[0][:, None, None])
        return jax.numpy.maximum(y, 0) if workload.option("relu", False) else y

    return compiled_jax(compute, tensors, "Y", threads)
