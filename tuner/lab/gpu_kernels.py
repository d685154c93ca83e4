"""Which kernels of ours have a chance at a case on a GPU: a sweep of each takes seconds of the device."""

from tuner import registry
from tuner.core.compute_capability import specific_features
from tuner.core.kernel import Kernel
from tuner.core.target import Target
from tuner.core.workload import Workload

RUNGS = frozenset({
    "cuda_naive", "cuda_coalesced", "cuda_shared_tiles", "cuda_thread_tiles", "cuda_vectorized",
    "cuda_double_buffered", "cuda_tensor_cores", "cuda_int8", "cuda_conv_direct", "cuda_conv_shared_tiles",
    "cuda_attn_naive",
})  # fmt: skip
"""Steps of the ladder (docs/gpu-ladder.md) that a later one does the same work as and better."""

ON_CUDA_CORES = frozenset({"cuda_warp_tiles", "cuda_conv_implicit_gemm", "cuda_attn_flash"})
"""Kernels without tensor cores for any shape: no match for them where they multiply the type."""

# Kernels of TensorIR and Triton take seconds to compile, and reach half of what `wgmma` does.
_LANGUAGE = "nvrtc"


def with_a_chance(workload: Workload, target: Target) -> list[Kernel]:
    """Our CUDA kernels that serve a workload on a target and may be the fastest.

    What arithmetic holds, in a type that tensor cores multiply, is left to kernels with the instruction that
    only this architecture has (`wgmma`), else to those with any of tensor cores. What memory holds may go to
    any that has not been overtaken.

    Args:
        workload: what is computed.
        target: of the device.
    """
    serving = [
        kernel for kernel in registry.kernels_of(workload.operator, target.kind)
        if not kernel.baseline and kernel.language == _LANGUAGE and kernel.name not in RUNGS
        and not kernel.unsupported(workload, target)
    ]  # fmt: skip
    limits = target.limits
    tensor_cores = limits.get(f"peak_flops_{workload.dtype}", 0.0) > limits["peak_flops_f32"]
    if not tensor_cores:
        return serving
    if not held_by_memory(workload, target):
        claiming = [kernel for kernel in serving if _claims(kernel, workload.dtype)]
        serving = [kernel for kernel in claiming if _specific(kernel)] or claiming or serving
    return [kernel for kernel in serving if kernel.name not in ON_CUDA_CORES] or serving


def held_by_memory(workload: Workload, target: Target) -> bool:
    """Whether every tensor once out of memory takes longer than the arithmetic, by the data sheet."""
    operator, limits = registry.operator(workload.operator), target.limits
    rate = limits.get(f"peak_flops_{workload.dtype}", limits["peak_flops_f32"])
    moved_s = operator.min_bytes(workload) / limits["bandwidth_bytes_per_s"]
    return moved_s > operator.flops(workload) / rate


def _claims(kernel: Kernel, dtype: str) -> bool:
    return any(claim in ("tensor_cores", f"tensor_cores:{dtype}") for claim in kernel.claims)


def _specific(kernel: Kernel) -> bool:
    return bool(specific_features() & set(kernel.requires))
