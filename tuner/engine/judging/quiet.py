"""Readings while other programs may compute: a calibration, and one turn of a final."""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tuner.core.device import Device
from tuner.core.disturbance import DISTURBED, calm, undisturbed
from tuner.engine.judging.sampling import Sampler, Timed

_TURN_AT_MOST = 9
# A calibration is the best of a few: what preempts one of them is not what slows the machine.
_CALIBRATIONS, _TRIES = 3, 12


def calibrate(device: Device, kind: str = "") -> tuple[float, bool]:
    """The best of three calibrations during which no thread lost its core, and whether there was any.

    Args:
        device: what is calibrated, in the process that uses it.
        kind: see `Device.calibration_kind`.
    """
    readings, quiet = calm(partial(device.calibrate_as, kind), device.waits, _CALIBRATIONS, _TRIES)
    return min(readings), quiet


def turn(
    run: Sampler, calls: int, state: Callable[[], Mapping[str, float]], seconds: float
) -> dict[str, Any]:
    """One turn of a final: the median of up to nine undisturbed samples that `seconds` have room for.

    Args:
        run: takes the samples.
        calls: of a sample.
        state: what the device counts at a moment, see `Device.state`.
        seconds: after which no further sample begins.

    Returns:
        `seconds`: of one call; the median of the undisturbed samples where they are a third of all, else of
        all. `disturbed`: whether it is the latter. `others_share`: the mean over all samples. `samples`,
        `repeated`: how many were taken, how many of them do not count. `steal_s`, `wall_s`, `throttled`: what
        the hypervisor took of the pinned cores, of how many seconds of theirs, periods of a quota used up.
    """
    before = state()
    taken: list[Timed] = []
    started = time.perf_counter()
    while not taken or (missing := _TURN_AT_MOST - sum(s.share <= DISTURBED for s in taken)) > 0:
        left_s = seconds - (time.perf_counter() - started)
        if taken and left_s <= 0:
            break
        # Where data passes before each call that takes longer than the call.
        room = int(left_s / max(taken[-1].seconds * calls, taken[-1].lasted_s)) if taken else 1
        taken += run.samples(max(1, min(missing if taken else 1, room)), calls)
    wall = time.perf_counter() - started
    after = state()
    counted, disturbed = undisturbed(
        [sample.seconds for sample in taken], [sample.share > DISTURBED for sample in taken], _TURN_AT_MOST
    )
    return {
        "seconds": statistics.median(counted), "disturbed": disturbed > 0,
        "others_share": statistics.fmean(s.share for s in taken), "samples": len(taken),
        "repeated": len(taken) - len(counted), "steal_s": _change("steal_s", before, after),
        "wall_s": wall * after.get("cores", 0.0), "throttled": _change("throttled_periods", before, after),
    }  # fmt: skip


def _change(name: str, before: Mapping[str, float], after: Mapping[str, float]) -> float:
    return max(0.0, after.get(name, 0.0) - before.get(name, 0.0))
