"""PyTorch on the CPU: `scaled_dot_product_attention`, whose CPU kernel is a FlashAttention."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tuner.core.workload import Workload
from tuner.schedules.attention.options import OPTIONS, TENSORS, heads_of, lower_right, masked, scale_of
from tuner.schedules.library import LibraryKernel, start_torch, torch_tensor


class TorchAttention(LibraryKernel):
    """The attention that a PyTorch program gets in eager mode."""

    name = "attn_torch"
    operator = "attention"
    summary = "torch scaled_dot_product_attention in eager mode (FlashAttention, MKL); pages gathered first"
    dtypes = ("f32", "f16", "bf16")
    options = OPTIONS
    libraries = ("torch",)
    extra = "torch"
    factory = "tuner.schedules.attention.baselines.torch:prepare"
    tensors = TENSORS


def prepare(workload: Workload, tensors: Mapping[str, np.ndarray], threads: int) -> Callable[[], object]:
    """The call on the CPU; see `attention`. It has no paged attention: pages are gathered within the call."""

    start_torch(threads)
    return attention(workload, {name: torch_tensor(array) for name, array in tensors.items()})


def attention(workload: Workload, t: Mapping[str, Any]) -> Callable[[], object]:
    """The call on tensors.

    torch aligns `is_causal` at the top left, so it serves equal lengths only; otherwise the mask is a tensor,
    made before anything is timed. There is no `out=`: the result is copied to O.

    Args:
        workload: what is computed.
        t: the tensors of the signature, by name, all on one device.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    q, o = t["Q"], t["O"]
    scale, grouped = scale_of(workload), heads_of(workload) != workload["h"]
    equal = workload["q"] == workload["kv"]
    causal = masked(workload)
    mask = torch.from_numpy(lower_right(workload)).to(q.device) if causal and not equal else None

    def attend(keys: "torch.Tensor", values: "torch.Tensor") -> None:
        o.copy_(
            scaled_dot_product_attention(
                q, keys, values, mask, is_causal=causal and equal, scale=scale, enable_gqa=grouped
            )
        )

    return on_keys_and_values(workload, t, attend)


def on_keys_and_values(
    workload: Workload, t: Mapping[str, Any], attend: Callable[[Any, Any], object]
) -> Callable[[], object]:
    """A call of `attend` on keys and values as [b, heads, kv, d], gathered from their pages first if need be.

    Args:
        workload, t: as for `attention`.
        attend: computes O from them.
    """
    if not workload.option("paged", False):
        return lambda: attend(t["K"], t["V"])
    b, kv, d, heads = workload["b"], workload["kv"], workload["d"], heads_of(workload)
    pages = t["block_table"].long()

    def gather(pool: Any) -> Any:
        return pool[pages].view(b, -1, heads, d)[:, :kv].transpose(1, 2)

    return lambda: attend(gather(t["K"]), gather(t["V"]))
