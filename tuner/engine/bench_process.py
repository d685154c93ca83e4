"""Inside a disposable child of its own: what is measured of the device itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tuner.core.device import Device
from tuner.engine.channel import Channel


def _open(payload: Mapping[str, Any]) -> Device:
    device: Device = payload["device"]
    device.prepare(payload["protocol"].threads)
    return device


def calibrate_job(payload: Mapping[str, Any], channel: Channel) -> None:
    """Child: the lower quartile of 40 calibrations, in seconds."""
    device = _open(payload)
    channel.send(float(np.quantile([device.calibrate() for _ in range(40)], 0.25)))


def limits_job(payload: Mapping[str, Any], channel: Channel) -> None:
    """Child: the device's measured peaks by name."""
    device = _open(payload)
    channel.send(dict(device.measure_limits()))
