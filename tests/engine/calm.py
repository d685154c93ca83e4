"""A processor on which nothing counts as disturbed: tests of verdicts run beside other tests."""

from collections.abc import Mapping

from tuner.core.disturbance import Waits
from tuner.devices.cpu.device import CpuDevice


class CalmCpu(CpuDevice):
    """This machine's processor, blind for other programs."""

    def waits(self) -> Waits:
        """Nothing."""
        return Waits()

    def state(self) -> Mapping[str, float]:
        """Nothing."""
        return {}
