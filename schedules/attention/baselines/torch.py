"""PyTorch on the CPU: `scaled_dot_product_attention`, whose CPU kernel is a FlashAttention."""

from collections.abc import Callable, Mapping

import numpy as np

from tuner.core.workload import Workload
from tuner.schedules.attention.options import OPTIONS, TENSORS, heads_of, lower_right, masked, scale_of
from tuner.schedules.library import LibraryKernel, start_torch


class TorchAttention(LibraryKernel):
    """The attention that a PyTorch program gets in eager mode."""

    name = "attn_torch"
    operator = "attention"
    summary = "torch scaled_dot_product_attention in eager mode (FlashAttention, MKL); pages gathered first"
    dtypes = ("f32", "f16")
    options = OPTIONS
    libraries = ("torch",)
    extra = "torch"
    factory = "tuner.schedules.attention.baselines.torch:prepare"
    tensors = TENSORS


def prepare(workload: Workload, tensors: Mapping[str, np.ndarray], threads: int) -> Callable[[], object]:
    """The call.

    torch aligns `is_causal` at the top left, so it serves equal lengths only; otherwise the mask is a tensor,
    made before anything is timed. It has no paged attention on the CPU: pages are gathered within the call.
    There is no `out=`: the result is copied to O.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    start_torch(threads)
    t = {name: torch.from_numpy(array) for name, array in tensors.items()}
    q, k, v, o = (t[name] for name in ("Q", "K", "V", "O"))
    b, kv, d, heads = workload["b"], workload["kv"], workload["d"], heads_of(workload)
    scale, grouped = scale_of(workload), heads != workload["h"]
    equal = workload["q"] == kv
    causal = masked(workload)
    mask = torch.from_numpy(lower_right(workload)) if causal and not equal else None

    def attend(keys: "torch.Tensor", values: "torch.Tensor") -> None:
        o.copy_(
            scaled_dot_product_attention(
                q, keys, values, mask, is_causal=causal and equal, scale=scale, enable_gqa=grouped
            )
        )

    if not workload.option("paged", False):
        return lambda: attend(k, v)
    pages = t["block_table"].long()

    def gather(pool: "torch.Tensor") -> "torch.Tensor":
        return pool[pages].view(b, -1, heads, d)[:, :kv].transpose(1, 2)

    return lambda: attend(gather(k), gather(v))
