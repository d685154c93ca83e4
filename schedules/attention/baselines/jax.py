"""XLA on the CPU, through JAX: products and softmax as a JAX program writes them, compiled as one."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tuner.core.workload import Workload
from tuner.schedules.attention.options import OPTIONS, TENSORS, heads_of, lower_right, masked, scale_of
from tuner.schedules.library import LibraryKernel, compiled_jax


class JaxAttention(LibraryKernel):
    """The attention that a jitted JAX program gets: XLA has no fused one on the CPU."""

    name = "attn_jax"
    operator = "attention"
    summary = "jax.numpy einsum, softmax, einsum, compiled by XLA; pages gathered, the result copied out"
    dtypes = ("f32",)
    options = OPTIONS
    libraries = ("jax", "jaxlib")
    extra = "xla"
    factory = "tuner.schedules.attention.baselines.jax:prepare"
    tensors = TENSORS


def prepare(workload: Workload, tensors: Mapping[str, np.ndarray], threads: int) -> Callable[[], object]:
    """The call. Query heads that share keys are rows of one product."""
    b, h, q, kv, d = (size for _, size in workload)
    heads, scale = heads_of(workload), scale_of(workload)
    names = [name for name in tensors if name != "O"]
    seen = np.tile(lower_right(workload), (h // heads, 1)) if masked(workload) else None

    def compute(*arrays: Any) -> Any:
        import jax
        import jax.numpy as jnp

        t = dict(zip(names, arrays, strict=True))
        k, v = t["K"], t["V"]
        if "block_table" in t:
            pages = (x[t["block_table"]].reshape(b, -1, heads, d)[:, :kv] for x in (k, v))
            k, v = (x.swapaxes(1, 2) for x in pages)
        rows = t["Q"].reshape(b, heads, -1, d)
        scores = jnp.einsum("bgrd,bgkd->bgrk", rows, k, precision="highest") * np.float32(scale)
        scores = scores if seen is None else jnp.where(seen, scores, -jnp.inf)
        p = jax.nn.softmax(scores, axis=-1)
        return jnp.einsum("bgrk,bgkd->bgrd", p, v, precision="highest").reshape(b, h, q, d)

    return compiled_jax(compute, tensors, "O", threads)
