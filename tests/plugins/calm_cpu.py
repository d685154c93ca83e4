"""A processor on which nothing counts as disturbed: tests of verdicts run beside other tests.

As a plug-in (`TUNER_PLUGINS=tests/plugins`) it takes the place of the processor. Beside other tests a final
is repeated until it is given up as disturbed, which takes half a minute of the suite.
"""

from collections.abc import Mapping

from tuner.core.disturbance import Waits
from tuner.devices.cpu.device import CpuDevice


class CalmCpu(CpuDevice):
    """This machine's processor, blind for other programs, with peaks that take no seconds to measure."""

    name = "cpu"

    def waits(self) -> Waits:
        """Nothing."""
        return Waits()

    def state(self) -> Mapping[str, float]:
        """Nothing."""
        return {}

    def measure_limits(self) -> Mapping[str, float]:
        """Of no machine: beyond every kernel's reach."""
        return {"peak_flops_f32": 1e15, "peak_flops_f32_core": 1e15, "bandwidth_bytes_per_s": 1e13}
