"""A device that is not there: a CUDA target to compile for, where nothing can run."""

from collections.abc import Mapping, Sequence
from typing import Any

from tuner.core.artifact import Artifact
from tuner.core.device import Device, Executable
from tuner.core.measurement import Evidence
from tuner.core.target import Target


class DescribedDevice(Device):
    """Stands in trial identities for a target without a device; cannot load, run or time anything.

    Args:
        target: what is compiled for.
        board: the product its limits are of, for people.
    """

    name = "described"
    target_kind = ""  # of any: it is made for a target
    evidence = Evidence.PREDICTED

    def __init__(self, target: Target, board: str) -> None:
        self._target, self._board = target, board

    @classmethod
    def discover(cls) -> Sequence["DescribedDevice"]:
        """None: it is made for a target, not found."""
        return []

    @property
    def target(self) -> Target:
        """As given."""
        return self._target

    @property
    def fingerprint(self) -> str:
        """Names the target; unlike that of any device."""
        return f"described-{self._target.name}"

    def facts(self) -> Mapping[str, Any]:
        """The limits of the target, and that it is no device."""
        model = f"{self._board} as described (no device)"
        return {"model": model, **{k: float(v) for k, v in self._target.limits.items()}}

    def load(self, artifact: Artifact) -> Executable:
        """Nothing can be loaded."""
        raise RuntimeError(f"{self._target.name} is only described: there is no device")

    def prepare(self, threads: int) -> None:
        """Nothing to prepare."""

    def calibrate(self) -> float:
        """Nothing to calibrate."""
        raise RuntimeError("a described device has no speed")

    def flush(self) -> None:
        """Nothing to flush."""

    def measure_limits(self) -> Mapping[str, float]:
        """Nothing is measured."""
        return {}
