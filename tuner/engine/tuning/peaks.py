"""What times are related to: the calibration kernel and the device's peaks, and what is faster than these."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.found_files import UnreadableFile, read_file
from tuner.core.kernel import Kernel
from tuner.core.peak import doubtful, share_of_peak
from tuner.core.protocol import Protocol
from tuner.core.workload import Workload
from tuner.engine.building import answers
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning.finals import Ranking
from tuner.store.records import DeviceInfo

if TYPE_CHECKING:
    from tuner.store.store import Store

PEAKS_FILE = "TUNER_PEAKS"
"""The environment variable that names a file of peaks; see `limits_once`."""

CALIBRATION = "calibration_s"
"""Beside the peaks of a final: seconds of the calibration kernel in those minutes."""


def calibration_reference(
    workshop: Workshop,
    store: "Store",
    note: Callable[[str], None] = lambda text: None,
    workload: Workload | None = None,
) -> float:
    """Seconds of the calibration kernel on this device, measured once a store and kept.

    All times of a kind of work in a store relate to this one number, so trials of different days can be
    compared. One that was taken while other programs had the cores is not kept; then `note` is told.

    Args:
        workshop, store, note: what is measured, where it is kept, who is told.
        workload: of this kind of work; `None` for the device's usual kernel.
    """
    kind = workshop.calibration_kind(workload) if workload is not None else ""
    name = "_".join(filter(None, ("calibration_s", kind, _conditions(workshop.protocol))))
    known = dict(store.device_limits(workshop.device.fingerprint))
    if name not in known:
        known[name], quiet = workshop.calibrate(kind)
        if not quiet:
            note("calibrated while other programs had the cores: good for this run, not kept")
            return known[name]
        store.update_device(DeviceInfo.of(workshop.device, known))
    return known[name]


def _conditions(protocol: Protocol) -> str:
    """What of a protocol a device's speed depends on, as part of a name."""
    held = f"_at{protocol.clock_mhz}mhz" if protocol.clock_mhz else ""
    return f"threads{protocol.threads}{held}"


def known_limits(workshop: Workshop, store: "Store") -> dict[str, float]:
    """The device's peaks for the protocol's threads, as far as the store knows them."""
    suffix = f"_{_conditions(workshop.protocol)}"
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


def larger_peaks(one: Peaks | None, other: Peaks) -> Peaks:
    """Of two measurements the larger numbers: other programs make a peak lower, never higher."""
    if one is None or not other.disturbed:
        return other
    names = {**one.limits, **other.limits}
    limits = {name: max(one.limits.get(name, 0.0), other.limits.get(name, 0.0)) for name in names}
    return Peaks(limits, one.disturbed)


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
    beside = {name: value for name, value in earlier.items() if name == CALIBRATION}
    if disturbed:
        if before is None:
            note("peaks were measured while other programs had the cores: they may be too low, not kept")
        # One undisturbed measurement is enough: what others take makes a peak lower, never higher.
        return Peaks({**found, **beside}, before is None or before.disturbed)
    suffix = f"_{_conditions(workshop.protocol)}"
    known = dict(store.device_limits(workshop.device.fingerprint))
    known.update({f"{name}{suffix}": value for name, value in found.items()})
    store.update_device(DeviceInfo.of(workshop.device, known))
    return Peaks({**found, **beside})


def limits_once(workshop: Workshop, store: "Store", note: Callable[[str], None] = lambda text: None) -> Peaks:
    """The device's peaks for a store that does not know them: kept in the file `$TUNER_PEAKS`, else measured.

    What is measured undisturbed is added to the file, so that many databases on one machine (a job of CI
    makes one a run) need not measure for seconds each what does not change.

    Raises:
        TunerError: the file is none of the lab's, or cannot be read or written.
    """
    path = os.environ.get(PEAKS_FILE)
    if not path:
        return measure_limits(workshop, store, None, note)
    conditions = _conditions(workshop.protocol)
    name = f"{workshop.device.fingerprint}_{conditions}"
    kept = _read_kept(Path(path))
    if name not in kept:
        peaks = measure_limits(workshop, store, None, note)
        if not peaks.disturbed:
            _write_kept(Path(path), {**_read_kept(Path(path)), name: dict(peaks.limits)})
        return peaks
    note(f"peaks as they were measured earlier, from {path}")
    known = dict(store.device_limits(workshop.device.fingerprint))
    known.update({f"{n}_{conditions}": value for n, value in kept[name].items()})
    store.update_device(DeviceInfo.of(workshop.device, known))
    return Peaks(kept[name])


def _read_kept(path: Path) -> dict[str, dict[str, float]]:
    """Peaks by fingerprint and threads; none where there is no file."""
    try:
        if not path.exists():
            return {}
        raw = json.loads(read_file(path))
        if not isinstance(raw, dict):
            raise ValueError("it is no table")
        return {name: answers.numbers(limits, "the peaks") for name, limits in raw.items()}
    except (OSError, ValueError, RecursionError, UnreadableFile, answers.UnusableAnswer) as error:
        reason = " ".join(str(error).split())[:200]
        raise TunerError(f"{PEAKS_FILE}={path} holds no peaks ({reason}): name another file") from None


def _write_kept(path: Path, kept: Mapping[str, Mapping[str, float]]) -> None:
    # Whole or not at all; of two that write at once one's is lost, and measured again another day.
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        partial.write_text(json.dumps(kept, indent=1))
        partial.replace(path)
    except OSError as error:
        raise TunerError(f"{PEAKS_FILE}={path} cannot be written: {error.strerror}") from None


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
