"""What others take of the processors, and what a quota leaves: /proc and the control groups (Linux).

Every function takes the root of the file tree, so that tests can make one up. A reading that the system does
not offer counts as nothing.
"""

import math
import os
import resource
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from tuner.core.disturbance import Waits, others_share

ROOT = Path("/")
_TICKS = os.sysconf("SC_CLK_TCK")
# Of user, nice, system, idle, iowait, irq, softirq, steal: those in which somebody in this machine ran.
_BUSY = (0, 1, 2, 5, 6)
_STEAL = 7
# In a shorter time the 10 ms ticks of /proc/stat say nothing.
_LONG_S = 0.2


def waits(cores: int, pid: int | str = "self", root: Path = ROOT) -> Waits:
    """The present counters of a process with all its threads; about 3 us and 3 us a thread.

    Args:
        cores: processors it may use.
        pid: of the process; preemptions are known of the own one only.
        root: of the file tree.
    """
    folder = f"{root}/proc/{pid}/task"
    ran = waited = arrivals = 0
    known = False
    try:
        threads = os.listdir(folder)  # noqa: PTH208 - texts, three times as fast
    except OSError:
        threads = []
    for thread in threads:
        # Nanoseconds on a processor, nanoseconds ready and waiting for one, times it got one:
        # Documentation/scheduler/sched-stats.rst. Path.read_text would take four times as long.
        try:
            handle = os.open(f"{folder}/{thread}/schedstat", os.O_RDONLY)
        except OSError:
            continue  # it ended meanwhile, or the kernel counts nothing
        try:
            fields = os.read(handle, 128).split()
        except OSError:
            continue
        finally:
            os.close(handle)
        if len(fields) == 3:
            known = True
            ran, waited, arrivals = ran + int(fields[0]), waited + int(fields[1]), arrivals + int(fields[2])
    preemptions = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if pid == "self" else 0
    return Waits(time.perf_counter(), waited * 1e-9, ran * 1e-9, arrivals, preemptions, cores if known else 0)


def processor_times(cpus: Sequence[int], root: Path = ROOT) -> tuple[float, float]:
    """Seconds that these processors were busy, and that the hypervisor ran others in their place.

    From /proc/stat: sums over the processors since boot, in ticks of 10 ms.
    """
    busy = steal = 0.0
    wanted = {f"cpu{cpu}".encode() for cpu in cpus}
    try:
        handle = os.open(f"{root}/proc/stat", os.O_RDONLY)
    except OSError:
        return 0.0, 0.0
    try:
        # A line a processor, first in the file; what follows (interrupts) is long and costs time to make.
        text = os.read(handle, 128 * (len(wanted) + max(cpus, default=0) + 2))
    except OSError:
        return 0.0, 0.0
    finally:
        os.close(handle)
    for line in text.splitlines():
        fields = line.split()
        if fields and fields[0] in wanted and len(fields) > _STEAL + 1:
            numbers = [int(f) if f.isdigit() else 0 for f in fields[1 : _STEAL + 2]]
            busy += sum(numbers[i] for i in _BUSY)
            steal += numbers[_STEAL]
    return busy / _TICKS, steal / _TICKS


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


@cache
def control_groups(root: Path = ROOT, pid: int | str = "self") -> tuple[Path, ...]:
    """Folders of the control groups that limit a process's CPU time, innermost first; both versions.

    A container sees its own group as the root of what is mounted, while /proc/PID/cgroup may name the path
    outside: where that path does not exist, the root of the mount counts.
    """
    mounts: list[tuple[Path, str]] = []  # folder, the path in /proc/PID/cgroup that belongs to it
    base = root / "sys" / "fs" / "cgroup"
    for line in _read(root / "proc" / str(pid) / "cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            mounts += [(base, path), (base / "unified", path)]
        elif "cpu" in controllers.split(","):
            mounts += [(base / controllers, path), (base / "cpu", path), (base / "cpu,cpuacct", path)]
    found: list[Path] = []
    for mount, path in mounts:
        inner = mount / path.lstrip("/")
        if ".." in inner.parts or not (inner / "cpu.stat").is_file():
            inner = mount
        while True:
            if (inner / "cpu.stat").is_file() and inner not in found:
                found.append(inner)
            if inner == mount:
                break
            inner = inner.parent
    return tuple(found)


def cpu_quota(root: Path = ROOT, pid: int | str = "self") -> float | None:
    """CPUs that control groups let a process use at a time: 0.6 is 60 ms in 100; `None` for no bound."""
    quotas = []
    for group in control_groups(root, pid):
        parts = _read(group / "cpu.max").split()  # version 2: "max 100000" or "60000 100000"
        if not parts:
            parts = [_read(group / "cpu.cfs_quota_us").strip(), _read(group / "cpu.cfs_period_us").strip()]
        if len(parts) == 2 and all(part.isdigit() for part in parts) and int(parts[1]) > 0:
            quotas.append(int(parts[0]) / int(parts[1]))  # a version 1 quota of -1 is none
    return min((quota for quota in quotas if quota > 0), default=None)


def threads_within(quota: float | None, cores: int) -> int:
    """Threads that a quota leaves room for: as many whole CPUs as it has, one at least."""
    if quota is None:
        return cores
    return max(1, min(cores, math.floor(quota + 1e-6)))


def throttled(root: Path = ROOT, pid: int | str = "self") -> tuple[float, float]:
    """Periods in which a group of the process had used up its quota, and seconds it was held back for."""
    periods = seconds = 0.0
    for group in control_groups(root, pid):
        fields = dict(line.split()[:2] for line in _read(group / "cpu.stat").splitlines() if " " in line)
        own = (
            _number(fields.get("nr_throttled")),
            max(1e-6 * _number(fields.get("throttled_usec")), 1e-9 * _number(fields.get("throttled_time"))),
        )
        # A group that is held back holds back those inside: the outer ones would be counted twice.
        periods, seconds = max(periods, own[0]), max(seconds, own[1])
    return periods, seconds


def _number(text: str | None) -> float:
    return float(text) if text is not None and text.isdigit() else 0.0


def load_state(cpus: Sequence[int], root: Path = ROOT, pid: int | str = "self") -> dict[str, float]:
    """All counters at this moment, by name: what `CpuDevice.state` gives; below 0.1 ms."""
    now = waits(len(cpus), pid, root)
    busy, steal = processor_times(cpus, root)
    periods, held = throttled(root, pid)
    return {
        "clock_s": now.clock_s, "waited_s": now.waited_s, "ran_s": now.ran_s, "arrivals": now.arrivals,
        "preemptions": now.preemptions, "cores": now.cores, "busy_s": busy, "steal_s": steal,
        "throttled_periods": periods, "throttled_s": held,
    }  # fmt: skip


def load_conditions(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What two `load_state`s say of the time between them, as metrics of a trial.

    `others_share`: see `tuner.core.disturbance`. `steal_share` and `others_busy_share`: of the pinned
    processors' time; in times shorter than 0.2 s they are left out. `throttled_periods`, `throttled_s`:
    where there were any. `preemptions`: threads that lost their processor.
    """
    if not before or not after:
        return {}

    def change(name: str) -> float:
        return max(0.0, after.get(name, 0.0) - before.get(name, 0.0))

    wall, cores = change("clock_s"), int(after.get("cores", 0))
    found: dict[str, float] = {}
    if cores:
        found["others_share"] = others_share(_waits(before), _waits(after))
        found["preemptions"] = change("preemptions")
    if cores and wall >= _LONG_S:
        found["steal_share"] = min(1.0, change("steal_s") / (wall * cores))
        found["others_busy_share"] = min(1.0, max(0.0, change("busy_s") - change("ran_s")) / (wall * cores))
    if periods := change("throttled_periods"):
        found["throttled_periods"], found["throttled_s"] = periods, change("throttled_s")
    return found


def _waits(state: Mapping[str, float]) -> Waits:
    return Waits(
        state["clock_s"], state["waited_s"], state["ran_s"], state["arrivals"], state["preemptions"],
        int(state["cores"]),
    )  # fmt: skip
