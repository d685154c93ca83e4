"""Samples beside what other programs did meanwhile: in the child that times, one turn of a final."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from tuner.core.device import Device
from tuner.core.disturbance import DISTURBED, Waits, calm, others_share, undisturbed

_TURN_AT_MOST = 9
# A calibration is the best of a few: what preempts one of them is not what slows the machine.
_CALIBRATIONS, _TRIES = 3, 12


def watched(
    sample: Callable[[], float], waits: Callable[[], Waits]
) -> Callable[[], tuple[float, float, float]]:
    """A sampler that tells beside the seconds of a call what others took: see `Patience.take`."""

    def take() -> tuple[float, float, float]:
        before = waits()
        seconds = sample()
        after = waits()
        return seconds, others_share(before, after), after.clock_s - before.clock_s

    return take


def calibrate(device: Device) -> tuple[float, bool]:
    """The best of three calibrations during which no thread lost its core, and whether there was any."""
    readings, quiet = calm(device.calibrate, device.waits, _CALIBRATIONS, _TRIES)
    return min(readings), quiet


def turn(sample: Callable[[], float], device: Device, seconds: float) -> dict[str, Any]:
    """One turn of a final: the median of up to nine undisturbed samples that `seconds` have room for.

    Args:
        sample: takes one: seconds of a call.
        device: tells what others took.
        seconds: after which no further sample begins.

    Returns:
        `seconds`: of one call; the median of the undisturbed samples where they are a third of all, else of
        all. `disturbed`: whether it is the latter. `others_share`: the mean over all samples. `samples`,
        `repeated`: how many were taken, how many of them do not count. `steal_s`, `wall_s`, `throttled`: what
        the hypervisor took of the pinned cores, of how many seconds of theirs, periods of a quota used up.
    """
    take = watched(sample, device.waits)
    before = device.state()
    samples: list[float] = []
    shares: list[float] = []
    started = time.perf_counter()
    while not samples or (
        sum(share <= DISTURBED for share in shares) < _TURN_AT_MOST
        and time.perf_counter() - started < seconds
    ):
        value, share, _ = take()
        samples.append(value)
        shares.append(share)
    wall = time.perf_counter() - started
    after = device.state()
    counted, disturbed = undisturbed(samples, [share > DISTURBED for share in shares], _TURN_AT_MOST)
    return {
        "seconds": statistics.median(counted), "disturbed": disturbed > 0,
        "others_share": statistics.fmean(shares), "samples": len(samples),
        "repeated": len(samples) - len(counted), "steal_s": _change("steal_s", before, after),
        "wall_s": wall * after.get("cores", 0.0), "throttled": _change("throttled_periods", before, after),
    }  # fmt: skip


def _change(name: str, before: Mapping[str, float], after: Mapping[str, float]) -> float:
    return max(0.0, after.get(name, 0.0) - before.get(name, 0.0))
