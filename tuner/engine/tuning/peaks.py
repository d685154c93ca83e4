"""What times are related to: the calibration kernel and the device's peaks, and what is faster than these."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner import registry
from tuner.core.kernel import Kernel
from tuner.core.peak import doubtful, share_of_peak
from tuner.core.workload import Workload
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning.finals import Ranking
from tuner.store.records import DeviceInfo

if TYPE_CHECKING:
    from tuner.store.store import Store


def calibration_reference(
    workshop: Workshop, store: "Store", note: Callable[[str], None] = lambda text: None
) -> float:
    """Seconds of the calibration kernel on this device, measured once a store and kept.

    All times in a store relate to this one number, so trials of different days can be compared. One that was
    taken while other programs had the cores is not kept; then `note` is told.
    """
    name = f"calibration_s_threads{workshop.protocol.threads}"
    known = dict(store.device_limits(workshop.device.fingerprint))
    if name not in known:
        known[name], quiet = workshop.calibrate()
        if not quiet:
            note("calibrated while other programs had the cores: good for this run, not kept")
            return known[name]
        store.update_device(DeviceInfo.of(workshop.device, known))
    return known[name]


def known_limits(workshop: Workshop, store: "Store") -> dict[str, float]:
    """The device's peaks for the protocol's threads, as far as the store knows them."""
    suffix = f"_threads{workshop.protocol.threads}"
    known = store.device_limits(workshop.device.fingerprint)
    return {k.removesuffix(suffix): v for k, v in known.items() if k.endswith(suffix)}


@dataclass(frozen=True)
class Peaks:
    """The device's peaks for a number of threads.

    Attributes:
        limits: flop/s by element type, bytes/s.
        disturbed: other programs had the cores whenever they were measured: they may be too low.
    """

    limits: Mapping[str, float]
    disturbed: bool = False

    @property
    def known(self) -> bool:
        """Whether the device's arithmetic was measured at all."""
        return "peak_flops_f32" in self.limits


def measure_limits(
    workshop: Workshop,
    store: "Store",
    before: Peaks | None,
    note: Callable[[str], None] = lambda text: None,
) -> Peaks:
    """The device's peaks now, or what was reached minutes ago where that was more.

    Kept in the store, unless other programs had the cores all the while; then `note` is told, once.
    """
    measured = dict(workshop.limits())
    disturbed = measured.pop("disturbed", 0.0) > 0
    earlier = before.limits if before else {}
    found = {name: max(value, earlier.get(name, value)) for name, value in measured.items()}
    if disturbed:
        if before is None:
            note("peaks were measured while other programs had the cores: they may be too low, not kept")
        # One undisturbed measurement is enough: what others take makes a peak lower, never higher.
        return Peaks(found, before is None or before.disturbed)
    suffix = f"_threads{workshop.protocol.threads}"
    known = dict(store.device_limits(workshop.device.fingerprint))
    known.update({f"{name}{suffix}": value for name, value in found.items()})
    store.update_device(DeviceInfo.of(workshop.device, known))
    return Peaks(found)


def too_fast(
    ranking: Ranking, workload: Workload, kernels: Sequence[Kernel], limits: Mapping[str, float]
) -> list[str]:
    """Entries that reached more than 105% of the peak with the operations they really do, by label."""
    peak = limits.get(f"peak_flops_{workload.dtype}")
    flops = registry.operator(workload.operator).flops(workload)
    fewer = {kernel.name: kernel.fewer_operations(workload) for kernel in kernels}
    return [
        entry.finalist.label
        for entry in ranking.entries
        if (interval := entry.interval)
        and doubtful(share_of_peak(flops, interval.mid, peak), fewer.get(entry.finalist.label, 1.0))
    ]
