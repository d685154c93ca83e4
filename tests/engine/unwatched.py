"""A processor of which nobody can say what others took: no time is disturbed, and none measured again."""

from tuner.core.disturbance import Waits
from tuner.devices.cpu.device import CpuDevice


class UnwatchedCpu(CpuDevice):
    """This machine's processor for tests of what is reused: a busy machine's times are not, and a test's
    machine is busy with other tests."""

    def waits(self) -> Waits:
        """Nothing is known."""
        return Waits()
