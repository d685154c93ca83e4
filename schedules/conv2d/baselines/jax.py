"""XLA on the CPU, through JAX: a compiled `lax.conv_general_dilated` with its epilogue."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from tuner.core.activations import activation_of
from tuner.core.workload import Option, Workload
from tuner.schedules.conv2d.options import EPILOGUE, OPTIONS, TENSORS, padding_of
from tuner.schedules.library import LibraryKernel, compiled_jax


class JaxConv2d(LibraryKernel):
    """The convolution that a jitted JAX program gets."""

    name = "conv_jax"
    operator = "conv2d"
    summary = "jax.lax.conv_general_dilated with its epilogue, compiled by XLA; the result copied out"
    dtypes = ("f32",)
    options: ClassVar[Mapping[str, Option]] = {**OPTIONS, **EPILOGUE}
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

    def compute(x: Any, w: Any, *more: Any) -> Any:
        import jax

        y = jax.lax.conv_general_dilated(
            x, w, window_strides=(stride, stride), padding=padding_of(workload),
            rhs_dilation=(dilation, dilation), feature_group_count=groups, dimension_numbers=layout,
            precision="highest",
        )  # fmt: skip
        given = dict(zip([name for name in ("bias", "residual") if name in tensors], more, strict=True))
        if "bias" in given:
            y = y + (given["bias"] if nhwc else given["bias"][:, None, None])
        y = y + given["residual"] if "residual" in given else y
        name = activation_of(workload)
        act = {"hardswish": "hard_swish"}.get(name, name)
        return getattr(jax.nn, act)(y) if name else y

    return compiled_jax(compute, tensors, "Y", threads)
