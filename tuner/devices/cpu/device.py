"""The machine's own processor."""

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tuner.core.artifact import Artifact
from tuner.core.device import Device, Executable
from tuner.core.digest import digest
from tuner.core.disturbance import Waits, calm
from tuner.core.errors import Unavailable
from tuner.core.host_cxx import missing_compiler
from tuner.core.target import Target
from tuner.devices.cpu.dots import dot_rates
from tuner.devices.cpu.info import available_cpus, cpu_info
from tuner.devices.cpu.load import cpu_quota, load_conditions, load_state, threads_within, waits
from tuner.devices.cpu.runtime import Runtime, is_cached, runtime
from tuner.devices.cpu.shared_library import SharedLibrary
from tuner.targets.cpu import arch_of, named_targets, vector_limits

__all__ = ["CpuDevice", "SharedLibrary", "named_targets"]

# 12 chains of FMA, two a cycle: 6 cycles a round, so 600,000 rounds last 1 ms at 3.6 GHz.
CALIBRATION_ROUNDS = 600_000
# Rounds and repetitions of the peak: 5 x 10 ms, the best counts, since nothing makes a core too fast.
PEAK_ROUNDS, REPEATS = 6_000_000, 5
# Of the peaks of other types, several of which are measured: 5 ms a reading.
_DOT_ROUNDS = 3_000_000
_NO_CLOCK_HZ = 7e9
# Readings at most, where others take cores away; those of 1 ms fit between two time slices of theirs.
_TRIES, _SHORT_TRIES, _LONG_TRIES = 15, 60, 3
_MANY_BYTES = 256 * 2**20


def settle(limit_s: float = 0.1) -> None:
    """Returns when this process's other threads are idle, or after `limit_s` seconds.

    Worker threads spin after their last parallel region, on the cores that the next measurement needs:
    seen here 1 to 3 ms for libgomp as `prepare` sets it, 15 to 33 ms for OpenBLAS. Idle is a process that
    takes less than a quarter of a core while this thread sleeps 0.2 ms.
    """
    end = time.perf_counter() + limit_s
    while (start := time.perf_counter()) < end:
        used = time.process_time()
        time.sleep(0.0002)
        if time.process_time() - used < 0.25 * (time.perf_counter() - start):
            return


class CpuDevice(Device):
    """The processor this process runs on: Linux, x86-64 or Arm."""

    name = "cpu"
    target_kind = "cpu"
    usual = True

    def __init__(self) -> None:
        self._info = cpu_info()
        self._cpus = available_cpus()  # before anything pins this process
        self._pinned: tuple[int, ...] = ()

    @classmethod
    def discover(cls) -> Sequence["CpuDevice"]:
        """The one processor, however many sockets; empty where `unavailable` says why."""
        return [] if cls.unavailable() else [cls()]

    @classmethod
    def unavailable(cls) -> str | None:
        """Not Linux, or no C++ compiler for the calibration kernel and none that was compiled before."""
        if not sys.platform.startswith("linux"):
            return f"threads are pinned and caches are read as Linux does it, not on {sys.platform}"
        reason = missing_compiler()
        # Who names a compiler wants that one: what another made before does not stand in for it.
        if reason is None or (not os.environ.get("CXX") and is_cached(cpu_info().features)):
            return None
        return reason

    @property
    def target(self) -> Target:
        """Features as gcc spells them; limits of what this process may use.

        `cores` counts physical cores in the process's affinity when the device was made; `l1d_bytes` and
        `l2_bytes` are of one core, `l3_bytes` of one last-level cache (of L2 where there is no L3).
        """
        info = self._info
        arch = arch_of(info.features, platform.machine())
        limits: dict[str, float] = {
            "cores": len(self._cpus), "l1d_bytes": info.cache("l1d"), "l2_bytes": info.cache("l2"),
            "l3_bytes": info.cache("l3") or info.cache("l2"), "line_bytes": info.line_bytes,
            "memory_bytes": info.memory_bytes, **vector_limits(arch),
        }  # fmt: skip
        return Target(self.target_kind, arch, info.features, limits)

    def runs(self, target: str) -> bool:
        """Any target of its kind, as far as its features go: the compiler is told the device's own."""
        return target.partition(":")[0] == self.target_kind

    @property
    def fingerprint(self) -> str:
        """Model, stepping, features, physical cores, caches, and whether it is virtual; no readings."""
        info = self._info
        return "cpu-" + digest(
            [info.model, list(info.identity), list(info.features), info.physical_cores,
             [list(cache) for cache in info.caches], info.line_bytes, info.hypervisor]
        )  # fmt: skip

    def facts(self) -> Mapping[str, Any]:
        """Model, cores, caches in bytes, instruction sets, and where threads are pinned."""
        info = self._info
        return {
            "model": info.model,
            "arch": self.target.arch,
            "physical_cores": info.physical_cores,
            "usable_cpus": list(self._cpus),
            "pinned_cpus": list(self._pinned),
            **{f"{name}_bytes": size for name, size in info.caches},
            "memory_bytes": info.memory_bytes,
            "hypervisor": info.hypervisor,
            **({"cpu_quota": quota} if (quota := cpu_quota()) is not None else {}),
            "features": list(info.features),
        }

    @property
    def default_threads(self) -> int:
        """As many as there are usable cores, or whole CPUs in a control group's quota; one at least."""
        return threads_within(cpu_quota(), len(self._cpus))

    def remarks(self, threads: int) -> Sequence[str]:
        """A quota that is less than the threads, or that took cores away from the default."""
        quota = cpu_quota()
        if quota is None or quota >= len(self._cpus):
            return ()
        about = f"a control group leaves this process {quota:g} CPUs of {len(self._cpus)} cores"
        if threads > quota:
            return (f"{about}: {threads} thread{'s' if threads > 1 else ''} will be throttled",)
        return (f"{about}: {threads} thread{'s' if threads > 1 else ''} by default",)

    @property
    def pinned_cpus(self) -> tuple[int, ...]:
        """The logical processors `prepare` pinned this process to; empty before."""
        return self._pinned

    def prepare(self, threads: int) -> None:
        """Pins this process to the first `threads` usable cores, and OpenMP's threads one to each.

        The environment counts for the OpenMP runtime that the first artifact brings in: threads are
        placed on the listed cores and spin one to three milliseconds after a parallel region, as they
        would in a program that calls the kernel often, then sleep.

        Raises:
            Unavailable: fewer cores than `threads`.
        """
        if threads > len(self._cpus):
            raise Unavailable(f"{threads} threads asked for, this process may use {len(self._cpus)} cores")
        self._pinned = self._cpus[:threads]
        os.sched_setaffinity(0, self._pinned)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TVM_NUM_THREADS"):
            os.environ[name] = str(threads)
        os.environ["OMP_DYNAMIC"] = "false"
        os.environ["OMP_PLACES"] = ",".join(f"{{{cpu}}}" for cpu in self._pinned)
        os.environ["OMP_PROC_BIND"] = "close"
        os.environ["GOMP_SPINCOUNT"] = "100000"
        os.environ.pop("OMP_WAIT_POLICY", None)  # `active` spins for minutes, `passive` sleeps at once

    def warm_up(self) -> None:
        """Loads the helper, which asks the compiler for its version: 10 ms a run."""
        _ = self._helper

    @property
    def _helper(self) -> Runtime:
        return runtime(self._info.features)

    def load(self, artifact: Artifact) -> Executable:
        """Loads a shared library (C++ and TensorIR alike) or a Python callable.

        Raises:
            RuntimeError: it cannot be loaded.
        """
        if artifact.format == "shared_library":
            return SharedLibrary(artifact, self._helper)
        if artifact.format == "callable":
            from tuner.devices.cpu.callable import load

            return load(artifact, len(self._team))
        raise RuntimeError(f"a CPU cannot load an artifact of format {artifact.format}")

    @property
    def _team(self) -> tuple[int, ...]:
        return self._pinned or self._cpus

    def calibrate(self) -> float:
        """Seconds of 600,000 rounds of FMA on every pinned core at once (about 1 ms), the slowest core's.

        Begins when no other thread of this process spins any more, see `settle`.
        """
        settle()
        return self._helper.calibrate(self._team, CALIBRATION_ROUNDS)

    def waits(self) -> Waits:
        """From /proc/self/task/*/schedstat: about 3 us a thread."""
        return waits(len(self._team))

    def state(self) -> Mapping[str, float]:
        """Counters of waiting, of the pinned cores and of control groups; see `load.load_state`."""
        return load_state(self._team)

    def conditions(self, before: Mapping[str, float], after: Mapping[str, float]) -> Mapping[str, float]:
        """What others took between two states; see `load.load_conditions`."""
        return load_conditions(before, after)

    def flush(self) -> None:
        """Every pinned core walks through its share of twice the last-level cache, at least twice its L2."""
        limits = self.target.limits
        share = max(2 * limits["l3_bytes"] / len(self._team), 2 * limits["l2_bytes"])
        self._helper.flush(self._team, int(share))

    def pass_by(self, nbytes: int, fresh: Sequence[np.ndarray]) -> None:
        """All pinned cores together read `nbytes` of other data: at least twice what their L2 caches hold, at
        most twice the last-level cache; then each writes its part of the fresh arrays as it is."""
        limits, cores = self.target.limits, len(self._team)
        least, most = 2 * limits["l2_bytes"] * cores, 2 * limits["l3_bytes"]
        self._helper.pass_by(self._team, int(max(least, min(nbytes, most))), fresh)

    def least_seconds(self, flops: float, nbytes: float, dtype: str, threads: int) -> float:
        """At 7 GHz, which no core reaches: two full vectors of multiply-adds and two of loads each cycle.

        A vector does 4 times as much in int8 (VNNI) and twice in 16 bits; with AMX, 16 times and 8 times
        that.
        """
        limits = self.target.limits
        lanes = limits["vector_bytes"] / 4
        wide = {"int8": 4.0}.get(dtype, 1.0 if dtype == "f32" else 2.0)
        if any(feature.startswith("amx") for feature in self._info.features) and dtype != "f32":
            wide *= 16
        cycles = max(flops / (4 * lanes * wide), nbytes / (2 * limits["vector_bytes"])) / threads
        return cycles / _NO_CLOCK_HZ

    def measure_limits(self) -> Mapping[str, float]:
        """FLOP/s and bytes a second of this process's cores, each the best of three to five, measured now.

        It takes a second, and five where the last-level cache is said to have hundreds of megabytes.

        `peak_flops_f32`: FMAs between registers, 12 independent chains of full vectors, all cores at
        once; `..._core`: one core alone. `peak_flops_f16`, `_bf16` and `_int8` likewise, of the type's own
        instruction (tiles, dot products, FMAs of FP16), f32's where that is slower; not there without one.
        `read_`, `copy_` and `triad_bytes_per_s`: one pass over arrays of together at least four times the
        last-level cache, counted as STREAM (McCalpin 1995) does;
        `bandwidth_bytes_per_s` is the largest of the three, and each has its `_core` too. Readings during
        which a thread lost its core do not count; `disturbed` is there, and 1, where no reading counted.
        """
        helper, found = self._helper, {}
        settle()
        limits = self.target.limits
        disturbed = False

        def best(take: Callable[[], float], tries: int) -> tuple[float, bool]:
            readings, quiet = calm(take, self.waits, REPEATS, tries)
            return max(readings), quiet

        for suffix, cpus in (("", self._team), ("_core", self._team[:1])):
            peak, quiet = best(partial(helper.fma_flops, cpus, PEAK_ROUNDS), _TRIES)
            if not quiet:
                short, quiet = best(partial(helper.fma_flops, cpus, CALIBRATION_ROUNDS), _SHORT_TRIES)
                peak = max(peak, short)
            disturbed |= not quiet
            found[f"peak_flops_f32{suffix}"] = peak
            for dtype, take in dot_rates(self._info.features, cpus, _DOT_ROUNDS).items():
                rate, quiet = best(take, _TRIES)
                # A dot product of bf16 may be slower than FMAs of what was converted to f32.
                found[f"peak_flops_{dtype}{suffix}"] = max(rate, peak)
                disturbed |= not quiet
            # Three arrays a thread; never more than an eighth of the memory.
            size = max(4 * limits["l3_bytes"], 64 * 2**20) / 3 / len(cpus)
            size = int(min(size, limits["memory_bytes"] / 8 / 3 / len(cpus)))
            # Passes over hundreds of megabytes are long enough that few tell as much.
            passes = REPEATS if 3 * size * len(cpus) < _MANY_BYTES else 3
            rates, quiet = calm(partial(helper.bandwidths, cpus, size, passes), self.waits, 1, _LONG_TRIES)
            disturbed |= not quiet
            best_of = dict(zip(("read", "copy", "triad"), map(max, zip(*rates, strict=True)), strict=True))
            found.update({f"{name}_bytes_per_s{suffix}": rate for name, rate in best_of.items()})
            found[f"bandwidth_bytes_per_s{suffix}"] = max(best_of.values())
        return {**found, "disturbed": 1.0} if disturbed else found
