"""How many blocks of a GPU kernel an SM holds, and what limits it; what no target can hold.

The formula is that of NVIDIA's CUDA Occupancy Calculator and of `cuda_occupancy.h` in the CUDA toolkit
(cudaOccMaxActiveBlocksPerMultiprocessor), against which the tests check it. Pure functions on core data.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tuner.core.artifact import Artifact
from tuner.core.source import KernelStep
from tuner.core.target import Target


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Blocks of one SM.

    Attributes:
        blocks: resident at once; 0 where one does not fit.
        warps: of those blocks.
        occupancy: warps as a share of the SM's most.
        limits: blocks that each resource alone would allow: `warps`, `blocks` (slots), `registers`,
            `shared memory`.
        limiter: the resource that allows the fewest; the first of them in that order.
    """

    blocks: int
    warps: int
    occupancy: float
    limits: Mapping[str, int]
    limiter: str


def _up(value: float, unit: float) -> int:
    return int(-(-value // unit) * unit)


def occupancy(target: Target, threads: int, registers: int, shared_bytes: int) -> Occupancy:
    """The occupancy of a kernel.

    - Warps: max_warps_sm / warps of a block.
    - Registers: a warp takes 32 * registers rounded up to the allocation unit; each of the SM's four
      partitions holds as many warps as fit in a quarter of its registers. 168 registers: 5376 a warp,
      16384 // 5376 = 3 warps a partition, 12 an SM, one block of 256 threads.
    - Shared memory: what the block takes plus what the system reserves, rounded up to the allocation unit.

    Args:
        target: with the limits of `tuner.targets.cuda`.
        threads: of a block.
        registers: of a thread.
        shared_bytes: of a block, static and dynamic, without what the system reserves.
    """
    limit = target.limit
    warps_block = _up(threads, limit("warp_size")) // int(limit("warp_size"))
    allowed = {
        "warps": int(limit("max_warps_sm")) // warps_block,
        "blocks": int(limit("max_blocks_sm")),
    }
    per_warp = _up(max(1, registers) * limit("warp_size"), limit("register_allocation_unit"))
    partitions = int(limit("sub_partitions_sm"))
    warps_by_registers = int(limit("registers_sm")) // partitions // per_warp * partitions
    # A block's warps are dealt to the partitions in turn: 5 warps need room for 8.
    block_registers = per_warp * _up(warps_block, partitions)
    fits = registers <= limit("max_registers_thread") and block_registers <= limit("registers_block")
    allowed["registers"] = warps_by_registers // warps_block if fits else 0
    taken = _up(shared_bytes + limit("shared_bytes_reserved"), limit("shared_allocation_unit"))
    fits = shared_bytes <= limit("shared_bytes_block_optin")
    sm_bytes = int(limit("shared_bytes_sm"))
    allowed["shared memory"] = (sm_bytes // taken if taken else allowed["blocks"]) if fits else 0
    limiter = min(allowed, key=lambda name: allowed[name])
    blocks = allowed[limiter] if threads <= limit("max_threads_block") else 0
    warps = blocks * warps_block
    return Occupancy(blocks, warps, warps / limit("max_warps_sm"), allowed, limiter)


def of_artifact(artifact: Artifact, target: Target) -> Occupancy | None:
    """The occupancy of a built GPU kernel, the last where there are several; `None` where its launch or its
    registers are not known.
    """
    return _of_step(artifact.steps[-1], target)


def _of_step(step: KernelStep, target: Target) -> Occupancy | None:
    if step.launch is None or "registers" not in step.metrics:
        return None
    x, y, z = step.launch.block
    registers, shared = (int(step.metrics[name]) for name in ("registers", "shared_bytes"))
    return occupancy(target, x * y * z, registers, shared)


def with_occupancy(artifact: Artifact, target: Target) -> dict[str, float]:
    """The artifact's metrics and its occupancy as numbers, for a trial.

    Adds `threads`, `blocks`, `blocks_sm`, `occupancy` (share of the SM's warps), `waves` (blocks over those
    that all SMs hold at once) and `blocks_sm_by_warps`, `_by_blocks`, `_by_registers`, `_by_shared_memory`:
    the smallest of them says what limits it. Of several kernels: `kernels`, how many; sums of code, spills,
    blocks and work; the least occupancy; the most of everything else.
    """
    parts = [_step_metrics(step, target) for step in artifact.steps]
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(name for part in parts for name in part if not name.startswith(("loop_", "load_")))
    values = {name: [part[name] for part in parts if name in part] for name in names}
    return {"kernels": float(len(parts)), **{name: _fold(name)(found) for name, found in values.items()}}


def _fold(name: str) -> Callable[[list[float]], float]:
    if name in ("code_bytes", "spill_bytes", "blocks", "flops", "least_bytes"):
        return sum
    return min if name == "occupancy" or name.startswith("blocks_sm") else max


def _step_metrics(step: KernelStep, target: Target) -> dict[str, float]:
    metrics = {name: float(value) for name, value in step.metrics.items()}
    found = _of_step(step, target)
    if found is None or step.launch is None:
        return metrics
    grid, block = step.launch.grid, step.launch.block
    blocks = grid[0] * grid[1] * grid[2]
    metrics["threads"] = float(block[0] * block[1] * block[2])
    metrics["blocks"] = float(blocks)
    metrics["blocks_sm"] = float(found.blocks)
    metrics["occupancy"] = found.occupancy
    if found.blocks:
        metrics["waves"] = blocks / (found.blocks * target.limit("sm_count"))
    for name, count in found.limits.items():
        metrics[f"blocks_sm_by_{name.replace(' ', '_')}"] = float(count)
    return metrics


def artifact_problem(artifact: Artifact, target: Target) -> str | None:
    """`resource_problem` of an artifact; of several kernels the first one's that has one, with its name."""
    for step in artifact.steps:
        if problem := resource_problem(_step_metrics(step, target), target):
            return f"{step.entry}: {problem}" if artifact.before else problem
    return None


def resource_problem(metrics: Mapping[str, float], target: Target) -> str | None:
    """Why a target cannot hold a kernel, or holds it only by spilling; `None` if all is well.

    What a trial with status `over_resources` gives as its error.

    Args:
        metrics: of an artifact, with or without those that `with_occupancy` adds.
        target: a CUDA target.
    """
    checks = (
        ("threads", "threads a block", "max_threads_block"),
        ("registers", "registers a thread", "max_registers_thread"),
        ("static_shared_bytes", "bytes of static shared memory a block", "shared_bytes_block"),
        ("shared_bytes", "bytes of shared memory a block", "shared_bytes_block_optin"),
    )
    for name, what, limit in checks:
        if metrics.get(name, 0) > target.limit(limit):
            return f"{metrics[name]:.0f} {what}: {target.name} has {target.limit(limit):.0f}"
    if metrics.get("blocks_sm", 1) == 0:
        # No single limit is passed, but the registers of all threads together are.
        registers, threads = metrics.get("registers", 0), metrics.get("threads", 0)
        return (
            f"{registers:.0f} registers a thread times {threads:.0f} threads: {target.name} has "
            f"{target.limit('registers_block'):.0f} registers a block"
        )
    if metrics.get("spill_bytes", 0) > 0:
        return f"registers spill: {metrics['spill_bytes']:.0f} bytes of local memory stores and loads"
    return None
