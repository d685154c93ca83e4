"""Inside a disposable child of its own: what is measured of the device itself."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from tuner.core.device import Device
from tuner.core.disturbance import calm
from tuner.engine.processes.channel import Channel


def _open(payload: Mapping[str, Any]) -> Device:
    device: Device = payload["device"]
    device.prepare(payload["protocol"].threads)
    return device


def calibrate_job(payload: Mapping[str, Any], channel: Channel) -> None:
    """Child: seconds (the lower quartile of 40 undisturbed calibrations) and true; of all, false: none.

    Payload: `device`, `protocol`, and `kind`, see `Device.calibration_kind`.
    """
    device = _open(payload)
    readings, quiet = calm(partial(device.calibrate_as, payload["kind"]), device.waits, 40, 100)
    channel.send([float(np.quantile(readings, 0.25)), quiet])


def limits_job(payload: Mapping[str, Any], channel: Channel) -> None:
    """Child: the device's measured peaks by name."""
    device = _open(payload)
    channel.send(dict(device.measure_limits()))
