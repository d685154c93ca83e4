"""Public facts of GPUs that recorded files name, as numbers a model can compare.

From the vendors' data sheets and architecture white papers (NVIDIA Pascal to Hopper and Ada; AMD RDNA 2 and
3, CDNA 2): streaming multiprocessors or compute units, boost clock in MHz, memory bandwidth in GB/s, L2 in
KiB, shared memory (LDS) an SM in KiB, threads an SM, threads of a warp. `chip` names the die: devices of one
die are twins, and one says nearly all of the other.
"""

from typing import NamedTuple


class GpuFacts(NamedTuple):
    """One GPU; see the module for the units."""

    chip: str
    sms: int
    clock_mhz: int
    bandwidth_gb_s: int
    l2_kib: int
    shared_kib: int
    threads_per_sm: int
    warp: int


# Matched as a part of the device's name in lower case, the longest first.
_KNOWN: dict[str, GpuFacts] = {
    "gtx 1080 ti": GpuFacts("gp102", 28, 1582, 484, 2816, 96, 2048, 32),
    "v100": GpuFacts("gv100", 80, 1380, 900, 6144, 96, 2048, 32),
    "rtx 2080 ti": GpuFacts("tu102", 68, 1545, 616, 5632, 64, 1024, 32),
    "titan rtx": GpuFacts("tu102", 72, 1770, 672, 6144, 64, 1024, 32),
    "rtx 3060": GpuFacts("ga106", 28, 1777, 360, 3072, 100, 1536, 32),
    "rtx 3080": GpuFacts("ga102", 68, 1710, 760, 5120, 100, 1536, 32),
    "rtx 3090": GpuFacts("ga102", 82, 1695, 936, 6144, 100, 1536, 32),
    "rtx a4000": GpuFacts("ga104", 48, 1560, 448, 4096, 100, 1536, 32),
    "rtx a6000": GpuFacts("ga102", 84, 1800, 768, 6144, 100, 1536, 32),
    "a100": GpuFacts("ga100", 108, 1410, 1555, 40960, 164, 2048, 32),
    "rtx 4090": GpuFacts("ad102", 128, 2520, 1008, 73728, 100, 1536, 32),
    "h100 pcie": GpuFacts("gh100", 114, 1755, 2039, 51200, 228, 2048, 32),
    "h100": GpuFacts("gh100", 132, 1980, 3350, 51200, 228, 2048, 32),
    "w6600": GpuFacts("navi23", 28, 2903, 224, 2048, 64, 2048, 32),
    "w7800": GpuFacts("navi31", 70, 2499, 576, 6144, 64, 2048, 32),
    "mi250x": GpuFacts("aldebaran", 110, 1700, 1638, 8192, 64, 2048, 64),
}


def gpu_facts(device: str) -> GpuFacts | None:
    """What is known of a GPU by its name as recorded; `None` for one that is not listed."""
    name = device.lower()
    found = [known for known in _KNOWN if known in name]
    return _KNOWN[max(found, key=len)] if found else None


def numbers(device: str) -> dict[str, float]:
    """The same as named numbers, for `History.device`; empty for a GPU that is not listed."""
    facts = gpu_facts(device)
    return {} if facts is None else {k: float(v) for k, v in facts._asdict().items() if k != "chip"}


def are_twins(one: str, other: str) -> bool:
    """Whether two devices are the same, or have the same die: one must not teach the other in a test."""
    if one == other:
        return True
    a, b = gpu_facts(one), gpu_facts(other)
    return a is not None and b is not None and a.chip == b.chip
