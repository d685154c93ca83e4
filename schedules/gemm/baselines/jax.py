"""XLA on the CPU, through JAX: a compiled `jnp.matmul` with its epilogue."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tuner.core.workload import Workload
from tuner.schedules.gemm.options import OPTIONS, TENSORS
from tuner.schedules.library import LibraryKernel, compiled_jax


class JaxGemm(LibraryKernel):
    """The GEMM that a jitted JAX program gets."""

    name = "jax"
    operator = "gemm"
    summary = "jax.numpy.matmul with its epilogue, compiled by XLA; inputs shared, the result copied out"
    dtypes = ("f32",)
    options = OPTIONS
    libraries = ("jax", "jaxlib")
    extra = "xla"
    factory = "tuner.schedules.gemm.baselines.jax:prepare"
    tensors = TENSORS


def prepare(workload: Workload, tensors: Mapping[str, np.ndarray], threads: int) -> Callable[[], object]:
    """The call. XLA fuses transposes and epilogue as it sees fit."""
    names = [name for name in tensors if name != "D"]
    alpha, beta = workload.option("alpha", 1.0), workload.option("beta", 0.0)

    def compute(*arrays: Any) -> Any:
        import jax.numpy as jnp

        t = dict(zip(names, arrays, strict=True))
        a = t["A"].swapaxes(-1, -2) if workload.option("trans_a", False) else t["A"]
        b = t["B"].swapaxes(-1, -2) if workload.option("trans_b", False) else t["B"]
        d = jnp.matmul(a, b, precision="highest")
        d = d * alpha if alpha != 1 else d
        d = d + beta * t["C"] if "C" in t else d
        d = d + t["bias"] if "bias" in t else d
        return jnp.maximum(d, 0) if workload.option("relu", False) else d

    return compiled_jax(compute, tensors, "D", threads)
