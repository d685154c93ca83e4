"""A time for a GPU kernel that was compiled and never run: to rank a compile-only sweep by.

An estimate from first principles, no fit: what comes out is `evidence: predicted`, worth an order of
candidates and no more. The model is a roofline whose roofs are per SM, with wave quantization (in the manner
of Hong and Kim, An analytical model for a GPU architecture, ISCA 2009, and of the roofline of Williams,
Waterman, Patterson, CACM 2009):

- A wave is what all SMs hold at once by occupancy. Full waves take the time of an SM with all its blocks, the
  rest that of the fullest SM: 109 blocks on 108 SMs with one each take two waves.
- b blocks on an SM take as long as the slowest of: warp schedulers (one instruction a clock and partition, by
  the SASS of the main loop), multiply-add pipe or tensor cores, shared memory (128 bytes a clock), the SM's
  share of L2 bandwidth, and latency: every step of the k loop waits for its tile unless other blocks or tiles
  already under way (stages) fill the time.
- Beside all SMs together: memory bandwidth, for each input and output at least once, and again where L2
  cannot keep what a wave shares.
- Parts overlap, but not wholly: together they take the fourth root of the sum of their fourth powers. One
  part alone takes its own time, two equal ones 19% more than each, and of two kernels bound by the same part
  the one that strains the others less is ranked first.

What it does not know: bank conflicts, partly filled sectors, clocks under load, instruction cache misses.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tuner.core.artifact import Artifact
from tuner.core.operator import Operator
from tuner.core.source import Launch
from tuner.core.target import Prediction, Target
from tuner.core.workload import Workload
from tuner.targets.gpu_model.occupancy import occupancy

# A100 white paper: 5120 bytes a clock from L2 for 108 SMs; taken for the other architectures too.
L2_BYTES_CLOCK_SM = 5120 / 108
# Clocks from a global load to its use, between an L2 hit (~200 to 260) and device memory (~470 to 570): Jia,
# Maggioni, Smith, Scarpazza, Dissecting the NVIDIA Turing T4 GPU (2019); Luo et al., Benchmarking and
# dissecting the NVIDIA Hopper GPU architecture (2024).
LATENCY_CLOCKS = 400
# The exponent of imperfect overlap: infinite would be the plain roofline's maximum, 1 no overlap at all.
OVERLAP = 4
# Seconds before the first block runs and after the last has written.
LAUNCH_S = 2e-6


@dataclass(frozen=True, slots=True)
class _Block:
    """Clocks of one block on an SM of its own, by part, its warps and its steps along k."""

    clocks: Mapping[str, float]
    warps: float
    partitions: float
    steps: float
    stages: float

    def on_sm(self, blocks: int) -> dict[str, float]:
        """Clocks of `blocks` of them together on one SM."""
        # Schedulers and pipes belong to a partition: three warps keep three of the four busy.
        idle = self.partitions / min(self.partitions, blocks * self.warps)
        together = {
            name: blocks * value * (idle if name in ("math", "issue") else 1)
            for name, value in self.clocks.items()
        }
        busy = max(self.clocks.values()) / self.steps  # of one step of one block
        # One tile at a time: a block waits, then computes. With s stages s - 1 tiles are under way.
        wait = LATENCY_CLOCKS + busy if self.stages < 2 else LATENCY_CLOCKS / (self.stages - 1)
        return {**together, "latency": self.steps * max(wait, busy)}


def _macs_clock_sm(metrics: Mapping[str, float], target: Target, dtype: str) -> float:
    """Multiply-adds a clock and SM of the instructions that the main loop uses."""
    if metrics.get("loop_tensor", 0) > 0:
        peak = target.limit("peak_flops_tf32" if dtype == "f32" else f"peak_flops_{dtype}")
        # Where only a warpgroup's products reach the peak, those of single warps have a share of it.
        share = 1.0 if metrics.get("loop_group_tensor", 0) > 0 else target.limits.get("mma_sync_share", 1.0)
        return share * peak / 2 / target.limit("sm_count") / target.limit("clock_hz")
    if dtype == "int8":
        # dp4a does four at once; the ratio tells how much of the loop is dp4a and how much plain IMAD.
        each = metrics.get("loop_macs", 1) / max(1, metrics.get("loop_math", 1))
        return target.limit("dp4a_clock_sm") * each
    return target.limit("fma_f32_clock_sm")


def _block(
    metrics: Mapping[str, float], features: Mapping[str, float], launch: Launch, target: Target,
    workload: Workload, macs: float,
) -> _Block:  # fmt: skip
    blocks = launch.grid[0] * launch.grid[1] * launch.grid[2]
    threads = launch.block[0] * launch.block[1] * launch.block[2]
    warps = math.ceil(threads / target.limit("warp_size"))
    macs_block = features.get("macs", macs) / blocks
    partitions = target.limit("sub_partitions_sm")
    clocks = {"math": macs_block / _macs_clock_sm(metrics, target, workload.dtype)}
    if metrics.get("loop_macs", 0) > 0:
        rounds = macs_block / (warps * 32) / metrics["loop_macs"]  # of the main loop, a warp
        clocks["issue"] = rounds * metrics["loop_instructions"] * warps / partitions
        # A wavefront serves 128 bytes; lanes that read the same are served together, but of a 128-bit load at
        # most half a warp at once. Distinct elements are known where the kernel declares its warp tile.
        lanes = rounds * warps * metrics.get("loop_shared_bytes", 0) * 32
        distinct = lanes
        if features.get("warp_intensity"):
            distinct = macs_block / features["warp_intensity"] * workload.element_bytes
        clocks["shared"] = min(lanes, max(distinct, lanes / 2)) / target.limit("shared_bytes_clock_sm")
    clocks["l2"] = features.get("traffic_bytes", 0) / blocks / L2_BYTES_CLOCK_SM
    steps = features.get("steps", 0)
    if not steps and metrics.get("load_macs", 0) > 0:
        steps = macs_block / (warps * 32) / metrics["load_macs"]
    return _Block(clocks, warps, partitions, max(1.0, steps), features.get("stages", 1))


def _memory_bytes(traffic: float, least: float, concurrent: float, target: Target) -> float:
    """Bytes from device memory: all tensors once where L2 holds them, else what a wave does not share.

    A wave of N tiles in a near square shares rows and columns: of what its blocks read 2/sqrt(N) is distinct.
    """
    if least <= target.limit("l2_bytes") or not traffic:
        return least
    return max(least, traffic * min(1.0, 2 / math.sqrt(max(1.0, concurrent))))


def predict(
    operator: Operator, workload: Workload, metrics: Mapping[str, float], features: Mapping[str, float],
    launch: Launch, target: Target,
) -> Prediction | None:  # fmt: skip
    """The predicted time of one call; `None` where not even one block fits an SM.

    Its parts are `issue`, `math`, `shared`, `l2`, `latency` and `memory`; its figures `waves`, blocks over
    what all SMs hold at once, and `occupancy`, the share of an SM's warps.

    Args:
        operator: for flops and least bytes.
        workload: what is computed.
        metrics: of the artifact (`registers`, `shared_bytes`, and where the SASS was read `loop_*`).
        features: of the kernel for this configuration. It uses, where declared: `macs` (multiply-adds with
            padding), `least_bytes` (moved at least once; else the operator's), `traffic_bytes` (from L2 or
            beyond to all SMs), `steps` (tiles along k a block), `stages`, `warp_intensity` (multiply-adds an
            element read from shared memory).
        launch: grid and block.
        target: a CUDA target.
    """
    threads = launch.block[0] * launch.block[1] * launch.block[2]
    held = occupancy(target, threads, int(metrics["registers"]), int(metrics["shared_bytes"]))
    if held.blocks == 0:
        return None
    blocks = launch.grid[0] * launch.grid[1] * launch.grid[2]
    sms, clock = target.limit("sm_count"), target.limit("clock_hz")
    block = _block(metrics, features, launch, target, workload, operator.flops(workload) / 2)
    concurrent = sms * held.blocks
    full, rest = divmod(blocks, int(concurrent))
    parts: dict[str, float] = {}
    for name, value in block.on_sm(held.blocks).items():
        parts[name] = full * value / clock
    if rest:
        for name, value in block.on_sm(math.ceil(rest / sms)).items():
            parts[name] += value / clock
    least = features.get("least_bytes", operator.min_bytes(workload))
    moved = _memory_bytes(features.get("traffic_bytes", 0), least, min(concurrent, blocks), target)
    parts["memory"] = moved / target.limit("bandwidth_bytes_per_s")
    bound = max(parts, key=lambda name: parts[name])
    together = parts[bound] * sum((part / parts[bound]) ** OVERLAP for part in parts.values()) ** (
        1 / OVERLAP
    )
    figures = {"waves": blocks / concurrent, "occupancy": held.occupancy}
    return Prediction(together + LAUNCH_S, bound, parts, figures)


def predict_artifact(
    operator: Operator, workload: Workload, artifact: Artifact, features: Mapping[str, float], target: Target
) -> Prediction | None:  # fmt: skip
    """The predicted time of one call of a built GPU kernel; `None` where not one block fits an SM.

    Of several kernels the sum: each by its own `flops` and `least_bytes`, which its builder has counted.

    Args:
        operator, workload: what is computed.
        artifact: with a launch and the metrics of a cubin.
        features: of a single kernel; see `predict`.
        target: a CUDA target.
    """
    found = []
    for step in artifact.steps:
        own = features
        if artifact.before:
            own = {"macs": step.metrics["flops"] / 2, "least_bytes": step.metrics["least_bytes"]}
        assert step.launch is not None
        one = predict(operator, workload, step.metrics, own, step.launch, target)
        if one is None:
            return None
        found.append(one)
    if len(found) == 1:
        return found[0]
    names = dict.fromkeys(name for one in found for name in one.parts)
    parts = {name: sum(one.parts.get(name, 0.0) for one in found) for name in names}
    figures = {
        "waves": max(one.figures["waves"] for one in found),
        "occupancy": min(one.figures["occupancy"] for one in found),
    }
    bound = max(parts, key=lambda name: parts[name])
    return Prediction(sum(one.time_s for one in found), bound, parts, figures)
