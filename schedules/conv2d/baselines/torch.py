"""PyTorch on the CPU: `torch.conv2d` (oneDNN), on tensors of either memory format."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from tuner.core.activations import activation_of
from tuner.core.target import Target
from tuner.core.workload import Option, Workload
from tuner.schedules.conv2d.options import EPILOGUE, OPTIONS, TENSORS, padding_of
from tuner.schedules.library import LibraryKernel, start_torch, torch_tensor


class TorchConv2d(LibraryKernel):
    """The convolution that a PyTorch program gets in eager mode."""

    name = "conv_torch"
    operator = "conv2d"
    summary = "torch.conv2d in eager mode (oneDNN), weights in plain layout, epilogue in place"
    dtypes = ("f32", "f16", "bf16")
    options: ClassVar[Mapping[str, Option]] = {**OPTIONS, **EPILOGUE}
    libraries = ("torch",)
    extra = "torch"
    factory = "tuner.schedules.conv2d.baselines.torch:prepare"
    may_choose_winograd = True
    tensors = TENSORS


class TorchChannelsLast(LibraryKernel):
    """The same of a program that converted its model to channels_last, on an NCHW caller's arrays.

    NHWC workloads are channels_last as they are, so that is `conv_torch`. For NCHW ones X, W and Y are
    converted in the call: W is an argument that may change from call to call, as for every other kernel.
    """

    name = "conv_torch_channels_last"
    operator = "conv2d"
    summary = "torch.conv2d in channels_last: X and W converted and Y converted back within the call"
    dtypes = ("f32", "f16", "bf16")
    options: ClassVar[Mapping[str, Option]] = {**OPTIONS, **EPILOGUE}
    libraries = ("torch",)
    extra = "torch"
    factory = "tuner.schedules.conv2d.baselines.torch:prepare_channels_last"
    may_choose_winograd = True
    tensors = TENSORS

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Only where it differs from `conv_torch`."""
        reason = super().unsupported(workload, target)
        return reason or ("an NHWC workload is conv_torch" if workload.option("nhwc", False) else None)


def prepare(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int, channels_last: bool = False
) -> Callable[[], object]:
    """The call on the CPU; see `convolution`."""

    start_torch(threads)
    return convolution(
        workload, {name: torch_tensor(array) for name, array in tensors.items()}, channels_last
    )


def convolution(
    workload: Workload, t: Mapping[str, Any], channels_last: bool = False
) -> Callable[[], object]:
    """The call on tensors. An NHWC array is passed as a channels_last view: the same memory.

    `torch.conv2d` pads both sides of an axis alike; what differs is padded in the call, by `F.pad`, as a
    module would. It has no `out=`: its result is copied to Y, about 1% of a layer with 64 channels.

    Args:
        workload: what is computed.
        t: the tensors of the signature, by name, all on one device.
        channels_last: X, W and Y are converted in the call.
    """
    import torch

    nhwc = workload.option("nhwc", False)
    x, w, y = (t[name].permute(0, 3, 1, 2) if nhwc else t[name] for name in ("X", "W", "Y"))
    bias = t.get("bias")
    stride, dilation, groups = (
        int(workload.option(name, OPTIONS[name])) for name in ("stride", "dilation", "groups")
    )
    more = t.get("residual")
    more = more.permute(0, 3, 1, 2) if nhwc and more is not None else more
    activate = _in_place(activation_of(workload))
    (top, bottom), (left, right) = padding_of(workload)
    equal = top == bottom and left == right
    padding = (top, left) if equal else (0, 0)

    def call() -> None:
        image, weights = x, w
        if channels_last:
            image, weights = (a.contiguous(memory_format=torch.channels_last) for a in (x, w))
        image = image if equal else torch.nn.functional.pad(image, (left, right, top, bottom))
        result = torch.conv2d(image, weights, bias, stride, padding, dilation, groups)
        if more is not None:
            result += more
        y.copy_(activate(result) if activate else result)

    return call


def _in_place(name: str) -> Callable[[Any], Any] | None:
    """An activation that overwrites its argument; `None` for none."""
    import torch

    functional = torch.nn.functional
    found: dict[str, Callable[[Any], Any]] = {
        "relu": torch.relu_,
        "relu6": lambda x: functional.relu6(x, inplace=True),
        "silu": lambda x: functional.silu(x, inplace=True),
        "hardswish": lambda x: functional.hardswish(x, inplace=True),
    }
    return found.get(name)


def prepare_channels_last(
    workload: Workload, tensors: Mapping[str, np.ndarray], threads: int
) -> Callable[[], object]:
    """Like `prepare`, converting to channels_last and back."""
    return prepare(workload, tensors, threads, channels_last=True)
