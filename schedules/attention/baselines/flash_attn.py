"""FlashAttention's own package (`flash_attn`), where it is installed."""

from collections.abc import Callable, Mapping
from typing import Any

from tuner.core.workload import Workload
from tuner.schedules.attention.baselines.torch import on_keys_and_values
from tuner.schedules.attention.options import OPTIONS, TENSORS, masked, scale_of
from tuner.schedules.library import LibraryKernel
from tuner.schedules.torch_cuda import no_torch, start_on_gpu


class FlashAttn(LibraryKernel):
    """`flash_attn_func`, whose causal mask is aligned at the bottom right (since 2.1), as the operator's."""

    name = "attn_flash_attn"
    operator = "attention"
    summary = "flash_attn_func of the package flash-attn; pages gathered first"
    dtypes = ("f16", "bf16")
    options = OPTIONS
    target_kinds = ("cuda",)
    libraries = ("flash_attn", "torch", "cupy")
    extra = "torch"
    factory = "tuner.schedules.attention.baselines.flash_attn:prepare"
    tensors = TENSORS

    def unavailable(self) -> str | None:
        """flash-attn, torch or CuPy is not installed, or torch is a build for CPUs."""
        from importlib.util import find_spec

        if reason := no_torch():
            return reason
        if find_spec("flash_attn") is None:
            return "flash_attn is not installed: pip install flash-attn --no-build-isolation (it needs nvcc)"
        return super().unavailable()


def prepare(workload: Workload, tensors: Mapping[str, Any], threads: int) -> Callable[[], object]:
    """The call on CuPy's arrays; `threads` has no meaning here."""
    return attention(workload, start_on_gpu(tensors))


def attention(workload: Workload, t: Mapping[str, Any]) -> Callable[[], object]:
    """The call on tensors: the package takes views as [b, length, heads, d]; its result is copied to O."""
    from flash_attn import flash_attn_func

    q, o = t["Q"].transpose(1, 2), t["O"].transpose(1, 2)
    scale, causal = scale_of(workload), masked(workload)

    def attend(keys: Any, values: Any) -> None:
        o.copy_(
            flash_attn_func(
                q, keys.transpose(1, 2), values.transpose(1, 2), softmax_scale=scale, causal=causal
            )
        )

    return on_keys_and_values(workload, t, attend)
