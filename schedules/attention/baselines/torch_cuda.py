"""PyTorch on a GPU: `scaled_dot_product_attention` with each of its backends forced, one baseline a backend.

Left to itself it chooses by rules that are not of speed alone: a program can get the fastest of the four.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.attention.baselines.torch import attention
from tuner.schedules.attention.options import OPTIONS, TENSORS, heads_of, masked
from tuner.schedules.library import LibraryKernel
from tuner.schedules.torch_cuda import no_torch, start_on_gpu


class _Forced(LibraryKernel):
    """A backend of PyTorch's attention; it refuses what it has no kernel for, in its own words."""

    operator = "attention"
    options = OPTIONS
    target_kinds = ("cuda",)
    libraries = ("torch", "cupy")
    extra = "torch"
    tensors = TENSORS
    refuses_at_run = True
    takes_masks: ClassVar[bool] = True
    takes_groups: ClassVar[bool] = True

    def unavailable(self) -> str | None:
        """torch or CuPy is not installed, or torch is a build for CPUs."""
        return no_torch() or super().unavailable()

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also masks and groups of heads that the backend does not take."""
        if reason := super().unsupported(workload, target):
            return reason
        if not self.takes_masks and masked(workload) and workload["q"] != workload["kv"]:
            return "it takes no mask but the causal one of equal lengths"
        if not self.takes_groups and heads_of(workload) != workload["h"]:
            return "it takes no groups of heads"
        return None


class SdpaFlash(_Forced):
    """FlashAttention as PyTorch brings it."""

    name = "attn_sdpa_flash"
    summary = "torch SDPA on the GPU, backend FLASH_ATTENTION; pages gathered first"
    dtypes = ("f16", "bf16")
    factory = "tuner.schedules.attention.baselines.torch_cuda:prepare_flash"
    takes_masks = False


class SdpaEfficient(_Forced):
    """The memory-efficient attention of xFormers, as PyTorch brings it."""

    name = "attn_sdpa_efficient"
    summary = "torch SDPA on the GPU, backend EFFICIENT_ATTENTION; pages gathered first"
    dtypes = ("f32", "f16", "bf16")
    factory = "tuner.schedules.attention.baselines.torch_cuda:prepare_efficient"
    takes_groups = False


class SdpaCudnn(_Forced):
    """cuDNN's fused attention, as PyTorch calls it."""

    name = "attn_sdpa_cudnn"
    summary = "torch SDPA on the GPU, backend CUDNN_ATTENTION; pages gathered first"
    dtypes = ("f16", "bf16")
    factory = "tuner.schedules.attention.baselines.torch_cuda:prepare_cudnn"


class SdpaMath(_Forced):
    """Matrix products and a softmax, each a kernel."""

    name = "attn_sdpa_math"
    summary = "torch SDPA on the GPU, backend MATH: products and softmax apart; pages gathered first"
    dtypes = ("f32", "f16", "bf16")
    factory = "tuner.schedules.attention.baselines.torch_cuda:prepare_math"


def forced(call: Callable[[], object], backend: str) -> Callable[[], object]:
    """A call in which PyTorch takes this backend or raises `RuntimeError`.

    Args:
        call: with an SDPA inside.
        backend: a name of `torch.nn.attention.SDPBackend`.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    chosen = getattr(SDPBackend, backend)

    def run() -> None:
        with sdpa_kernel(chosen):
            call()

    return run


def _prepared(workload: Workload, tensors: Mapping[str, Any], backend: str) -> Callable[[], object]:
    return forced(attention(workload, start_on_gpu(tensors)), backend)


def prepare_flash(workload: Workload, tensors: Mapping[str, Any], threads: int) -> Callable[[], object]:
    """The call on CuPy's arrays; `threads` has no meaning here."""
    return _prepared(workload, tensors, "FLASH_ATTENTION")


def prepare_efficient(workload: Workload, tensors: Mapping[str, Any], threads: int) -> Callable[[], object]:
    """As `prepare_flash`."""
    return _prepared(workload, tensors, "EFFICIENT_ATTENTION")


def prepare_cudnn(workload: Workload, tensors: Mapping[str, Any], threads: int) -> Callable[[], object]:
    """As `prepare_flash`."""
    return _prepared(workload, tensors, "CUDNN_ATTENTION")


def prepare_math(workload: Workload, tensors: Mapping[str, Any], threads: int) -> Callable[[], object]:
    """As `prepare_flash`."""
    return _prepared(workload, tensors, "MATH")
