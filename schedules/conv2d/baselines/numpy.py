"""NumPy: im2col and one matrix product a group."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tuner.core.activations import activation_of
from tuner.core.workload import Option, Workload
from tuner.schedules.conv2d.options import EPILOGUE, OPTIONS, TENSORS, padding_of
from tuner.schedules.library import LibraryKernel


class NumpyConv2d(LibraryKernel):
    """The convolution that people write in NumPy."""

    name = "conv_numpy"
    operator = "conv2d"
    summary = "numpy: sliding windows copied out (im2col), then matmul (OpenBLAS)"
    dtypes = ("f32",)
    options: ClassVar[Mapping[str, Option]] = {**OPTIONS, **EPILOGUE}
    libraries = ("numpy",)
    factory = "tuner.schedules.conv2d.baselines.numpy:prepare"
    tensors = TENSORS


def prepare(workload: Workload, tensors: Mapping[str, np.ndarray], threads: int) -> Callable[[], object]:
    """The call. Windows are a view, copied once into the layout of the matrix product."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(threads)  # stays in force: nothing restores it
    stride, dilation, groups = (
        int(workload.option(name, OPTIONS[name])) for name in ("stride", "dilation", "groups")
    )
    x, w, y = tensors["X"], tensors["W"], tensors["Y"]
    nhwc = workload.option("nhwc", False)
    rows, columns = (1, 2) if nhwc else (2, 3)
    zeros = dict(zip((rows, columns), padding_of(workload), strict=True))
    margin = [zeros.get(axis, (0, 0)) for axis in range(4)]
    pad = any(map(any, margin))
    spans = tuple(dilation * (workload[taps] - 1) + 1 for taps in ("r", "s"))
    n, k = workload["n"], workload["k"]
    channels = workload["c"] // groups
    filters = w.reshape(groups, k // groups, -1)
    activation, residual = activation_of(workload), tensors.get("residual")
    bias = tensors.get("bias")
    addend = None if bias is None else bias if nhwc else bias[:, None, None]

    def call() -> None:
        padded = np.pad(x, margin) if pad else x
        # [..., taps along r, taps along s] of every output pixel
        windows = sliding_window_view(padded, spans, (rows, columns))[..., ::dilation, ::dilation]
        if nhwc:
            windows = windows[:, ::stride, ::stride]
            p, q = windows.shape[1:3]
            split = windows.reshape(n, p, q, groups, channels, *windows.shape[4:])
            # [n, group, p*q, taps * channels], the order of W's own elements
            matrix = split.transpose(0, 3, 1, 2, 5, 6, 4).reshape(n, groups, p * q, -1)
            product = matrix @ filters.swapaxes(1, 2)
            np.copyto(y.reshape(n, p * q, groups, -1), product.transpose(0, 2, 1, 3))
        else:
            windows = windows[:, :, ::stride, ::stride]
            p, q = windows.shape[2:4]
            matrix = windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, groups, -1, p * q)
            np.matmul(filters, matrix, out=y.reshape(n, groups, k // groups, p * q))
        if addend is not None:
            np.add(y, addend, out=y)
        if residual is not None:
            np.add(y, residual, out=y)
        _activate(y, activation)

    return call


def _activate(y: np.ndarray, name: str) -> None:
    """In place, as people write it: with temporary arrays where one pass is not enough."""
    zero, three, six = np.float32(0), np.float32(3), np.float32(6)
    if name == "relu":
        np.maximum(y, zero, out=y)
    elif name == "relu6":
        np.clip(y, zero, six, out=y)
    elif name == "silu":
        with np.errstate(over="ignore"):
            y /= 1 + np.exp(-y)
    elif name == "hardswish":
        y *= np.clip(y + three, zero, six) / six
