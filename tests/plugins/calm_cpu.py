"""A processor on which nothing counts as disturbed: tests of verdicts run beside other tests.

As a plug-in (`TUNER_PLUGINS=tests/plugins`) it takes the place of the processor. Beside other tests a final
is repeated until it is given up as disturbed, which takes half a minute of the suite.
"""

from collections.abc import Mapping

from tuner.core.disturbance import Waits
from tuner.devices.cpu.device import CpuDevice


class CalmCpu(CpuDevice):
    """This machine's processor, blind for other programs."""

    name = "cpu"

    def waits(self) -> Waits:
        """Nothing."""
        return Waits()

    def state(self) -> Mapping[str, float]:
        """Nothing."""
        return {}
