"""What a sweep needs of whoever builds and judges its candidates: on a device, or on paper."""

import typing
from collections.abc import Sequence

from tuner.core.device import Device
from tuner.core.measurement import Measurement
from tuner.core.operator import Operator
from tuner.core.protocol import Protocol
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.engine.building.build_stage import BuildRequest, Built


class Evaluator(typing.Protocol):
    """`Workshop` measures, `CompileShop` compiles and predicts."""

    device: Device
    protocol: Protocol
    target: Target
    jobs: int

    def prepare(self, operator: Operator, workload: Workload, companions: bool = True) -> None:
        """Makes ready for a workload."""

    def build_all(self, requests: Sequence[BuildRequest]) -> list[Built]:
        """Builds candidates; in the order given."""

    def measure(
        self, workload: Workload, built: Built, incumbent_s: float | None, reference_s: float | None
    ) -> Measurement:
        """What came of a candidate.

        Raises:
            MachineFault: the machine failed, and would fail every further candidate.
        """

    def stop(self) -> None:
        """Ends what is under way."""
