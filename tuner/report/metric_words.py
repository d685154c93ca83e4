"""What an artifact's metrics are called on pages, with their units and what they are of."""

from dataclasses import dataclass

from tuner.report.units import in_unit


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        group: what it is counted over.
        words: its name for people.
        unit: `B`, `s`, `share`, `MAC`, `bit`, ...; empty for a count.
    """

    group: str
    words: str
    unit: str = ""

    def text(self, value: float) -> str:
        """A value with its unit."""
        return in_unit(value, self.unit)


THREAD, BLOCK, GRID, LOOP, LOADS, CODE = (
    "A thread", "A block", "The whole grid", "Main loop, a thread and a pass",
    "Loading loop, a thread and a pass", "Machine code",
)  # fmt: skip
GROUPS = (CODE, THREAD, BLOCK, GRID, LOOP, LOADS)
_KNOWN = {
    "registers": Metric(THREAD, "registers"),
    "stack_bytes": Metric(THREAD, "stack", "B"),
    "spill_bytes": Metric(THREAD, "registers spilled to memory and back", "B"),
    "threads": Metric(BLOCK, "threads"),
    "static_shared_bytes": Metric(BLOCK, "shared memory declared in the code", "B"),
    "dynamic_shared_bytes": Metric(BLOCK, "shared memory asked for at launch", "B"),
    "shared_bytes": Metric(BLOCK, "shared memory", "B"),
    "blocks": Metric(GRID, "blocks"),
    "blocks_sm": Metric(GRID, "blocks at once on a multiprocessor"),
    "blocks_sm_by_warps": Metric(GRID, "… were warps the only limit"),
    "blocks_sm_by_blocks": Metric(GRID, "… were their number the only limit"),
    "blocks_sm_by_registers": Metric(GRID, "… were registers the only limit"),
    "blocks_sm_by_shared_memory": Metric(GRID, "… were shared memory the only limit"),
    "occupancy": Metric(GRID, "occupancy: warps of those a multiprocessor can hold", "share"),
    "waves": Metric(GRID, "waves: blocks over what the device holds at once"),
    "cooperative": Metric(GRID, "blocks wait for each other"),
    "kernels": Metric(GRID, "kernels, one after the other"),
    "flops": Metric(GRID, "work", "FLOP"),
    "least_bytes": Metric(GRID, "least that must be moved", "B"),
    "loop_instructions": Metric(LOOP, "instructions"),
    "loop_math": Metric(LOOP, "multiply-add instructions"),
    "loop_tensor": Metric(LOOP, "of these on tensor cores"),
    "loop_math_share": Metric(LOOP, "share of multiply-add instructions", "share"),
    "loop_macs": Metric(LOOP, "multiply-adds", "MAC"),
    "loop_shared_bytes": Metric(LOOP, "read from shared memory", "B"),
    "load_bits": Metric(LOADS, "width of most loads from global memory", "bit"),
    "load_bytes": Metric(LOADS, "loaded from global memory", "B"),
    "load_macs": Metric(LOADS, "multiply-adds", "MAC"),
    "code_bytes": Metric(CODE, "size", "B"),
    "fma_instructions": Metric(CODE, "fused multiply-add instructions"),
    "vector_spills": Metric(CODE, "vector registers spilled"),
}
PARTS = {
    "math": "arithmetic",
    "issue": "issuing instructions",
    "shared": "shared memory",
    "l2": "L2 cache",
    "latency": "waiting for loads",
    "memory": "device memory",
}
"""What a predicted time consists of."""


def metric(name: str) -> Metric:
    """A metric by its stored name; of one not listed here the name in words, its unit by its ending."""
    if name in _KNOWN:
        return _KNOWN[name]
    for ending, unit in (
        ("_bytes", "B"),
        ("_share", "share"),
        ("_s", "s"),
        ("_macs", "MAC"),
        ("_flops", "FLOP"),
    ):
        if name.endswith(ending):
            return Metric(CODE, name.removesuffix(ending).replace("_", " "), unit)
    return Metric(CODE, name.replace("_", " "))


def grouped(names: list[str]) -> list[tuple[str, list[str]]]:
    """Names by what they are of, in the order of the groups."""
    return [(group, own) for group in GROUPS if (own := [n for n in names if metric(n).group == group])]
