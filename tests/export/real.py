"""Databases in which real kernels have made-up times on this machine: nothing is measured to fill them."""

from collections.abc import Mapping, Sequence
from typing import Any

from tuner import registry
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.trial import Trial, TrialKey
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice
from tuner.engine.tuning.campaign import default_protocol
from tuner.store.records import DeviceInfo, KernelInfo, SweepSpec
from tuner.store.store import Store

Entry = tuple[str, str, Mapping[str, Any], float]
"""Workload key, kernel, wishes of its configuration, seconds."""


def stored_here(store: Store, entries: Sequence[Entry], threads: int = 2) -> list[Trial]:
    """A sweep of one trial each; the configuration is the nearest valid one to the wishes."""
    device = CpuDevice()
    cores = int(device.target.limits["cores"])
    protocol = default_protocol(device, threads=min(threads, cores))
    target = device.target_for(protocol.threads)
    found = []
    for key, name, wishes, seconds in entries:
        workload, kernel = Workload.from_key(key), registry.kernel(name)
        space = kernel.space(workload, target)
        if kernel.searcher:
            config = space.check(wishes)
        else:
            middle = {p.name: p.values[len(p.values) // 2] for p in space.parameters}
            own = {name: value for name, value in wishes.items() if name in middle}
            config = space.nearest({**middle, **own}) if space.parameters else {}
        toolchain = registry.builder_of(kernel, target).toolchain(target)
        store.put_toolchain(toolchain)
        spec = SweepSpec(
            workload, DeviceInfo.of(device), KernelInfo.of(kernel), target.name, "random", 0, protocol
        )
        identity = TrialKey(
            workload, name, kernel.digest, config, target.name, toolchain.digest, device.fingerprint,
            protocol.digest,
        )  # fmt: skip
        sweep = store.begin_sweep(spec)
        trial = Trial(identity, Measurement(Status.OK, Evidence.MEASURED, (seconds,)))
        (number,) = store.add_trials(sweep, [trial])
        store.finish_sweep(sweep, "finished", {})
        found.append(Trial(identity, trial.measurement, number))
    return found
