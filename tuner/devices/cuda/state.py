"""Clocks, temperature, power and throttling of a GPU, through NVML."""

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

# Bits of `nvmlDeviceGetCurrentClocksEventReasons` (nvml.h) that mean: slower than the clocks that were asked
# for. Being idle, and clocks somebody chose, are no such reasons.
THROTTLES: Mapping[str, int] = {
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sw_thermal": 0x20,
    "hw_thermal": 0x40,
    "hw_power_brake": 0x80,
}


@cache
def _handle(pci: str) -> tuple[Any, Any] | None:
    """NVML and its handle of a device; `None` where NVML or the device (a MIG slice) does not answer."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByPciBusId(pci.encode())
    except Exception:  # ImportError, or NVMLError of many kinds: there are no readings then
        return None


def snapshot(pci: str) -> dict[str, float]:
    """The readings that the device gives, empty where it gives none.

    `sm_clock_hz`, `memory_clock_hz`, `temperature_c`, `power_w`, `throttle_reasons` (NVML's bits),
    `throttled` (1 where a bit of `THROTTLES` is set), `violation_s` (how long power and temperature have held
    the clocks down since the driver was loaded: what happened between two snapshots shows in its difference).
    """
    found = _handle(pci)
    if found is None:
        return {}
    nvml, device = found
    readings: dict[str, float] = {}

    def take(name: str, reading: Callable[[], float]) -> None:
        try:
            readings[name] = float(reading())
        except Exception:  # NVMLError_NotSupported and the like: many boards lack one or the other
            pass

    take("sm_clock_hz", lambda: 1e6 * nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM))
    take("memory_clock_hz", lambda: 1e6 * nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_MEM))
    take("temperature_c", lambda: nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU))
    take("power_w", lambda: 1e-3 * nvml.nvmlDeviceGetPowerUsage(device))
    take("throttle_reasons", lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device))
    policies = ("NVML_PERF_POLICY_POWER", "NVML_PERF_POLICY_THERMAL")
    take("violation_s", lambda: 1e-9 * sum(
        nvml.nvmlDeviceGetViolationStatus(device, getattr(nvml, policy)).violationTime for policy in policies
    ))  # fmt: skip
    if "throttle_reasons" in readings:
        bits = int(readings["throttle_reasons"])
        readings["throttled"] = float(any(bits & bit for bit in THROTTLES.values()))
    return readings


def sm_clock_hz(pci: str) -> float | None:
    """The SM clock at this moment; `None` where NVML does not tell."""
    found = _handle(pci)
    if found is None:
        return None
    nvml, device = found
    try:
        return 1e6 * float(nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM))
    except Exception:
        return None


def free_bytes(pci: str) -> float | None:
    """Bytes of the device's memory that nobody uses; `None` where NVML does not tell."""
    found = _handle(pci)
    if found is None:
        return None
    nvml, device = found
    try:
        return float(nvml.nvmlDeviceGetMemoryInfo(device).free)
    except Exception:  # a MIG slice or a board with unified memory
        return None


def other_processes(pci: str, own: Collection[int]) -> str | None:
    """One line on the processes that compute on the device beside `own`; `None` where NVML shows none."""
    found = _handle(pci)
    if found is None:
        return None
    nvml, device = found
    try:
        running = [p for p in nvml.nvmlDeviceGetComputeRunningProcesses(device) if int(p.pid) not in own]
    except Exception:  # a board that does not tell
        return None
    if not running:
        return None
    # The memory is missing where the system keeps it to itself.
    sizes = [f" ({p.usedGpuMemory / 2**30:.1f} GiB)" if p.usedGpuMemory else "" for p in running[:4]]
    shown = ", ".join(f"pid {p.pid}{size}" for p, size in zip(running, sizes, strict=False))
    many = f"{len(running)} other processes use" if len(running) > 1 else "another process uses"
    return f"{many} the GPU: {shown}; what they compute slows what is timed"


def others_counted(pci: str, own: Collection[int]) -> float | None:
    """How many processes beside `own` compute on the device; `None` where that cannot be told.

    In a container NVML may number processes as the host does: where none of ours is among them, though this
    one has a context there, nobody's number means anything.
    """
    found = _handle(pci)
    if found is None:
        return None
    nvml, device = found
    try:
        running = {int(p.pid) for p in nvml.nvmlDeviceGetComputeRunningProcesses(device)}
    except Exception:  # a board that does not tell
        return None
    return float(len(running - set(own))) if running & set(own) else None


def between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Two snapshots as metrics of a trial: `<name>_before`, `<name>_after`, and `throttled`.

    `throttled` is 1 where either snapshot says so or the time under a violation has grown by more than a
    millisecond between them: the samples then are of a GPU slower than its clocks promise. Of
    `other_processes` the larger count, where there was any.
    """
    crowd = "other_processes"
    found = {f"{name}_before": value for name, value in before.items() if name != crowd}
    found.update({f"{name}_after": value for name, value in after.items() if name != crowd})
    if others := max(before.get(crowd, 0.0), after.get(crowd, 0.0)):
        found[crowd] = others
    if "throttled" in before or "throttled" in after or "violation_s" in before:
        grown = after.get("violation_s", 0.0) - before.get("violation_s", after.get("violation_s", 0.0))
        marked = before.get("throttled", 0.0) or after.get("throttled", 0.0) or grown > 1e-3
        found["throttled"] = float(bool(marked))
    return found
