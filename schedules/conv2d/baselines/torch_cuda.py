"""PyTorch on a GPU: `torch.conv2d` (cuDNN, its algorithms timed first), in either memory format."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from tuner.core.target import Target
from tuner.core.workload import Option, Workload
from tuner.schedules.conv2d.baselines.torch import convolution
from tuner.schedules.conv2d.options import EPILOGUE, OPTIONS, TENSORS
from tuner.schedules.library import LibraryKernel
from tuner.schedules.torch_cuda import no_torch, start_on_gpu


class CudnnConv2d(LibraryKernel):
    """The convolution that a PyTorch program gets in eager mode with `torch.backends.cudnn.benchmark`."""

    name = "conv_cudnn"
    operator = "conv2d"
    summary = "torch.conv2d on the GPU (cuDNN, benchmark on, without TF32), epilogue in place"
    dtypes = ("f32", "f16")
    options: ClassVar[Mapping[str, Option]] = {**OPTIONS, **EPILOGUE}
    target_kinds = ("cuda",)
    libraries = ("torch", "cupy")
    extra = "torch"
    factory = "tuner.schedules.conv2d.baselines.torch_cuda:prepare"
    may_choose_winograd = True
    tensors = TENSORS

    def unavailable(self) -> str | None:
        """torch or CuPy is not installed, or torch is a build for CPUs."""
        return no_torch() or super().unavailable()


class CudnnChannelsLast(CudnnConv2d):
    """The same of a program that converted its model to channels_last, on an NCHW caller's arrays.

    NHWC workloads are channels_last as they are, so that is `conv_cudnn`. For NCHW ones X, W and Y are
    converted in the call: W is an argument that may change from call to call, as for every other kernel.
    """

    name = "conv_cudnn_channels_last"
    summary = "torch.conv2d on the GPU in channels_last: X and W converted, Y converted back within the call"
    factory = "tuner.schedules.conv2d.baselines.torch_cuda:prepare_channels_last"

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Only where it differs from `conv_cudnn`."""
        reason = super().unsupported(workload, target)
        return reason or ("an NHWC workload is conv_cudnn" if workload.option("nhwc", False) else None)


def prepare(workload: Workload, tensors: Mapping[str, Any], threads: int) -> Callable[[], object]:
    """The call on CuPy's arrays; `threads` has no meaning here."""
    return convolution(workload, start_on_gpu(tensors))


def prepare_channels_last(
    workload: Workload, tensors: Mapping[str, Any], threads: int
) -> Callable[[], object]:
    """Like `prepare`, converting to channels_last and back."""
    return convolution(workload, start_on_gpu(tensors), channels_last=True)
