"""A campaign in a store, made of numbers that are known: nothing is built or run."""

from datetime import UTC, datetime
from typing import Any

from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.protocol import Protocol
from tuner.core.stats import Interval
from tuner.core.trial import Trial, TrialKey
from tuner.core.turns import Turns
from tuner.core.workload import Workload
from tuner.store.campaign_records import CampaignKernel, CampaignPart, CampaignSpec
from tuner.store.records import DeviceInfo, Final, FinalEntry, KernelInfo, SweepSpec
from tuner.store.store import Store

DEVICE = DeviceInfo("f" * 16, "A device", "cpu", "cpu:avx2", {"cores": 2, "l2_bytes": 2097152})
LIMITS = {"peak_flops_f32": 4e11, "bandwidth_bytes_per_s": 2e10}
PROTOCOL = Protocol(threads=2)
GEMM = Workload("gemm", "f32", (("m", 256), ("n", 256), ("k", 256)))


def time_of(config: dict[str, Any]) -> float:
    """Seconds: MC matters most, NR a little, order not at all."""
    return 1e-4 * (1 + abs(config["MC"] - 96) / 48) * (1.1 if config["NR"] == 8 else 1.0)


def trials(spec: SweepSpec, count: int, failing: int = 7) -> list[Trial]:
    """Every `failing`-th does not compile, and says so in a hostile way; 0 for none that fails."""
    made = []
    for i in range(count):
        config: dict[str, Any] = {
            "MC": [48, 96, 192][i % 3],
            "NR": [8, 16][i // 3 % 2],
            "order": "ij"[i // 6 % 2],
        }
        if count == 1:
            config = {}
        key = TrialKey(
            spec.workload, spec.kernel.name, spec.kernel.digest, config, spec.target, "toolchain",
            spec.device.fingerprint, spec.protocol.digest,
        )  # fmt: skip
        if failing and i % failing == failing - 1:
            error = f"error: </script><script>alert({i % 2})</script>\nmore"
            made.append(
                Trial(key, Measurement(Status.BUILD_ERROR, Evidence.MEASURED, error=error, build_s=0.2))
            )
            continue
        base = (time_of(config) if config else 3e-4) * (1 + 1e-4 * i)
        samples = tuple(base * (1 + 1e-3 * (j % 3)) for j in range(7))
        made.append(Trial(key, Measurement(Status.OK, Evidence.MEASURED, samples, build_s=0.3, run_s=0.1)))
    return made


def swept(
    store: Store, kernel: str, count: int, workload: Workload = GEMM, failing: int = 7
) -> tuple[int, list[int]]:
    """A finished sweep; its id and those of its trials."""
    info = KernelInfo(kernel, f"{abs(hash(kernel)) % 10**12:016d}", "cxx", workload.operator)
    spec = SweepSpec(workload, DEVICE, info, DEVICE.target, "random", 0, PROTOCOL, {"trials": count})
    sweep = store.begin_sweep(spec)
    ids = store.add_trials(sweep, trials(spec, count, failing if count > 1 else 0))
    store.finish_sweep(sweep)
    return sweep, ids


def campaign(
    store: Store, kernels: dict[str, tuple[int, bool, float]], workloads: tuple[Workload, ...] = (GEMM,),
    disturbed: str = "", title: str = "A title", finish: bool = True, experiment: str = "made_up",
    protocol: Protocol = PROTOCOL,
) -> int:  # fmt: skip
    """A campaign with a final over kernels.

    Args:
        store: takes it.
        kernels: trials, whether it is a library, and the final's seconds (0: not in the final), by name.
        workloads: each gets sweeps and a final of its own.
        disturbed: why the finals declare nothing.
        title: of it.
        experiment, protocol: of it.
        finish: else it stays interrupted, and its last workload without a final.
    """
    spec = CampaignSpec("comparison", title, DEVICE, DEVICE.target, protocol, workloads, {"seed": 0},
                        experiment=experiment, command="tuner compare made_up.toml")  # fmt: skip
    number = store.begin_campaign(spec)
    for i, workload in enumerate(workloads):
        records, ids = [], {}
        for name, (count, library, _) in kernels.items():
            sweep, made = swept(store, name, count, workload)
            found = store.sweep(sweep)
            fastest = store.fastest(sweep, 1)
            ids[name] = fastest[0].id if fastest else made[0]
            records.append(
                CampaignKernel(name, "d", "cxx", library, "random", "", sweep,
                               best_id=ids[name] if fastest else None, trials=count,
                               summary={"statuses": dict(found.statuses), "seconds": 1.0})
            )  # fmt: skip
        last = not finish and i == len(workloads) - 1
        final = None if last else held(store, kernels, ids, workload, disturbed)
        store.begin_part(number, i, records)
        part = CampaignPart(i, workload, "interrupted" if last else "finished", records, (), final, LIMITS,
                            started_at=datetime.now(UTC), finished_at=datetime.now(UTC))  # fmt: skip
        store.finish_part(number, part)
    store.finish_campaign(number, "finished" if finish else "interrupted")
    return number


def held(
    store: Store,
    kernels: dict[str, tuple[int, bool, float]],
    ids: dict[str, int],
    workload: Workload,
    disturbed: str,
) -> int | None:
    """A final; the fastest by its seconds wins, or ties where another is as fast."""
    times = {name: seconds for name, (_, _, seconds) in kernels.items() if seconds}
    if not times:
        return None
    first = min(times.values())
    ties = sum(seconds == first for seconds in times.values()) > 1
    library = next((name for name, (_, library, s) in kernels.items() if library and s), None)
    entries = []
    for name, seconds in times.items():
        turns = Turns(tuple(seconds * (1 + 2e-3 * (i % 5)) for i in range(15)))
        speed = times[library] / seconds if library else 1.0
        entries.append(
            FinalEntry(ids[name], "baseline" if kernels[name][1] else "candidate", turns,
                       None if disturbed else Interval(speed * 0.99, speed, speed * 1.01),
                       seconds == first and not ties and not disturbed,
                       seconds == first and ties and not disturbed)
        )  # fmt: skip
    baseline = ids[library] if library and not disturbed else None
    return store.record_final(
        Final(workload, DEVICE.fingerprint, PROTOCOL, entries, baseline, None, disturbed=disturbed)
    )
