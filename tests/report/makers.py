"""Timings of a known rate."""

from typing import Any

from tuner.core.stats import median_interval
from tuner.core.turns import Turns
from tuner.report.rows import Timing

FLOPS = 2 * 64**3


def timing(name: str, gflops: float, jitter: float = 0.001, **more: Any) -> Timing:
    """Eleven paired samples around a rate; all timings jitter alike, as rounds do."""
    samples = tuple(FLOPS / (gflops * 1e9) * (1 + jitter * ((7 * i) % 11 - 5)) for i in range(11))
    return Timing(name, name, "cxx", {"MC": 96}, median_interval(samples), Turns(samples), **more)
