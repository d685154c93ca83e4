"""Databases with made-up times of configurations at shapes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.protocol import Protocol
from tuner.core.trial import Trial, TrialKey
from tuner.core.workload import Workload
from tuner.store.records import DeviceInfo, KernelInfo, SweepSpec
from tuner.store.store import Store

DEVICE = DeviceInfo("made-up-1", "Made-up chip", "cpu", "cpu:avx2", {"cores": 2})
REPLAYED = DeviceInfo("made-up-2", "Recorded chip", "replay", "cuda:sm_80")


def shape(m: int, n: int, k: int) -> Workload:
    return Workload("made", "f32", (("m", m), ("n", n), ("k", k)))


def stored(
    store: Store, workloads: Sequence[Workload], configs: Sequence[Mapping[str, Any]],
    time_s: Callable[[Workload, Mapping[str, Any]], float | None], device: DeviceInfo = DEVICE,
    protocol: Protocol | None = None, name: str = "made_kernel", searcher: str = "random",
) -> None:  # fmt: skip
    """A sweep a shape; `None` is a failure, 0 was not tried."""
    evidence = Evidence.REPLAYED if device.kind == "replay" else Evidence.MEASURED
    protocol = protocol or Protocol()
    kernel = KernelInfo(name, "digest", "cxx", "made")
    for workload in workloads:
        sweep = store.begin_sweep(SweepSpec(workload, device, kernel, device.target, searcher, 0, protocol))
        trials = []
        for config in configs:
            seconds = time_s(workload, config)
            if seconds == 0:
                continue
            measurement = Measurement(Status.OK, evidence, (seconds,)) if seconds else Measurement(
                Status.BUILD_ERROR, evidence, error="it does not compile")  # fmt: skip
            key = TrialKey(
                workload, kernel.name, kernel.digest, config, device.target, "tool", device.fingerprint,
                protocol.digest,
            )  # fmt: skip
            trials.append(Trial(key, measurement))
        store.add_trials(sweep, trials)
        store.finish_sweep(sweep, "finished", {})
