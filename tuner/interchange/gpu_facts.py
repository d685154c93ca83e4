"""Public facts of GPUs that recorded files name, as numbers a model can compare.

Streaming multiprocessors or compute units, boost clock in MHz, memory bandwidth in GB/s, L2 in KiB, shared
memory (LDS) an SM in KiB, threads an SM, threads of a warp. `chip` names the die: devices of one die are
twins, and one says nearly all of the other. The source of a row stands beside it. Shared memory and threads
an SM of NVIDIA's are those of the compute capability (CUDA C++ Programming Guide, "Technical specifications
per compute capability"); of AMD's the local data share and wavefront of ROCm's "AMD GPU specifications",
where an RDNA work-group processor of two CUs has 128 KiB, and the `Max Work-item Per CU` of rocminfo.
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
    # Compute capability 6.1; NVIDIA's launch table as in bit-tech, "Nvidia's Turing architecture explained".
    "gtx 1080 ti": GpuFacts("gp102", 28, 1582, 484, 2816, 96, 2048, 32),
    # 7.0; NVIDIA Tesla V100 white paper (L2, shared memory), data sheet (PCIe: 1380 MHz, 900 GB/s).
    "v100": GpuFacts("gv100", 80, 1380, 900, 6144, 96, 2048, 32),
    # The NVLink module boosts to 1530 MHz (the same data sheet).
    "v100-sxm2": GpuFacts("gv100", 80, 1530, 900, 6144, 96, 2048, 32),
    # 7.5; NVIDIA Turing white paper: the reference board (the Founders Edition boosts to 1635 MHz).
    "rtx 2080 ti": GpuFacts("tu102", 68, 1545, 616, 5632, 64, 1024, 32),
    # The full TU102: NVIDIA's product page; TechPowerUp.
    "titan rtx": GpuFacts("tu102", 72, 1770, 672, 6144, 64, 1024, 32),
    # 8.6; NVIDIA's product page; TechPowerUp, GA106-300.
    "rtx 3060": GpuFacts("ga106", 28, 1777, 360, 3072, 100, 1536, 32),
    # 3,840 cores at 14 Gbps on 192 bits; the boost clock is that of the 80 W setting (TechPowerUp).
    "rtx 3060 laptop": GpuFacts("ga106", 30, 1425, 336, 3072, 100, 1536, 32),
    # NVIDIA Ampere GA102 white paper; the same table in KitGuru's review of the RTX 4090.
    "rtx 3080": GpuFacts("ga102", 68, 1710, 760, 5120, 100, 1536, 32),
    "rtx 3090": GpuFacts("ga102", 82, 1695, 936, 6144, 100, 1536, 32),
    # NVIDIA RTX A4000 data sheet (6,144 cores, 448 GB/s); TechPowerUp, GA104-875 (clock, L2).
    "rtx a4000": GpuFacts("ga104", 48, 1560, 448, 4096, 100, 1536, 32),
    # NVIDIA Ampere GA102 white paper, appendix C; TechPowerUp (clock).
    "rtx a6000": GpuFacts("ga102", 84, 1800, 768, 6144, 100, 1536, 32),
    # 8.0; NVIDIA A100 white paper and data sheet: the boards of 40 GB, then those of 80 GB.
    "a100": GpuFacts("ga100", 108, 1410, 1555, 40960, 164, 2048, 32),
    "a100 80gb": GpuFacts("ga100", 108, 1410, 1935, 40960, 164, 2048, 32),
    "a100-sxm4-80gb": GpuFacts("ga100", 108, 1410, 2039, 40960, 164, 2048, 32),
    # 8.9; NVIDIA Ada white paper; the same table in KitGuru's review of the RTX 4090.
    "rtx 4090": GpuFacts("ad102", 128, 2520, 1008, 73728, 100, 1536, 32),
    # 9.0; NVIDIA H100 white paper; measured by Chips and Cheese, "Nvidia's H100": 1755 MHz, and 1593 MHz of
    # memory * 2 * 5120 bit / 8 = 2039 GB/s.
    "h100 pcie": GpuFacts("gh100", 114, 1755, 2039, 51200, 228, 2048, 32),
    # The SXM5 board: NVIDIA H100 data sheet (3.35 TB/s); TechPowerUp (clock).
    "h100": GpuFacts("gh100", 132, 1980, 3350, 51200, 228, 2048, 32),
    # RDNA 2: AMD's product page: 28 CUs, 224 GB/s, 10.4 TFLOPS = 28 * 64 * 2 * 2903 MHz.
    "w6600": GpuFacts("navi23", 28, 2903, 224, 2048, 64, 1024, 32),
    # RDNA 3: AMD's product page: 70 CUs, 576 GB/s, 45.2 TFLOPS = 70 * 64 * 2 * 2 * 2525 MHz.
    "w7800": GpuFacts("navi31", 70, 2525, 576, 6144, 64, 1024, 32),
    # CDNA 2, one of the two dies, which is a device of its own: AMD's data sheet, ROCm's MI250 pages.
    "mi250x": GpuFacts("aldebaran", 110, 1700, 1638, 8192, 64, 2048, 64),
}


def gpu_facts(device: str) -> GpuFacts | None:
    """What is known of a GPU by its name as recorded; `None` for one that is not listed."""
    name = device.lower()
    found = [known for known in _KNOWN if known in name]
    return _KNOWN[max(found, key=len)] if found else None


def numbers(device: str) -> dict[str, float]:
    """The same as named numbers, for `History.device`, and its vendor; empty for a GPU that is not listed."""
    facts = gpu_facts(device)
    if facts is None:
        return {}
    amd = facts.chip.startswith(("navi", "aldebaran"))
    return {"nvidia": float(not amd), **{k: float(v) for k, v in facts._asdict().items() if k != "chip"}}


def are_twins(one: str, other: str) -> bool:
    """Whether two devices are the same, or have the same die: one must not teach the other in a test."""
    if one == other:
        return True
    a, b = gpu_facts(one), gpu_facts(other)
    return a is not None and b is not None and a.chip == b.chip
