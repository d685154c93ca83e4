"""What the operating system says of the processor: /proc/cpuinfo and /sys/devices/system/cpu (Linux)."""

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tuner.core.host_cxx import X86_FEATURES

_SYS = Path("/sys/devices/system/cpu")
# The kernel's names of instruction sets (arch/x86/include/asm/cpufeatures.h) where gcc spells them otherwise.
_GCC_NAME = {
    "pni": "sse3", "sse4_1": "sse4.1", "sse4_2": "sse4.2", "abm": "lzcnt", "bmi1": "bmi",
    "avx_vnni": "avxvnni", "avx512_vbmi2": "avx512vbmi2", "avx512_vnni": "avx512vnni",
    "avx512_bitalg": "avx512bitalg", "avx512_vpopcntdq": "avx512vpopcntdq", "avx512_bf16": "avx512bf16",
    "avx512_fp16": "avx512fp16", "amx_tile": "amx-tile", "amx_int8": "amx-int8", "amx_bf16": "amx-bf16",
}  # fmt: skip


@dataclass(frozen=True)
class CpuInfo:
    """The processor, independent of what this process may use of it; the same after every boot.

    Attributes:
        model: `AMD EPYC 9B45`.
        identity: vendor, family, model number, stepping (x86), or implementer, part, variant (Arm).
        features: gcc spelling, sorted.
        physical_cores: online.
        caches: bytes by name: l1d, l1i, l2 (a core), l3 (of the cores that share one).
        line_bytes: of a cache line.
        memory_bytes: of the machine.
        hypervisor: whether it is a virtual machine.
    """

    model: str
    identity: tuple[str, ...]
    features: tuple[str, ...]
    physical_cores: int
    caches: tuple[tuple[str, int], ...]
    line_bytes: int
    memory_bytes: int
    hypervisor: bool

    def cache(self, name: str) -> int:
        """Bytes of a cache; 0 where there is none."""
        return dict(self.caches).get(name, 0)


def _fields() -> dict[str, str]:
    """The first processor's block of /proc/cpuinfo."""
    fields: dict[str, str] = {}
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return fields
    for line in text.splitlines():
        name, separator, value = line.partition(":")
        if separator:
            fields.setdefault(name.strip(), value.strip())
    return fields


def gcc_features(flags: str) -> tuple[str, ...]:
    """Instruction sets in gcc's spelling from the kernel's `flags` (x86) or `Features` (Arm), sorted."""
    found = {_GCC_NAME.get(flag, flag) for flag in flags.split()}
    arm = {"neon"} if "asimd" in found else set()
    return tuple(sorted((found & X86_FEATURES) | arm))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def parse_size(text: str) -> int:
    """Bytes of a size as sysfs writes it: `48K`, `32M`, `64`; 0 for what is not one."""
    unit = {"K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1:], 1)
    digits = text.rstrip("KMG")
    return int(digits) * unit if digits.isdigit() else 0


def _caches(cpu: int) -> tuple[dict[str, int], int]:
    sizes: dict[str, int] = {}
    line = 0
    for place in sorted(_SYS.glob(f"cpu{cpu}/cache/index*")):
        level, kind = _read(place / "level"), _read(place / "type")
        suffix = {"Data": "d", "Instruction": "i"}.get(kind, "") if level == "1" else ""
        sizes[f"l{level}{suffix}"] = parse_size(_read(place / "size"))
        line = line or parse_size(_read(place / "coherency_line_size"))
    return sizes, line


def core_of(cpu: int) -> tuple[str, str]:
    """The physical core a logical processor belongs to: (package, core)."""
    topology = _SYS / f"cpu{cpu}" / "topology"
    return _read(topology / "physical_package_id"), _read(topology / "core_id") or str(cpu)


def one_cpu_per_core(cpus: set[int]) -> tuple[int, ...]:
    """The lowest logical processor of each physical core among `cpus`, ascending."""
    first: dict[tuple[str, str], int] = {}
    for cpu in sorted(cpus):
        first.setdefault(core_of(cpu), cpu)
    return tuple(sorted(first.values()))


def available_cpus() -> tuple[int, ...]:
    """One logical processor for each physical core this process may run on."""
    return one_cpu_per_core(os.sched_getaffinity(0))


def _online() -> set[int]:
    """All online logical processors, whatever this process may use of them."""
    online: set[int] = set()
    for part in _read(_SYS / "online").split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            online.update(range(int(first), int(last or first) + 1))
    return online or set(range(os.cpu_count() or 1))


@cache
def cpu_info() -> CpuInfo:
    """The processor of this machine, read once."""
    fields = _fields()
    online = _online()
    caches, line = _caches(min(online))
    caches = {"l1d": 32 * 2**10, "l2": 256 * 2**10, **caches}  # where sysfs says nothing: the smallest about
    identity = ("vendor_id", "cpu family", "model", "stepping",
                "CPU implementer", "CPU part", "CPU variant", "CPU revision")  # fmt: skip
    return CpuInfo(
        model=fields.get("model name") or platform.processor() or platform.machine(),
        identity=tuple(fields[name] for name in identity if name in fields),
        features=gcc_features(fields.get("flags") or fields.get("Features") or ""),
        physical_cores=len(one_cpu_per_core(online)),
        caches=tuple(sorted(caches.items())),
        line_bytes=line or 64,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        hypervisor="hypervisor" in fields.get("flags", "").split(),
    )
