"""What Triton's kernels ask of a target for a workload's dtype."""

from tuner.core.target import Target
from tuner.core.workload import Workload

# A feature that comes with tensor cores that take the dtype; without, Triton 3.9 has no products of it.
_NEEDS = {"bf16": "cp_async", "tf32": "cp_async", "e4m3": "fp8", "e5m2": "fp8"}


def lacking(workload: Workload, target: Target) -> str | None:
    """Why a target has no products of the dtype; `None` where it has."""
    needed = _NEEDS.get(workload.dtype)
    if needed is None or needed in target.features:
        return None
    return f"{target.name} lacks {needed}, which {workload.dtype} needs"
