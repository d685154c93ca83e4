"""A processor on a machine that stands still at times, outside of what a kernel's own clock sees."""

import time
from collections.abc import Collection, Mapping
from typing import Any

from tuner.core.device import Executable
from tuner.core.disturbance import Waits
from tuner.devices.cpu.device import CpuDevice

STALL_S = 0.15


class StallingCpu(CpuDevice):
    """This machine's processor; its runner sleeps for 0.15 s where nobody computes and nobody waits for a
    core, as a process does whose page comes from a disk, or that somebody stopped.

    Args:
        at: before which of a runner's readings of its waiting; two belong to each sample.
        everywhere: before each other answer too.
    """

    def __init__(self, at: Collection[int], everywhere: bool = False) -> None:
        super().__init__()
        self._at, self._everywhere = at, everywhere
        self._readings = 0
        self._runs = False

    def load(self, artifact: Any) -> Executable:
        """Only runners load something."""
        self._runs = True
        return super().load(artifact)

    def waits(self) -> Waits:
        """As ever, sooner or later."""
        if self._runs:
            self._readings += 1
            if self._readings in self._at:
                time.sleep(STALL_S)
        return super().waits()

    def state(self) -> Mapping[str, float]:
        """As ever, sooner or later."""
        if self._runs and self._everywhere:
            time.sleep(STALL_S)
        return super().state()
