"""Schedules for GPUs drawn so that they keep the target's limits, for a population to begin from.

MetaSchedule draws the tiles of each loop by themselves and throws away what the GPU cannot hold: the threads
of a block, its virtual threads, its shared memory. Of a program with one tiled block a tenth is left, of
attention, which has two in one schedule, nothing in a thousand. Here all tiles of a block are drawn together
until what follows from them keeps the limits.
"""

import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# VerifyGPUCode's own limit, which a target cannot change.
_VIRTUAL_THREADS = 8
# Sums a thread: beyond this the registers of a thread (255) surely spill.
_SUMS = 192
# Draws of one block's tiles before its design is passed over.
_TRIES = 4000
# Measured schedules that a generation begins from, as a share; MetaSchedule's default.
_MEASURED = 0.2
# Fresh draws a round, as a share of the population: earlier ones that were not proposed are kept.
_FRESH = 0.25
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass
class _Read:
    """What a block reads through shared memory: its index expressions, and the bytes of an element."""

    indices: list[str]
    shape: list[int]
    element_bytes: int

    def tile_bytes(self, tile: Mapping[str, int]) -> int:
        """Of the part that `tile` loop extents touch, by the ends of each index."""
        size = self.element_bytes
        for index, most in zip(self.indices, self.shape, strict=True):
            ends = [_value(index, {name: at(extent) for name, extent in tile.items()})
                    for at in (lambda extent: 0, lambda extent: extent - 1)]  # fmt: skip
            size *= most if None in ends else min(most, abs(ends[1] - ends[0]) + 1)  # type: ignore[operator]
        return size


def _value(index: str, values: Mapping[str, int]) -> int | None:
    if not set(_NAME.findall(index)) <= set(values):
        return None
    # TVM's own text, of integers and loop variables alone.
    return int(eval(index, {"__builtins__": {}}, dict(values)))


@dataclass
class _Tiling:
    """The tiles of one block: the instructions that draw them, by loop, and what its design demands."""

    structure: str
    block: str
    samples: list[Any] = field(default_factory=list)
    extents: list[int] = field(default_factory=list)
    innermost: list[int] = field(default_factory=list)
    threads: tuple[int, int] = (1, 1024)
    cached: list[int] = field(default_factory=list)
    stages: int = 1


def _tilings(trace: Any) -> list[_Tiling]:
    """The tilings of a design, from the instructions that multi-level tiling writes."""
    names: dict[int, str] = {}
    found: list[_Tiling] = []
    for instruction in trace.insts:
        kind, attributes = str(instruction.kind.name), [str(a) for a in instruction.attrs]
        if kind == "GetSBlock":
            names[hash(instruction.outputs[0])] = attributes[0]
        elif kind == "Annotate" and attributes[0] == "meta_schedule.tiling_structure":
            name = names.get(hash(instruction.inputs[0]), "")
            found.append(_Tiling(str(instruction.inputs[1]), name))
        elif not found:
            continue
        elif kind == "SamplePerfectTile":
            tile = [int(x) for x in trace.decisions[instruction]]
            found[-1].samples.append(instruction)
            found[-1].extents.append(math.prod(tile))
            found[-1].innermost.append(int(attributes[1]))
        elif kind == "CacheRead" and attributes[1] == "shared":
            found[-1].cached.append(int(attributes[0]))
        elif kind == "Annotate" and attributes[0].startswith("meta_schedule.thread_extent_"):
            low, high = found[-1].threads
            extent = int(instruction.inputs[1])
            found[-1].threads = (extent, high) if "_low_" in attributes[0] else (low, extent)
        elif kind == "Annotate" and attributes[0] == "software_pipeline_stage":
            found[-1].stages = 1 + max(int(stage) for stage in instruction.inputs[1])
    return [tiling for tiling in found if tiling.structure[:3] == "SSS"]


def _split(extent: int, parts: int, innermost: int, rng: random.Random) -> list[int]:
    """A random factorization; the last factor at most `innermost`, as SamplePerfectTile draws them."""
    while True:
        factors, left, prime = [1] * parts, extent, 2
        while left > 1:
            while left % prime == 0:
                factors[rng.randrange(parts)] *= prime
                left //= prime
            prime += 1 if prime * prime <= left else max(1, left - prime)
        if factors[-1] <= innermost:
            return factors


class GpuDraws:
    """Draws schedules that pass MetaSchedule's own checks of a GPU.

    Args:
        context: a `TuneContext` for a CUDA target: its module and checks.
        designs: the schedules its rules made.
        seed: of all draws.
    """

    def __init__(self, context: Any, designs: Sequence[Any], seed: int) -> None:
        import tvm.s_tir

        self._context = context
        self._rng = random.Random(f"draws/{seed}")
        self._shared = int(context.target.attrs["max_shared_memory_per_block"])
        plain = tvm.s_tir.Schedule(context.mod, debug_mask="none")
        self._designs = []
        for design in designs:
            tilings = _tilings(design.trace)
            blocks = [_block(plain, tiling) for tiling in tilings]
            self._designs.append((design.trace, list(zip(tilings, blocks, strict=True))))
        self._next = 0

    def take(self, count: int, tries: int) -> Iterator[Any]:
        """Up to `count` schedules, design after design, from at most `tries` draws."""
        for _ in range(tries):
            if count <= 0 or not self._designs:
                return
            trace, tilings = self._designs[self._next % len(self._designs)]
            self._next += 1
            decisions: dict[Any, Any] = {}
            drawn = [self._tiles(*tiling) for tiling in tilings]
            for (tiling, _), tiles in zip(tilings, drawn, strict=True):
                decisions.update(zip(tiling.samples, tiles or (), strict=tiles is not None))
            schedule = None if None in drawn else self._applied(trace, decisions)
            if schedule is not None:
                count -= 1
                yield schedule

    def _tiles(self, tiling: _Tiling, block: tuple[list[str], list[_Read]]) -> list[list[int]] | None:
        """Factors of all loops of a block; `None` where none were found that keep the limits."""
        names, reads = block
        parts = [int(sample.attrs[0]) for sample in tiling.samples]
        spatial = tiling.structure.count("S")  # a loop of a sum has fewer tiles
        for _ in range(_TRIES):
            factors = [
                _split(extent, count, innermost, self._rng)
                for extent, count, innermost in zip(tiling.extents, parts, tiling.innermost, strict=True)
            ]
            outer = [f for f in factors if len(f) == spatial]
            virtual = math.prod(f[1] for f in outer)
            threads = math.prod(f[2] for f in outer)
            if virtual > _VIRTUAL_THREADS or not tiling.threads[0] <= threads <= tiling.threads[1]:
                continue
            if virtual * math.prod(x for f in outer for x in f[3:]) > _SUMS:
                continue
            # What a block of threads works on: all but the grid of a loop, all but the first steps of a sum.
            tile = {name: math.prod(f[1:]) for name, f in zip(names, factors, strict=True)}
            if sum(read.tile_bytes(tile) for read in reads) * tiling.stages <= self._shared:
                return factors
        return None

    def _applied(self, trace: Any, decisions: Mapping[Any, Any]) -> Any:
        """The schedule; `None` where a check refuses it."""
        import tvm.s_tir
        from tvm.s_tir.schedule import Trace

        seed = self._rng.randrange(1, 2**30)
        schedule = tvm.s_tir.Schedule(self._context.mod, seed=seed, debug_mask="none")
        Trace(trace.insts, dict(decisions)).apply_to_schedule(schedule, remove_postproc=True)
        schedule.enter_postproc()
        checks = self._context.space_generator.postprocs
        return schedule if all(check.apply(schedule) for check in checks) else None


def _block(schedule: Any, tiling: _Tiling) -> tuple[list[str], list[_Read]]:
    """The loop variables of a tiled block, and what it reads through shared memory."""
    block = schedule.get(schedule.get_sblock(tiling.block))
    names = [str(axis.var.name) for axis in block.iter_vars]
    reads = []
    for place in tiling.cached:
        region = block.reads[place]
        indices = [str(part.min) for part in region.region]
        shape = [int(size) for size in region.source.shape]
        reads.append(_Read(indices, shape, -(-int(region.source.dtype.bits) // 8)))
    return names, reads


def seeded_database(inner: Any, draws: GpuDraws, record: Any) -> Any:
    """A database that gives a search what it has measured and, for the rest, schedules that were drawn.

    MetaSchedule begins a generation with the best of its database; told that the drawn ones were measured
    and slow, it evolves and proposes them like any others.

    Args:
        inner: with what was measured.
        draws: where the others come from.
        record: makes a record of a schedule.
    """
    from tvm.ir.utils import derived_object
    from tvm.s_tir import meta_schedule as ms

    kept: list[Any] = []

    @derived_object
    class Seeded(ms.database.PyDatabase):  # type: ignore[misc]
        def has_workload(self, module: Any) -> Any:
            return inner.has_workload(module)

        def commit_workload(self, module: Any) -> Any:
            return inner.commit_workload(module)

        def commit_tuning_record(self, entry: Any) -> None:
            inner.commit_tuning_record(entry)

        def get_top_k(self, workload: Any, top_k: int) -> Any:
            measured = list(inner.get_top_k(workload, max(1, int(top_k * _MEASURED))))
            room = top_k - len(measured)
            fresh = max(room - len(kept), int(room * _FRESH))
            kept.extend(record(schedule) for schedule in draws.take(fresh, 10 * fresh))
            del kept[: max(0, len(kept) - room)]  # the oldest
            return [*measured, *kept]

        def get_all_tuning_records(self) -> Any:
            return inner.get_all_tuning_records()

        def __len__(self) -> int:
            return len(inner)

    return Seeded()


def limits_known(target: Any) -> bool:
    """Whether a target is a GPU whose limits can be kept."""
    return str(target.kind.name) == "cuda" and "max_shared_memory_per_block" in target.attrs
